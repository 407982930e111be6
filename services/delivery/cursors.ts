/**
 * Cursors, last-seen times and send times on their way to the store: kept in memory, written later, in batches. A crash
 * loses at most one interval of them; the messages concerned are then delivered again with the same id and seq.
 */
import type { Logger } from 'pino';
import type { Balance, Lender } from '../../utils/balance';
import type { Clock } from '../../utils/clock';
import { partsOf } from '../../utils/parts';
import { FollowingFlight } from '../../utils/single-flight';
import type { Cursor, OpenedDevice, Position, SeenDevice, Sending, Store } from '../storage/contract';

export const WRITE_BEHIND_INTERVAL_MS = 1_000;
const CURSORS_PER_CALL = 500;

/** How many devices a user may have, and which of them are connected. */
export interface DeviceBound {
  readonly max: number;
  readonly connectedOf: (userId: string) => ReadonlySet<string>;
}

const UNBOUNDED: DeviceBound = { max: Number.POSITIVE_INFINITY, connectedOf: () => new Set() };

export class Cursors implements Lender {
  #pending = new Map<string, Cursor>();
  #lastSeen = new Map<string, number>();
  #lastSeenWriting: ReadonlyMap<string, number> = new Map();
  #sent = new Map<string, Sending>();
  #seen = new Map<string, SeenDevice>();
  /** Cursors being written now: the newest known until the store has them. */
  #writing = new Map<string, Cursor>();
  /** Cursors written while their devices are being opened: the store may have been read before that. */
  readonly #opening = new Map<string, Opening>();
  #isFlushingSoon = false;
  readonly #batches = new FollowingFlight(() => this.#writeBatch());

  constructor(
    private readonly store: Store,
    private readonly logger: Logger,
    private readonly clock: Clock,
    private readonly devices: DeviceBound = UNBOUNDED,
  ) {}

  get balance(): Balance {
    return {
      unwrittenCursors: this.unwritten,
      unwrittenLastSeen: this.#lastSeen.size,
      unwrittenSent: this.#sent.size,
      unwrittenSeen: this.#seen.size,
    };
  }

  /** Cursors that are not in the store yet, including those being written. */
  get unwritten(): number {
    return this.#pending.size + this.#writing.size;
  }

  /** Moves a device forward in a topic; a lower `seq` is ignored. */
  advance(cursor: Omit<Cursor, 'at'>): void {
    const key = keyOf(cursor);
    const known = this.#pending.get(key)?.seq ?? this.#writing.get(key)?.seq ?? 0;
    if (cursor.seq > known) this.#pending.set(key, { ...cursor, at: this.clock.now() });
  }

  /** Records that messages of a topic are being written to a connection. Many connections receive the same pages. */
  sent(topic: string, from: number, upTo: number): void {
    const key = `${topic}\u0000${from}\u0000${upTo}`;
    if (!this.#sent.has(key)) this.#sent.set(key, { topic, from, upTo, at: this.clock.now() });
  }

  /** Drops the unwritten cursors of a user who is being erased. */
  forget(userId: string): void {
    for (const cursors of [this.#pending, this.#writing]) {
      for (const [key, cursor] of cursors) if (cursor.userId === userId) cursors.delete(key);
    }
  }

  /** Writes pending cursors at the end of this turn: the device may reconnect to another node. */
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
    const known = this.#lastSeen.get(userId) ?? this.#lastSeenWriting.get(userId);
    return known ?? (await this.store.users.get(userId))?.lastSeenAt;
  }

  /** Records that a device is connected. */
  seen(userId: string, device: string): void {
    this.#seen.set(deviceKeyOf({ userId, device }), { userId, device, at: this.clock.now() });
  }

  /** The positions of a device by topic as of now, written or not. Registers a new device. */
  async open(userId: string, device: string): Promise<OpenedDevice> {
    this.seen(userId, device);
    const opening = this.#beginOpening(userId, device);
    try {
      const limit = { maxDevices: this.devices.max, connected: this.devices.connectedOf(userId) };
      const opened = await this.store.devices.open(userId, device, limit);
      const positions = new Map(opened);
      for (const cursor of opening.written) raise(positions, cursor);
      for (const topic of positions.keys()) {
        const key = keyOf({ userId, device, topic });
        raise(positions, this.#writing.get(key));
        raise(positions, this.#pending.get(key));
      }
      return Object.assign(positions, { wasForgotten: opened.wasForgotten });
    } finally {
      opening.count -= 1;
      if (opening.count === 0) this.#opening.delete(deviceKeyOf({ userId, device }));
    }
  }

  #beginOpening(userId: string, device: string): Opening {
    const key = deviceKeyOf({ userId, device });
    const opening = this.#opening.get(key) ?? { count: 0, written: [] };
    opening.count += 1;
    this.#opening.set(key, opening);
    return opening;
  }

  /** Writes what is pending, one batch at a time. Whatever the store refuses stays pending, and is logged. */
  flush(): Promise<void> {
    return this.#batches.run();
  }

  /** Rows per call: calls of the store have a deadline, and a crowd moves any number of cursors in one interval. */
  async #saveInParts(cursors: readonly Cursor[]): Promise<void> {
    for (const part of partsOf(cursors, CURSORS_PER_CALL)) await this.store.devices.saveCursors(part);
  }

  async #writeBatch(): Promise<void> {
    const cursors = this.#pending;
    const lastSeen = this.#lastSeen;
    const sent = this.#sent;
    const seen = this.#seen;
    this.#seen = new Map();
    this.#sent = new Map();
    this.#pending = new Map();
    this.#lastSeen = new Map();
    this.#writing = cursors;
    this.#lastSeenWriting = lastSeen;
    try {
      await Promise.all([
        this.#saveInParts([...cursors.values()]),
        this.store.devices.saveSent([...sent.values()]),
        this.store.users.saveLastSeen(lastSeen),
        this.store.devices.saveSeen([...seen.values()]),
      ]);
      this.#noteWritten(cursors.values());
    } catch (error) {
      this.logger.error({ err: error, cursors: cursors.size }, 'cursors could not be written, they stay in memory');
      // A newer cursor or last-seen time under the same key wins; of the times of sending the first counts.
      for (const [key, cursor] of cursors) if (!this.#pending.has(key)) this.#pending.set(key, cursor);
      for (const [userId, time] of lastSeen) if (!this.#lastSeen.has(userId)) this.#lastSeen.set(userId, time);
      for (const [key, sending] of sent) this.#sent.set(key, sending);
      for (const [key, one] of seen) if (!this.#seen.has(key)) this.#seen.set(key, one);
    } finally {
      this.#writing = new Map();
      this.#lastSeenWriting = new Map();
    }
  }

  #noteWritten(cursors: Iterable<Cursor>): void {
    if (this.#opening.size === 0) return;
    for (const cursor of cursors) this.#opening.get(deviceKeyOf(cursor))?.written.push(cursor);
  }
}

/** A device that is being opened, and by how many callers. */
interface Opening {
  count: number;
  readonly written: Cursor[];
}

function raise(positions: Map<string, Position>, cursor: Cursor | undefined): void {
  if (cursor === undefined) return;
  const position = positions.get(cursor.topic);
  if (position !== undefined && cursor.seq > position.seq)
    positions.set(cursor.topic, { ...position, seq: cursor.seq });
}

/** No name contains a control character, so the parts cannot run into each other. */
function keyOf({ userId, device, topic }: Omit<Cursor, 'seq' | 'at'>): string {
  return `${deviceKeyOf({ userId, device })}\u0000${topic}`;
}

function deviceKeyOf({ userId, device }: Pick<Cursor, 'userId' | 'device'>): string {
  return `${userId}\u0000${device}`;
}
