/**
 * The service under fire: two watching clients, the answer to each input, and what must hold at the end. Nothing here
 * uses `expect`, because a hundred thousand inputs are checked.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { io, type Socket } from 'socket.io-client';
import WebSocket from 'ws';
import { ERROR_KINDS, type ErrorCode, type Problem } from '../../utils/errors';
import type { Message, Reply } from '../../utils/protocol';
import { eventually } from '../support/eventually';
import { exchange } from '../support/http';
import { seededRandom } from '../support/random';
import { MARKER, type SharedService, shareService } from '../support/shared-service';
import { collectUncaught } from '../support/uncaught';

const ALL_SCOPES = 'send broadcast presence admin';
/** The same inputs in each run of the tests: a fault found by other ones is no fault of the change that is tested. */
const USUAL_SEED = 1;
const PATIENCE_MS = 30_000;
const PAGE = 200;
/** 99 of 100 messages come within this time, among thousands of hostile inputs and on a slow machine. */
const QUICK_MS = 5_000;
const MAX_HEAP_GROWTH_BYTES = 24 * 2 ** 20;
const GENEROUS = '1000000';
const WATCHERS = ['watcher-socketio', 'watcher-plain'] as const;

/** Starts a service without rate limits for the fuzzer. */
export function shareTarget(): Target {
  return new Target(
    shareService({
      SOCKET_EVENTS_PER_SECOND: GENEROUS,
      HANDSHAKES_PER_SECOND: GENEROUS,
      MAX_CONNECTIONS_PER_USER: '100',
      MAX_MESSAGE_BYTES: '8192',
    }),
  );
}

/** A user who is connected all the time, and receives every message in order, soon. */
class Watcher {
  readonly faults: string[] = [];
  readonly delaysMs: number[] = [];
  #own = 0;
  #everyone = 0;
  #heard: (() => void) | undefined;

  constructor(readonly userId: string) {}

  take({ topic, seq }: Message): void {
    if (topic === '*') {
      if (seq <= this.#everyone) this.faults.push(`${this.userId}: * ${seq} after ${this.#everyone}`);
      this.#everyone = seq;
    } else if (topic !== `@${this.userId}` || seq !== this.#own + 1) {
      this.faults.push(`${this.userId}: ${topic} ${seq} after ${this.#own}`);
    } else {
      this.#own = seq;
      this.#heard?.();
    }
  }

  /** Resolves when the next message for this user alone has arrived. */
  hears(sentAt: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.userId} has got nothing`)), PATIENCE_MS);
      this.#heard = () => {
        clearTimeout(timer);
        this.delaysMs.push(performance.now() - sentAt);
        resolve();
      };
    });
  }

  leave(reason: string): void {
    this.faults.push(`${this.userId} was disconnected: ${reason}`);
  }
}

/** How many there are of each kind. */
type Held = Readonly<Record<string, number>>;

export class Target {
  /**
   * How often each code was answered; `ok` for inputs that were carried out, `cut` for those that ended a connection.
   */
  readonly #answers = new Map<ErrorCode | 'ok' | 'cut', number>();
  readonly #watchers = WATCHERS.map((userId) => new Watcher(userId));
  readonly #tokens = new Map<string, string>();
  /** Ids that the service has given to what it accepted, and whether its message must exist at the end. */
  readonly #accepted = new Map<string, { readonly topic: unknown; readonly message: string; isLasting: boolean }>();
  readonly #topics = new Set<string>(['*']);
  /** The content of sends whose answer nobody received, or whose answer has no id. */
  readonly #unanswered = new Set<string>();
  #uncaught: readonly string[] = [];
  #logged = 0;
  #leaks: string[] = [];
  #historian: Socket | undefined;
  #heldBefore: Held = {};
  #heapBytes = 0;

  constructor(readonly service: SharedService) {}

  get url(): string {
    return this.service.url;
  }

  token(userId: string, scope?: string): string {
    const key = `${userId} ${scope}`;
    const token = this.#tokens.get(key) ?? this.service.token(userId, scope);
    this.#tokens.set(key, token);
    return token;
  }

  /** A token that may do everything. */
  get master(): string {
    return this.token('service', ALL_SCOPES);
  }

  /**
   * Sends generated inputs until this many runs have ended. Each run is watched: an unreported fault belongs to the run
   * in which it happened, so that it can be reduced to the inputs that cause it.
   */
  async fuzz<Input>(
    name: string,
    inputs: fc.Arbitrary<Input>,
    { runs, run }: { runs: number; run: (input: Input) => Promise<void> },
  ): Promise<void> {
    const { seed } = seededRandom(name, USUAL_SEED);
    const property = fc.asyncProperty(inputs, async (input) => {
      const uncaught = this.#uncaught.length;
      // Both to their end: the next run begins with nothing in flight.
      const ends = await Promise.allSettled([run(input), this.#probe()]);
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
      this.#readLog();
      const faults = [...this.#uncaught.slice(uncaught), ...this.#leaks.splice(0), ...this.#takeFaults()];
      if (faults.length > 0) throw new Error(faults.join('\n'));
    });
    await fc.assert(property, { seed, numRuns: runs });
  }

  count(answer: ErrorCode | 'ok' | 'cut', times = 1): void {
    this.#answers.set(answer, (this.#answers.get(answer) ?? 0) + times);
  }

  /** How many inputs were answered, and ended a connection. */
  get #inputs(): number {
    return [...this.#answers.values()].reduce((sum, count) => sum + count, 0);
  }

  /** A message that the service has accepted. `isLasting`: nothing was requested that removes it again. */
  accept(message: Readonly<Record<string, unknown>>, isLasting: boolean): void {
    const { id, topic } = message;
    if (typeof topic === 'string') this.#topics.add(topic);
    if (typeof id !== 'string') return;
    const before = this.#accepted.get(id)?.isLasting ?? true;
    this.#accepted.set(id, { topic, message: JSON.stringify(message), isLasting: isLasting && before });
  }

  /** A message that may or may not be stored: it is recognized by its content. */
  acceptPerhaps(data: unknown): void {
    this.#unanswered.add(JSON.stringify(data) ?? '');
  }

  /** A topic that was deleted, with its messages. */
  forgetTopic(name: string): void {
    for (const message of this.#accepted.values()) if (message.topic === name) message.isLasting = false;
  }

  /** A message that was retracted. */
  forget(id: string): void {
    const message = this.#accepted.get(id);
    if (message !== undefined) message.isLasting = false;
  }

  /** Connects the watchers, and records what the process holds before anything happens. */
  async open(): Promise<void> {
    this.#uncaught = collectUncaught();
    const [overSocketIo, overPlain] = this.#watchers as [Watcher, Watcher];
    await Promise.all([this.#watchSocketIo(overSocketIo), this.#watchPlain(overPlain)]);
    this.#historian = await this.#connect('historian');
    this.#heldBefore = await this.#held();
    await this.#probe();
  }

  /** From here on the heap should not grow: everything is loaded and compiled. */
  warmedUp(): void {
    this.#heapBytes = heapBytes();
  }

  /** By how much the heap has grown since. */
  get #heapGrowthBytes(): number {
    return heapBytes() - this.#heapBytes;
  }

  /** Resolves when every connection that was opened is closed, and nothing is held that was not held before. */
  async #expectNothingHeld(): Promise<void> {
    await eventually(
      () => this.#held(),
      (held) => Object.entries(held).every(([kind, count]) => count <= (this.#heldBefore[kind] ?? 0)),
    );
  }

  /** Milliseconds within which 99 of 100 messages reached the watchers. */
  get #delayMs(): number {
    const sorted = this.#watchers.flatMap(({ delaysMs }) => delaysMs).sort((one, other) => one - other);
    return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
  }

  /** What is stored although no answer said so, and what is missing although one did. */
  async #storedFaults(): Promise<string[]> {
    const faults: string[] = [];
    const found = new Set<string>();
    for (const topic of this.#topics) {
      for (const message of await this.#history(topic)) {
        found.add(message.id);
        if (this.#accepted.has(message.id) || this.#unanswered.has(JSON.stringify(message.data))) continue;
        if (message.from !== 'watched') faults.push(`stored in ${topic}: ${JSON.stringify(message)}`);
      }
    }
    for (const [id, { message, isLasting }] of this.#accepted) {
      if (isLasting && !found.has(id)) faults.push(`accepted and not stored: ${message}`);
    }
    return faults;
  }

  /** What must hold at the end, whatever was sent. @param inputs how many there had to be, at least. */
  async expectUnharmed(inputs: number): Promise<void> {
    const share = (this.#answers.get('ok') ?? 0) / this.#inputs;
    const delayMs = this.#delayMs;
    const heapGrowthBytes = this.#heapGrowthBytes;
    process.stdout.write(
      `${this.#inputs} inputs, ${Math.round(share * 100)} % accepted; others got theirs within ${delayMs.toFixed(0)} ms; ` +
        `heap +${(heapGrowthBytes / 2 ** 20).toFixed(1)} MiB; ${JSON.stringify(Object.fromEntries(this.#answers))}\n`,
    );
    expect(await this.#storedFaults()).toEqual([]);
    expect(this.#inputs).toBeGreaterThanOrEqual(inputs);
    // Neither only garbage nor only valid input.
    expect(share).toBeGreaterThan(0.25);
    expect(share).toBeLessThan(0.75);
    expect(delayMs).toBeLessThan(QUICK_MS);
    expect(heapGrowthBytes).toBeLessThan(MAX_HEAP_GROWTH_BYTES);
    expect(this.#logged).toBeGreaterThan(0);
    await this.#expectNothingHeld();
    this.#leave();
  }

  async #history(topic: string): Promise<Message[]> {
    const all: Message[] = [];
    for (let after = 0; ; after = all.at(-1)?.seq ?? 0) {
      const page = await this.#ask('history', { topic, after, limit: PAGE });
      all.push(...page);
      if (page.length < PAGE) return all;
    }
  }

  async #ask(event: string, payload: object): Promise<Message[]> {
    const reply = (await this.#historian?.timeout(PATIENCE_MS).emitWithAck(event, payload)) as Reply;
    // A topic that nobody has created, or that was deleted.
    if (!reply.ok && reply.error.code === 'not_found') return [];
    if (!reply.ok) throw new Error(reply.error.detail);
    return reply['messages'] as Message[];
  }

  #connect(userId: string): Promise<Socket> {
    const auth = { token: this.token(userId, ALL_SCOPES) };
    const socket = io(this.url, { transports: ['websocket'], reconnection: false, forceNew: true, auth });
    return new Promise((resolve, reject) => {
      socket.once('sync:done', () => resolve(socket));
      socket.once('connect_error', reject);
    });
  }

  async #watchSocketIo(watcher: Watcher): Promise<void> {
    const socket = await this.#connect(watcher.userId);
    socket.on('message', (message: Message) => watcher.take(message));
    socket.on('disconnect', (reason) => watcher.leave(reason));
    this.#onClose(() => socket.off('disconnect').close());
  }

  async #watchPlain(watcher: Watcher): Promise<void> {
    const headers = { Authorization: `Bearer ${this.token(watcher.userId)}` };
    const socket = new WebSocket(`${this.url.replace('http', 'ws')}/ws`, { headers, perMessageDeflate: false });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.on('message', (data: Buffer) => {
        const frame = JSON.parse(data.toString('utf8')) as Message & { event: string };
        if (frame.event === 'sync:done') resolve();
        if (frame.event === 'message') watcher.take(frame);
      });
    });
    socket.on('close', (code) => watcher.leave(String(code)));
    this.#onClose(() => socket.removeAllListeners('close').terminate());
  }

  readonly #endings: (() => void)[] = [];

  #onClose(end: () => void): void {
    this.#endings.push(end);
  }

  #leave(): void {
    for (const end of this.#endings.splice(0)) end();
    this.#historian?.close();
  }

  /** A message to both watchers: it reaches both. */
  async #probe(): Promise<void> {
    const sentAt = performance.now();
    const heard = Promise.all(this.#watchers.map((watcher) => watcher.hears(sentAt)));
    const headers = {
      Authorization: `Bearer ${this.token('watched', ALL_SCOPES)}`,
      'Content-Type': 'application/json',
    };
    const body = JSON.stringify({ userIds: WATCHERS, type: 'probe', data: 1 });
    const { status } = await exchange(this.url, { method: 'POST', path: '/websocket/message/users', headers, body });
    if (status !== 200) throw new Error(`the message to those who watch was answered ${status}`);
    await heard;
  }

  #takeFaults(): string[] {
    return this.#watchers.flatMap(({ faults }) => faults.splice(0));
  }

  /** Checks the new log entries, and drops them. */
  #readLog(): void {
    const lines = this.service.log.take();
    this.#logged += lines.length;
    const secrets = [MARKER, ...this.#tokens.values()];
    for (const line of lines) {
      const { level } = JSON.parse(line) as { level: number };
      if (level >= 50) this.#leaks.push(`logged as a fault: ${line}`);
      if (secrets.some((secret) => line.includes(secret))) this.#leaks.push(`logged: ${line}`);
    }
  }

  /** Connections of the service, and what keeps the process alive: sockets, servers, timers. */
  async #held(): Promise<Held> {
    // Those of requests are kept for the next one.
    this.service.httpServer.closeIdleConnections();
    const connections = await new Promise<number>((resolve, reject) =>
      this.service.httpServer.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
    );
    const held: Record<string, number> = { connections };
    for (const kind of process.getActiveResourcesInfo()) held[kind] = (held[kind] ?? 0) + 1;
    return held;
  }
}

let garbageCollector: (() => void) | undefined;

/** What is in use once everything else has been collected. */
function heapBytes(): number {
  if (garbageCollector === undefined) {
    setFlagsFromString('--expose-gc');
    garbageCollector = runInNewContext('gc') as () => void;
  }
  garbageCollector();
  return process.memoryUsage().heapUsed;
}

/** @throws Error for anything that is no refusal from the catalogue, and for a fault of the service. */
export function readProblem(value: unknown): Problem {
  const problem = value as Problem;
  const kind = Object.hasOwn(ERROR_KINDS, problem.code) ? ERROR_KINDS[problem.code] : undefined;
  const isComplete =
    kind?.status === problem.status &&
    kind.title === problem.title &&
    typeof problem.detail === 'string' &&
    problem.detail !== '' &&
    problem.type.endsWith(`/docs/errors#${problem.code}`);
  if (!isComplete) throw new Error(`no problem of the catalogue: ${JSON.stringify(value)}`);
  if (problem.status >= 500) throw new Error(`a fault of the service: ${JSON.stringify(value)}`);
  return problem;
}

const FLEETING = ['ttl', 'expiresAt', 'collapseKey', 'sendAt', 'delay', 'persist', 'exceptUserId'];

/** Does nothing in a send remove its message again, or keep it out of the log? */
export function isLasting(fields: object): boolean {
  return !FLEETING.some((name) => Object.hasOwn(fields, name));
}
