import type { Server } from './receivers';
import { createUserToken } from './tokens';
import { type Delivery, openWire, type Wire } from './wire';

/** The defaults of socket.io-client. */
const FIRST_DELAY_MS = 1_000;
const MAX_DELAY_MS = 5_000;
const JITTER = 0.5;

export interface NamedClientParts {
  readonly server: Server;
  readonly userId: string;
  /** What ended or refused connections, and how often. */
  readonly ends: Map<string, number>;
  /** The reason that the service sent before it closed. */
  readonly closings?: Map<string, number>;
  /** From 0 to 1. */
  random(): number;
}

/** When a client had everything it waited for. */
export interface Arrival {
  readonly at: number;
  /** When the successful attempt began. */
  readonly attemptedAt: number;
  readonly attempts: number;
}

/**
 * A client that names its device, acknowledges, and reconnects by itself with growing delays. Every message of its
 * personal topic must come once after what it has acknowledged, in order.
 */
export class NamedClient {
  /** Should it acknowledge messages? */
  isAcknowledging = true;
  readonly #token: string;
  #wire: Wire | undefined;
  #isReady = false;
  #timer: NodeJS.Timeout | undefined;
  #delays = 0;
  #attempts = 0;
  #attemptedAt = 0;
  /** The last `seq` of this connection, and the acknowledged one. */
  #reached = 0;
  #acknowledged = 0;
  #isFirst = true;
  #waiting: { readonly due: number; resolve(arrival: Arrival): void } | undefined;
  readonly faults: string[] = [];

  constructor(private readonly parts: NamedClientParts) {
    this.#token = createUserToken(parts.userId);
  }

  /** Connects at once, and again after every end. */
  connect(): void {
    this.#open();
  }

  /**
   * Resolves when it is up to date and has everything up to `due`, acknowledged if it acknowledges. Restarts the count
   * of attempts.
   */
  waitFor(due: number): Promise<Arrival> {
    this.#attempts = 0;
    return new Promise((resolve) => {
      this.#waiting = { due, resolve };
      this.#look();
    });
  }

  /** Ends the connection, and does not come back. */
  leave(): void {
    this.#isReady = false;
    clearTimeout(this.#timer);
    this.#wire?.terminate();
    this.#wire = undefined;
  }

  pause(): void {
    this.#wire?.pause();
  }

  resume(): void {
    this.#wire?.resume();
  }

  readSome(bytes: number): void {
    this.#wire?.readSome(bytes);
  }

  #open(): void {
    this.#attempts += 1;
    this.#attemptedAt = performance.now();
    this.#isFirst = true;
    const { server, userId, closings } = this.parts;
    const wire = openWire(
      server,
      { userId, token: this.#token, device: 'phone' },
      {
        onDelivery: (delivery) => this.#take(delivery),
        onReady: () => {
          this.#delays = 0;
          this.#isReady = true;
          this.#look();
        },
        onEnd: (reason) => {
          if (wire === this.#wire) this.#onEnd(reason);
        },
        onEvent: (name, payload) => {
          if (name === 'closing') count(closings, (payload as { readonly code: string }).code);
        },
      },
    );
    this.#wire = wire;
  }

  #onEnd(reason: string): void {
    this.#isReady = false;
    count(this.parts.ends, reason);
    const delay = FIRST_DELAY_MS * 2 ** this.#delays * (1 + JITTER * (2 * this.parts.random() - 1));
    this.#delays += 1;
    this.#timer = setTimeout(() => this.#open(), Math.min(delay, MAX_DELAY_MS));
  }

  #take({ topic = '', seq = 0 }: Delivery): void {
    if (this.isAcknowledging) this.#wire?.acknowledge(topic, seq);
    if (topic === `@${this.parts.userId}`) this.#takeOwn(seq);
  }

  #takeOwn(seq: number): void {
    // A crash of the server may have lost the latest acknowledgements: then those messages come again.
    const isRight = this.#isFirst ? seq <= this.#acknowledged + 1 : seq === this.#reached + 1;
    if (!isRight) this.faults.push(`${this.parts.userId} got ${seq} after ${this.#reached}`);
    this.#isFirst = false;
    this.#reached = seq;
    if (this.isAcknowledging) this.#acknowledged = Math.max(this.#acknowledged, seq);
    this.#look();
  }

  #look(): void {
    const { due = Number.POSITIVE_INFINITY, resolve } = this.#waiting ?? {};
    const reached = this.isAcknowledging ? this.#acknowledged : this.#reached;
    if (!this.#isReady || reached < due) return;
    this.#waiting = undefined;
    resolve?.({ at: performance.now(), attemptedAt: this.#attemptedAt, attempts: this.#attempts });
  }
}

function count(map: Map<string, number> | undefined, key: string): void {
  map?.set(key, (map.get(key) ?? 0) + 1);
}
