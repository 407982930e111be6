/** Nobody reports a silent network as an error: the client judges by time. */
import { createHash } from 'node:crypto';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { memoryStorage, type TidingsClient } from '../../client/src';
import { startService, type TestService } from '../support/service';
import { startTcpProxy } from '../support/tcp-proxy';
import { onTestEnd } from '../support/temporary';
import { numberIn, openClient, until } from './support';

const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n';

/** A proxy that knows HTTP alone: what asks for a WebSocket gets `answer`, and never more. */
async function startWithoutWebSocket(service: TestService, answer: (head: string) => string | undefined) {
  const sockets = new Set<Socket>();
  const upgrades: string[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('data', (first) => {
      const head = String(first);
      if (/^upgrade: websocket/im.test(head)) {
        upgrades.push(head);
        const said = answer(head);
        if (said !== undefined) socket.write(said);
        return;
      }
      const up = connectTcp(Number(new URL(service.url).port), '127.0.0.1');
      sockets.add(up);
      up.on('error', () => socket.destroy());
      up.write(first);
      socket.pipe(up).pipe(socket);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port was given');
  return { url: `http://127.0.0.1:${address.port}`, upgrades };
}

/** Shakes hands as a WebSocket does. */
function shakeHands(head: string): string {
  const key = /^sec-websocket-key: (.+)\r$/im.exec(head)?.[1] ?? '';
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  return `${SWITCHING}Sec-WebSocket-Accept: ${accept}\r\n\r\n`;
}

async function received(client: TidingsClient): Promise<number> {
  return new Promise((resolve) => {
    client.on('message', ({ data }) => resolve(numberIn(data)));
  });
}

it.each([
  ['never answered', () => undefined],
  ['answered, and followed by no frame', shakeHands],
])('an upgrade that is %s is given up for polling within 10 seconds', async (_name, answer) => {
  const service = await startService();
  const { url, upgrades } = await startWithoutWebSocket(service, answer);
  const begun = Date.now();
  const client = openClient(url, { token: service.token('anna') });
  await client.synced();
  expect(Date.now() - begun).toBeLessThan(10_000);
  const message = received(client);
  await service.send('anna', [7]);
  expect(await message).toBe(7);
  expect([client.errors, client.status, upgrades.length > 0]).toEqual([[], 'online', true]);
});

it('a network that lets nothing through is reported, and retried until it does', async () => {
  const service = await startService();
  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
  proxy.hang();
  const transport = { transports: ['websocket' as const] };
  const client = openClient(proxy.url, { token: service.token('anna'), transport });
  await until(
    () => client.errors,
    ({ length }) => length > 0,
  );
  expect([client.errors, client.status]).toEqual([['unreachable'], 'connecting']);
  proxy.restore();
  await client.synced();
}, 60_000);

describe('a page', () => {
  const slow = { reconnectionDelay: 600_000, reconnectionDelayMax: 600_000 };
  const page = new EventTarget();
  const globals = globalThis as { addEventListener?: unknown; removeEventListener?: unknown; document?: unknown };

  beforeEach(() => {
    globals.addEventListener = page.addEventListener.bind(page);
    globals.removeEventListener = page.removeEventListener.bind(page);
    globals.document = Object.assign(page, { visibilityState: 'visible' });
  });

  afterEach(() => {
    delete globals.addEventListener;
    delete globals.removeEventListener;
    delete globals.document;
  });

  it.each(['online', 'visibilitychange'])('that learns of %s connects at once', async (event) => {
    const service = await startService();
    const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
    const storage = memoryStorage();
    const client = openClient(proxy.url, { token: service.token('anna'), storage, transport: slow });
    await client.synced();
    proxy.cut();
    await until(
      () => client.status,
      (status) => status === 'offline',
    );
    proxy.restore();
    page.dispatchEvent(new Event(event));
    await client.synced();
    expect(client.status).toBe('online');
  });

  it('that is visible again leaves a connection that has died unnoticed', async () => {
    const service = await startService();
    const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
    const client = openClient(proxy.url, { token: service.token('anna'), transport: slow });
    await client.synced();
    proxy.hang();
    page.dispatchEvent(new Event('visibilitychange'));
    await until(
      () => client.status,
      (status) => status === 'offline',
    );
    proxy.restore();
    page.dispatchEvent(new Event('online'));
    await client.synced();
  });
});
