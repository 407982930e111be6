/** The user sees each message once and in order, whatever happens to the network, the page and the service. */
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Message, memoryStorage, type StorageAdapter, type TidingsClient } from '../../client/src';
import { MAX_WAITING } from '../../client/src/intake';
import { eventually } from '../support/eventually';
import { freePort, runServer } from '../support/process';
import { seededRandom } from '../support/random';
import { range, startService, TEST_SECRET, type TestService, testToken } from '../support/service';
import { startTcpProxy } from '../support/tcp-proxy';
import { onTestEnd, temporaryDirectory } from '../support/temporary';
import { numberIn, openClient, slowStorage, until } from './support';

/** The page is gone when its connection is. */
const NEVER_BACK = { reconnectionDelay: 600_000, reconnectionDelayMax: 600_000 };

/** Sends `data: {n}` several at a time, in order: a burst rather than a conversation. */
async function sendBurst(service: TestService, userId: string, numbers: readonly number[]): Promise<void> {
  for (let sent = 0; sent < numbers.length; sent += 50) {
    const messages = numbers.slice(sent, sent + 50).map((n) => ({ userId, type: 'test', data: { n } }));
    await service.api.post('/messages/batch').send({ messages }).expect(200);
  }
}

function collect(client: { on(name: 'message', listener: (message: Message) => unknown): unknown }): number[] {
  const handled: number[] = [];
  client.on('message', ({ data }) => handled.push(numberIn(data)));
  return handled;
}

async function startBehindProxy() {
  const service = await startService();
  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
  return { service, proxy, url: `http://127.0.0.1:${proxy.port}` };
}

describe.each([
  ['a storage that answers at once', memoryStorage],
  ['a storage that takes its time', slowStorage],
])('with %s', (_name, newStorage: () => StorageAdapter) => {
  it('hands over a burst once and in order while the network is cut again and again', async () => {
    const random = seededRandom('client: cuts in a burst');
    const { service, proxy, url } = await startBehindProxy();
    const client = openClient(url, { token: service.token('anna'), storage: newStorage() });
    const handled = collect(client);
    await client.synced();
    for (let round = 0; round < 5; round += 1) {
      const sending = sendBurst(service, 'anna', range(round * 120 + 1, round * 120 + 120));
      const moment = round * 120 + random.integer(1, 110);
      await until(
        () => handled.length,
        (count) => count >= moment,
      );
      proxy.cut();
      await until(
        () => client.status,
        (status) => status === 'offline',
      );
      proxy.restore();
      await Promise.all([client.synced(), sending]);
    }
    await service.send('anna', [601]);
    await until(
      () => handled.at(-1),
      (last) => last === 601,
    );
    expect(handled).toEqual(range(1, 601));
  });

  it('continues after a reload in the middle', async () => {
    const random = seededRandom('client: reload');
    const service = await startService();
    const storage = newStorage();
    const handled: number[] = [];
    const sending = sendBurst(service, 'anna', range(1, 400));
    for (let load = 1; load <= 5; load += 1) {
      const moment = Math.min(400, handled.length + random.integer(10, 60));
      const client = openClient(service.url, { token: service.token('anna'), storage });
      client.on('message', ({ data }) => handled.push(numberIn(data)));
      await until(
        () => handled.length,
        (count) => count >= moment,
      );
      await client.close();
    }
    await sending;
    const last = openClient(service.url, { token: service.token('anna'), storage });
    last.on('message', ({ data }) => handled.push(numberIn(data)));
    await until(
      () => handled.length,
      (count) => count >= 400,
    );
    await last.synced();
    expect(handled).toEqual(range(1, 400));
  });
});

it('continues after pages that were discarded in the middle, without notice to the service', async () => {
  const random = seededRandom('client: pages thrown away');
  const { service, proxy, url } = await startBehindProxy();
  const storage = memoryStorage();
  const handled: number[] = [];
  const openPage = () => {
    const page = openClient(url, { token: service.token('anna'), storage, transport: NEVER_BACK });
    page.on('message', ({ data }) => handled.push(numberIn(data)));
    return page;
  };
  const sending = sendBurst(service, 'anna', range(1, 400));
  for (let load = 1; load <= 5; load += 1) {
    const moment = Math.min(400, handled.length + random.integer(10, 60));
    const page = openPage();
    await until(
      () => handled.length,
      (count) => count >= moment,
    );
    await until(
      () => page.status,
      (status) => status === 'online',
    );
    proxy.cut();
    await until(
      () => page.status,
      (status) => status === 'offline',
    );
    proxy.restore();
  }
  await sending;
  const last = openPage();
  await until(
    () => handled.length,
    (count) => count >= 400,
  );
  await last.synced();
  expect(handled).toEqual(range(1, 400));
});

it('is the same device after a reload, and another one on another storage', async () => {
  const service = await startService();
  const storage = memoryStorage();
  const one = openClient(service.url, { token: service.token('anna'), storage });
  await one.synced();
  await one.close();
  const again = openClient(service.url, { token: service.token('anna'), storage });
  const other = openClient(service.url, { token: service.token('anna') });
  const somebody = openClient(service.url, { token: service.token('ben'), storage });
  await Promise.all([again.synced(), other.synced(), somebody.synced()]);
  expect(again.device).toBe(one.device);
  expect(other.device).not.toBe(one.device);
  expect(somebody.device).not.toBe(one.device);
});

it('drops what comes again because its acknowledgement was lost', async () => {
  const { service, proxy, url } = await startBehindProxy();
  const storage = memoryStorage();
  const client = openClient(url, { token: service.token('anna'), storage, transport: NEVER_BACK });
  const handled = collect(client);
  await client.synced();
  // In the moment in which it is handed over there is no way to acknowledge it any more.
  client.on('message', () => proxy.cut());
  await service.send('anna', [1]);
  await until(
    () => client.status,
    (status) => status === 'offline',
  );
  await client.close();
  proxy.restore();

  const reloaded = openClient(url, { token: service.token('anna'), storage });
  const handledAgain = collect(reloaded);
  await reloaded.synced();
  await service.send('anna', [2]);
  await until(
    () => handledAgain.length,
    (count) => count > 0,
  );
  expect([handled, handledAgain]).toEqual([[1], [2]]);
});

it('acknowledges only what all listeners have taken', async () => {
  const service = await startService();
  const acknowledged = async (id: string): Promise<number> => {
    const { body } = await service.api.get(`/messages/${id}/receipts`).expect(200);
    return (body as { totals: { acknowledged: number } }).totals.acknowledged;
  };
  const client = openClient(service.url, { token: service.token('anna') });
  let take: () => void = () => undefined;
  const taken = new Promise<void>((resolve) => {
    take = resolve;
  });
  client.on('message', ({ topic }) => (topic === '*' ? undefined : taken));
  await client.synced();
  const [{ id } = { id: '' }] = await service.send('anna', [1]);
  const { body: broadcast } = await service.api.post('/websocket/message/broadcast').send({ type: 'test', data: {} });
  // Acknowledgements of all topics leave together.
  await eventually(
    () => acknowledged((broadcast as { id: string }).id),
    (count) => count === 1,
  );
  expect(await acknowledged(id)).toBe(0);
  take();
  await eventually(
    () => acknowledged(id),
    (count) => count === 1,
  );
});

it('hands a message again to the listener that threw, and only to that one, before the next message', async () => {
  const service = await startService();
  const client = openClient(service.url, { token: service.token('anna') });
  const calls: string[] = [];
  client.on('message', ({ data }) => calls.push(`good ${numberIn(data)}`));
  client.on('message', ({ data }) => {
    calls.push(`bad ${numberIn(data)}`);
    if (calls.filter((call) => call === 'bad 1').length === 1) throw new Error('not yet');
  });
  await client.synced();
  await service.send('anna', [1, 2]);
  await until(
    () => calls.length,
    (count) => count === 5,
  );
  expect(calls).toEqual(['good 1', 'bad 1', 'bad 1', 'good 2', 'bad 2']);
  expect(client.errors).toEqual(['handler_failed']);
});

it('leaves to the service what listeners cannot keep up with, and receives it later', async () => {
  const service = await startService();
  const client = openClient(service.url, { token: service.token('anna') });
  const handled: number[] = [];
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  client.on('message', async ({ data }) => {
    await begun;
    handled.push(numberIn(data));
  });
  await client.synced();
  const numbers = range(1, MAX_WAITING + 300);
  await sendBurst(service, 'anna', numbers);
  begin();
  await until(
    () => handled.length,
    (count) => count >= numbers.length,
  );
  expect(handled).toEqual(numbers);
});

it('hands over what a service sends again that was killed before it wrote its cursors', async () => {
  const port = await freePort();
  const env = { PORT: String(port), DATA_DIR: temporaryDirectory(), JWT_SECRET: TEST_SECRET, LOG_LEVEL: 'silent' };
  const url = `http://127.0.0.1:${port}`;
  const server = runServer(env);
  await server.line(/test page/);
  const client = openClient(url, { token: testToken('anna') });
  const handled = collect(client);
  await client.synced();
  const sender = openClient(url, { token: testToken('ben') });
  const send = (n: number) => sender.send({ to: 'anna', type: 'test', data: { n } });
  for (const n of range(1, 5)) await send(n);
  await until(
    () => handled.length,
    (count) => count === 5,
  );
  await server.end('SIGKILL');
  const again = runServer(env);
  await again.line(/test page/);
  await send(6);
  await until(
    () => handled.at(-1),
    (last) => last === 6,
  );
  expect(handled).toEqual(range(1, 6));
});

it('accepts the messages of a service restored from a backup, although their seq were used before', async () => {
  const service = await startService();
  const storage = memoryStorage();
  const client = openClient(service.url, { token: service.token('anna'), storage });
  const handled = collect(client);
  await service.send('anna', [1, 2, 3]);
  await until(
    () => handled.length,
    (count) => count === 3,
  );
  await client.close();
  await service.stop();

  // Another directory: the log begins with 1 again. The address has to be the same.
  const { port } = new URL(service.url);
  const empty = await startService({ env: { PORT: port } });
  const later = openClient(empty.url, { token: empty.token('anna'), storage });
  const handledLater = collect(later);
  await empty.send('anna', [4, 5]);
  await until(
    () => handledLater.length,
    (count) => count === 2,
  );
  expect(handledLater).toEqual([4, 5]);
});

it('hands over custom events, changes and retractions in order', async () => {
  const service = await startService();
  const client = openClient<{ 'order:paid': { order: number } }>(service.url, { token: service.token('anna') });
  const told: unknown[] = [];
  client.on('order:paid', ({ order }, { topic, seq }) => told.push([order, topic, seq]));
  client.on('message', ({ seq, type }) => told.push([type, seq]));
  client.on('message:updated', ({ ref, data, seq }) => told.push([ref, data, seq]));
  client.on('message:removed', ({ ref, reason, seq }) => told.push([ref, reason, seq]));
  await client.synced();
  const toAnna = { userId: 'anna', type: 'order' };
  await service.api.post('/websocket/message/user').send({ ...toAnna, data: { order: 7 }, event: 'order:paid' });
  await service.api
    .post('/websocket/message/user')
    .send({ ...toAnna, data: 1, id: 'm' })
    .expect(200);
  await service.api.patch('/messages/m').send({ data: 2 }).expect(200);
  await service.api.delete('/messages/m').expect(200);
  await until(
    () => told.length,
    (count) => count === 4,
  );
  expect(told).toEqual([
    [7, '@anna', 1],
    ['order', 2],
    ['m', 2, 3],
    ['m', 'retracted', 4],
  ]);
});

it('passes a proxy that puts the service below a path and blocks WebSockets', async () => {
  const service = await startService();
  const network = createServer((incoming, outgoing) => {
    const { method, headers, url = '' } = incoming;
    const passedOn = request(service.url + url.replace('/notifications/', '/'), { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(outgoing);
    });
    // The client leaves when the test ends, in the middle of a request.
    outgoing.on('close', () => passedOn.destroy());
    passedOn.on('error', () => outgoing.destroy());
    incoming.pipe(passedOn);
  });
  network.on('upgrade', (_request, socket) => socket.destroy());
  network.listen(0, '127.0.0.1');
  await once(network, 'listening');
  onTestEnd(() => {
    network.closeAllConnections();
    network.close();
  });
  const client = openClient(`http://127.0.0.1:${(network.address() as AddressInfo).port}/notifications/`, {
    token: service.token('anna'),
  });
  const handled = collect(client);
  await client.synced();
  await service.send('anna', [1, 2]);
  await until(
    () => handled.length,
    (count) => count === 2,
  );
  expect([handled, client.errors]).toEqual([[1, 2], []]);
  expect((await client.inbox.fetch()).items).toHaveLength(2);
});

it('hands over a message under one of the client’s own event names', async () => {
  const service = await startService();
  const client = openClient<{ status: string }>(service.url, { token: service.token('anna') });
  const told: unknown[] = [];
  client.on('status', (data) => told.push(data));
  await client.synced();
  await service.api.post('/api/gateway/send').send({ userId: 'anna', event: 'status', message: 'busy' }).expect(200);
  await until(
    () => told.length,
    (count) => count > 0,
  );
  expect(told).toEqual(['busy']);
});

it('ends while a listener is at work, and does not hand over its message again', async () => {
  const service = await startService();
  const storage = memoryStorage();
  const client = openClient(service.url, { token: service.token('anna'), storage });
  const handled: number[] = [];
  const closed = new Promise<void>((resolve) => {
    client.on('message', async ({ data }) => {
      const closing = client.close();
      await new Promise((later) => setImmediate(later));
      handled.push(numberIn(data));
      closing.then(resolve, resolve);
    });
  });
  await service.send('anna', [1, 2]);
  await closed;
  expect([client.status, client.error, handled]).toEqual(['closed', undefined, [1]]);
  const later = openClient(service.url, { token: service.token('anna'), storage });
  const handledLater = collect(later);
  await until(
    () => handledLater.length,
    (count) => count > 0,
  );
  expect(handledLater).toEqual([2]);
});

describe('synced()', () => {
  it('resolves after everything received was handled', async () => {
    const service = await startService();
    await service.send('anna', range(1, 20));
    const client = openClient(service.url, { token: service.token('anna') });
    const handled: number[] = [];
    client.on('message', async ({ data }) => {
      await new Promise((resolve) => setImmediate(resolve));
      handled.push(numberIn(data));
    });
    expect(client.isSynced).toBe(false);
    await client.synced();
    expect([handled, client.isSynced]).toEqual([range(1, 20), true]);
  });

  it.each([
    ['first of all', (client: TidingsClient) => client.synced()],
    [
      'after something else',
      async (client: TidingsClient) => {
        await new Promise((resolve) => setImmediate(resolve));
        await client.synced();
      },
    ],
  ])('may be awaited by a listener, %s, although more waits than the service sends at once', async (_name, wait) => {
    const service = await startService();
    await sendBurst(service, 'anna', range(1, 250));
    await service.api.post('/websocket/message/broadcast').send({ type: 'test', data: { n: 0 } });
    const client = openClient(service.url, { token: service.token('anna') });
    const handled: number[] = [];
    client.on('message', async ({ data }) => {
      await wait(client);
      handled.push(numberIn(data));
    });
    await client.synced();
    await until(
      () => handled.length,
      (count) => count === 250,
    );
    await client.synced();
    expect([handled, client.errors]).toEqual([range(1, 250), []]);
  });

  it('is refused when the client ends first', async () => {
    const client = openClient('http://127.0.0.1:9', { token: testToken('anna') });
    const waiting = expect(client.synced()).rejects.toMatchObject({ code: 'closed' });
    await client.close();
    await waiting;
    await expect(client.synced()).rejects.toMatchObject({ code: 'closed' });
  });
});
