/**
 * Random connections to a service in a separate process: valid exchanges that end at every byte by a reset, a half
 * close or silence, and damaged ones. The process must live, hold nothing afterwards, and serve others meanwhile.
 * `TIDINGS_CASES` sets their number.
 */
import { readdirSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket as TcpSocket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Message } from '../../utils/protocol';
import { openClient, type TestClient } from '../support/client';
import { eventually } from '../support/eventually';
import { parseMetrics, type Scrape } from '../support/metrics';
import { openPlain, type PlainClient } from '../support/plain-client';
import { type RunningProcess, runServer } from '../support/process';
import { type Random, randomOf, seededRandom } from '../support/random';
import { TEST_SECRET, testToken } from '../support/service';
import { temporaryDirectory } from '../support/temporary';
import { bytesOf, damage, dressInTurn, type Exchange, seedOf, validExchanges } from './exchanges';

const CASES = Number(process.env['TIDINGS_CASES'] ?? 5_000);
const USUAL_SEED = 1;
const LANES = 48;
/** Connections that stay open and silent: the oldest make room, except for the first ones. */
const MAX_SILENT = 400;
const PATIENT = 200;
/** The service closes each of them within this time: 30 s for a request, or a heartbeat, plus its check interval. */
const SILENCE_MS = 60_000;
const CASES_PER_PROBE = 250;
const ENDS = [
  'reset',
  'half-close',
  'silence',
  'close',
  'reset after an answer',
  'half-close after an answer',
] as const;

interface Case {
  readonly name: string;
  readonly bytes: Buffer;
  /** Where what is written first ends. */
  readonly firstBytes: number;
  readonly end: (typeof ENDS)[number];
}

/**
 * The half of the cases that are valid up to a byte: one byte after the other, over all exchanges. The step is a prime,
 * so with enough cases each byte is combined with each end.
 */
function cutCase(exchanges: readonly Exchange[], index: number): Case {
  const sizes = exchanges.map((exchange) => bytesOf(exchange).length);
  const all = sizes.reduce((sum, size) => sum + size, 0);
  let at = (index * 7_919) % all;
  const chosen = sizes.findIndex((size) => {
    if (at < size) return true;
    at -= size;
    return false;
  });
  const exchange = exchanges[chosen] as Exchange;
  const bytes = bytesOf(exchange).subarray(0, at + 1);
  const end = ENDS[Math.floor((index * 7_919) / all) % 3] ?? 'reset';
  return { name: `${exchange.name} cut at ${bytes.length}`, bytes, firstBytes: bytes.length, end };
}

/** A quarter of the cases: a whole exchange with a disguised path, with each end. */
function dressedCase(exchanges: readonly Exchange[], index: number): Case {
  const exchange = dressInTurn(exchanges, Math.floor(index / 3));
  const bytes = bytesOf(exchange);
  return { name: `${exchange.name} dressed`, bytes, firstBytes: exchange.head.length, end: ENDS[index % 3] ?? 'reset' };
}

function caseOf(exchanges: readonly Exchange[], index: number, random: Random): Case {
  if (index % 2 === 0) return cutCase(exchanges, index >> 1);
  return index % 4 === 1 ? dressedCase(exchanges, index >> 2) : damagedCase(exchanges, random);
}

function damagedCase(exchanges: readonly Exchange[], random: Random): Case {
  const exchange = exchanges[random.integer(0, exchanges.length - 1)] as Exchange;
  const bytes = bytesOf(random.integer(0, 9) === 0 ? exchange : damage(exchange, random));
  const end = ENDS[random.integer(0, ENDS.length - 1)] ?? 'reset';
  return { name: `${exchange.name} damaged`, bytes, firstBytes: random.integer(1, bytes.length || 1), end };
}

/**
 * Turns of the event loop between the parts of a case, and before its end: how far the service has come by then varies.
 */
interface Turns {
  readonly between: number;
  readonly before: number;
}

async function pass(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await nextTurn();
}

/** The service, the clients that are connected to it throughout, and those that fell silent. */
class Target {
  readonly #silent: { readonly name: string; readonly socket: TcpSocket; readonly since: number }[] = [];
  readonly counts = new Map<string, number>();

  private constructor(
    readonly server: RunningProcess,
    readonly port: number,
    private readonly watchers: readonly [TestClient, PlainClient],
  ) {}

  static async start(): Promise<Target> {
    const server = runServer({
      ...{ PORT: '0', DATA_DIR: temporaryDirectory(), JWT_SECRET: TEST_SECRET, NODE_ENV: 'production' },
      ...{ HANDSHAKES_PER_SECOND: '1000000', MAX_CONNECTIONS_PER_USER: '1000000', RATE_LIMIT_PER_MINUTE: '1000000000' },
      ...{ RATE_LIMIT_SERVICE_PER_MINUTE: '1000000000', PING_INTERVAL_MS: '5000', PING_TIMEOUT_MS: '5000' },
      ...{ KEEP_ALIVE_TIMEOUT_MS: '5000' },
      ...{ SHUTDOWN_TIMEOUT_MS: '5000', LOG_LEVEL: 'info' },
    });
    const port = Number(/"port":(\d+)/.exec(await server.line(/"msg":"listening"/))?.[1]);
    const url = `http://127.0.0.1:${port}`;
    const socket = openClient(url, { auth: { token: testToken('watcher') } });
    const plain = openPlain(url, { path: `/${testToken('watcher')}` });
    await Promise.all([socket.next('sync:done'), plain.next('sync:done')]);
    return new Target(server, port, [socket, plain]);
  }

  /** Exchanges of valid callers, with a session by polling that is open now. */
  async exchanges(): Promise<readonly Exchange[]> {
    const text = await this.get('/socket.io/?EIO=4&transport=polling');
    const sid = /"sid":"([^"]+)"/.exec(text)?.[1] ?? '';
    return validExchanges({ token: (userId) => testToken(userId, { scope: 'send' }), sid });
  }

  get(path: string, method = 'GET', body = ''): Promise<string> {
    const headers = {
      Authorization: `Bearer ${testToken('service', { scope: 'send' })}`,
      'Content-Type': 'application/json',
    };
    return new Promise((resolve, reject) => {
      const options = { port: this.port, host: '127.0.0.1', path, method, headers, agent: false };
      const outgoing = request(options, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }

  async scrape(): Promise<Scrape> {
    return parseMetrics(await this.get('/metrics'));
  }

  get openFiles(): number {
    return readdirSync(`/proc/${this.server.child.pid}/fd`).length;
  }

  /** A message to both who watch comes to both. */
  async probe(): Promise<void> {
    const body = JSON.stringify({ userId: 'watcher', type: 'probe', data: 1 });
    const answer = JSON.parse(await this.get('/websocket/message/user', 'POST', body)) as { id: string };
    for (const watcher of this.watchers)
      expect(await watcher.next<Message>('message')).toMatchObject({ id: answer.id });
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** Writes a case, and ends it its way. */
  async play({ name, bytes, firstBytes, end }: Case, turns: Turns): Promise<void> {
    const socket = connect({ port: this.port, host: '127.0.0.1', allowHalfOpen: true });
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    const answered = new Promise<void>((resolve) => {
      for (const event of ['data', 'end', 'close']) socket.once(event, () => resolve());
    });
    socket.on('error', () => undefined);
    await new Promise<void>((resolve) => {
      for (const event of ['connect', 'close']) socket.once(event, () => resolve());
    });
    socket.write(bytes.subarray(0, firstBytes));
    await pass(turns.between);
    socket.write(bytes.subarray(firstBytes));
    await pass(turns.before);
    this.count(end);
    if (end === 'silence') return this.#leaveSilent(`${name}, ${end}`, socket);
    // An answer that does not come is awaited in silence.
    if (end.endsWith('after an answer')) {
      this.#leaveSilent(`${name}, ${end}`, socket);
      void answered.then(() => (end.startsWith('reset') ? reset(socket) : socket.end()));
      return;
    }
    if (end === 'reset') reset(socket);
    else if (end === 'close') socket.destroy();
    else {
      socket.end();
      return this.#leaveSilent(`${name}, ${end}`, socket);
    }
    await closed;
  }

  #leaveSilent(name: string, socket: TcpSocket): void {
    const entry = { name, socket, since: performance.now() };
    this.#silent.push(entry);
    const answerEnd = () => {
      this.count('ended by the service');
      socket.end();
    };
    if (socket.readableEnded) answerEnd();
    else socket.once('end', answerEnd);
    if (this.#silent.length > MAX_SILENT) this.#silent.splice(PATIENT, 1)[0]?.socket.destroy();
  }

  /** Connections that the service should have closed. */
  get overdue(): readonly string[] {
    const now = performance.now();
    const overdue = this.#silent.filter(({ socket, since }) => !socket.destroyed && now - since > SILENCE_MS);
    return overdue.map(({ name }) => name);
  }

  async closeSilent(): Promise<void> {
    for (const { socket } of this.#silent.splice(0)) socket.destroy();
    await nextTurn();
  }
}

/**
 * Resets at once. `resetAndDestroy` would end its side first, and a peer that has read the end looks no further. Node
 * never lets go of a socket that is reset while its end is in flight.
 */
function reset(socket: TcpSocket): void {
  if (!socket.writableEnded) Object.assign(socket, { resetAndClosing: true });
  socket.destroy();
}

const isLinux = process.platform === 'linux';

it(
  `${CASES} connections end no process and leave nothing behind`,
  async () => {
    const { seed } = seededRandom('connections', USUAL_SEED);
    const target = await Target.start();
    const playing = new Map<number, string>();
    const tell = () => process.stdout.write(`it ended while these were played:\n${[...playing].join('\n')}\n`);
    target.server.child.once('exit', tell);
    await target.probe();
    const filesBefore = isLinux ? target.openFiles : 0;
    const before = await target.scrape();
    let exchanges = await target.exchanges();
    let next = 0;
    async function lane(): Promise<void> {
      for (let index = next++; index < CASES; index = next++) {
        if (target.server.child.exitCode !== null) return;
        if (index % CASES_PER_PROBE === 0) {
          await target.probe();
          exchanges = await target.exchanges();
          expect(target.overdue).toEqual([]);
        }
        const random = randomOf(seedOf(seed, index));
        const one = caseOf(exchanges, index, random);
        playing.set(index, `${one.name}, ${one.end}`);
        await target.play(one, { between: random.integer(0, 3), before: random.integer(0, 5) ** 2 });
        playing.delete(index);
      }
    }
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: LANES }, lane));
    const seconds = (performance.now() - startedAt) / 1_000;
    process.stdout.write(
      `${CASES} cases in ${seconds.toFixed(1)} s: ${JSON.stringify(Object.fromEntries(target.counts))}\n`,
    );
    expect(target.server.child.exitCode).toBeNull();
    target.server.child.off('exit', tell);
    await target.probe();
    // A process that is stopped with half-open sockets ends by itself; another one shows that nothing is left.
    await target.closeSilent();
    const held = async () => {
      const now = await target.scrape();
      return {
        places: now.value('tidings_places_taken') - before.value('tidings_places_taken'),
        waiting: now.value('tidings_handshakes_waiting'),
        connections: now.value('tidings_connections') - before.value('tidings_connections'),
        files: isLinux ? Math.max(0, target.openFiles - filesBefore) : 0,
      };
    };
    await eventually(held, (now) => Object.values(now).every((count) => count === 0));
    await target.probe();
    const faults = target.server.lines.filter((line) => /"level":[56]0/.test(line));
    expect(faults).toEqual([]);
    for (let index = 0; index < LANES; index += 1) {
      const one = cutCase(exchanges, index * 97);
      await target.play({ ...one, end: 'silence' }, { between: 0, before: 0 });
    }
    expect(await target.server.end('SIGTERM')).toEqual({ code: 0, signal: null });
    await target.closeSilent();
  },
  60_000 + CASES * 30,
);
