/** Every piece of code in docs/guides/client.md is run, or compiled, unchanged except for the address. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { describeWith, findProgram } from '../support/needs';
import { run } from '../support/process';
import { startService, type TestService } from '../support/service';
import { onTestEnd } from '../support/temporary';
import { compile, installedClient, shell } from './installed';

const ROOT = join(__dirname, '../..');
const PAGE = readFileSync(join(ROOT, 'docs/guides/client.md'), 'utf8');
const ADDRESS = 'http://localhost:8090';
const chromiumPath = findProgram('chromium', 'chromium-browser', 'google-chrome');
const { directory } = installedClient();

/** A piece of code of a section, the first of its language unless another one is wanted. */
function code(section: string, language: string, index = 0): string {
  const [, text = ''] = PAGE.split(`\n## ${section}\n`);
  const blocks = (text.split('\n## ')[0] ?? '').matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm);
  const found = [...blocks].filter(([, kind]) => kind === language)[index]?.[2];
  if (found === undefined) throw new Error(`there is no ${language} in ${section}`);
  return found;
}

/** Saves a piece of code for this service. */
function save(name: string, text: string, { url }: Pick<TestService, 'url'>): string {
  writeFileSync(join(directory, name), text.replaceAll(ADDRESS, url));
  return name;
}

it('is also the code of the package’s README', () => {
  expect(readFileSync(join(ROOT, 'client/README.md'), 'utf8')).toContain(code('A badge in five lines', 'js'));
});

it('makes the file that it says to install', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'client/package.json'), 'utf8')) as { version: string };
  expect(code('Install', 'sh')).toContain(`tidings-client-${version}.tgz`);
});

it('watches with a program, whose messages are printed once although it is restarted', async () => {
  const service = await startService();
  save('file-storage.mjs', code('A program', 'js', 1), service);
  save('watch.mjs', code('A program', 'js'), service);
  // In the project: there it keeps its file.
  const start = () => run('sh', ['-c', `cd ${directory} && exec node watch.mjs`], { TOKEN: service.token('user123') });
  await service.send('user123', [1]);
  const first = start();
  await first.line(/up to date/);
  await service.send('user123', [2]);
  await first.line(/"n":2/);
  expect(await first.end('SIGTERM')).toEqual({ code: 0, signal: null });
  await service.send('user123', [3]);
  const second = start();
  await second.line(/up to date/);
  await second.line(/"n":3/);
  expect([...first.lines, ...second.lines]).toEqual([
    'test {"n":1}',
    'up to date',
    'test {"n":2}',
    'test {"n":3}',
    'up to date',
  ]);
});

it('reads and marks the inbox', async () => {
  const service = await startService();
  await service.send('user123', [1, 2]);
  const file = save('inbox.mjs', code('The inbox', 'js'), service);
  const env = { ...process.env, TOKEN: service.token('user123') };
  const { stdout, stderr } = await shell(process.execPath, [file], { cwd: directory, env });
  expect(stdout.trim().split('\n').at(-1)).toBe('1 unread, 2');
  expect(stderr).toBe('');
});

it('sends, and reports what was refused', async () => {
  const service = await startService();
  const file = save('send.mts', code('Sending and asking', 'ts'), service);
  expect(await compile(directory, [file], ['--module', 'nodenext'])).toBe('');
  const env = { ...process.env, TOKEN: service.token('user123', 'send') };
  const { stdout } = await shell(process.execPath, ['send.mjs'], { cwd: directory, env });
  expect(stdout.trim().split('\n').sort()).toEqual([
    'not_found 404 There is no such topic, or it is private.',
    'order 7 was paid, says user123',
    'stored at 1',
  ]);
});

it('shows a badge in React', async () => {
  const service = await startService();
  await service.send('user123', [1]);
  save('badge.tsx', code('React', 'tsx'), service);
  const options = [
    '--module',
    'commonjs',
    '--moduleResolution',
    'bundler',
    '--jsx',
    'react-jsx',
    '--lib',
    'es2022,dom',
  ];
  expect(await compile(directory, ['badge.tsx'], options)).toBe('');
  const program = `
    const { JSDOM } = require('jsdom');
    const { window } = new JSDOM('<div id="app"></div>', { url: 'http://localhost/' });
    for (const [name, value] of Object.entries({ window, document: window.document, navigator: window.navigator })) {
      Object.defineProperty(globalThis, name, { value, configurable: true });
    }
    const { createElement } = require('react');
    const { createRoot } = require('react-dom/client');
    const { renderToString } = require('react-dom/server');
    const { connect } = require('tidings-client');
    const { Badge } = require('./badge.js');
    console.log(renderToString(createElement(Badge, {})).replace(/<[^>]+>/g, ''));
    const client = connect(${JSON.stringify(service.url)}, { token: process.env.TOKEN });
    const element = document.getElementById('app');
    createRoot(element).render(createElement(Badge, { client }));
    new window.MutationObserver(() => console.log(element.textContent)).observe(element, {
      childList: true, characterData: true, subtree: true,
    });
  `;
  const page = run(process.execPath, [join(directory, save('page.cjs', program, service))], {
    TOKEN: service.token('user123'),
  });
  await page.line(/^1 unread, the newest: test$/);
  expect(page.lines[0]).toBe('0 unread, the newest: none');
});

describeWith('Chromium', chromiumPath !== undefined)('in a browser without a bundler', () => {
  const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript' };

  /** The project over HTTP, with a route on the application's own server that returns a token. */
  async function serve(token: string): Promise<string> {
    const server = createServer((request, response) => {
      const { pathname } = new URL(request.url ?? '/', 'http://localhost');
      response.setHeader('Content-Type', TYPES[extname(pathname)] ?? 'text/plain');
      if (pathname === '/token') response.end(token);
      else if (pathname === '/favicon.ico') response.end();
      else response.end(readFileSync(join(directory, pathname)));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestEnd(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port was given');
    return `http://127.0.0.1:${address.port}`;
  }

  async function openBadge() {
    const service = await startService();
    await service.send('user123', [1, 2]);
    save('badge.js', code('A badge in five lines', 'js'), service);
    save('index.html', code('A badge in five lines', 'html'), service);
    const browser = await chromium.launch({
      ...(chromiumPath === undefined ? {} : { executablePath: chromiumPath }),
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
    });
    onTestEnd(() => browser.close());
    return { service, page: await browser.newPage() };
  }

  it('shows it where pages have no WebSocket, within 10 seconds', async () => {
    const { service, page } = await openBadge();
    await page.addInitScript(() => {
      delete (globalThis as { WebSocket?: unknown }).WebSocket;
    });
    await page.goto(`${await serve(service.token('user123'))}/index.html`);
    await page.waitForSelector('#badge:text-is("2")', { timeout: 10_000 });
    await service.send('user123', [3]);
    await page.waitForSelector('#badge:text-is("3")');
  });

  it('shows a live badge, and the same after a reload', async () => {
    const { service, page } = await openBadge();
    const complaints: string[] = [];
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    const url = await serve(service.token('user123'));
    await page.goto(`${url}/index.html`);
    const badge = (text: string) => page.waitForSelector(`#badge:text-is("${text}")`);
    await badge('2');
    await service.send('user123', [3]);
    await badge('3');
    const { body } = await service.api.get('/websocket/users/user123/status').expect(200);
    await page.reload();
    await badge('3');
    // The same device: no other one was registered, and handled messages did not come again.
    const { body: again } = await service.api.get('/websocket/users/user123/status').expect(200);
    expect([body.devices, again.devices]).toEqual([1, 1]);
    await service.stop();
    await page.reload();
    await badge('3');
    expect(complaints.filter((text) => !/WebSocket|ERR_|unreachable|cannot be reached/.test(text))).toEqual([]);
  });
});
