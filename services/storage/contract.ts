/**
 * The storage contract. The comments are its specification: tests/contracts/store.contract.ts checks each
 * sentence on every engine. All methods may be called at any time between open and close, from any number of
 * callers at once. A method that fails throws StoreError and has changed nothing.
 */
import type { Message } from '../../utils/protocol';

/** A message that has no place in a log yet. */
export interface Draft {
  readonly id: string;
  /** Was the id made by the client? Then the pair (from, id) makes the append idempotent. */
  readonly isClientId: boolean;
  readonly topic: string;
  readonly type: string;
  readonly data: unknown;
  readonly timestamp: string;
  readonly from: string;
  readonly event?: string;
}

export type Appended =
  /** The message is on disk. */
  | { readonly outcome: 'stored'; readonly message: Message }
  /** The same sender had stored the same content under this id before; `message` is that one. */
  | { readonly outcome: 'repeated'; readonly message: Message }
  /** The same sender had used this id for other content, which stays as it is. */
  | { readonly outcome: 'conflict' };

export interface ReadOptions {
  /** Only messages with a greater `seq`. */
  readonly after: number;
  /** At most so many messages. */
  readonly limit: number;
  /** Stop before this many bytes of JSON are exceeded; the first message is always given. No bound when absent. */
  readonly maxBytes?: number;
}

export interface Page {
  /** In the order of `seq`, which may skip. */
  readonly messages: readonly Message[];
  /** Everything up to this `seq` has been looked at: read on from here. Equals `head` when nothing is left. */
  readonly position: number;
  /** Last `seq` of the topic at the moment of reading; 0 for a topic without messages. */
  readonly head: number;
  /** Messages up to this `seq` have been removed by retention; 0 when none were. */
  readonly prunedUpTo: number;
}

export interface HistoryOptions {
  /** Only messages with a greater `seq`. */
  readonly after?: number | undefined;
  /** Only messages with a lesser `seq`. */
  readonly before?: number | undefined;
  readonly limit: number;
}

/** Where one device stands in one topic: the highest `seq` that it acknowledged. */
export interface Cursor {
  readonly userId: string;
  readonly device: string;
  readonly topic: string;
  readonly seq: number;
}

export interface User {
  /** Milliseconds since the epoch at which the last connection of the user ended; absent before the first end. */
  readonly lastSeenAt?: number;
  /** Head of the broadcast topic when the user first connected: earlier broadcasts are not the user's. */
  readonly broadcastStart: number;
}

/** A named topic. */
export interface Topic {
  readonly name: string;
  readonly isPrivate: boolean;
  /** The user who created it. */
  readonly owner: string;
  /** ISO 8601 UTC. */
  readonly createdAt: string;
}

export interface Member {
  readonly userId: string;
  /** ISO 8601 UTC. */
  readonly joinedAt: string;
}

export type Joined =
  /** A member from now on, from `start`: the topic's head at this moment. */
  | { readonly outcome: 'joined'; readonly start: number }
  /** A member already; nothing has changed. */
  | { readonly outcome: 'member' }
  | { readonly outcome: 'no_topic' }
  /** The user is in as many topics as allowed. */
  | { readonly outcome: 'too_many' };

export interface Store {
  /**
   * Appends a message at the next `seq` of its topic: 1, 2, 3, … without gap, never reused, also after removal.
   * The promise resolves after the message has been flushed to disk, so a power failure afterwards loses nothing.
   * Appends to one topic get their `seq` in the order of the calls, and their promises resolve in that order.
   */
  append(draft: Draft): Promise<Appended>;

  /** Reads forward. Sees every append whose promise has resolved, and never a `seq` whose predecessor may still come. */
  read(topic: string, options: ReadOptions): Promise<Page>;

  /**
   * Reads for a list: with `after` the oldest `limit` messages behind it, otherwise the newest `limit`
   * (before `before`). The answer is in the order of `seq` either way.
   */
  history(topic: string, options: HistoryOptions): Promise<readonly Message[]>;

  /** Last `seq` of a topic; 0 for a topic without messages. */
  head(topic: string): Promise<number>;

  /**
   * The cursors of a device, by topic; a device seen for the first time is entered, atomically:
   * the first device of a user starts the personal topic at 0, further ones at most 100 messages before its head.
   * The broadcast topic starts at its head of when the user was first seen, for further devices at most
   * 100 messages before its head. Named topics start where the user joined, for further devices at most
   * 100 messages before their head.
   */
  openDevice(userId: string, device: string): Promise<ReadonlyMap<string, number>>;

  /** Moves cursors forward; one that would go back is left where it is. Cursors of unknown devices are ignored. */
  saveCursors(cursors: readonly Cursor[]): Promise<void>;

  /** What is known of a user; `undefined` for one who never connected. */
  user(userId: string): Promise<User | undefined>;

  /** Records when the last connections of users ended, in milliseconds since the epoch. Unknown users are ignored. */
  saveLastSeen(times: ReadonlyMap<string, number>): Promise<void>;

  /**
   * Creates a topic whose owner is its first member. A name that was used before continues its `seq`, and shows
   * nothing of what was said then.
   */
  createTopic(topic: Topic, maxTopics: number): Promise<Joined | { readonly outcome: 'taken' }>;

  topic(name: string): Promise<Topic | undefined>;

  /** The topics that a user is in, and all public ones, by name. */
  visibleTopics(userId: string): Promise<readonly Topic[]>;

  /** Removes a topic with its memberships and their cursors. @returns its members; `undefined` for an unknown one. */
  deleteTopic(name: string): Promise<readonly string[] | undefined>;

  /** Makes a user a member, and sets all cursors of the user in this topic to its head. */
  addMember(name: string, member: Member, maxTopics: number): Promise<Joined>;

  /** Ends a membership; the cursors go with it. @returns false for who was none. */
  removeMember(name: string, userId: string): Promise<boolean>;

  isMember(name: string, userId: string): Promise<boolean>;

  /** The members of a topic, by user id. */
  members(name: string): Promise<readonly Member[]>;

  /**
   * Removes messages older than `before` (milliseconds since the epoch), at most `limit` of them, from the
   * beginning of each topic up to the first younger one. Appends go on meanwhile.
   * @returns how many were removed; fewer than `limit` means that nothing is left to remove.
   */
  prune(before: number, limit: number): Promise<number>;

  /** Resolves when a small write has reached the disk; throws StoreError when the store cannot be written. */
  probe(): Promise<void>;

  /** Waits for what is under way and closes. Later calls throw StoreError. Closing twice does nothing. */
  close(): Promise<void>;
}

/** How far back a further device of a user starts. */
export const FURTHER_DEVICE_MESSAGES = 100;

/** The store could not do what was asked; `isFull`: there is no space left. */
export class StoreError extends Error {
  readonly isFull: boolean;

  constructor(message: string, options: { isFull?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StoreError';
    this.isFull = options.isFull ?? false;
  }
}

/** The store cannot be opened: in use, damaged, or written by another version. The sentence is for the operator. */
export class StoreOpenError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'StoreOpenError';
  }
}
