/**
 * The lobby: who is online, told to who watches it. A user is online while any connection is, and stays so for a
 * grace after the last one, so that a reconnect is silent. Joins and leaves are gathered and told together: a watcher
 * gets at most two frames per interval however many people come and go.
 */
import { type Clock, toIsoTime } from '../utils/clock';
import { type Connection, writeToAll } from './connections';

const FRAME_INTERVAL_MS = 500;

export class Presence {
  readonly #online = new Set<string>();
  /** Users without a connection who are still shown, and when their last one ended. */
  readonly #leaving = new Map<string, number>();
  readonly #watchers = new Set<Connection>();
  #joined = new Set<string>();
  /** Users who were shown to the watchers as online and are so no longer, with the time of their leaving. */
  #left = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly graceMs: number,
  ) {}

  open(): void {
    this.#timer = setInterval(() => this.tell(), FRAME_INTERVAL_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** A connection of the user has begun. */
  arrived(userId: string): void {
    this.#leaving.delete(userId);
    if (this.#online.has(userId)) return;
    this.#online.add(userId);
    // Watchers were not told yet that the user had gone: for them nothing has happened.
    if (!this.#left.delete(userId)) this.#joined.add(userId);
  }

  /** The user's last connection has ended. */
  departed(userId: string): void {
    if (this.#online.has(userId)) this.#leaving.set(userId, this.clock.now());
  }

  /** The user has logged out: no grace. */
  loggedOut(userId: string): void {
    if (this.#leaving.delete(userId)) this.#remove(userId, this.clock.now());
  }

  /** Lets a connection watch. @returns who is online now. */
  watch(connection: Connection): { users: string[]; count: number } {
    // Changes up to now are in the list; the others are told first, so that nobody hears them twice.
    this.tell();
    this.#watchers.add(connection);
    const users = [...this.#online];
    return { users, count: users.length };
  }

  unwatch(connection: Connection): void {
    this.#watchers.delete(connection);
  }

  /** Ends the graces that are over, and tells the watchers what has changed. */
  tell(): void {
    const now = this.clock.now();
    for (const [userId, since] of this.#leaving) {
      if (now - since < this.graceMs) continue;
      this.#leaving.delete(userId);
      this.#remove(userId, since);
    }
    const joined = this.#joined;
    const left = this.#left;
    this.#joined = new Set();
    this.#left = new Map();
    if (this.#watchers.size === 0) return;
    this.#emit('presence:join', describe([...joined]));
    this.#emit('presence:leave', describeLeaving(left));
  }

  #remove(userId: string, since: number): void {
    this.#online.delete(userId);
    if (!this.#joined.delete(userId)) this.#left.set(userId, since);
  }

  #emit(event: string, payload: object | undefined): void {
    if (payload !== undefined) writeToAll(this.#watchers, (transport) => transport.encodeEvent(event, payload));
  }
}

/** One user by name, several as a list. */
function describe(users: readonly string[]): { userId: string } | { users: readonly string[] } | undefined {
  const [first] = users;
  if (first === undefined) return undefined;
  return users.length === 1 ? { userId: first } : { users };
}

/** `lastSeen` of several is that of the last one to leave. */
function describeLeaving(left: ReadonlyMap<string, number>): object | undefined {
  const users = describe([...left.keys()]);
  return users === undefined ? undefined : { ...users, lastSeen: toIsoTime(Math.max(...left.values())) };
}
