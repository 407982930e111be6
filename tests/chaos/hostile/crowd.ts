/** The people beside the attackers: connected, reading, acknowledging, and receiving messages at a steady rate. */
import { testToken } from '../../support/service';
import { request } from '../http';
import { type Line, openLine, type Way } from '../line';
import { pace, until } from '../until';

const WAYS: readonly Way[] = ['websocket', 'plain'];
const CONNECT_AT_ONCE = 25;
const PATIENCE_MS = 60_000;
const TICK_MS = 20;

interface Sent {
  readonly key: string;
  readonly intendedAt: number;
}

export class Crowd {
  readonly #lines: Line[] = [];
  #synced = 0;
  #lost = 0;
  readonly #sent = new Map<string, Sent>();
  readonly #received = new Map<string, number>();
  readonly #accepted = new Set<string>();
  /** From when a message was due to its arrival. */
  readonly latenciesMs: number[] = [];
  #refusals = 0;

  constructor(
    private readonly url: string,
    private readonly size: number,
  ) {}

  get sends(): number {
    return this.#sent.size;
  }

  /** Sends that were not answered 2xx. */
  get refusals(): number {
    return this.#refusals;
  }

  /** Connections that have ended. */
  get lost(): number {
    return this.#lost;
  }

  async connect(): Promise<void> {
    for (let first = 0; first < this.size; first += CONNECT_AT_ONCE) {
      for (let n = first; n < Math.min(this.size, first + CONNECT_AT_ONCE); n += 1) this.#open(n);
      const wanted = Math.min(this.size, first + CONNECT_AT_ONCE);
      await until(
        `${wanted} people are connected`,
        PATIENCE_MS,
        async () => this.#synced,
        (synced) => synced >= wanted,
      );
    }
  }

  #open(n: number): void {
    const way = WAYS[n % WAYS.length] ?? 'plain';
    const line = openLine(
      way,
      this.url,
      { token: testToken(userOf(n)), device: 'phone' },
      {
        connected: () => undefined,
        synced: () => {
          this.#synced += 1;
        },
        message: (message) => {
          line.ack(message);
          this.#take((message.data as { key: string }).key);
        },
        told: () => undefined,
        ended: () => {
          this.#lost += 1;
        },
      },
    );
    this.#lines.push(line);
  }

  #take(key: string): void {
    const sent = this.#sent.get(key);
    this.#received.set(key, (this.#received.get(key) ?? 0) + 1);
    if (sent !== undefined) this.latenciesMs.push(performance.now() - sent.intendedAt);
  }

  /** Sends this many a second, each to the next person, for this long; by the clock, whatever the service takes. */
  async send(perSecond: number, forMs: number): Promise<void> {
    const begunAt = performance.now();
    const sending: Promise<void>[] = [];
    for (let due = 0; ; ) {
      const elapsed = performance.now() - begunAt;
      for (; due < (Math.min(elapsed, forMs) / 1_000) * perSecond; due += 1) {
        sending.push(this.#sendOne(due, begunAt + (due * 1_000) / perSecond));
      }
      if (elapsed >= forMs) break;
      await pace(TICK_MS);
    }
    await Promise.all(sending);
  }

  async #sendOne(n: number, intendedAt: number): Promise<void> {
    const key = `to ${n}`;
    this.#sent.set(key, { key, intendedAt });
    const body = { userId: userOf(n % this.size), type: 'order', data: { key } };
    const token = testToken('shop', { scope: 'send' });
    const answer = await request(`${this.url}/websocket/message/user`, {
      method: 'POST',
      token,
      body,
      timeoutMs: 10_000,
    });
    if (answer?.status === 200) this.#accepted.add(key);
    else this.#refusals += 1;
  }

  /** Waits for what was accepted. @returns what is missing, and what came more than once. */
  async findFaults(): Promise<{ missing: string[]; repeated: string[] }> {
    const missing = () => [...this.#accepted].filter((key) => !this.#received.has(key));
    await Promise.race([
      until(
        'everything has come',
        PATIENCE_MS,
        async () => missing().length,
        (count) => count === 0,
      ).catch(() => undefined),
      pace(PATIENCE_MS),
    ]);
    return { missing: missing(), repeated: [...this.#received].filter(([, count]) => count > 1).map(([key]) => key) };
  }

  close(): void {
    for (const line of this.#lines) line.close();
  }
}

function userOf(n: number): string {
  return `good-${n}`;
}
