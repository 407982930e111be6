/** The one wrapper around every client event: how often, how much, in which order, and how it is answered. */
import type { Clock } from '../../utils/clock';
import type { Config } from '../../utils/config';
import { AppError, type Problem } from '../../utils/errors';
import type { ClosingCode } from '../../utils/protocol';
import type { HeapGuard } from '../admission/heap-guard';
import { type Incoming, ORDINARY_BYTES } from '../admission/incoming';
import type { Connection } from '../delivery/connections';
import type { Metrics } from '../observability/metrics';
import { EventLimit, type Verdict } from './event-limit';
import { type EventOperation, EventQueue } from './event-queue';
import type { Refusals } from './refusals';

/**
 * Free events (`ack`) allowed per second: this many times SOCKET_EVENTS_PER_SECOND, which no client reaches by
 * acknowledging what it receives.
 */
const FREE_EVENTS_PER_EVENT = 20;

export type EventReply = { readonly ok: true } | { readonly ok: false; readonly error: Problem };

export interface EventGateParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly heap: HeapGuard;
  readonly incoming: Incoming;
  readonly refusals: Refusals;
  /** Does the service take events? */
  readonly isOpen: () => boolean;
  /** Closes a connection for good. */
  readonly end: (connection: Connection, code: ClosingCode, reason: string) => void;
}

export class EventGate {
  readonly queue: EventQueue;
  readonly #limits = new WeakMap<Connection, EventLimit>();
  readonly #freeLimits = new WeakMap<Connection, EventLimit>();

  constructor(private readonly parts: EventGateParts) {
    this.queue = new EventQueue(parts);
  }

  /** Limits a connection from now on. */
  limit(connection: Connection): void {
    const { config, clock } = this.parts;
    const { SOCKET_EVENTS_PER_SECOND: perSecond } = config;
    this.#limits.set(connection, new EventLimit(perSecond, clock.steady()));
    this.#freeLimits.set(connection, new EventLimit(perSecond * FREE_EVENTS_PER_EVENT, clock.steady()));
  }

  /**
   * Answers an event. Whatever the operation throws becomes the reply.
   * @param options.price how many events it counts as. A free event skips the queue, unless it is part of a
   * flood. `bytes`: how much of it is kept until it is answered.
   */
  async handle(
    connection: Connection,
    operation: EventOperation,
    { price, bytes }: { price: number; bytes: number },
  ): Promise<EventReply> {
    const isFree = price === 0 && this.#isWithinFree(connection);
    try {
      if (!isFree) this.#limitEvents(connection, Math.max(1, price));
      if (!this.parts.isOpen()) throw new AppError('going_away', 'The service is stopping.');
      // An acknowledgement frees memory, whatever else is waiting.
      if (!isFree) this.parts.heap.assertRoom();
      return { ok: true, ...(await (isFree ? operation() : this.queue.run(connection, operation, bytes))) };
    } catch (thrown) {
      const error = this.parts.refusals.problemOf(thrown, connection.origin);
      // Only what is accepted is free: otherwise a flood of meaningless acknowledgements would cost its sender nothing.
      if (isFree && error.status === 400) this.countEvent(connection);
      return { ok: false, error };
    }
  }

  /**
   * Judges a frame by its size and the state of the service, before its bytes are parsed.
   * @returns the refusal of one that is not to be read; it was counted as an event.
   */
  refuseUnread(connection: Connection, bytes: number): Problem | undefined {
    if (bytes <= ORDINARY_BYTES) return undefined;
    try {
      this.parts.heap.assertRoom();
      this.#limitBytes(connection, bytes);
      return undefined;
    } catch (thrown) {
      this.countEvent(connection);
      return this.parts.refusals.problemOf(thrown, connection.origin);
    }
  }

  #limitBytes(connection: Connection, bytes: number): void {
    const { incoming, end } = this.parts;
    const verdict = incoming.judge(connection.caller, bytes);
    if (verdict === 'accepted') return;
    const refusal = incoming.refusal();
    if (verdict === 'abusive') end(connection, 'rate_limited', refusal.message);
    throw refusal;
  }

  /** Counts a frame that is no event, such as a ping, and ends a connection that floods. */
  countEvent(connection: Connection): void {
    if (this.#judge(connection) === 'abusive')
      this.parts.end(connection, 'rate_limited', 'This connection sends too many frames.');
  }

  #isWithinFree(connection: Connection): boolean {
    const verdict = this.#freeLimits.get(connection)?.judge(1, this.parts.clock.steady()) ?? 'accepted';
    return verdict === 'accepted';
  }

  #judge(connection: Connection, price = 1): Verdict {
    const verdict = this.#limits.get(connection)?.judge(price, this.parts.clock.steady()) ?? 'accepted';
    if (verdict !== 'accepted') this.parts.metrics.rateLimited.events.inc();
    return verdict;
  }

  #limitEvents(connection: Connection, price: number): void {
    const verdict = this.#judge(connection, price);
    if (verdict === 'accepted') return;
    const { SOCKET_EVENTS_PER_SECOND: perSecond } = this.parts.config;
    const reason = `This connection sends too many events (SOCKET_EVENTS_PER_SECOND: ${perSecond}).`;
    if (verdict === 'abusive') this.parts.end(connection, 'rate_limited', reason);
    throw new AppError('rate_limited', reason);
  }
}
