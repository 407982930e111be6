/**
 * The lobby: who is online, told to who watches it. A user is online while any connection is, and stays so for a
 * grace after the last one, so that a reconnect is silent. Joins and leaves are gathered and told together: a watcher
 * gets at most two frames per interval however many people come and go.
 */
import type { Balance, Lender } from '../utils/balance';
import { type Clock, type Timer, toIsoTime } from '../utils/clock';
import { type Connection, writeToAll } from './connections';

const FRAME_INTERVAL_MS = 500;

/** Somebody came or went. */
interface Change {
  readonly userId: string;
  readonly isOnline: boolean;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export class Presence implements Lender {
  readonly #online = new Set<string>();
  /** Users without a connection who are still shown, when their last one ended, and since when by the steady time. */
  readonly #leaving = new Map<string, { readonly at: number; readonly since: number }>();
  /** What has happened since the last frames. */
  #changes: Change[] = [];
  readonly #watchers = new Set<Connection>();
  /** Who began to watch since the last frames: their list already shows that many of the changes. */
  readonly #newcomers = new Map<Connection, number>();
  #timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly graceMs: number,
  ) {}

  open(): void {
    this.#timer = this.clock.every(FRAME_INTERVAL_MS, () => this.tell());
  }

  close(): void {
    this.#timer?.cancel();
    this.#online.clear();
    this.#leaving.clear();
    this.#changes = [];
  }

  get balance(): Balance {
    return {
      onlineUsers: this.#online.size - this.#leaving.size,
      presenceGraces: this.#leaving.size,
      presenceChanges: this.#changes.length,
      lobbyWatchers: this.#watchers.size + this.#newcomers.size,
    };
  }

  /** A connection of the user has begun. */
  arrived(userId: string): void {
    this.#leaving.delete(userId);
    if (this.#online.has(userId)) return;
    this.#online.add(userId);
    this.#changes.push({ userId, isOnline: true, at: this.clock.now() });
  }

  /** The user's last connection has ended, at `milliseconds` since the epoch. */
  departed(userId: string, milliseconds = this.clock.now()): void {
    if (this.#online.has(userId)) this.#leaving.set(userId, { at: milliseconds, since: this.clock.steady() });
  }

  /** The user has logged out: no grace. */
  loggedOut(userId: string): void {
    if (this.#leaving.has(userId)) this.#remove(userId, this.clock.now());
  }

  /** Lets a connection watch. @returns who is online now. */
  watch(connection: Connection): { users: string[]; count: number } {
    this.#watchers.delete(connection);
    // Its turn may come after its end: nobody would take it off the list any more.
    if (connection.isOpen) this.#newcomers.set(connection, this.#changes.length);
    const users = [...this.#online];
    return { users, count: users.length };
  }

  unwatch(connection: Connection): void {
    this.#watchers.delete(connection);
    this.#newcomers.delete(connection);
  }

  /** Ends the graces that are over, and tells the watchers what has changed. */
  tell(): void {
    const now = this.clock.steady();
    for (const [userId, { at, since }] of this.#leaving) if (now - since >= this.graceMs) this.#remove(userId, at);
    const changes = this.#changes;
    this.#changes = [];
    if (changes.length > 0) {
      this.#tellAll(this.#watchers, changes);
      for (const [connection, seen] of this.#newcomers) this.#tellAll([connection], changes.slice(seen));
    }
    for (const connection of this.#newcomers.keys()) this.#watchers.add(connection);
    this.#newcomers.clear();
  }

  #remove(userId: string, at: number): void {
    this.#leaving.delete(userId);
    this.#online.delete(userId);
    this.#changes.push({ userId, isOnline: false, at });
  }

  /** Tells what is left of the changes: who came and went again between two frames has not moved. */
  #tellAll(watchers: Iterable<Connection>, changes: readonly Change[]): void {
    const wasOnline = new Map<string, boolean>();
    const leftAt = new Map<string, number>();
    for (const { userId, isOnline, at } of changes) {
      if (!wasOnline.has(userId)) wasOnline.set(userId, !isOnline);
      leftAt.set(userId, at);
    }
    const moved = [...wasOnline.keys()].filter((userId) => wasOnline.get(userId) !== this.#online.has(userId));
    const joined = moved.filter((userId) => this.#online.has(userId));
    const left = moved.filter((userId) => !this.#online.has(userId));
    emit(watchers, 'presence:join', describe(joined));
    emit(watchers, 'presence:leave', describeLeaving(left, leftAt));
  }
}

function emit(watchers: Iterable<Connection>, event: string, payload: object | undefined): void {
  if (payload !== undefined) writeToAll(watchers, (transport) => transport.encodeEvent(event, payload));
}

/** One user by name, several as a list. */
function describe(users: readonly string[]): { userId: string } | { users: readonly string[] } | undefined {
  const [first] = users;
  if (first === undefined) return undefined;
  return users.length === 1 ? { userId: first } : { users };
}

/** `lastSeen` of several is that of the last one to leave. */
function describeLeaving(left: readonly string[], leftAt: ReadonlyMap<string, number>): object | undefined {
  const users = describe(left);
  if (users === undefined) return undefined;
  const lastSeen = left.reduce((latest, userId) => Math.max(latest, leftAt.get(userId) ?? 0), 0);
  return { ...users, lastSeen: toIsoTime(lastSeen) };
}
