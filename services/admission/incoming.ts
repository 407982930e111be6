/**
 * The bound on input. Bytes are judged here, whichever door they came through, before they are parsed: parsing JSON
 * takes time from everybody, and input that is unread or waits takes memory from everybody.
 */
import type { Balance, Lender } from '../../utils/balance';
import { type Caller, holdsScope } from '../../utils/caller';
import type { Clock } from '../../utils/clock';
import type { Config } from '../../utils/config';
import { AppError } from '../../utils/errors';
import type { Metrics } from '../observability/metrics';
import { EventLimit, type Verdict } from '../sockets/event-limit';
import type { HeapGuard } from './heap-guard';

/** All that an unauthenticated client may send: twice the longest token. */
export const STRANGERS_BYTES = 16 * 1024;
/** Up to this size parsing costs next to nothing: such input counts only as an event or a request. */
export const ORDINARY_BYTES = 1_024;
/**
 * Bytes of larger input that a user may send per second, over all doors, for each of SOCKET_EVENTS_PER_SECOND; four
 * times that at once.
 */
const BYTES_PER_EVENT = 20 * 1024;
/** What a change of a whole inbox or topic counts as: it takes as long as parsing that many bytes. */
const WHOLE_CHANGE_BYTES = 256 * 1024;
/** How many of the largest bodies one user may have arriving or waiting at a time. */
const BODIES_OF_A_USER = 4;
const BODIES_OF_A_SERVICE = 64;
/** A rate that was unused for this long is full again. */
const REFILLED_MS = 5_000;

/** Who sends. Callers with scope `send` may write to everybody, and have no rate of bytes. */
type Source = Pick<Caller, 'userId' | 'scopes'>;

interface Rate {
  readonly limit: EventLimit;
  readonly usedAt: number;
}

export interface IncomingParts {
  readonly config: Pick<Config, 'MAX_BODY_BYTES' | 'SOCKET_EVENTS_PER_SECOND'>;
  readonly clock: Pick<Clock, 'steady'>;
  readonly metrics: Pick<Metrics, 'rateLimited'>;
  readonly heap: Pick<HeapGuard, 'gather'>;
}

export class Incoming implements Lender {
  /** Bytes arriving or waiting, by user. */
  readonly #held = new Map<string, number>();
  /** By user, least recently used first. */
  readonly #rates = new Map<string, Rate>();

  readonly #perSecond: number;

  constructor(private readonly parts: IncomingParts) {
    this.#perSecond = parts.config.SOCKET_EVENTS_PER_SECOND * BYTES_PER_EVENT;
  }

  get balance(): Balance {
    return { incomingBytes: this.bytes, incomingUsers: this.#held.size };
  }

  /** Bytes arriving or waiting. */
  get bytes(): number {
    let bytes = 0;
    for (const held of this.#held.values()) bytes += held;
    return bytes;
  }

  /** Counts bytes that have arrived against the rate of their sender. */
  judge(source: Source, bytes: number): Verdict {
    if (bytes <= ORDINARY_BYTES || holdsScope(source, 'send')) return 'accepted';
    const now = this.parts.clock.steady();
    const verdict = this.#rateOf(source.userId, now).judge(bytes, now);
    if (verdict !== 'accepted') this.parts.metrics.rateLimited.bytes.inc();
    return verdict;
  }

  /** @throws AppError `rate_limited` when they are more than the rate allows. */
  assertWithinRate(source: Source, bytes: number): void {
    if (this.judge(source, bytes) !== 'accepted') throw this.refusal();
  }

  /** @throws AppError `rate_limited` when the user has changed whole inboxes and topics too often. */
  assertMayChangeWhole(source: Source): void {
    this.assertWithinRate(source, WHOLE_CHANGE_BYTES);
  }

  /** The refusal for a caller beyond the rate. */
  refusal(): AppError {
    return new AppError(
      'rate_limited',
      `This caller sends too much: ${this.#perSecond} bytes per second are allowed, and expensive changes count as bytes.`,
    );
  }

  /**
   * Counts bytes that wait, until the returned function is called.
   * @throws AppError `rate_limited` when the user has as many under way as allowed.
   */
  take(source: Source, bytes: number): () => void {
    const { userId } = source;
    const held = (this.#held.get(userId) ?? 0) + bytes;
    const bound = this.#boundOf(source);
    if (held > bound) {
      this.parts.metrics.rateLimited.bytes.inc();
      throw new AppError(
        'rate_limited',
        `This caller has too much under way: at most ${bound} bytes may be arriving or waiting.`,
      );
    }
    if (bytes > 0) this.#held.set(userId, held);
    return once(() => this.#giveBack(userId, bytes));
  }

  /**
   * The same for bytes that have yet to arrive.
   * @throws AppError `overloaded` when there are too many over all users.
   */
  expect(source: Source, bytes: number): () => void {
    const release = this.take(source, bytes);
    try {
      const arrived = this.parts.heap.gather(bytes);
      return once(() => {
        arrived();
        release();
      });
    } catch (error) {
      release();
      throw error;
    }
  }

  #giveBack(userId: string, bytes: number): void {
    const held = (this.#held.get(userId) ?? 0) - bytes;
    if (held > 0) this.#held.set(userId, held);
    else this.#held.delete(userId);
  }

  #boundOf(source: Source): number {
    return this.parts.config.MAX_BODY_BYTES * (holdsScope(source, 'send') ? BODIES_OF_A_SERVICE : BODIES_OF_A_USER);
  }

  #rateOf(userId: string, now: number): EventLimit {
    const { limit } = this.#rates.get(userId) ?? { limit: new EventLimit(this.#perSecond, now) };
    this.#rates.delete(userId);
    this.#rates.set(userId, { limit, usedAt: now });
    for (const [user, { usedAt }] of this.#rates) {
      if (now - usedAt < REFILLED_MS) break;
      this.#rates.delete(user);
    }
    return limit;
  }
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) work();
    isDone = true;
  };
}
