/** The service behind a proxy: what it believes, what links say, and that everything works below a path. */
import { once } from 'node:events';
import { openClient } from './support/client';
import { exchange } from './support/http';
import { openPlain } from './support/plain-client';
import { startReverseProxy } from './support/reverse-proxy';
import { startService } from './support/service';

const TOLD = { 'X-Forwarded-For': '192.0.2.7', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'x.example' };
const TRUSTING = { env: { TRUST_PROXY: 'loopback' } };
type Document = { servers: Record<string, { host: string; protocol: string; pathname?: string }> & { url: string }[] };

async function startBelow(prefix: string, env: Record<string, string>, headers: Record<string, string> = {}) {
  const service = await startService({ env });
  return { service, proxy: await startReverseProxy(service.url, { prefix, headers }) };
}

async function read<Body>(url: string, path: string, headers: Record<string, string> = {}): Promise<Body> {
  return JSON.parse((await exchange(url, { path, headers })).text) as Body;
}

describe('links', () => {
  it.each<[name: string, env: Record<string, string>, headers: Record<string, string>, base: string]>([
    [
      'as a trusted proxy tells',
      { TRUST_PROXY: '1' },
      { ...TOLD, 'X-Forwarded-Prefix': '/notify' },
      'https://x.example/notify',
    ],
    [
      'by Forwarded',
      { TRUST_PROXY: '127.0.0.1' },
      { Forwarded: 'for=192.0.2.7;proto=https;host=x.example' },
      'https://x.example',
    ],
    ['as PUBLIC_URL says', { PUBLIC_URL: 'https://y.example/n/' }, { Host: 'inside' }, 'https://y.example/n'],
    ['without trust by Host', {}, { ...TOLD, Host: 'inside' }, 'http://inside'],
  ])('begin %s', async (_name, env, headers, base) => {
    const { url } = await startService({ env });
    expect(await read(url, '/inbox', headers)).toMatchObject({ type: `${base}/docs/errors#unauthorized` });
    expect(await read(url, 'http://[', headers)).toMatchObject({ type: `${base}/docs/errors#not_found` });
    const { servers } = await read<Document>(url, '/openapi.json', headers);
    expect(servers).toEqual([{ url: base }]);
    const { host, protocol, pathname } = new URL(base);
    const prefix = pathname === '/' ? '' : pathname;
    const { servers: sockets } = await read<Document>(url, '/asyncapi.json', headers);
    const place = { host, protocol: protocol === 'https:' ? 'wss' : 'ws' };
    expect(sockets).toMatchObject({ socketIo: { ...place, pathname: `${prefix}/socket.io/` }, plain: place });
    expect(sockets['plain']?.pathname ?? '').toBe(prefix);
  });

  it('in problems over sockets begin the same', async () => {
    const service = await startService(TRUSTING);
    const type = 'https://x.example/docs/errors#unauthorized';
    const socket = openClient(service.url, { auth: { token: 'x' }, extraHeaders: TOLD });
    expect(await socket.next('connect_error')).toMatchObject({ data: { type } });
    const plain = openPlain(service.url, { path: '/ws?token=x', headers: TOLD });
    expect(await plain.next('error')).toMatchObject({ type });
  });
});

describe('limits count for the client behind a trusted proxy', () => {
  const from = (address: string) => ({ 'X-Forwarded-For': address });

  it.each(['REST', 'Socket.IO', 'plain'])('over %s', async (door) => {
    const env = { TRUST_PROXY: '1', MAX_CONNECTIONS_PER_ADDRESS: '1', RATE_LIMIT_PER_MINUTE: '1' };
    const service = await startService({ env });
    const token = service.token('anna');
    const enter = async (address: string): Promise<boolean> => {
      const headers = from(address);
      if (door === 'REST') return (await exchange(service.url, { path: '/inbox', headers })).status === 401;
      if (door === 'plain') {
        const { socket } = openPlain(service.url, { path: `/ws?token=${token}`, headers });
        const [frame] = (await once(socket, 'message')) as [Buffer];
        return (JSON.parse(frame.toString('utf8')) as { event: string }).event !== 'error';
      }
      const { socket } = openClient(service.url, { auth: { token }, extraHeaders: headers });
      return new Promise((resolve) => {
        socket.once('connect', () => resolve(true));
        socket.once('connect_error', () => resolve(false));
      });
    };
    expect(await enter('192.0.2.1')).toBe(true);
    expect(await enter('192.0.2.1')).toBe(false);
    expect(await enter('192.0.2.2')).toBe(true);
    // What a client has written before the proxy added its own.
    expect(await enter('198.51.100.9, 192.0.2.2')).toBe(false);
  });

  it('and for the peer if it is not trusted', async () => {
    const service = await startService({ env: { RATE_LIMIT_PER_MINUTE: '1' } });
    const statuses = [];
    for (const address of ['192.0.2.1', '192.0.2.2']) {
      statuses.push((await exchange(service.url, { path: '/inbox', headers: from(address) })).status);
    }
    expect(statuses).toEqual([401, 429]);
  });
});

it('idle connections are kept as long as the balancer in front wants', async () => {
  const { httpServer } = await startService({ env: { KEEP_ALIVE_TIMEOUT_MS: '620000' } });
  expect(httpServer.keepAliveTimeout).toBe(620_000);
  expect((await startService()).httpServer.keepAliveTimeout).toBe(70_000);
});

describe('the service below a path', () => {
  const PREFIX = '/notify';

  it.each<[name: string, env: Record<string, string>, headers: Record<string, string>]>([
    ['that PUBLIC_URL names', { PUBLIC_URL: 'https://x.example/notify' }, {}],
    ['that a trusted proxy tells', { TRUST_PROXY: 'loopback' }, { 'X-Forwarded-Prefix': PREFIX }],
    ['that nobody tells', {}, {}],
  ])('%s: every link and asset of its pages is there', async (_name, env, headers) => {
    const { proxy } = await startBelow(PREFIX, env, headers);
    for (const path of ['/docs', '/docs/', '/docs/errors', '/docs/errors/', '/', '', '/websocket-client.html']) {
      const address = `${proxy.url}${path}`;
      const page = await (await fetch(address)).text();
      const named = Array.from(page.matchAll(/(?:src|href)="([^"#]+)"/g), ([, target = '']) => target);
      for (const target of named.filter((each) => !each.startsWith('data:') && !each.startsWith('${'))) {
        const { status, url } = await fetch(new URL(target, address));
        expect({ path, target, status, isBelow: url.startsWith(proxy.url) }).toEqual({
          path,
          target,
          status: 200,
          isBelow: true,
        });
      }
    }
  });

  it('every door works', async () => {
    const { service, proxy } = await startBelow(PREFIX, {});
    const token = service.token('anna');
    const { origin } = new URL(proxy.url);
    for (const transports of [['polling'], ['websocket']]) {
      const client = openClient(origin, { path: `${PREFIX}/socket.io/`, transports, auth: { token } });
      await client.next('connected');
    }
    const plain = openPlain(origin, { path: `${PREFIX}/ws?token=${token}` });
    await plain.next('connected');
  });
});
