/**
 * F29 and F30: the process reaches its own limits. Out of file descriptors, and with its heap nearly full: connected
 * clients stay and receive messages, new ones are refused with a reason, and all is well when there is room again.
 */
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { readCpuMicros } from '../../bench/support/process-stats';
import { connectPlain, openPlain, type PlainClient } from '../support/plain-client';
import type { Random } from '../support/random';
import { range, testToken } from '../support/service';
import { examine } from './findings';
import { type Answer, request } from './http';
import type { ChaosNode } from './node';
import { startOne } from './one-node';
import type { Figures, Outcome } from './scenario';
import { pace, until } from './until';

const PATIENCE_MS = 20_000;

const OPEN_FILES = 90;
/** More than there can be descriptors for. */
const ATTEMPTS = 120;
const CPU_WINDOW_MS = 500;
/** Of one core, when it has nothing to do except refuse. */
const MAX_IDLE_SHARE = 0.5;

const HEAP_MIB = 96;
const LOAD_MS = 4_000;
const LOADERS = 24;
const READERS = 8;
const READER_TEXT = 'r'.repeat(60_000);

/** The node, and the findings about it. */
interface Setting {
  readonly node: ChaosNode;
  readonly violations: string[];
  readonly figures: Record<string, number | string>;
}

/** What was accepted for one device, and whether it has arrived. */
class Witness {
  readonly #accepted: string[] = [];
  #sent = 0;

  private constructor(
    private readonly url: string,
    private readonly client: PlainClient,
  ) {
    client.socket.on('message', (text: Buffer) => {
      const { event, topic, seq } = JSON.parse(String(text)) as Record<string, unknown>;
      if (event === 'message') client.send({ action: 'ack', topic, seq });
    });
  }

  static async connect(url: string): Promise<Witness> {
    const client = await connectPlain(url, 'witness', { device: 'phone' });
    await client.next('sync:done');
    return new Witness(url, client);
  }

  /** Sends one message to it over REST. @returns the answer. */
  async send(): Promise<Answer | undefined> {
    this.#sent += 1;
    const id = `message-${this.#sent}`;
    const answer = await send(this.url, { userId: 'witness', id, data: null });
    if (answer?.status === 200) this.#accepted.push(id);
    return answer;
  }

  /** Sends an event over the connection itself. */
  async sendOverSocket(): Promise<void> {
    this.#sent += 1;
    const id = `message-${this.#sent}`;
    const reply = await this.client.call('message', { topic_name: '@witness', type: 'test', data: null, id });
    if (reply.ok) this.#accepted.push(id);
    else throw new Error(`over the socket: ${reply.error.code}`);
  }

  get count(): number {
    return this.#accepted.length;
  }

  /** I1, I2: everything accepted has arrived, once, on a connection that was never lost. */
  async judge(): Promise<string[]> {
    const arrived = () => this.client.allMessages.map(({ id }) => id);
    const missing = () => this.#accepted.filter((id) => !arrived().includes(id));
    await until(
      'everything has arrived',
      PATIENCE_MS,
      async () => missing().length,
      (left) => left === 0,
    ).catch(() => 0);
    const ids = arrived();
    const doubled = ids.filter((id, index) => ids.indexOf(id) !== index);
    return [
      ...(this.client.isClosed ? ['I7: a connection that was there was lost'] : []),
      ...missing().map((id) => `I1: ${id} was answered 200 and never came`),
      ...doubled.map((id) => `I2: ${id} came twice`),
    ];
  }
}

function send(url: string, { userId, ...rest }: { userId: string; id?: string; data: unknown }) {
  return request(`${url}/websocket/message/user`, {
    method: 'POST',
    token: testToken('sender', { scope: 'send' }),
    body: { userId, type: 'test', ...rest },
    timeoutMs: PATIENCE_MS,
  });
}

/** F29. */
export async function runOutOfDescriptors(random: Random): Promise<Outcome> {
  const node = await startOne({ under: ['bash', '-c', `ulimit -n ${OPEN_FILES}; exec "$@"`, 'bash'] });
  return examine([node], async ({ violations }) => {
    const setting = { node, violations, figures: {} };
    const witness = await Witness.connect(node.url);
    const held: { destroy(): void }[] = [];
    try {
      await exhaust(setting, { witness, random, held });
    } catch (error) {
      violations.push(`F29: ${String(error)}`);
    }
    for (const one of held) one.destroy();
    await recovered(setting, witness);
    await node.end();
    const lines = node.log.filter((line) => line.includes('limit of open files is reached')).length;
    if (lines !== 1) violations.push(`F29: the log has ${lines} lines about it instead of one`);
    return setting.figures;
  });
}

interface Siege {
  readonly witness: Witness;
  readonly random: Random;
  /** Everything that takes a descriptor. */
  readonly held: { destroy(): void }[];
}

async function exhaust({ node, violations, figures }: Setting, { witness, random, held }: Siege): Promise<void> {
  const { url } = node;
  const pid = node.process.child.pid ?? 0;

  const clients = await knock(url, random);
  held.push(...clients.map(({ socket }) => ({ destroy: () => socket.terminate() })));
  const open = clients.filter(({ isClosed }) => !isClosed);
  const refused = clients.filter(({ isClosed }) => isClosed);
  Object.assign(figures, { open: open.length, refused: refused.length });
  if (refused.length === 0) violations.push('F29: nobody was refused, the limit was not met');
  const codes = await Promise.all(refused.map(({ closed }) => closed));
  const unexplained = codes.filter(({ code }) => code !== 4409).map(({ code }) => code);
  if (unexplained.length > 0) violations.push(`F29: refused without a reason: ${unexplained.join(', ')}`);

  // The store writes, requests are accepted, connected clients receive messages.
  const answer = await witness.send();
  if (answer?.status !== 200) violations.push(`F29: a send was answered ${answer?.status ?? 'nothing'}`);
  await witness.sendOverSocket();
  const refusals = await refusalsOf(url, 'too_many_connections');
  if (refusals < refused.length) violations.push(`F29: ${refused.length} were refused, and ${refusals} counted`);

  // Idle TCP connections take what is reserved for requests: beyond that they are dropped, and the service still has
  // its own reserve.
  const dropped = await crowdOut(url, held);
  figures['dropped'] = dropped;
  if (dropped === 0) violations.push('F29: every TCP connection was taken, the limit was not met');
  const before = readCpuMicros(pid);
  await pace(CPU_WINDOW_MS);
  const share = (readCpuMicros(pid) - before) / 1_000 / CPU_WINDOW_MS;
  figures['idleShare'] = Number(share.toFixed(2));
  if (share > MAX_IDLE_SHARE) violations.push(`F29: the process spins, ${Math.round(share * 100)} % of a core`);
  await witness.sendOverSocket();
  const descriptors = readdirSync(`/proc/${pid}/fd`).length;
  figures['descriptors'] = descriptors;
  if (descriptors >= OPEN_FILES) violations.push(`F29: all ${OPEN_FILES} descriptors are taken`);
}

/** Connects well beyond the limit, in crowds that fit the reserve for requests: refused clients take some of it. */
async function knock(url: string, random: Random): Promise<PlainClient[]> {
  const clients: PlainClient[] = [];
  while (clients.length < ATTEMPTS) {
    const crowd = Array.from({ length: random.integer(1, 6) }, (_value, index) => {
      const token = testToken(`user-${clients.length + index}`);
      return openPlain(url, { headers: { Authorization: `Bearer ${token}` } });
    });
    clients.push(...crowd);
    await Promise.all(crowd.map((client) => Promise.race([client.next('connected').catch(() => 0), client.closed])));
  }
  return clients;
}

/** Opens silent TCP connections. @returns how many were dropped. */
async function crowdOut(url: string, held: { destroy(): void }[]): Promise<number> {
  const { hostname, port } = new URL(url);
  let dropped = 0;
  for (let n = 0; n < OPEN_FILES; n += 1) {
    const socket = connect(Number(port), hostname);
    held.push(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => {
      dropped += 1;
    });
    await once(socket, 'connect');
  }
  await until(
    'some are dropped',
    PATIENCE_MS,
    async () => dropped,
    (count) => count > 0,
  ).catch(() => 0);
  return dropped;
}

async function refusalsOf(url: string, code: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^tidings_refusals_total\\{code="${code}"\\} (\\d+)$`, 'm').exec(text)?.[1]);
}

/** There is room again: clients get in, nothing was lost, and the process is the same. */
async function recovered({ node: { url }, violations }: Setting, witness: Witness): Promise<void> {
  const isReady = (answer: Answer | undefined) => answer?.status === 200;
  try {
    await until('it is ready again', PATIENCE_MS, () => request(`${url}/readyz`), isReady);
    await until('sends go on', PATIENCE_MS, () => witness.send(), isReady);
    await (await connectPlain(url, 'late')).settle();
  } catch (error) {
    violations.push(`not recovered: ${String(error)}`);
  }
  violations.push(...(await witness.judge()));
}

/** F30. */
export async function runNearHeapLimit(random: Random): Promise<Outcome> {
  const node = await startOne({ env: { NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}` } });
  return examine([node], ({ violations }) => fillHeap({ node, violations, figures: {} }, random));
}

async function fillHeap(setting: Setting, random: Random): Promise<Figures> {
  const { violations, figures } = setting;
  const { url } = setting.node;
  const witness = await Witness.connect(url);
  const readers = await Promise.all(range(1, READERS).map((n) => connectPlain(url, `reader-${n}`)));
  for (const { socket } of readers) socket.pause();

  const answers = new Map<string, number>();
  const note = (what: string) => void answers.set(what, (answers.get(what) ?? 0) + 1);
  const deadline = performance.now() + LOAD_MS;
  const isOver = () => performance.now() > deadline;
  const repeat = async (count: number, work: () => Promise<void>) => {
    await Promise.all(
      range(1, count).map(async () => {
        while (!isOver()) await work();
      }),
    );
  };
  await Promise.all([
    repeat(LOADERS, async () => note(`large: ${nameOf(await sendLarge(url))}`)),
    repeat(2, async () => {
      const data = READER_TEXT;
      note(`to a reader: ${nameOf(await send(url, { userId: `reader-${random.integer(1, READERS)}`, data }))}`);
    }),
    repeat(1, async () => note(`small: ${nameOf(await witness.send())}`)),
    repeat(1, async () => note(`connection: ${await tryToConnect(url)}`)),
    repeat(1, async () => note(`ready: ${(await request(`${url}/readyz`, { timeoutMs: PATIENCE_MS }))?.status}`)),
  ]);
  Object.assign(figures, Object.fromEntries(answers), { accepted: witness.count });
  const expected = /: (200|503|503 overloaded|1013 overloaded|connected)$/;
  violations.push(...[...answers.keys()].filter((what) => !expected.test(what)).map((what) => `F30: ${what}`));
  if (!answers.has('large: 503 overloaded')) violations.push('F30: nothing was refused, the limit was not met');

  for (const { socket } of readers) socket.terminate();
  await recovered(setting, witness);
  const refusals = await refusalsOf(url, 'overloaded').catch(() => 0);
  figures['refusals'] = refusals;
  if (refusals === 0) violations.push('F30: no metric counts what was refused');
  return figures;
}

function nameOf(answer: Answer | undefined): string {
  if (answer === undefined) return 'no answer';
  return answer.status === 200 ? '200' : `${answer.status} ${String(answer.body['code'])}`;
}

/** A body that becomes many objects, which the service holds until they are on disk. */
const LARGE_BODY = {
  messages: range(1, 900).map((n) => ({
    userId: `stranger-${n % 50}`,
    type: 'test',
    data: Array.from({ length: 60 }, () => ({ n })),
  })),
};

function sendLarge(url: string): Promise<Answer | undefined> {
  const token = testToken('loader', { scope: 'send' });
  return request(`${url}/messages/batch`, { method: 'POST', token, body: LARGE_BODY, timeoutMs: PATIENCE_MS });
}

/** @returns `connected`, or the close code and its reason. */
async function tryToConnect(url: string): Promise<string> {
  const client = openPlain(url, { headers: { Authorization: `Bearer ${testToken('newcomer')}` } });
  const outcome = await Promise.race([
    client.next('connected').then(
      () => 'connected',
      () => '',
    ),
    client.closed.then(({ code, reason }) => `${code} ${reason}`),
  ]);
  client.socket.terminate();
  return outcome === '' ? client.closed.then(({ code, reason }) => `${code} ${reason}`) : outcome;
}
