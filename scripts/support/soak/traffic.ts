/**
 * The requests of a run, at a steady rate whatever the answers: every way to send, to read and to change, and every way
 * to be refused. An unexpected answer is a fault.
 */
import { randomUUID } from 'node:crypto';
import type { Agent } from 'node:http';
import { type Answer, createAgent, exchange, jsonHeaders } from '../requests';
import type { Ledger } from './ledger';
import { pause } from './pause';
import { membersOf, ROOMS, type SoakPlan } from './plan';
import { comeAndGo, VISITS } from './strangers';
import { expiredToken, foreignToken, freshToken } from './tokens';

const SERVICE = 'soak-service';
const ALL_SCOPES = 'send broadcast presence admin';
const MAX_HTTP_CONNECTIONS = 16;
/** A machine that is busy with other things may hold up this program. */
const MAX_LATE_MS = 500;
const MAX_PENDING = 64;
const DAY_SECONDS = 86_400;
const BATCH_ITEMS = 10;
const RECIPIENTS = 5;
/** Users whose messages are changed, replaced or expire: they are not counted. */
const OTHERS = 20;
const TEXT = 'x'.repeat(200);

interface TrafficParts {
  readonly origin: string;
  readonly plan: SoakPlan;
  readonly ledger: Ledger;
  readonly random: (below: number) => number;
}

interface Request {
  readonly method?: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly token?: string;
  readonly key?: string;
  readonly body?: unknown;
}

interface SentAnswer {
  readonly id: string;
  readonly topic: string;
  readonly seq?: number;
}

type Work = () => Promise<unknown>;

export class Traffic {
  readonly #agent: Agent;
  readonly #pending = new Set<Promise<void>>();
  readonly #over = new AbortController();
  readonly #actions: readonly Work[];
  #visits = 0;
  /** Requests that were started. */
  requests = 0;
  /** Actions that were skipped, because too many were unanswered. */
  heldBack = 0;

  constructor(private readonly parts: TrafficParts) {
    this.#agent = createAgent(parts.origin, MAX_HTTP_CONNECTIONS);
    this.#actions = this.#shares().flatMap(([share, work]) => Array.from({ length: share }, () => work));
  }

  /** How many percent each action has. */
  #shares(): [number, Work][] {
    return [
      [24, () => this.#sendOne()],
      [6, () => this.#sendOne({ ttl: DAY_SECONDS })],
      [4, () => this.#sendOne({ event: 'soak-event' })],
      [4, () => this.#sendOne({ id: randomUUID() })],
      [8, () => this.#sendTwiceUnderKey()],
      [4, () => this.#schedule()],
      [3, () => this.#sendToSeveral()],
      [2, () => this.#sendBatch()],
      [8, () => this.#sendToRoom()],
      [1, () => this.#broadcast()],
      [2, () => this.#sendUncounted({ persist: false })],
      [2, () => this.#sendUncounted({ ttl: 2 })],
      [2, () => this.#sendUncounted({ collapseKey: `key-${this.#random(5)}` })],
      [2, () => this.#editAndRetract()],
      [6, () => this.#asUser('/inbox?limit=20')],
      [3, () => this.#asUser('/inbox/counts')],
      [4, () => this.#changeState()],
      [4, () => this.#asUser('/websocket/me/status')],
      [1, () => this.#asService('/websocket/users/connected?limit=50')],
      [1, () => this.#asService('/audit?limit=20')],
      [1, () => this.#passingTopic()],
      [1, () => this.#comeAndBeErased()],
      [5, () => this.#beRefused()],
      [2, () => this.#visit()],
    ];
  }

  /** Creates the rooms and adds their members. */
  async open(): Promise<void> {
    for (const room of ROOMS) {
      const members = membersOf(room, this.parts.plan);
      await this.#expect(201, '/topics', { method: 'POST', body: { name: room, isPrivate: true } });
      for (const userId of members) {
        await this.#expect(200, `/topics/${room}/members`, { method: 'POST', body: { userId } });
      }
      this.parts.ledger.setMembers(room, members);
    }
  }

  /**
   * Runs until `stop`; resolves when everything is answered. What a stall has held back is not made up for: the load is
   * steady.
   */
  async run(): Promise<void> {
    const intervalMs = 1_000 / this.parts.plan.rate;
    let dueAt = performance.now();
    while (!this.#over.signal.aborted) {
      const work = this.#actions[this.#random(this.#actions.length)];
      // On a machine that cannot keep up, they would wait here until they time out, and describe the machine.
      if (this.#pending.size >= MAX_PENDING) this.heldBack += 1;
      else if (work !== undefined) this.#begin(work);
      dueAt = Math.max(dueAt + intervalMs, performance.now() - MAX_LATE_MS);
      await pause(Math.max(0, dueAt - performance.now()), this.#over.signal);
    }
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  stop(): void {
    this.#over.abort();
  }

  /** Closes the connections. */
  close(): void {
    this.#agent.destroy();
  }

  #begin(work: Work): void {
    const running = work().then(
      () => void this.#pending.delete(running),
      (fault: unknown) => {
        this.#pending.delete(running);
        this.parts.ledger.complain(String(fault));
      },
    );
    this.#pending.add(running);
  }

  #random(below: number): number {
    return this.parts.random(below);
  }

  #anyUser(): string {
    return `soak-${this.#random(this.parts.plan.users)}`;
  }

  #content(n: number | undefined, options: object = {}) {
    return { type: 'soak', data: { text: TEXT, ...(n === undefined ? {} : { n }) }, ...options };
  }

  async #sendOne(options: object = {}): Promise<void> {
    const n = this.parts.ledger.next();
    const body = { userId: this.#anyUser(), ...this.#content(n, options) };
    this.#accept(n, await this.#expect(200, '/websocket/message/user', { method: 'POST', body }));
  }

  async #sendTwiceUnderKey(): Promise<void> {
    const n = this.parts.ledger.next();
    const request = {
      method: 'POST',
      key: randomUUID(),
      body: { userId: this.#anyUser(), ...this.#content(n) },
    } as const;
    const first = await this.#expect(200, '/websocket/message/user', request);
    const second = await this.#expect(200, '/websocket/message/user', request);
    this.#accept(n, first);
    if (first.text !== second.text) this.parts.ledger.complain(`message ${n} was answered in two ways under one key`);
  }

  async #schedule(): Promise<void> {
    const n = this.parts.ledger.next();
    const body = { userId: this.#anyUser(), ...this.#content(n, { delay: 1 + this.#random(3) }) };
    this.#accept(n, await this.#expect(202, '/websocket/message/user', { method: 'POST', body }));
  }

  async #sendToSeveral(): Promise<void> {
    const n = this.parts.ledger.next();
    const userIds = Array.from({ length: RECIPIENTS }, () => this.#anyUser());
    const body = { userIds, ...this.#content(n) };
    const { results } = parse<{ results: { userId: string; seq: number }[] }>(
      await this.#expect(200, '/websocket/message/users', { method: 'POST', body }),
    );
    for (const { userId, seq } of results) this.parts.ledger.accept(n, `@${userId}`, seq);
  }

  async #sendBatch(): Promise<void> {
    const numbers = Array.from({ length: BATCH_ITEMS }, () => this.parts.ledger.next());
    const messages = numbers.map((n) => ({ userId: this.#anyUser(), ...this.#content(n) }));
    const { results } = parse<{ results: SentAnswer[] }>(
      await this.#expect(200, '/messages/batch', { method: 'POST', body: { messages } }),
    );
    results.forEach(({ topic, seq }, index) => {
      this.parts.ledger.accept(numbers[index] ?? 0, topic, seq);
    });
  }

  async #sendToRoom(): Promise<void> {
    const n = this.parts.ledger.next();
    const room = ROOMS[this.#random(ROOMS.length)];
    this.#accept(n, await this.#expect(200, `/topics/${room}/messages`, { method: 'POST', body: this.#content(n) }));
  }

  async #broadcast(): Promise<void> {
    const n = this.parts.ledger.next();
    this.#accept(
      n,
      await this.#expect(200, '/websocket/message/broadcast', { method: 'POST', body: this.#content(n) }),
    );
  }

  #accept(n: number, answer: Answer): void {
    const { topic, seq } = parse<SentAnswer>(answer);
    this.parts.ledger.accept(n, topic, seq);
  }

  async #sendUncounted(options: object): Promise<Answer> {
    const body = { userId: `other-${this.#random(OTHERS)}`, ...this.#content(undefined, options) };
    return this.#expect(200, '/websocket/message/user', { method: 'POST', body });
  }

  async #editAndRetract(): Promise<void> {
    const { id } = parse<SentAnswer>(await this.#sendUncounted({}));
    await this.#expect(200, `/messages/${id}`, { method: 'PATCH', body: { data: { text: 'changed' } } });
    await this.#expect(200, `/messages/${id}/receipts`, {});
    await this.#expect(200, `/messages/${id}`, { method: 'DELETE' });
  }

  async #asUser(path: string): Promise<void> {
    await this.#expect(200, path, { token: freshToken(this.#anyUser()) });
  }

  async #asService(path: string): Promise<void> {
    await this.#expect(200, path, {});
  }

  async #changeState(): Promise<void> {
    const userId = this.#anyUser();
    const body = { state: 'archived', all: true };
    await this.#expect(200, '/inbox', { method: 'PATCH', token: freshToken(userId), body });
  }

  async #passingTopic(): Promise<void> {
    const name = `passing-${randomUUID()}`;
    await this.#expect(201, '/topics', { method: 'POST', body: { name, isPrivate: false } });
    await this.#expect(200, `/topics/${name}/members`, { method: 'POST', body: { userId: this.#anyUser() } });
    await this.#expect(200, `/topics/${name}/messages`, { method: 'POST', body: this.#content(undefined) });
    await this.#expect(200, `/topics/${name}`, { method: 'DELETE' });
  }

  async #comeAndBeErased(): Promise<void> {
    const userId = `erased-${randomUUID()}`;
    const body = { userId, ...this.#content(undefined) };
    await this.#expect(200, '/websocket/message/user', { method: 'POST', body });
    await this.#expect(200, `/users/${userId}/data`, { method: 'DELETE' });
  }

  async #beRefused(): Promise<void> {
    const userId = this.#anyUser();
    const send = { method: 'POST', body: { userId, ...this.#content(undefined) } } as const;
    const cases: [number, string, Request][] = [
      [401, '/inbox', { token: foreignToken(userId) }],
      [401, '/inbox', { token: expiredToken(userId) }],
      [403, '/websocket/message/user', { ...send, token: freshToken(userId) }],
      [400, '/websocket/message/user', { method: 'POST', body: { userId: 7 } }],
      [404, `/nowhere/${randomUUID()}`, {}],
      [413, '/websocket/message/user', { method: 'POST', body: { ...send.body, data: 'x'.repeat(100_000) } }],
    ];
    const [status, path, request] = cases[this.#random(cases.length)] ?? [200, '/livez', {}];
    await this.#expect(status, path, request);
  }

  async #visit(): Promise<void> {
    this.#visits += 1;
    const visit = VISITS[this.#visits % VISITS.length];
    if (visit !== undefined) await comeAndGo(visit, this.parts.origin, `stranger-${this.#visits}`);
  }

  /** @throws Error for any other status. */
  async #expect(status: number, path: string, { method = 'GET', token, key, body }: Request): Promise<Answer> {
    this.requests += 1;
    const answer = await exchange(this.parts.origin, {
      method,
      path,
      headers: {
        ...jsonHeaders(token ?? freshToken(SERVICE, ALL_SCOPES)),
        ...(key === undefined ? {} : { 'Idempotency-Key': key }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      agent: this.#agent,
    });
    if (answer.status === status) return answer;
    throw new Error(`${method} ${path} was answered ${answer.status} instead of ${status}: ${answer.text}`);
  }
}

function parse<Body>({ text }: Answer): Body {
  return JSON.parse(text) as Body;
}
