/** The logs: one for each topic, appended to and read. */
import type { Message } from '../../../utils/protocol';
import type { Span } from '../rules/slot-row';

/** JSON of the messages of one page of a list; one message alone may have more. */
export const MAX_PAGE_BYTES = 256 * 1024;

/** A message that has no place in a log yet. */
export interface Draft extends Omit<Message, 'seq' | 'ref' | 'reason'> {
  /** Was the id made by the client? Then the pair (from, id) makes the append idempotent. */
  readonly isClientId: boolean;
}

export type Appended =
  /** The message is on disk. `entries`: all that the append has added to the log, in order; the message is the last. */
  | { readonly outcome: 'stored'; readonly message: Message; readonly entries: readonly Message[] }
  /**
   * The same sender had said the same under this id before; `message` is that one, as it is now: it may have been
   * changed since, or be gone, with `data` null.
   */
  | { readonly outcome: 'repeated'; readonly message: Message }
  /** The same sender had used this id for other content, which stays as it is. */
  | { readonly outcome: 'conflict' };

/** For whom a log is read: without what is not for this user. */
export interface Reader {
  readonly userId: string;
  /** Up to this `seq` only what the user has not read, and no entries about other messages. */
  readonly unreadUpTo?: number;
  /** Places that are not for the user, see Position. */
  readonly gaps?: readonly Span[] | undefined;
}

export interface ReadOptions {
  /** Only messages with a greater `seq`. */
  readonly after: number;
  /** At most so many messages. */
  readonly limit: number;
  /** Stop before this many bytes of JSON are exceeded; the first message is always given. No bound when absent. */
  readonly maxBytes?: number;
  /** Everything when absent. */
  readonly reader?: Reader;
}

export interface Page {
  /** In the order of `seq`, which may skip: what is expired, retracted or replaced is not there. */
  readonly messages: readonly Message[];
  /**
   * Everything up to this `seq` has been looked at: read on from here. Equals `head` when nothing is left. A page
   * may be empty without being the last one.
   */
  readonly position: number;
  /** Last `seq` of the topic at the moment of reading; 0 for a topic without messages. */
  readonly head: number;
  /** Messages up to this `seq` have been removed by retention or erasure; 0 when none were. */
  readonly prunedUpTo: number;
  /** Messages up to this `seq` have been removed because the user was erased; 0 when none were. */
  readonly erasedUpTo: number;
}

export interface HistoryOptions {
  /** Only messages with a greater `seq`. */
  readonly after?: number | undefined;
  /** Only messages with a lesser `seq`. */
  readonly before?: number | undefined;
  readonly limit: number;
  /** Without what is not for this user. */
  readonly userId?: string | undefined;
}

export interface HistoryPage {
  /** In the order of `seq`. */
  readonly messages: readonly Message[];
  /** Where to read on when the page ended early, as `after` or else as `before`. */
  readonly next: number | undefined;
}

/** The position of a message. */
export interface LogPosition {
  readonly topic: string;
  readonly seq: number;
}

/** A message that went because its time was over. */
export interface Expired {
  readonly topic: string;
  readonly seq: number;
  readonly id: string;
  readonly exceptUserId?: string;
}

export interface LogStore {
  /**
   * Appends a message at the next `seq` of its topic: 1, 2, 3, … without gap, never reused, also after removal.
   * The promise resolves after the message has been flushed to disk, so a power failure afterwards loses nothing.
   * Appends to one topic get their `seq` in the order of the calls, and their promises resolve in that order.
   * Calls of one turn of the event loop share a flush. With a `collapseKey`, the message before it with the same key
   * in the topic is replaced when its owner has neither read nor archived it: an entry `message:removed` comes first.
   */
  append(draft: Draft): Promise<Appended>;

  /** Reads forward. Sees every append whose promise has resolved, and never a `seq` whose predecessor may still come. */
  read(topic: string, options: ReadOptions): Promise<Page>;

  /**
   * Reads messages for a list: with `after` the oldest `limit` messages after it, otherwise the newest `limit`
   * (before `before`). Entries about other messages are left out. A page ends early at MAX_PAGE_BYTES, or when much
   * has been looked at: it may be short, and empty, without being the last one.
   */
  history(topic: string, options: HistoryOptions): Promise<HistoryPage>;

  /** Last `seq` of a topic; 0 for a topic without messages. */
  head(topic: string): Promise<number>;

  /**
   * The messages of this id, one for each sender who used it, or of one sender; without those that are gone. Of ids that
   * more than 1,000 senders have used not all are found, unless the sender is named.
   */
  find(id: string, from?: string): Promise<readonly Message[]>;

  /**
   * Gives a message other `data` at its place, and appends an entry `message:updated` that tells of it. The same
   * data changes nothing. @returns what was appended; `undefined` when the message is gone.
   */
  update(place: LogPosition, data: unknown, by: string): Promise<readonly Message[] | undefined>;

  /**
   * Takes a message out of its log for ever, and appends an entry `message:removed`. Its id stays taken when the
   * client made it. @returns what was appended; `undefined` when the message is gone.
   */
  retract(place: LogPosition, by: string): Promise<readonly Message[] | undefined>;

  /**
   * Removes what has expired, at most `limit` entries, for some milliseconds. @returns the messages among it, and how
   * many entries were taken: 0 means that nothing is left to do.
   */
  expire(limit: number): Promise<{ readonly taken: number; readonly expired: readonly Expired[] }>;

  /**
   * Removes messages older than `before` (milliseconds since the epoch), at most `limit` of them, from the
   * beginning of each topic up to the first younger one. Appends go on meanwhile.
   * @returns how many were removed; fewer than `limit` means that nothing is left to remove.
   */
  prune(before: number, limit: number): Promise<number>;
}
