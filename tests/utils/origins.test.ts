/** Which entries CORS_ORIGIN accepts, and which origins they allow. */
import { isOriginListed, isSamePlace, parseOriginEntry } from '../../utils/origins';

it.each([
  ['https://app.example.com', undefined],
  ['http://localhost:3000', undefined],
  ['http://[::1]:3000', undefined],
  ['https://*.example.com', undefined],
  ['http://*.localhost:3000', undefined],
  ['https://app.example.com:443', 'https://app.example.com'],
  ['http://app.example.com:80', 'http://app.example.com'],
  ['capacitor://localhost', undefined],
  ['tauri://localhost', undefined],
  ['ionic://localhost', undefined],
  ['chrome-extension://abcdefghijklmnopabcdefghijklmnop', undefined],
  ['moz-extension://0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f', undefined],
  ['vscode-webview://*.panel', undefined],
])('takes %s', (text, compared = text) => {
  expect(parseOriginEntry(text)).toBe(compared);
});

it.each([
  '',
  '*',
  'null',
  'app.example.com',
  'https://',
  'https://app.example.com/',
  'https://app.example.com/path',
  'https://app.example.com?x',
  'https://me@app.example.com',
  'https://App.example.com',
  'HTTPS://app.example.com',
  'https://bücher.example',
  'https://app.example.com:99999',
  'https://*',
  'https://*.',
  'https://*.*.example.com',
  'https://app.*.example.com',
  'https://*app.example.com',
  'https://*.192.0.2.1',
  'https://*.[::1]',
  '*.example.com',
  '*://app.example.com',
  'file://',
  'file://localhost',
  'data://x',
  'wss://app.example.com',
  'capacitor://',
  'capacitor://localhost/',
  'capacitor://LOCALHOST',
  'my app://localhost',
  '1app://localhost',
])('refuses %j: no browser could send it', (text) => {
  expect(parseOriginEntry(text)).toBeUndefined();
});

it.each([
  ['https://app.example.com', 'https://app.example.com', true],
  ['https://app.example.com:443', 'https://app.example.com', true],
  ['https://app.example.com:8443', 'https://app.example.com', false],
  ['http://app.example.com', 'https://app.example.com', false],
  ['https://a.example.com', 'https://*.example.com', true],
  ['https://a.b.example.com', 'https://*.example.com', true],
  ['https://example.com', 'https://*.example.com', false],
  ['https://.example.com', 'https://*.example.com', false],
  ['https://badexample.com', 'https://*.example.com', false],
  ['https://a.example.com.evil.example', 'https://*.example.com', false],
  ['https://evil.example/.example.com', 'https://*.example.com', false],
  ['https://evil.example#.example.com', 'https://*.example.com', false],
  ['https://evil.example:1.example.com', 'https://*.example.com', false],
  ['http://a.example.com', 'https://*.example.com', false],
  ['https://a.example.com:8443', 'https://*.example.com', false],
  ['https://a.example.com:8443', 'https://*.example.com:8443', true],
  ['capacitor://localhost', 'capacitor://localhost', true],
  ['capacitor://localhost', 'ionic://localhost', false],
  ['null', 'https://app.example.com', false],
])('%s among [%s]: %s', (origin, entry, isListed) => {
  expect(isOriginListed(origin, [entry])).toBe(isListed);
});

it('lists everything by *, and nothing by an empty list', () => {
  expect(isOriginListed('null', '*')).toBe(true);
  expect(isOriginListed('https://app.example.com', [])).toBe(false);
});

it.each([
  ['https://x.example', 'x.example', true],
  ['https://x.example', 'x.example:443', true],
  ['http://x.example', 'x.example:80', true],
  ['https://x.example:443', 'x.example', true],
  ['https://x.example', 'X.example', true],
  ['https://x.example:8443', 'x.example', false],
  ['https://y.example', 'x.example', false],
  ['capacitor://x.example', 'x.example', false],
  ['https://x.example', undefined, false],
])('%s is the host called %s: %s', (origin, host, isSame) => {
  expect(isSamePlace(origin, host)).toBe(isSame);
});
