/**
 * Cursors, last-seen times and times of sending on their way to the store: kept in memory, written behind in
 * batches. A crash loses at most one interval of them; the messages concerned then come again with the same id and
 * seq.
 */
import type { Logger } from 'pino';
import type { Clock } from '../utils/clock';
import { FollowingFlight } from '../utils/single-flight';
import type { Cursor, Position, Sending, Store } from './storage/contract';

export const WRITE_BEHIND_INTERVAL_MS = 1_000;

export class Cursors {
  #pending = new Map<string, Cursor>();
  #lastSeen = new Map<string, number>();
  #sent = new Map<string, Sending>();
  /** What is being written just now: still the newest that is known until the store has it. */
  #writing: ReadonlyMap<string, Cursor> = new Map();
  #batchesWritten = 0;
  #isFlushingSoon = false;
  readonly #batches = new FollowingFlight(() => this.#writeBatch());

  constructor(
    private readonly store: Store,
    private readonly logger: Logger,
    private readonly clock: Clock,
  ) {}

  /** Places that are not in the store yet, those being written included. */
  get unwritten(): number {
    return this.#pending.size + this.#writing.size;
  }

  /** Moves a device forward in a topic; going back is ignored. */
  advance(cursor: Omit<Cursor, 'at'>): void {
    const key = keyOf(cursor);
    const known = this.#pending.get(key)?.seq ?? this.#writing.get(key)?.seq ?? 0;
    if (cursor.seq > known) this.#pending.set(key, { ...cursor, at: this.clock.now() });
  }

  /** Records that messages of a topic are being written to somebody. Many who catch up get the same pages. */
  sent(topic: string, from: number, upTo: number): void {
    const key = `${topic}\u0000${from}\u0000${upTo}`;
    if (!this.#sent.has(key)) this.#sent.set(key, { topic, from, upTo, at: this.clock.now() });
  }

  /** Drops what is still to be written of the devices of a user who is being erased. */
  forget(userId: string): void {
    for (const [key, cursor] of this.#pending) if (cursor.userId === userId) this.#pending.delete(key);
  }

  /** Writes what is pending at the end of this turn: the device may come back to another node. */
  flushSoon(): void {
    if (this.#isFlushingSoon) return;
    this.#isFlushingSoon = true;
    setImmediate(() => {
      this.#isFlushingSoon = false;
      void this.flush();
    });
  }

  /** Records that a user's last connection ended at `milliseconds` since the epoch. */
  sawLast(userId: string, milliseconds: number): void {
    this.#lastSeen.set(userId, milliseconds);
  }

  /** When the user's last connection ended; `undefined` when none has ended yet. */
  async lastSeen(userId: string): Promise<number | undefined> {
    return this.#lastSeen.get(userId) ?? (await this.store.user(userId))?.lastSeenAt;
  }

  /** Where a device stands by topic, as it is now, written or not. Enters a device that is new. */
  async open(userId: string, device: string): Promise<Map<string, Position>> {
    // What a batch has written while the store was read may be in neither of both.
    let cursors: Map<string, Position>;
    let batches: number;
    do {
      batches = this.#batchesWritten;
      cursors = new Map(await this.store.openDevice(userId, device));
    } while (batches !== this.#batchesWritten);
    for (const [topic, position] of cursors) {
      const key = keyOf({ userId, device, topic });
      const seq = Math.max(position.seq, this.#pending.get(key)?.seq ?? 0, this.#writing.get(key)?.seq ?? 0);
      cursors.set(topic, { ...position, seq });
    }
    return cursors;
  }

  /** Writes what is pending, one batch at a time. What the store refuses stays pending, and is logged. */
  flush(): Promise<void> {
    return this.#batches.run();
  }

  async #writeBatch(): Promise<void> {
    const cursors = this.#pending;
    const lastSeen = this.#lastSeen;
    const sent = this.#sent;
    this.#sent = new Map();
    this.#pending = new Map();
    this.#writing = cursors;
    try {
      await Promise.all([
        this.store.saveCursors([...cursors.values()]),
        this.store.saveSent([...sent.values()]),
        this.store.saveLastSeen(lastSeen),
      ]);
      for (const [userId, time] of lastSeen) if (this.#lastSeen.get(userId) === time) this.#lastSeen.delete(userId);
    } catch (error) {
      this.logger.error({ err: error, cursors: cursors.size }, 'cursors could not be written, they stay in memory');
      // Whatever came in meanwhile under the same key is further on.
      for (const [key, cursor] of cursors) if (!this.#pending.has(key)) this.#pending.set(key, cursor);
      for (const [key, sending] of sent) this.#sent.set(key, sending);
    } finally {
      this.#writing = new Map();
      this.#batchesWritten += 1;
    }
  }
}

/** No name contains a control character, so the parts cannot run into each other. */
function keyOf({ userId, device, topic }: Omit<Cursor, 'seq' | 'at'>): string {
  return `${userId}\u0000${device}\u0000${topic}`;
}
