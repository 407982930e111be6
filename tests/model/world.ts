/** The real application, once or twice in this process, on one store, with a clock that moves only on command. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { type Application, createApplication } from '../../application';
import { createLogger } from '../../services/observability/logger';
import type { Store } from '../../services/storage/contract';
import { openStore } from '../../services/storage/engines';
import { delay, systemClock } from '../../utils/clock';
import { parseConfig } from '../../utils/config';
import { outstanding } from '../support/balance';
import { VirtualClock } from '../support/clock';
import { forgeClaims } from '../support/forged-tokens';
import { TEST_SECRET, testToken } from '../support/service';
import { Bus } from './bus';
import { Faults, withFaults } from './faulty-store';
import type { Fields } from './link';
import { Requests } from './requests';
import { Speakers } from './speakers';

export type Engine = 'lmdb' | 'mongodb';

export interface WorldOptions {
  readonly engine: Engine;
  readonly nodes: number;
}

export interface Asking {
  readonly body?: object;
  readonly userId?: string;
  readonly node?: number;
}

export interface Answer {
  readonly status: number;
  readonly body: Fields;
}

/** Small, so that they are reached: two speakers and all devices with their ghosts fit. */
export const MAX_CONNECTIONS = 10;
const WRITES_BEHIND = 5;
/** Where there is one, a flush costs nothing. */
const MEMORY = '/dev/shm';
const SCOPES = 'send broadcast presence admin';
const TOKEN_SECONDS = 10 * 365 * 86_400;
const TURNS_IN_A_ROW = 20;

interface Node {
  readonly application: Application;
  readonly port: number;
}

export class World {
  readonly clock = new VirtualClock(Date.now());
  readonly faults = new Faults();
  readonly bus = new Bus();
  readonly nodes: Node[] = [];
  readonly #requests = new Requests();
  readonly #directory = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), 'tidings-model-'));
  readonly #database = `model-${randomUUID()}`;
  readonly #tokens = new Map<string, string>();
  readonly #stores: Store[] = [];
  readonly #speakers = new Speakers(
    () => this.nodes.map(({ port }) => port),
    () => this.token('service'),
  );

  private constructor(readonly options: WorldOptions) {}

  static async start(options: WorldOptions): Promise<World> {
    const world = new World(options);
    for (let node = 0; node < options.nodes; node += 1) world.nodes.push(await world.#startNode(node));
    return world;
  }

  async #startNode(node: number): Promise<Node> {
    const config = this.#config();
    const { clock, options } = this;
    const isShared = options.nodes > 1;
    const store = await this.#openStore(config, node);
    const application = await createApplication(config, {
      clock,
      logger: createLogger(config),
      store,
      ...(isShared ? { cluster: this.bus.join(`node ${node}`) } : {}),
    });
    return { application, port: (await application.start()).port };
  }

  async #openStore(config: ReturnType<typeof parseConfig>, node: number): Promise<Store> {
    const { engine, nodes } = this.options;
    const isSharedHere = engine === 'lmdb' && nodes > 1;
    const [first] = this.#stores;
    if (isSharedHere && node > 0 && first !== undefined) return first;
    const real = await openStore(config, this.clock, () => {});
    const store = withFaults(real, this.faults, { isSharedHere, now: () => this.clock.now() });
    this.#stores.push(store);
    return store;
  }

  #config() {
    const storeUrl = new URL(process.env['TEST_MONGODB_URL'] ?? 'mongodb://127.0.0.1/');
    storeUrl.pathname = `/${this.#database}`;
    return parseConfig({
      NODE_ENV: 'test',
      HOST: '127.0.0.1',
      PORT: '0',
      DATA_DIR: this.#directory,
      JWT_SECRET: TEST_SECRET,
      LOG_LEVEL: process.env['MODEL_LOG'] ?? 'silent',
      SHUTDOWN_TIMEOUT_MS: '200',
      RATE_LIMIT_PER_MINUTE: '100000000',
      RATE_LIMIT_SERVICE_PER_MINUTE: '100000000',
      SOCKET_EVENTS_PER_SECOND: '1000000',
      HANDSHAKES_PER_SECOND: '1000000',
      MAX_CONNECTIONS: String(MAX_CONNECTIONS),
      MAX_TOPICS_PER_USER: '1000000',
      PING_INTERVAL_MS: '300000',
      PING_TIMEOUT_MS: '200000',
      ...(this.options.engine === 'mongodb' ? { STORE_URL: storeUrl.href } : {}),
    });
  }

  token(userId: string): string {
    const known = this.#tokens.get(userId);
    if (known !== undefined) return known;
    const scope = userId === 'service' ? { scope: SCOPES } : {};
    const token = testToken(userId, { ...scope, lifetimeSeconds: TOKEN_SECONDS });
    this.#tokens.set(userId, token);
    return token;
  }

  /** The one before has been revoked. */
  renewToken(userId: string): void {
    const iat = Math.floor(this.clock.now() / 1_000);
    this.#tokens.set(userId, forgeClaims({ sub: userId, iat, exp: iat + TOKEN_SECONDS }));
  }

  /** Lets the service user send over its own connections. */
  openSpeakers(): Promise<void> {
    return this.#speakers.open();
  }

  closeSpeakers(): void {
    this.#speakers.close();
  }

  /** Connections over which the service user sends, to a node or to all. */
  speakers(node?: number): number {
    return this.#speakers.count(node);
  }

  /** Sends to a user over one of them. */
  tell(b: number, userId: string, words: object): Promise<Answer> {
    return this.#speakers.tell(b, userId, words);
  }

  /** One request to one of the nodes. */
  async ask(method: string, path: string, options: Asking = {}): Promise<Answer> {
    const { body, userId = 'service', node = 0 } = options;
    const { port } = this.nodes[node % this.nodes.length] as Node;
    const { status, text } = await this.#requests.ask(port, {
      ...{ method, path, token: this.token(userId) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status, body: text === '' ? {} : (JSON.parse(text) as Fields) };
  }

  /** Lets time pass as for a stopped process, and then everything due be done. */
  async pass(milliseconds: number): Promise<void> {
    this.clock.jump(milliseconds);
    await nextTurn();
    await nextTurn();
  }

  /** Waits for background work to end: it takes a few writes, one after the other. */
  async rest(): Promise<void> {
    for (let write = 0; write < WRITES_BEHIND; write += 1) {
      for (const store of this.#stores) await store.probe();
    }
  }

  /** What is in use of each of these, on all nodes together. */
  taken<Name extends string>(...names: readonly Name[]): Record<Name, number> {
    const balances = this.nodes.map(({ application }) => application.balance());
    const sumOf = (name: string) => balances.reduce((sum, balance) => sum + (balance[name] ?? 0), 0);
    return Object.fromEntries(names.map((name) => [name, sumOf(name)])) as Record<Name, number>;
  }

  /** What is in use although nobody is connected, by node. Keep-alive connections are closed first. */
  leaks(): string[] {
    this.#requests.close();
    return this.nodes.flatMap(({ application }, node) =>
      Object.entries(outstanding(application.balance())).map(([name, count]) => `node ${node}: ${name} ${count}`),
    );
  }

  async stop(): Promise<void> {
    this.closeSpeakers();
    this.#requests.close();
    for (const { application } of this.nodes) await application.stop();
    rmSync(this.#directory, { recursive: true, force: true });
    if (this.options.engine === 'mongodb') await dropDatabase(this.#database);
  }
}

async function dropDatabase(name: string): Promise<void> {
  const client = await MongoClient.connect(process.env['TEST_MONGODB_URL'] ?? '');
  await client.db(name).dropDatabase();
  await client.close();
}

/** Asks in turns of the loop, until the condition holds or patience ends. Longer waits leave the CPU to others. */
export async function becomes(isSo: () => boolean, patienceMs = 5_000): Promise<boolean> {
  const deadline = performance.now() + patienceMs;
  for (let turn = 0; !isSo(); turn += 1) {
    if (performance.now() > deadline) return false;
    await (turn < TURNS_IN_A_ROW ? nextTurn() : delay(systemClock, 1));
  }
  return true;
}

/** @returns whether it was done before patience ended. */
export function inTime(work: Promise<unknown>, patienceMs: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(false), patienceMs);
    work.then(() => resolve(true), reject).finally(() => clearTimeout(timer));
  });
}
