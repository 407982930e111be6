/**
 * F11 and F17: readers that do not read, and clients that all come back at the same moment. Each runs on its own node,
 * with clients of both transports, and reports what it has seen; judging times is left to those who know the machine.
 */
import { readFileSync } from 'node:fs';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import type { Message } from '../../utils/protocol';
import { scrape } from '../support/metrics';
import type { Random } from '../support/random';
import { range, testToken } from '../support/service';
import { onTestEnd } from '../support/temporary';
import { request } from './http';
import type { ChaosNode } from './node';
import { startOne } from './one-node';

const DEVICE = 'phone';
const SEND_TIMEOUT_MS = 30_000;
const PATIENCE_MS = 60_000;
/** Messages in one batch: its limit. */
const BATCH_SIZE = 1_000;

/** Collects garbage on request, so that memory can be judged. The service does not use this signal. */
const COLLECTOR = `data:text/javascript,${encodeURIComponent(`
  import { setFlagsFromString } from 'node:v8';
  import { runInNewContext } from 'node:vm';
  // NODE_OPTIONS does not take --expose-gc.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  process.on('SIGWINCH', () => {
    collect();
    // What was freed by the first one may hold more.
    setImmediate(() => {
      collect();
      console.log('garbage collected');
    });
  });
`)}`;

class StormNode {
  #collections = 0;

  private constructor(private readonly node: ChaosNode) {}

  static async start(env: Record<string, string>): Promise<StormNode> {
    return new StormNode(await startOne({ env: { NODE_OPTIONS: `--import=${COLLECTOR}`, ...env } }));
  }

  get url(): string {
    return this.node.url;
  }

  /** kill -9, and a restart. */
  async restart(): Promise<void> {
    this.#collections = 0;
    await this.node.kill(0);
  }

  get rssBytes(): number {
    const status = readFileSync(`/proc/${this.node.process.child.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024;
  }

  /** Memory outside the heap, above all frames that wait to be written; without garbage. */
  async heldBytes(): Promise<number> {
    const { child, line, lines } = this.node.process;
    this.#collections += 1;
    child.kill('SIGWINCH');
    const collected = () => lines.filter((text) => text === 'garbage collected').length;
    while (collected() < this.#collections) await line(/garbage collected/).then(() => scrape(this.url));
    return (await scrape(this.url)).value('nodejs_external_memory_bytes');
  }

  async batch(messages: readonly object[]): Promise<void> {
    const token = testToken('service', { scope: 'send' });
    const options = { method: 'POST', token, body: { messages }, timeoutMs: SEND_TIMEOUT_MS } as const;
    const answer = await request(`${this.url}/messages/batch`, options);
    const results = (answer?.body['results'] ?? []) as { readonly error?: unknown }[];
    if (
      answer?.status !== 200 ||
      results.length !== messages.length ||
      results.some(({ error }) => error !== undefined)
    )
      throw new Error(`a batch was answered ${JSON.stringify(answer)}`);
  }
}

type Transport = 'Socket.IO' | 'plain WebSocket';

function transportOf(index: number): Transport {
  return index % 2 === 0 ? 'Socket.IO' : 'plain WebSocket';
}

/** A named device that acknowledges, over either transport, and does not reconnect by itself. */
class Client {
  /** Numbers in the messages so far, in the order in which they came. */
  readonly numbers: number[] = [];
  #isEntered = false;
  #isSynced = false;
  #end: string | undefined;
  readonly #waiting = new Set<() => void>();
  readonly #close: () => void;
  /** The WebSocket, whatever is spoken over it. */
  readonly webSocket: () => WebSocket;

  constructor(
    url: string,
    readonly userId: string,
    transport: Transport,
  ) {
    const { close, webSocket } = transport === 'Socket.IO' ? this.#openSocketIo(url) : this.#openPlain(url);
    this.#close = close;
    this.webSocket = webSocket;
    onTestEnd(close);
  }

  #openSocketIo(url: string) {
    const auth = { token: testToken(this.userId), device: DEVICE };
    const socket = io(url, { transports: ['websocket'], reconnection: false, forceNew: true, auth });
    const acknowledge = (place: object) => socket.emit('ack', place);
    socket.onAny((event: string, payload: unknown) => this.#take(event, payload, acknowledge));
    socket.on('connect_error', ({ message }) => this.#ended(message));
    socket.on('disconnect', (reason) => this.#ended(reason));
    const webSocket = () => (socket.io.engine.transport as unknown as { ws: WebSocket }).ws;
    return { close: () => void socket.close(), webSocket };
  }

  #openPlain(url: string) {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/ws?device=${DEVICE}`, {
      headers: { Authorization: `Bearer ${testToken(this.userId)}` },
      perMessageDeflate: false,
    });
    const acknowledge = (place: object) => {
      if (socket.readyState === socket.OPEN) socket.send(JSON.stringify({ action: 'ack', ...place }));
    };
    socket.on('message', (data: Buffer) => {
      const { event, ...payload } = JSON.parse(data.toString('utf8')) as { event: string };
      this.#take(event, payload, acknowledge);
    });
    // The first fault says more than the close that follows.
    socket.on('error', ({ message }) => this.#ended(message));
    socket.on('close', (code) => this.#ended(`closed with ${code}`));
    return { close: () => socket.terminate(), webSocket: () => socket };
  }

  #take(event: string, payload: unknown, acknowledge: (place: object) => void): void {
    if (event === 'authenticated') this.#isEntered = true;
    else if (event === 'sync:done') this.#isSynced = true;
    else if (event === 'message') {
      const { topic, seq, data } = payload as Message;
      this.numbers.push((data as { readonly n: number }).n);
      acknowledge({ topic, seq });
    }
    this.#wake();
  }

  #ended(reason: string): void {
    this.#end ??= reason;
    this.#wake();
  }

  #wake(): void {
    for (const look of this.#waiting) look();
  }

  /** Resolves when it is admitted. */
  entered(): Promise<void> {
    return this.#until(() => this.#isEntered, 'let in');
  }

  /** Resolves when it is up to date. */
  synced(): Promise<void> {
    return this.#until(() => this.#isSynced, 'up to date');
  }

  /** Resolves when this many messages have arrived. */
  got(count: number): Promise<void> {
    return this.#until(() => this.numbers.length >= count, `given ${count} messages`);
  }

  #until(isSo: () => boolean, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        finish();
      };
      const fail = (why: string) => settle(() => reject(new Error(`${this.userId} was not ${what}: ${why}`)));
      const timer = setTimeout(() => fail(`not within ${PATIENCE_MS} ms`), PATIENCE_MS);
      const look = () => {
        if (isSo()) settle(resolve);
        else if (this.#end !== undefined) fail(this.#end);
      };
      this.#waiting.add(look);
      look();
    });
  }

  close(): void {
    this.#close();
  }
}

/** What is wrong with numbers that should run from `first` to `last`. */
function findDisorder(who: string, numbers: readonly number[], [first, last]: readonly [number, number]): string[] {
  const expected = range(first, last);
  if (numbers.length === expected.length && numbers.every((n, index) => n === expected[index])) return [];
  const place = numbers.findIndex((n, index) => n !== expected[index]);
  return [`${who} got ${numbers.length} messages of ${expected.length}; not in order from place ${place} on`];
}

export interface SlowReadersOptions {
  /** Of each kind, and over each transport: those that read nothing, and those that read 1 KiB/s. */
  readonly ofEachKind: number;
  readonly others: number;
  readonly maxBufferedBytes: number;
}

export interface SlowReadersReport {
  /** Messages of 48 KiB to each reader until the last one was cut. */
  readonly messages: number;
  /** Memory of waiting frames before, while all but the last reader were cut or about to be, and after. */
  readonly heldBytes: { readonly before: number; readonly most: number; readonly after: number };
  readonly violations: readonly string[];
}

const LARGE_TEXT = 'x'.repeat(48 * 1_024);
const MAX_MESSAGES = 600;
const TRICKLE_BYTES = 1_024;

/**
 * F11: slow readers are cut and their backlog is freed; the others receive everything, and so do the slow ones, later.
 */
export async function runSlowReaders(options: SlowReadersOptions): Promise<SlowReadersReport> {
  const { ofEachKind, others, maxBufferedBytes } = options;
  const node = await StormNode.start({ MAX_BUFFERED_BYTES: String(maxBufferedBytes) });
  const clients = (name: string, count: number) =>
    range(0, count - 1).map((index) => new Client(node.url, `${name}-${index}`, transportOf(index)));
  const readers = clients('reader', ofEachKind * 4);
  const watchers = clients('other', others);
  await Promise.all([...readers, ...watchers].map((client) => client.synced()));
  const before = await node.heldBytes();
  const stopTrickle = slowDown(readers);

  let messages = 0;
  let most = before;
  const cutSoFar = async () => {
    const metrics = await scrape(node.url);
    most = Math.max(most, metrics.value('nodejs_external_memory_bytes'));
    return metrics.value('tidings_slow_consumers_total');
  };
  while ((await cutSoFar()) < readers.length && messages < MAX_MESSAGES) {
    messages += 1;
    const large = readers.map(({ userId }) => ({ userId, type: 't', data: { n: messages, text: LARGE_TEXT } }));
    const small = watchers.map(({ userId }) => ({ userId, type: 't', data: { n: messages } }));
    await node.batch([...large, ...small]);
  }
  const cut = await cutSoFar();
  const after = await node.heldBytes();
  stopTrickle();
  const violations: string[] = [];
  if (cut !== readers.length) violations.push(`F11: ${cut} of ${readers.length} slow readers were cut`);
  // What one of them may hold is more than anything else that is new.
  if (after > before + maxBufferedBytes / 2)
    violations.push(`F11: ${after} bytes are held after the cut, ${before} before`);
  await Promise.all(watchers.map((watcher) => watcher.got(messages)));
  for (const { userId, numbers } of watchers)
    violations.push(...findDisorder(`F11: ${userId}`, numbers, [1, messages]));
  violations.push(...(await findLostBySlow(node, readers, messages)));
  return { messages, heldBytes: { before, most, after }, violations };
}

/** Every second one reads nothing any more, the others next to nothing. @returns what ends it. */
function slowDown(readers: readonly Client[]): () => void {
  const sockets = readers.map((reader) => reader.webSocket());
  for (const socket of sockets) socket.pause();
  const tcpOf = (socket: WebSocket) =>
    (socket as unknown as { _socket: { read(bytes: number): unknown } | null })._socket;
  const timer = setInterval(() => {
    for (const [index, socket] of sockets.entries()) if (index % 4 >= 2) tcpOf(socket)?.read(TRICKLE_BYTES);
  }, 1_000);
  onTestEnd(() => clearInterval(timer));
  return () => clearInterval(timer);
}

/** They come back as the devices they were. */
async function findLostBySlow(node: StormNode, readers: readonly Client[], messages: number): Promise<string[]> {
  const violations: string[] = [];
  for (const [index, reader] of readers.entries()) {
    reader.close();
    const back = new Client(node.url, reader.userId, transportOf(index));
    await back.synced();
    const [first = messages] = back.numbers;
    // What it has acknowledged does not come again, and everything else does.
    const acknowledged = reader.numbers.at(-1) ?? 0;
    if (first > acknowledged + 1) violations.push(`F11: ${reader.userId} came back to ${first} after ${acknowledged}`);
    violations.push(...findDisorder(`F11: ${reader.userId}, back again,`, back.numbers, [first, messages]));
    back.close();
  }
  return violations;
}

export interface StormOptions {
  readonly clients: number;
  /** Messages for each of them. */
  readonly waiting: number;
  readonly random: Random;
}

export interface StormReport {
  /** Milliseconds from the beginning until a client had everything. */
  readonly doneMs: { readonly median: number; readonly last: number };
  /** Of turns of the event loop: see nodejs_eventloop_lag_… at /metrics. */
  readonly loopDelayMs: { readonly p99: number; readonly max: number };
  readonly rssBytes: { readonly steady: number; readonly most: number };
  /** By how many others a client was overtaken at most, from being admitted to having everything. */
  readonly overtaken: number;
  readonly violations: readonly string[];
}

const MEMORY_WATCH_MS = 50;
const MAX_MEMORY_RATIO = 2;

/**
 * F17: everybody was connected when the node was killed, and comes back at the same moment, with messages waiting. All
 * get in at the first attempt, and everything comes in order; nobody is left behind.
 */
export async function runStorm({ clients, waiting, random }: StormOptions): Promise<StormReport> {
  // All of them come from one address, in one second.
  const node = await StormNode.start({ HANDSHAKES_PER_SECOND: '1000000' });
  const crowd = new Crowd(node.url, clients);
  const steadyClients = await crowd.arrive(random);
  const steady = node.rssBytes;
  for (const client of steadyClients.clients) client.close();
  await fill(node, crowd.userIds, waiting);
  await node.restart();

  await scrape(node.url);
  let most = 0;
  const look = () => {
    most = Math.max(most, node.rssBytes);
  };
  const watch = setInterval(look, MEMORY_WATCH_MS);
  onTestEnd(() => clearInterval(watch));
  const { clients: back, entered, doneMs, failures } = await crowd.arrive(random);
  look();
  clearInterval(watch);
  const metrics = await scrape(node.url);
  const delayOf = (name: string) => metrics.value(`nodejs_eventloop_lag_${name}_seconds`) * 1_000;
  const overtaken = mostOvertaken(entered, [...doneMs.keys()]);
  const violations = [
    ...failures.map((failure) => `F17: ${failure}`),
    ...back.flatMap(({ userId, numbers }) => findDisorder(`F17: ${userId}`, numbers, [1, waiting])),
  ];
  if (overtaken > clients / 4) violations.push(`F17: a client was overtaken by ${overtaken} of ${clients}`);
  if (most > steady * MAX_MEMORY_RATIO) violations.push(`F17: ${most} bytes of memory, ${steady} when all were idle`);
  const times = [...doneMs.values()];
  return {
    doneMs: { median: times[Math.floor(times.length / 2)] ?? Number.NaN, last: times.at(-1) ?? Number.NaN },
    loopDelayMs: { p99: delayOf('p99'), max: delayOf('max') },
    rssBytes: { steady, most },
    overtaken,
    violations,
  };
}

async function fill(node: StormNode, userIds: readonly string[], waiting: number): Promise<void> {
  const messages = range(1, waiting).flatMap((n) => userIds.map((userId) => ({ userId, type: 't', data: { n } })));
  for (let from = 0; from < messages.length; from += BATCH_SIZE) {
    await node.batch(messages.slice(from, from + BATCH_SIZE));
  }
}

/** Who comes, all at the same moment. */
class Crowd {
  readonly userIds: readonly string[];

  constructor(
    private readonly url: string,
    size: number,
  ) {
    this.userIds = range(1, size).map((n) => `user-${n}`);
  }

  /** Resolves when everybody is up to date, or will not be. */
  async arrive(random: Random) {
    const entered: string[] = [];
    const doneMs = new Map<string, number>();
    const startedAt = performance.now();
    const clients = this.#inAnyOrder(random).map((userId, index) => new Client(this.url, userId, transportOf(index)));
    const outcomes = await Promise.allSettled(
      clients.map(async (client) => {
        await client.entered();
        entered.push(client.userId);
        await client.synced();
        doneMs.set(client.userId, performance.now() - startedAt);
      }),
    );
    const failures = outcomes.flatMap((outcome, index) =>
      outcome.status === 'fulfilled' ? [] : [`${clients[index]?.userId}: ${String(outcome.reason)}`],
    );
    return { clients, entered, doneMs, failures };
  }

  #inAnyOrder(random: Random): string[] {
    const left = [...this.userIds];
    return this.userIds.flatMap(() => left.splice(random.integer(0, left.length - 1), 1));
  }
}

/** How many others, admitted later, overtook somebody on the way to having everything. */
function mostOvertaken(entered: readonly string[], done: readonly string[]): number {
  const places = new Map(entered.map((userId, place) => [userId, place]));
  const overtaken = done.map((userId, doneAt) => doneAt - (places.get(userId) ?? doneAt));
  return Math.max(0, ...overtaken);
}
