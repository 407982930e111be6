/** CORS_ORIGIN over REST, Socket.IO and the plain endpoint: the same origins, by the same comparison. */
import { once } from 'node:events';
import { openClient } from './support/client';
import { exchange } from './support/http';
import { openPlain } from './support/plain-client';
import { startService, type TestService } from './support/service';

const LISTED = 'https://app.example.com, https://*.example.org, capacitor://localhost';

type Enter = (service: TestService, headers: Record<string, string>) => Promise<boolean>;

const overRest: Enter = async ({ url }, headers) => {
  const answer = await exchange(url, { path: '/livez', headers });
  expect(answer.headers.vary).toContain('Origin');
  return answer.headers['access-control-allow-origin'] === headers['Origin'];
};

const overPolling: Enter = async ({ url }, headers) => {
  const answer = await exchange(url, { path: '/socket.io/?EIO=4&transport=polling', headers });
  return answer.status === 200;
};

const overSocketIo: Enter = async (service, extraHeaders) => {
  const { socket } = openClient(service.url, { auth: { token: service.token('anna') }, extraHeaders });
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('connect_error', () => resolve(false));
  });
};

const overPlain: Enter = async (service, headers) => {
  const { socket } = openPlain(service.url, { path: `/ws?token=${service.token('anna')}`, headers });
  const [frame] = (await once(socket, 'message')) as [Buffer];
  return (JSON.parse(frame.toString('utf8')) as { event: string }).event !== 'error';
};

const DOORS: [name: string, enter: Enter][] = [
  ['REST', overRest],
  ['polling', overPolling],
  ['Socket.IO', overSocketIo],
  ['the plain endpoint', overPlain],
];

describe.each(DOORS)('over %s', (_name, enter) => {
  it('listed origins may call, others not', async () => {
    const service = await startService({ env: { CORS_ORIGIN: LISTED } });
    for (const [origin, isListed] of [
      ['https://app.example.com', true],
      ['https://app.example.com:443', true],
      ['https://a.b.example.org', true],
      ['capacitor://localhost', true],
      ['https://example.org', false],
      ['https://badexample.org', false],
      ['http://app.example.com', false],
      ['null', false],
    ] as const) {
      expect({ origin, isAllowed: await enter(service, { Origin: origin }) }).toEqual({ origin, isAllowed: isListed });
    }
  });
});

describe.each(DOORS.slice(1))("the service's own page over %s", (_name, enter) => {
  it.each<[name: string, env: Record<string, string>, headers: Record<string, string>]>([
    ['with the default port in Host', {}, { Host: 'x.example:443', Origin: 'https://x.example' }],
    ['with the default port in Origin', {}, { Host: 'x.example', Origin: 'http://x.example:80' }],
    [
      'at the host that a trusted proxy tells',
      { TRUST_PROXY: '1' },
      { 'X-Forwarded-Host': 'x.example', Origin: 'https://x.example' },
    ],
    ['at PUBLIC_URL', { PUBLIC_URL: 'https://x.example/notify' }, { Origin: 'https://x.example' }],
  ])('may connect %s', async (...[, env, headers]) => {
    const service = await startService({ env: { CORS_ORIGIN: 'https://app.example.com', ...env } });
    expect(await enter(service, headers)).toBe(true);
    expect(await enter(service, { ...headers, Origin: 'https://y.example' })).toBe(false);
  });

  it('does not follow the host that a stranger names', async () => {
    const service = await startService({ env: { CORS_ORIGIN: 'https://app.example.com' } });
    expect(await enter(service, { 'X-Forwarded-Host': 'x.example', Origin: 'https://x.example' })).toBe(false);
  });
});

it.each([
  ['/livez', LISTED, 'true'],
  ['/socket.io/?EIO=4&transport=polling', LISTED, 'true'],
  ['/livez', '*', undefined],
  ['/socket.io/?EIO=4&transport=polling', '*', undefined],
])('credentials may come with a list: %s, CORS_ORIGIN=%s', async (...[path, CORS_ORIGIN, allowed]) => {
  const { url } = await startService({ env: { CORS_ORIGIN } });
  const { headers } = await exchange(url, { path, headers: { Origin: 'https://app.example.com' } });
  expect(headers['access-control-allow-credentials']).toBe(allowed);
});
