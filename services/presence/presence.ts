/**
 * The lobby: who is online, told to who watches it. A user is online while any connection is, and stays so for a
 * grace after the last one, so that a reconnect is silent. Joins and leaves are gathered and told together: a watcher
 * gets at most two frames per interval however many people come and go.
 */
import type { Balance, Lender } from '../../utils/balance';
import { type Clock, type Timer, toIsoTime } from '../../utils/clock';
import { type Connection, writeToAll } from '../sockets/connections';
import { LobbySnapshot } from './lobby-snapshot';

const FRAME_INTERVAL_MS = 500;
/** Beyond so many users the list that was made for one newcomer is good enough for others, until the next frames. */
const MAX_FRESH_USERS = 1_000;

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
  /** What has happened since the last frames, and before that what somebody who is being shown the lobby does not know. */
  #changes: Change[] = [];
  /** How many changes there were before these, and how many the watchers know. */
  #forgotten = 0;
  #told = 0;
  readonly #watchers = new Set<Connection>();
  /** Who is being shown the lobby, and who has been since the last frames: their list shows that many changes. */
  readonly #entering = new Map<Connection, LobbySnapshot>();
  readonly #newcomers = new Map<Connection, number>();
  #snapshot: LobbySnapshot | undefined;
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

  /** A connection of the user has begun. */
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

  /** The user has logged out: no grace. */
  loggedOut(userId: string): void {
    if (this.#leaving.has(userId)) this.#remove(userId, this.clock.now());
  }

  /**
   * Shows a connection who is online, and lets it watch. The list waits for what was written before it, part by part:
   * however long it is, nobody is cut for being slow who reads. Resolves when it is on its way. @returns how many are online.
   */
  async watch(connection: Connection): Promise<number> {
    this.#snapshot ??= new LobbySnapshot(this.#online, this.#forgotten + this.#changes.length);
    const snapshot = this.#snapshot;
    this.unwatch(connection);
    this.#entering.set(connection, snapshot);
    for (const encode of snapshot.parts) {
      if (connection.unsentBytes > 0) await connection.drained();
      if (!this.#isEntering(connection, snapshot)) return snapshot.count;
      writeToAll([connection], encode);
    }
    // Writing may have ended it.
    if (!this.#isEntering(connection, snapshot)) return snapshot.count;
    this.#entering.delete(connection);
    this.#newcomers.set(connection, snapshot.seen);
    if (connection.unsentBytes > 0) await connection.drained();
    return snapshot.count;
  }

  /** Its turn may come after its end: nobody would take it off the list any more. */
  #isEntering(connection: Connection, snapshot: LobbySnapshot): boolean {
    if (!connection.isOpen) this.unwatch(connection);
    return this.#entering.get(connection) === snapshot;
  }

  unwatch(connection: Connection): void {
    this.#watchers.delete(connection);
    this.#newcomers.delete(connection);
    this.#entering.delete(connection);
  }

  /** Ends the graces that are over, and tells the watchers what has changed. */
  tell(): void {
    const now = this.clock.steady();
    for (const [userId, { at, since }] of this.#leaving) if (now - since >= this.graceMs) this.#remove(userId, at);
    this.#tellSince(this.#told, this.#watchers);
    for (const [seen, newcomers] of bySeen(this.#newcomers)) this.#tellSince(seen, newcomers);
    for (const connection of this.#newcomers.keys()) this.#watchers.add(connection);
    this.#newcomers.clear();
    this.#forget();
  }

  #tellSince(seen: number, watchers: Iterable<Connection>): void {
    const changes = this.#changes.slice(seen - this.#forgotten);
    if (changes.length > 0) this.#tellAll(watchers, changes);
  }

  /** Gives up the changes that everybody knows. */
  #forget(): void {
    const end = this.#forgotten + this.#changes.length;
    if (end > this.#told) this.#snapshot = undefined;
    this.#told = end;
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

/** Who has seen the same is told the same. */
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

/** `lastSeen` of several is that of the last one to leave. */
function describeLeaving(left: readonly string[], leftAt: ReadonlyMap<string, number>): object | undefined {
  const users = describe(left);
  if (users === undefined) return undefined;
  const lastSeen = left.reduce((latest, userId) => Math.max(latest, leftAt.get(userId) ?? 0), 0);
  return { ...users, lastSeen: toIsoTime(lastSeen) };
}
