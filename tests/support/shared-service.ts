/**
 * One service for all rows of a table, and a client that is connected throughout: no row may disturb it. The log is
 * captured, and searched for everything secret that was sent.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { io, type Socket } from 'socket.io-client';
import { type Application, createApplication } from '../../application';
import { parseConfig } from '../../utils/config';
import type { ErrorCode } from '../../utils/errors';
import type { Message, Reply } from '../../utils/protocol';
import { stopBalanced } from './balance';
import { captureLog } from './captured-log';
import { type Answer, type Exchange, exchange } from './http';
import { expectProblemAnswer, type Refusal } from './problems';
import { TEST_SECRET, testToken } from './service';

const ALL_SCOPES = 'send broadcast presence admin';
const PATIENCE_MS = 30_000;
const BYSTANDER = 'bystander';
/** A check finds everything that is wrong: no row may keep the service busy. */
const QUICK_MS = 1_500;

/** In every body and payload of bad input: no text of a client belongs in the log. */
export const MARKER = 'm4rk3r-of-a-body';

interface Running {
  readonly application: Application;
  readonly url: string;
  readonly bystander: Bystander;
}

export class SharedService {
  readonly log = captureLog();
  readonly #directory = mkdtempSync(join(tmpdir(), 'tidings-test-'));
  readonly #secrets = new Set<string>();
  #running: Running | undefined;

  constructor(
    private readonly env: Record<string, string>,
    private readonly kept: readonly string[] = [],
  ) {}

  async start(): Promise<void> {
    const config = parseConfig({
      NODE_ENV: 'test',
      HOST: '127.0.0.1',
      PORT: '0',
      DATA_DIR: this.#directory,
      RATE_LIMIT_PER_MINUTE: '1000000',
      RATE_LIMIT_SERVICE_PER_MINUTE: '1000000',
      SOCKET_EVENTS_PER_SECOND: '100000',
      JWT_SECRET: TEST_SECRET,
      SHUTDOWN_TIMEOUT_MS: '400',
      ...this.env,
    });
    const application = await createApplication(config, { logger: this.log.logger });
    const { port } = await application.start();
    const url = `http://127.0.0.1:${port}`;
    this.#running = { application, url, bystander: await Bystander.connect(url, this.token(BYSTANDER, ALL_SCOPES)) };
  }

  async stop(): Promise<void> {
    this.#running?.bystander.socket.close();
    if (this.#running !== undefined) await stopBalanced(this.#running.application, this.kept);
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #parts(): Running {
    if (this.#running === undefined) throw new Error('The service has not been started.');
    return this.#running;
  }

  get url(): string {
    return this.#parts.url;
  }

  get httpServer(): Application['httpServer'] {
    return this.#parts.application.httpServer;
  }

  /** A valid token; it must not be found in the log. */
  token(userId: string, scope?: string): string {
    return this.keepSecret(testToken(userId, { scope }));
  }

  /** Remembers a text that must not be found in the log. Short ones could be there by chance. */
  keepSecret(text: string): string {
    if (text.length >= MARKER.length) this.#secrets.add(text);
    return text;
  }

  /** Sends one request, authorized as a service that may do everything unless the headers say otherwise. */
  exchange(options: Exchange): Promise<Answer> {
    const Authorization = `Bearer ${this.token('service', ALL_SCOPES)}`;
    return exchange(this.url, { ...options, headers: { Authorization, ...options.headers } });
  }

  post(path: string, body: string | Buffer, headers: Exchange['headers'] = {}): Promise<Answer> {
    return this.exchange({ method: 'POST', path, body, headers: { 'Content-Type': 'application/json', ...headers } });
  }

  /** What is stored in a topic. */
  async stored(topic: string): Promise<readonly Message[]> {
    const reply = await this.#parts.bystander.call('history', { topic, limit: 200 });
    if (!reply.ok) throw new Error(`no history of ${topic}: ${reply.error.detail}`);
    return reply['messages'] as readonly Message[];
  }

  /**
   * Sends something bad: it is refused quickly, with a problem, is counted once, and leaves what `look` sees unchanged.
   */
  async expectRefused(send: () => Promise<Answer>, refusal: Refusal, look: () => Promise<unknown>): Promise<Answer> {
    const before = await look();
    const countedBefore = await this.refusals(refusal.code);
    const startedAt = performance.now();
    const answer = await send();
    expect(performance.now() - startedAt).toBeLessThan(QUICK_MS);
    expectProblemAnswer(answer, refusal);
    expect(await this.refusals(refusal.code)).toBe(countedBefore + 1);
    expect(await look()).toEqual(before);
    return answer;
  }

  /** How often this code was counted as a refusal. */
  async refusals(code: ErrorCode): Promise<number> {
    return countRefusals(this.url, code);
  }

  /** All refusals together. */
  async allRefusals(): Promise<number> {
    const { text } = await exchange(this.url, { path: '/metrics' });
    const counts = Array.from(text.matchAll(/^tidings_refusals_total\{[^}]*\} (\d+)$/gm), ([, count]) => Number(count));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** The bystander is still connected, and of everything sent receives the one message that is for it. */
  async expectBystanderUnharmed(): Promise<void> {
    const { bystander } = this.#parts;
    const body = JSON.stringify({ userId: BYSTANDER, type: 'valid', data: 1 });
    const { status, text } = await this.post('/websocket/message/user', body);
    expect(status).toBe(200);
    expect((await bystander.call('ping')).ok).toBe(true);
    expect(bystander.messages.map(({ id }) => id)).toEqual([(JSON.parse(text) as { id: string }).id]);
    expect(bystander.disconnects).toEqual([]);
  }

  /** The log has entries, and neither a token nor a text of a body is in them. */
  expectSecretsUnlogged(): void {
    const log = this.log.lines.join('\n');
    expect(this.log.lines.length).toBeGreaterThan(0);
    const found = [MARKER, ...this.#secrets].filter((secret) => log.includes(secret));
    expect(found).toEqual([]);
  }
}

/** A client that only watches. */
class Bystander {
  readonly messages: Message[] = [];
  readonly disconnects: string[] = [];

  private constructor(readonly socket: Socket) {
    socket.on('message', (message: Message) => this.messages.push(message));
    socket.on('disconnect', (reason) => this.disconnects.push(reason));
  }

  static connect(url: string, token: string): Promise<Bystander> {
    const socket = io(url, { transports: ['websocket'], reconnection: false, forceNew: true, auth: { token } });
    const bystander = new Bystander(socket);
    return new Promise((resolve, reject) => {
      socket.on('sync:done', () => resolve(bystander));
      socket.on('connect_error', reject);
    });
  }

  call(event: string, payload?: unknown): Promise<Reply> {
    const args = payload === undefined ? [] : [payload];
    return this.socket.timeout(PATIENCE_MS).emitWithAck(event, ...args) as Promise<Reply>;
  }
}

/** The last tests of a table: what all rows together have left. */
export function itLeftNothingBehind(service: SharedService): void {
  it('leaves no gap: the next message to the user gets the next seq', async () => {
    const before = await service.stored('@victim');
    const body = JSON.stringify({ userId: 'victim', type: 'valid', data: 1 });
    const answer = await service.post('/websocket/message/user', body);
    expect(JSON.parse(answer.text)).toMatchObject({ topic: '@victim', seq: before.length + 1 });
  });

  it('leaves a connected client alone', () => service.expectBystanderUnharmed());

  it('leaves no token and no body in the log', () => service.expectSecretsUnlogged());
}

/** Starts a service before the tests of this `describe` and stops it after them. */
export function shareService(env: Record<string, string> = {}, kept: readonly string[] = []): SharedService {
  const service = new SharedService(env, kept);
  beforeAll(() => service.start());
  afterAll(() => service.stop());
  return service;
}

/** How often a service has counted this code as a refusal. */
export async function countRefusals(url: string, code: ErrorCode): Promise<number> {
  const { text } = await exchange(url, { path: '/metrics' });
  return Number(new RegExp(`^tidings_refusals_total\\{code="${code}"\\} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
}
