/**
 * Presence: watchers receive who is online. A user is online while any of their connections is, and for a grace period
 * after the last one, so that a reconnect is silent. Arrivals and departures are sent together: a watcher receives at
 * most two frames per interval, however many people come and go.
 */
import type { Balance, Lender } from '../../utils/balance';
import { type Clock, type Timer, toIsoTime } from '../../utils/clock';
import { type Connection, writeToAll } from '../delivery/connections';
import { PresenceSnapshot } from './presence-snapshot';

const FRAME_INTERVAL_MS = 500;
/** Beyond this many users, watchers that arrive between two frames share the list that was made for the first. */
const MAX_FRESH_USERS = 1_000;

/** A user came online or went offline. */
interface Change {
  readonly userId: string;
  readonly isOnline: boolean;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export class Presence implements Lender {
  readonly #online = new Set<string>();
  /** Users in their grace period: when their last connection ended, and since when by the steady time. */
  readonly #leaving = new Map<string, { readonly at: number; readonly since: number }>();
  /** Changes since the last frames, and older ones that a watcher whose list is being written does not know. */
  #changes: Change[] = [];
  /** How many changes came before these, and how many the watchers know. */
  #forgotten = 0;
  #sent = 0;
  readonly #watchers = new Set<Connection>();
  /** Watchers whose list is being written, or was since the last frames; and how many changes their list contains. */
  readonly #entering = new Map<Connection, PresenceSnapshot>();
  readonly #newcomers = new Map<Connection, number>();
  #snapshot: PresenceSnapshot | undefined;
  #timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly graceMs: number,
  ) {}

  open(): void {
    this.#timer = this.clock.every(FRAME_INTERVAL_MS, () => this.sendChanges());
  }

  close(): void {
    this.#timer?.cancel();
    this.#online.clear();
    this.#leaving.clear();
    this.#changes = [];
    this.#entering.clear();
    this.#snapshot = undefined;
  }

  get balance(): Balance {
    return {
      onlineUsers: this.#online.size - this.#leaving.size,
      presenceGraces: this.#leaving.size,
      presenceChanges: this.#changes.length,
      lobbyWatchers: this.#watchers.size + this.#newcomers.size + this.#entering.size,
    };
  }

  /** A connection of the user has opened. */
  arrived(userId: string): void {
    this.#leaving.delete(userId);
    if (this.#online.has(userId)) return;
    this.#online.add(userId);
    this.#note({ userId, isOnline: true, at: this.clock.now() });
  }

  /** The user's last connection has ended, at `milliseconds` since the epoch. */
  departed(userId: string, milliseconds = this.clock.now()): void {
    if (this.#online.has(userId)) this.#leaving.set(userId, { at: milliseconds, since: this.clock.steady() });
  }

  /** The user has logged out: no grace period. */
  loggedOut(userId: string): void {
    if (this.#leaving.has(userId)) this.#remove(userId, this.clock.now());
  }

  /**
   * Sends a connection the list of online users, and lets it watch. Each part of the list waits until what was written
   * before it has left: however long it is, a client that reads is not cut. Resolves when it was written. @returns how
   * many users are online.
   */
  async watch(connection: Connection): Promise<number> {
    this.#snapshot ??= new PresenceSnapshot(this.#online, this.#forgotten + this.#changes.length);
    const snapshot = this.#snapshot;
    this.unwatch(connection);
    this.#entering.set(connection, snapshot);
    for (const encode of snapshot.parts) {
      if (connection.unsentBytes > 0) await connection.drained();
      if (!this.#isEntering(connection, snapshot)) return snapshot.count;
      writeToAll([connection], encode);
    }
    // Writing may have ended the connection.
    if (!this.#isEntering(connection, snapshot)) return snapshot.count;
    this.#entering.delete(connection);
    this.#newcomers.set(connection, snapshot.seen);
    if (connection.unsentBytes > 0) await connection.drained();
    return snapshot.count;
  }

  /** Its turn may come after its end, and nothing would take it off the list then. */
  #isEntering(connection: Connection, snapshot: PresenceSnapshot): boolean {
    if (!connection.isOpen) this.unwatch(connection);
    return this.#entering.get(connection) === snapshot;
  }

  unwatch(connection: Connection): void {
    this.#watchers.delete(connection);
    this.#newcomers.delete(connection);
    this.#entering.delete(connection);
  }

  /** Ends grace periods that have elapsed, and sends the watchers what has changed. */
  sendChanges(): void {
    const now = this.clock.steady();
    for (const [userId, { at, since }] of this.#leaving) if (now - since >= this.graceMs) this.#remove(userId, at);
    this.#sendSince(this.#sent, this.#watchers);
    for (const [seen, newcomers] of bySeen(this.#newcomers)) this.#sendSince(seen, newcomers);
    for (const connection of this.#newcomers.keys()) this.#watchers.add(connection);
    this.#newcomers.clear();
    this.#forget();
  }

  #sendSince(seen: number, watchers: Iterable<Connection>): void {
    const changes = this.#changes.slice(seen - this.#forgotten);
    if (changes.length > 0) this.#sendAll(watchers, changes);
  }

  /** Forgets the changes that all watchers know. */
  #forget(): void {
    const end = this.#forgotten + this.#changes.length;
    if (end > this.#sent) this.#snapshot = undefined;
    this.#sent = end;
    let known = end;
    for (const { seen } of this.#entering.values()) known = Math.min(known, seen);
    this.#changes.splice(0, known - this.#forgotten);
    this.#forgotten = known;
  }

  #remove(userId: string, at: number): void {
    this.#leaving.delete(userId);
    this.#online.delete(userId);
    this.#note({ userId, isOnline: false, at });
  }

  #note(change: Change): void {
    this.#changes.push(change);
    if (this.#online.size <= MAX_FRESH_USERS) this.#snapshot = undefined;
  }

  /** Sends the net changes: a user who came and went between two frames is not among them. */
  #sendAll(watchers: Iterable<Connection>, changes: readonly Change[]): void {
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

/** Watchers that know the same changes receive the same frames. */
function bySeen(newcomers: ReadonlyMap<Connection, number>): ReadonlyMap<number, Connection[]> {
  const groups = new Map<number, Connection[]>();
  for (const [connection, seen] of newcomers) {
    const group = groups.get(seen);
    if (group === undefined) groups.set(seen, [connection]);
    else group.push(connection);
  }
  return groups;
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

/** `lastSeen` of several users is that of the last one to leave. */
function describeLeaving(left: readonly string[], leftAt: ReadonlyMap<string, number>): object | undefined {
  const users = describe(left);
  if (users === undefined) return undefined;
  const lastSeen = left.reduce((latest, userId) => Math.max(latest, leftAt.get(userId) ?? 0), 0);
  return { ...users, lastSeen: toIsoTime(lastSeen) };
}
