import type { Counts, Message, MessageState, RequestedState } from '../../../utils/protocol';

/** Which messages of an inbox a change of state is for. */
export type Selection =
  | { readonly ids: readonly string[] }
  /** All of a topic up to a `seq`, or all of it; archived ones are skipped. */
  | { readonly topic: string; readonly upTo?: number | undefined }
  /** All of the inbox; archived ones are skipped. */
  | { readonly all: true };

export type StateChanged =
  /** `entries`: what was appended to the user's log of states; nothing when every message had the state already. */
  | { readonly outcome: 'changed'; readonly changed: number; readonly entries: readonly Message[] }
  /** Something that was named is not in the inbox of this user; nothing has changed. */
  | { readonly outcome: 'not_found'; readonly path: string }
  /** `upTo` is ahead of the topic, which stands at `head`; nothing has changed. */
  | { readonly outcome: 'ahead'; readonly head: number };

export interface InboxItem {
  readonly message: Message;
  readonly state: MessageState;
}

/** The counts of an inbox, and which entries they cover: enough to continue counting from later entries. */
export interface CountedInbox {
  readonly counts: Counts;
  /**
   * Last `seq` of each log of the inbox, including empty ones and the log of states. The counts cover everything that the
   * entries up to there report. What has happened since is covered or not, provided that a later entry reports it.
   */
  readonly heads: ReadonlyMap<string, number>;
  /** When one of the counted messages may expire next, in milliseconds since the epoch; never when absent. */
  readonly until: number | undefined;
}

/** Where the next page of a list begins. No item has to exist there. */
export interface InboxPosition {
  readonly order: number;
  readonly topic: string;
  readonly seq: number;
}

export interface InboxQuery {
  /** `unread` includes what is unseen; `any` includes what is archived; absent: everything that is not archived. */
  readonly state?: 'unread' | 'read' | 'archived' | 'any' | undefined;
  readonly type?: string | undefined;
  readonly topic?: string | undefined;
  readonly limit: number;
  readonly after?: InboxPosition | undefined;
}

export interface InboxPage {
  readonly items: readonly InboxItem[];
  /** Where the next page begins; `undefined` when nothing is left. A page may be short without being the last. */
  readonly next: InboxPosition | undefined;
}

/** The inbox of a user: the messages of the personal topic, and of `*` and named topics since the user is there. */
export interface InboxStore {
  /**
   * Newest first over all topics, within a topic in the order of `seq`. Going on at `next` neither loses nor repeats
   * what was there before, whatever is appended meanwhile. A page ends early as that of a history does.
   */
  list(userId: string, query: InboxQuery): Promise<InboxPage>;

  /**
   * Counts the inbox. One's own messages count as read. What changes while a large inbox is counted may be counted or
   * not. The cost does not grow with what is gone.
   */
  counts(userId: string): Promise<Counts>;

  /** The same, for callers that continue counting from the entries. */
  counted(userId: string): Promise<CountedInbox>;

  /**
   * Changes states, and appends an entry to the log of states when anything has changed: the state, and `ids`, or
   * `topic` and `upTo`, or `all` and `cursors`: up to where, in the topics in which something has changed. A large
   * selection may be changed in parts, each with an entry of its own. `seen` never lowers a state; `unread` takes read
   * and archived back, and leaves seen; one's own messages stay read.
   */
  changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged>;
}
