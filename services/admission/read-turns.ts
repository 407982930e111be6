/**
 * Expensive reads take turns: a few of one user at a time, over all doors. Otherwise a caller who asks for long answers
 * on many connections would take all the time of the store and of the event loop.
 */
import type { Balance, Lender } from '../../utils/balance';
import { AppError } from '../../utils/errors';
import type { Connection } from '../delivery/connections';
import type { Metrics } from '../observability/metrics';

export const READS_AT_ONCE = 4;
export const MAX_READS_WAITING = 16;

/** The reads of one user, running and waiting. */
class Reader {
  running = 0;
  readonly waiting = new Set<Turn>();
}

/** What reading needs to know of a connection. */
type Reading = Pick<Connection, 'userId' | 'isOpen'>;

/** One read of a user, from its arrival to its end. */
export class Turn {
  /** Resolves to `true` when it may begin, to `false` when it was given up first. */
  readonly begun: Promise<boolean>;
  #settle: ((isMine: boolean) => void) | undefined;
  #isOver = false;

  constructor(
    private readonly reader: Reader,
    private readonly onEnd: () => void,
  ) {
    this.begun = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  begin(): void {
    this.#settle?.(true);
  }

  /** Its reader is gone: it leaves the queue. A read that has begun continues, and still counts. */
  giveUp(): void {
    if (!this.reader.waiting.delete(this)) return;
    this.#isOver = true;
    this.#settle?.(false);
  }

  /** The read and its answer have ended. Idempotent. */
  end(): void {
    this.giveUp();
    if (this.#isOver) return;
    this.#isOver = true;
    this.onEnd();
  }
}

export class ReadTurns implements Lender {
  readonly #readers = new Map<string, Reader>();
  /** Waiting reads of connections: each connection has one at a time. */
  readonly #ofConnections = new WeakMap<object, Turn>();

  constructor(private readonly metrics: Pick<Metrics, 'rateLimited'>) {}

  get balance(): Balance {
    return { readsRunning: this.running, readsWaiting: this.waiting, readers: this.#readers.size };
  }

  /** Reads that have begun. */
  get running(): number {
    return sum(this.#readers, ({ running }) => running);
  }

  /** Reads that wait for their turn. */
  get waiting(): number {
    return sum(this.#readers, ({ waiting }) => waiting.size);
  }

  /** @throws AppError `rate_limited` when as many reads of the user wait as allowed. */
  enter(userId: string): Turn {
    const reader = this.#readers.get(userId) ?? new Reader();
    this.#readers.set(userId, reader);
    if (reader.waiting.size >= MAX_READS_WAITING) throw this.#refusal();
    const turn = new Turn(reader, () => this.#next(userId, reader));
    if (reader.running < READS_AT_ONCE) {
      reader.running += 1;
      turn.begin();
    } else reader.waiting.add(turn);
    return turn;
  }

  /** Reads for a connection when its turn comes. @throws AppError as `enter` does, and what `read` throws. */
  async run<Result>(connection: Reading, read: () => Result | Promise<Result>): Promise<Result> {
    const turn = this.enter(connection.userId);
    this.#ofConnections.set(connection, turn);
    try {
      // Once a connection is cut, nothing that its client had asked for ahead is read.
      if (!(await turn.begun) || !connection.isOpen)
        throw new AppError('going_away', 'The connection closed before this was handled.');
      return await read();
    } finally {
      turn.end();
    }
  }

  /** The connection has ended: its waiting reads are given up. */
  leave(connection: Reading): void {
    this.#ofConnections.get(connection)?.giveUp();
  }

  #refusal(): AppError {
    this.metrics.rateLimited.reads.inc();
    return new AppError(
      'rate_limited',
      `This caller already has ${READS_AT_ONCE} reads running and ${MAX_READS_WAITING} waiting: wait for one to finish.`,
    );
  }

  /** Passes a finished turn to the read that has waited longest. */
  #next(userId: string, reader: Reader): void {
    const [longest] = reader.waiting;
    if (longest === undefined) {
      reader.running -= 1;
      if (reader.running === 0) this.#readers.delete(userId);
      return;
    }
    reader.waiting.delete(longest);
    longest.begin();
  }
}

function sum(readers: ReadonlyMap<string, Reader>, count: (reader: Reader) => number): number {
  let total = 0;
  for (const reader of readers.values()) total += count(reader);
  return total;
}
