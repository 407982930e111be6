/** Events of one connection run one after the other, so that answers keep the order of the events. */
import { AppError } from '../../utils/errors';
import type { Incoming } from '../admission/incoming';
import type { Connection } from '../delivery/connections';
import type { Metrics } from '../observability/metrics';
import { BURST_SECONDS } from './event-limit';

/** How many may wait on one connection: as many as a burst may have, and no fewer than this. */
const MIN_WAITING_EVENTS = 1_000;

export type EventOperation = () => object | Promise<object>;

export interface EventQueueParts {
  readonly config: { readonly SOCKET_EVENTS_PER_SECOND: number };
  readonly metrics: Metrics;
  readonly incoming: Incoming;
}

export class EventQueue {
  /** The event that is being answered: the next one waits for it. */
  readonly #running = new WeakMap<Connection, Promise<unknown>>();
  /** How many are being answered or wait. */
  readonly #counts = new WeakMap<Connection, number>();
  /** Connections that the service has closed: what their clients had sent ahead is no longer carried out. */
  readonly #ended = new WeakSet<Connection>();
  #underWay = 0;

  constructor(private readonly parts: EventQueueParts) {}

  /** Events of all connections that are being answered or wait. */
  get underWay(): number {
    return this.#underWay;
  }

  /** The service closes this connection: none of its waiting events begins. */
  end(connection: Connection): void {
    this.#ended.add(connection);
  }

  /**
   * @throws AppError `rate_limited` when too much of the connection or its user waits; and what the operation throws.
   */
  async run(connection: Connection, operation: EventOperation, bytes: number): Promise<object> {
    const release = this.#takeWaiting(connection, bytes);
    const before = this.#running.get(connection);
    // What a client sent before it left is carried out.
    const begin = () => {
      if (this.#ended.has(connection))
        throw new AppError('going_away', 'The connection closed before this was handled.');
      return operation();
    };
    const mine = before === undefined ? startNow(operation) : before.then(begin, begin);
    this.#running.set(connection, mine);
    try {
      return await mine;
    } finally {
      release();
      if (this.#running.get(connection) === mine) this.#running.delete(connection);
    }
  }

  #takeWaiting(connection: Connection, bytes: number): () => void {
    const { config, metrics, incoming } = this.parts;
    const count = this.#counts.get(connection) ?? 0;
    const bound = Math.max(MIN_WAITING_EVENTS, config.SOCKET_EVENTS_PER_SECOND * BURST_SECONDS);
    if (count >= bound) {
      metrics.rateLimited.events.inc();
      throw new AppError(
        'rate_limited',
        `${bound} events of this connection are still unanswered: wait for answers before sending more.`,
      );
    }
    const release = incoming.take(connection.caller, bytes);
    this.#counts.set(connection, count + 1);
    this.#underWay += 1;
    return () => {
      release();
      this.#counts.set(connection, (this.#counts.get(connection) ?? 0) - 1);
      this.#underWay -= 1;
    };
  }
}

/** A synchronous throw of an operation belongs to its promise, like a later rejection. */
async function startNow(operation: EventOperation): Promise<object> {
  return operation();
}
