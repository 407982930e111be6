/**
 * Clients that request and do not read, at each door and for each kind of answer: what waits for them is limited, they
 * are cut or refused, and nobody else notices.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import WebSocket from 'ws';
import { Backlog } from '../services/admission/backlog';
import { TestClient } from './support/client';
import { StillClock } from './support/clock';
import { eventually } from './support/eventually';
import { exchange } from './support/http';
import { scrape } from './support/metrics';
import { connectPlain, type PlainClient } from './support/plain-client';
import { range, startService, type TestService } from './support/service';
import { onTestEnd } from './support/temporary';

const MAX_BUFFERED_BYTES = 65_536;
const ENV = {
  MAX_BUFFERED_BYTES: String(MAX_BUFFERED_BYTES),
  MAX_MESSAGE_BYTES: '200000',
  SOCKET_EVENTS_PER_SECOND: '1000000',
  SHUTDOWN_TIMEOUT_MS: '100',
};
/** The longest answer of the tests, with its frame: one may be on its way whatever its size. */
const MAX_ANSWER_BYTES = 8_200_000;
/** Fewer than one request may bring. */
const PACKETS_PER_POST = 500;
const TEXT = 'é'.repeat(95_000);

/** A service where anna has messages to read. */
async function startWithMessages(
  env: Record<string, string> = {},
): Promise<TestService & { readonly clock: StillClock }> {
  const clock = new StillClock();
  const service = await startService({ env: { ...ENV, ...env }, overrides: { clock } });
  const send = { userId: 'anna', type: 'test', data: TEXT };
  for (const _message of range(1, 40)) await service.api.post('/websocket/message/user').send(send).expect(200);
  return Object.assign(service, { clock });
}

const slowConsumers = async ({ url }: TestService) => (await scrape(url)).value('tidings_slow_consumers_total');

/** The most that has ever waited for a connection. */
function watchBacklog(): { readonly mostBytes: number } {
  const seen = { mostBytes: 0 };
  const { isExceededBy } = Backlog.prototype;
  jest.spyOn(Backlog.prototype, 'isExceededBy').mockImplementation(function (this: Backlog, connection) {
    seen.mostBytes = Math.max(seen.mostBytes, connection.unsentBytes);
    return isExceededBy.call(this, connection);
  });
  return seen;
}

afterEach(() => jest.restoreAllMocks());

/** A client that has caught up, and reads nothing from now on. */
interface Deaf {
  /** Requests the same this many times. */
  ask(times: number, name: string, payload: object): void;
}

async function deafSocketIo(service: TestService): Promise<Deaf> {
  const client = await service.connect('anna');
  await client.next('sync:done');
  pause(client);
  return {
    ask: (times, name, payload) => {
      for (const _time of range(1, times)) client.socket.emit(name, payload, () => undefined);
    },
  };
}

async function deafPlain(service: TestService): Promise<Deaf> {
  const client = await connectPlain(service.url, 'anna');
  await client.next('sync:done');
  pause(client);
  let ref = 0;
  return {
    ask: (times, action, payload) => {
      for (const _time of range(1, times)) client.send({ action, ref: ++ref, ...toAction(payload) });
    },
  };
}

/** The plain endpoint has its own names. */
function toAction(payload: object): object {
  return 'to' in payload ? { ...payload, topic_name: `@${String(payload.to)}` } : payload;
}

/** Polls again and again, on a connection of which nothing is read. */
async function deafPolling(service: TestService): Promise<Deaf> {
  const path = '/socket.io/?EIO=4&transport=polling';
  const { text } = await exchange(service.url, { path });
  const { sid } = JSON.parse(text.slice(1)) as { sid: string };
  const own = `${path}&sid=${sid}`;
  const post = (body: string) => exchange(service.url, { method: 'POST', path: own, body });
  await post(`40${JSON.stringify({ token: service.token('anna') })}`);
  for (let seen = ''; !seen.includes('sync:done'); ) seen += (await exchange(service.url, { path: own })).text;
  let id = 0;
  let asking: Promise<unknown> = Promise.resolve();
  await sendDeaf(
    service,
    range(1, 90).map(() => `GET ${own}`),
  );
  return {
    ask: (times, name, payload) => {
      const packets = range(1, times).map(() => `42${++id}${JSON.stringify([name, payload])}`);
      while (packets.length > 0) {
        const body = packets.splice(0, PACKETS_PER_POST).join('\x1e');
        asking = asking.then(() => post(body)).catch(() => undefined);
      }
    },
  };
}

const DOORS: [door: string, open: (service: TestService) => Promise<Deaf>][] = [
  ['Socket.IO', deafSocketIo],
  ['Socket.IO, by polling', deafPolling],
  ['plain WebSocket', deafPlain],
];

const KINDS: [answer: string, times: number, name: string, payload: object][] = [
  ['pages of history', 1, 'history', { topic: '@anna', limit: 200 }],
  ['messages to oneself', 3, 'message', { to: 'anna', type: 'mine', data: TEXT }],
  ['errors', 5_000, 'history', { topic: 'nowhere' }],
];

describe.each(DOORS)('%s', (_door, open) => {
  it.each(KINDS)('%s that nobody reads: cut, and little waits', async (_answer, times, name, payload) => {
    const service = await startWithMessages();
    const client = await open(service);
    const seen = watchBacklog();
    await eventually(
      async () => {
        client.ask(times, name, payload);
        return slowConsumers(service);
      },
      (count) => count === 1,
    );
    expect(seen.mostBytes).toBeGreaterThan(MAX_BUFFERED_BYTES);
    expect(seen.mostBytes).toBeLessThan(2 * MAX_ANSWER_BYTES);
    // Nobody else notices.
    await (await service.connect('ben')).next('sync:done');
  });
});

/** Sends requests on a new connection, in one chunk, and reads nothing. */
async function sendDeaf({ url, token }: TestService, targets: readonly string[], userId?: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  onTestEnd(() => {
    socket.destroy();
  });
  await once(socket, 'connect');
  socket.pause();
  const authorization = userId === undefined ? '' : `Authorization: Bearer ${token(userId)}\r\n`;
  socket.write(targets.map((target) => `${target} HTTP/1.1\r\nHost: x\r\n${authorization}\r\n`).join(''));
  return socket;
}

const untaken = async ({ url }: TestService) => {
  const now = await scrape(url);
  return { count: now.value('tidings_answers_untaken'), bytes: now.value('tidings_answers_untaken_bytes') };
};

const answersCut = async ({ url }: TestService) => (await scrape(url)).value('tidings_answers_cut_total');

async function ask({ url, token }: TestService, userId: string, path: string) {
  const { status, text, headers } = await exchange(url, {
    path,
    headers: { Authorization: `Bearer ${token(userId)}` },
  });
  return { status, code: (JSON.parse(text) as { code?: string }).code, retryAfter: headers['retry-after'] };
}

describe('HTTP', () => {
  it.each(['/inbox?limit=200', '/users/anna/export'])(
    '%s that nobody reads: the caller is refused, and only that one, until the answers are cut',
    async (path) => {
      const service = await startWithMessages({ MAX_BUFFERED_BYTES: '4096' });
      const refused = { status: 429, code: 'rate_limited', retryAfter: expect.any(String) };
      const answer = await eventually(
        async () => {
          // More than the operating system takes for a reader that is paused.
          const targets = range(1, 80).map(() => `GET ${path}`);
          await sendDeaf(service, targets, 'anna');
          return ask(service, 'anna', '/inbox/counts');
        },
        ({ status }) => status !== 200,
      );
      expect(answer).toEqual(refused);
      expect((await untaken(service)).bytes).toBeLessThan(16 * 4_096 + 4 * MAX_ANSWER_BYTES);
      expect(await ask(service, 'ben', '/inbox/counts')).toMatchObject({ status: 200 });
      service.clock.shift(29_000);
      await nextTurn();
      expect(await answersCut(service)).toBe(0);
      // Those that waited for their turn have theirs then.
      await eventually(
        () => {
          service.clock.shift(2_000);
          return untaken(service);
        },
        ({ count }) => count === 0,
      );
      expect(await answersCut(service)).toBeGreaterThan(0);
      expect(await ask(service, 'anna', '/inbox/counts')).toMatchObject({ status: 200 });
    },
  );

  it('unread answers of unauthenticated callers: together no more than one user has', async () => {
    const service = await startService({ env: { ...ENV, MAX_BUFFERED_BYTES: '16384' } });
    const targets = range(1, 100).map(() => 'GET /openapi.json');
    await eventually(
      async () => {
        await sendDeaf(service, targets);
        expect((await untaken(service)).bytes).toBeLessThan(16 * 16_384 + 600_000);
        return answersCut(service);
      },
      (count) => count > 0,
    );
  });

  it('pipelined requests are answered one after the other, as they are read', async () => {
    const service = await startWithMessages();
    const socket = await sendDeaf(service, [...range(1, 99).map(() => 'GET /openapi.json'), 'GET /livez']);
    await eventually(
      () => untaken(service),
      ({ count }) => count === 1,
    );
    expect((await untaken(service)).bytes).toBeLessThan(600_000);
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text = (text + chunk.toString('latin1')).slice(-2_000_000);
    });
    socket.resume();
    await eventually(nextTurn as () => Promise<void>, () => text.endsWith('{"status":"ok"}'));
    expect(await untaken(service)).toEqual({ count: 0, bytes: 0 });
  });

  it('more than a hundred pipelined requests: cut', async () => {
    const service = await startService({ env: ENV });
    await sendDeaf(
      service,
      range(1, 200).map(() => 'GET /openapi.json'),
    );
    await eventually(
      () => answersCut(service),
      (count) => count === 1,
    );
    expect(await untaken(service)).toEqual({ count: 0, bytes: 0 });
  });

  it('a slow reader of a long answer is not cut as long as it reads', async () => {
    const service = await startWithMessages();
    const socket = await sendDeaf(service, ['GET /users/anna/export'], 'anna');
    let bytes = 0;
    let isWhole = false;
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      isWhole ||= chunk.toString('latin1').endsWith('0\r\n\r\n');
      // Slower than anybody reads.
      service.clock.shift(100);
    });
    socket.resume();
    await eventually(nextTurn as () => Promise<void>, () => isWhole || socket.destroyed);
    expect([isWhole, bytes > 40 * 2 * TEXT.length]).toEqual([true, true]);
    expect(await answersCut(service)).toBe(0);
  });
});

describe('pings that are answered and never read', () => {
  it.each(['/socket.io/?EIO=4&transport=websocket', '/ws'])('%s, without a token: cut', async (path) => {
    const service = await startService({ env: ENV });
    const accepted: Socket[] = [];
    service.httpServer.on('connection', (socket: Socket) => accepted.push(socket));
    const webSocket = new WebSocket(service.url.replace('http', 'ws') + path);
    webSocket.on('error', () => undefined);
    onTestEnd(() => webSocket.terminate());
    await once(webSocket, 'open');
    webSocket.pause();
    const [tcp] = accepted;
    if (tcp === undefined) throw new Error('nobody has connected');
    let mostBytes = 0;
    await eventually(
      async () => {
        for (const _ping of range(1, 1_000))
          if (webSocket.readyState === WebSocket.OPEN) webSocket.ping('x'.repeat(125));
        await nextTurn();
        mostBytes = Math.max(mostBytes, tcp.writableLength);
        return tcp.destroyed;
      },
      (isCut) => isCut,
    );
    expect(mostBytes).toBeLessThan(16_384);
  });
});

describe('expensive reads', () => {
  const reads = async ({ url }: TestService) => {
    const now = await scrape(url);
    return [now.value('tidings_reads_running'), now.value('tidings_reads_waiting')];
  };
  const isTaken =
    (...expected: number[]) =>
    (taken: number[]) =>
      String(taken) === String(expected);

  it('take turns over all doors: beyond four they wait, beyond sixteen they are refused, and no turn is lost', async () => {
    const service = await startWithMessages({ MAX_BUFFERED_BYTES: '67108864' });
    const [socketIo, plain] = [await service.connect('anna'), await connectPlain(service.url, 'anna')];
    const deaf = await Promise.all(range(1, 4).map(() => sendDeaf(service, ['GET /users/anna/export'], 'anna')));
    await eventually(() => reads(service), isTaken(4, 0));
    const history = { topic: '@anna', limit: 1 };
    const read = socketIo.call('history', history);
    plain.send({ action: 'history', ...history });
    await eventually(() => reads(service), isTaken(4, 2));
    const asking = range(1, 14).map(() => ask(service, 'anna', '/inbox?limit=1'));
    await eventually(() => reads(service), isTaken(4, 16));
    const refused = { status: 429, code: 'rate_limited', retryAfter: '1' };
    expect(await ask(service, 'anna', '/topics')).toEqual(refused);
    expect((await scrape(service.url)).value('tidings_rate_limited_total{limit="reads"}')).toBe(1);
    // Others, and what costs little, are served.
    expect(await ask(service, 'ben', '/inbox')).toMatchObject({ status: 200 });
    expect(await ask(service, 'anna', '/inbox/counts')).toMatchObject({ status: 200 });
    // A user who leaves gives back the turn, or the place in the queue.
    plain.close();
    await eventually(() => reads(service), isTaken(4, 15));
    for (const socket of deaf) socket.destroy();
    expect(await read).toMatchObject({ ok: true });
    for (const answer of asking) expect(await answer).toMatchObject({ status: 200 });
    await eventually(() => reads(service), isTaken(0, 0));
  });

  it('wait together with changes of whole inboxes and topics, through whatever door these come', async () => {
    const service = await startWithMessages({ MAX_BUFFERED_BYTES: '67108864' });
    const [socketIo, plain] = [await service.connect('anna'), await connectPlain(service.url, 'anna')];
    const deaf = await Promise.all(range(1, 4).map(() => sendDeaf(service, ['GET /users/anna/export'], 'anna')));
    await eventually(() => reads(service), isTaken(4, 0));
    const authorization = `Bearer ${service.token('anna')}`;
    const changes = [
      socketIo.call('state', { topic: '@anna', state: 'read' }),
      plain.call('state', { all: true, state: 'read' }),
      service.anonymous.patch('/inbox').set('Authorization', authorization).send({ all: true, state: 'unread' }),
    ].map((change) => change.then((answer) => answer));
    await eventually(() => reads(service), isTaken(4, 3));
    // What names its messages is no read of much.
    const named = service.anonymous.patch('/inbox').set('Authorization', authorization);
    await named.send({ ids: ['01ARZ3NDEKTSV4RRFFQ69G5FAV'], state: 'read' }).expect(404);
    for (const socket of deaf) socket.destroy();
    for (const change of changes) expect(await change).toMatchObject({});
    await eventually(() => reads(service), isTaken(0, 0));
  });
});

/** Takes no more bytes from the connection. */
function pause(client: TestClient | PlainClient): void {
  if (client instanceof TestClient) {
    const { transport } = client.socket.io.engine as unknown as {
      transport: { ws: { _socket: { pause(): void } } };
    };
    transport.ws._socket.pause();
  } else client.socket.pause();
}
