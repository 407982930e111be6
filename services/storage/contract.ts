/**
 * The storage contract. The comments are its specification: tests/contracts/*.contract.ts check each
 * sentence on every engine. All methods may be called at any time between open and close, from any number of
 * callers at once. A method that fails throws StoreError. Where the input was at fault it has changed nothing; otherwise
 * what was asked for may have been done, or half of it, and the same call once more ends it. "Now" is the time of the
 * clock that the store was opened with.
 */
import type { AuditAction, AuditOutcome } from '../../utils/audit';
import type { Counts, Message, MessageState, RequestedState } from '../../utils/protocol';
import type { Span } from './rules/slot-row';

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

/** Where a message stands. */
export interface Place {
  readonly topic: string;
  readonly seq: number;
}

/** A message that went because its time was over. */
export interface Expired {
  readonly topic: string;
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
  update(place: Place, data: unknown, by: string): Promise<readonly Message[] | undefined>;

  /**
   * Takes a message out of its log for ever, and appends an entry `message:removed`. Its id stays taken when the
   * client made it. @returns what was appended; `undefined` when the message is gone.
   */
  retract(place: Place, by: string): Promise<readonly Message[] | undefined>;

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

/** Where one device stands in one topic: the highest `seq` that it acknowledged. */
export interface Cursor {
  readonly userId: string;
  readonly device: string;
  readonly topic: string;
  readonly seq: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Where catch-up of a device begins in a topic. */
export interface Position {
  readonly seq: number;
  /** Up to there only what is unread is for the device: it was new when the topic stood here. 0: everything is. */
  readonly unreadUpTo: number;
  /** What lies after `seq` between leaving a topic and joining it again is for no device of the user. None when absent. */
  readonly gaps?: readonly Span[];
}

/** That messages were first written to a connection. */
export interface Sending {
  readonly topic: string;
  readonly from: number;
  readonly upTo: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface User {
  /** Milliseconds since the epoch at which the last connection of the user ended; absent before the first end. */
  readonly lastSeenAt?: number;
  /** Head of the broadcast topic when the user first connected: earlier broadcasts are not the user's. */
  readonly broadcastStart: number;
}

export interface Device {
  readonly device: string;
  /** Cursors by topic. */
  readonly cursors: ReadonlyMap<string, number>;
}

/** A part of a list whose entries have names, in the order of the store. */
export interface NamePage {
  /** Only what comes after this name. */
  readonly after?: string | undefined;
  /** At most so many. A page looks at a bounded number of rows, and may be short, or empty, without being the last. */
  readonly limit: number;
}

/** Where a device stands, by topic. */
export interface OpenedDevice extends ReadonlyMap<string, Position> {
  /** It was entered now, and was known before: what it had acknowledged is not known any more. */
  readonly wasForgotten: boolean;
}

/** How many devices a user may have. */
export interface DeviceLimit {
  readonly maxDevices: number;
  /** Devices of the user that are connected now: the others go first. */
  readonly connected: ReadonlySet<string>;
}

/** A device that is connected. */
export interface SeenDevice {
  readonly userId: string;
  readonly device: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface DeviceStore {
  /**
   * Where a device stands, by topic; a device seen for the first time is entered, atomically:
   * the first device of a user starts the personal topic at 0. A further one starts each topic before what is
   * unread, at most the last 100 of it, and gets of what was there only what is unread. The broadcast topic starts at
   * its head of when the user was first seen, named topics where the user joined, the log of states at its head.
   * Where entering it would make more devices than the limit, the one that has acknowledged longest ago is forgotten:
   * of those that are not connected, as long as there are any.
   */
  openDevice(userId: string, device: string, limit?: DeviceLimit): Promise<OpenedDevice>;

  /**
   * Moves cursors forward; one that would go back is left where it is. Cursors of unknown devices are ignored, and of
   * topics that the user is not in. What lies between is acknowledged at `at`, except for the shared device, whose
   * clients do not acknowledge.
   */
  saveCursors(cursors: readonly Cursor[]): Promise<void>;

  /** Records that devices are connected, to the day. Unknown ones are ignored. */
  saveSeen(devices: readonly SeenDevice[]): Promise<void>;

  /**
   * Forgets devices that were last seen before a time, at most `limit`: they are unknown from now on, and their cursors
   * are removed later. A name that was forgotten is known again as such, up to 100 of a user; beyond that every unknown
   * name of the user counts as forgotten. @returns how many; 0 when nothing is left to do.
   */
  forgetDevices(before: number, limit: number): Promise<number>;

  /** Records when messages were first written to anybody. Later times for the same message are ignored. */
  saveSent(sendings: readonly Sending[]): Promise<void>;

  /** What is known of a user; `undefined` for one who never connected. */
  user(userId: string): Promise<User | undefined>;

  /** The devices of a user, by name. */
  devices(userId: string, page: NamePage): Promise<DevicesPage>;

  /** Records when the last connections of users ended, in milliseconds since the epoch. Unknown users are ignored. */
  saveLastSeen(times: ReadonlyMap<string, number>): Promise<void>;
}

export interface DevicesPage {
  readonly devices: readonly Device[];
  /** After which name the next page begins; `undefined` when nothing is left. */
  readonly next: string | undefined;
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

/** Who is to be a member. */
export interface Joining extends Member {
  /** Has somebody else added the user? Such memberships are counted by themselves. */
  readonly isInvited?: boolean;
}

export interface Membership {
  readonly topic: string;
  /** ISO 8601 UTC. */
  readonly joinedAt: string;
}

/** A topic as somebody sees it. */
export interface VisibleTopic extends Topic {
  /** Is the user in it? */
  readonly isMember: boolean;
}

export interface TopicsPage {
  readonly topics: readonly VisibleTopic[];
  /** After which name the next page begins; `undefined` when nothing is left. */
  readonly next: string | undefined;
}

export interface MembersPage {
  readonly members: readonly Member[];
  readonly next: string | undefined;
}

export interface MembershipsPage {
  readonly memberships: readonly Membership[];
  readonly next: string | undefined;
}

/** What has become of a membership; without a user: of all that a topic had when it was deleted. */
export interface MembershipChange {
  readonly topic: string;
  readonly userId?: string;
  readonly isMember: boolean;
}

export type Joined =
  /** A member from now on, from `start`: the topic's head at this moment. */
  | { readonly outcome: 'joined'; readonly start: number }
  /** A member already; nothing has changed. */
  | { readonly outcome: 'member' }
  | { readonly outcome: 'no_topic' }
  /** The user is in as many topics as allowed. */
  | { readonly outcome: 'too_many' };

export interface TopicStore {
  /**
   * Creates a topic whose owner is its first member. A name that was used before continues its `seq`, and shows
   * nothing of what was said then.
   */
  createTopic(topic: Topic, maxTopics: number): Promise<Joined | { readonly outcome: 'taken' }>;

  topic(name: string): Promise<Topic | undefined>;

  /** The topics that a user is in, and all public ones, by name. */
  visibleTopics(userId: string, page: NamePage): Promise<TopicsPage>;

  /**
   * Removes a topic with its memberships by one small write: from then on nobody finds any of it, and its name is free.
   * The rows follow by `removeDeleted`. @returns how many members it had; `undefined` for an unknown one.
   */
  deleteTopic(name: string): Promise<number | undefined>;

  /**
   * Makes a user a member: on every device of the user the topic begins at its head. For who has been one before it goes
   * on where the device stood, without what was said in between; see gaps.ts for how much is remembered of who left.
   * `maxTopics`: how many topics the user may have been added to by others, or else have created and joined.
   */
  addMember(name: string, member: Joining, maxTopics: number): Promise<Joined>;

  /**
   * Ends a membership: the topic is in no list and no inbox of the user any more. Cursors and states stay, out of sight,
   * for when the user comes back. @returns false for who was none.
   */
  removeMember(name: string, userId: string): Promise<boolean>;

  isMember(name: string, userId: string): Promise<boolean>;

  /** The members of a topic, by user id. */
  members(name: string, page: NamePage): Promise<MembersPage>;

  /** The topics that a user is in, by name. */
  memberships(userId: string, page: NamePage): Promise<MembershipsPage>;
}

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

/** After which place a list goes on; there need not be an item. */
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
  inbox(userId: string, query: InboxQuery): Promise<InboxPage>;

  /**
   * Counts the inbox. One's own messages count as read. What changes while a large inbox is counted may be counted or
   * not. The cost does not grow with what is gone.
   */
  counts(userId: string): Promise<Counts>;

  /**
   * Changes states, and appends an entry to the log of states when anything has changed: the state, and `ids`, or
   * `topic` and `upTo`, or `all` and `cursors`: up to where, in the topics in which something has changed. A large
   * selection may be changed in parts, each with an entry of its own. `seen` never lowers a state; `unread` takes read
   * and archived back, and leaves seen; one's own messages stay read.
   */
  changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged>;
}

export interface Receipt {
  readonly userId: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface DeviceReceipt extends Receipt {
  readonly device: string;
}

export interface ReceiptPage {
  /** When it was first written to a connection, in milliseconds since the epoch. */
  readonly sentAt: number | undefined;
  /** By user id; each list has at most `limit` entries, unless one user alone has more devices. */
  readonly acknowledged: readonly DeviceReceipt[];
  readonly seen: readonly Receipt[];
  readonly read: readonly Receipt[];
  /** Distinct users, over all pages. */
  readonly totals: {
    readonly recipients: number;
    readonly acknowledged: number;
    readonly seen: number;
    readonly read: number;
  };
  /** The last user of this page; `undefined` when nothing is left. */
  readonly next: string | undefined;
}

export interface ReceiptStore {
  /**
   * Who has got a message and what they did with it: the owner of a personal topic; else everyone who was there when
   * it was sent, without its sender and `exceptUserId`.
   */
  receipts(message: Message, options: { limit: number; after?: string | undefined }): Promise<ReceiptPage>;
}

/** A message that waits for its time. */
export interface Scheduled {
  readonly draft: Draft;
  /** Milliseconds since the epoch. */
  readonly sendAt: number;
  /** Absent on what an earlier version kept. */
  readonly standing?: Standing;
  /** Was it scheduled by a service? Then it does not wait behind what people have scheduled. */
  readonly isOfService?: boolean;
}

/** By which token something was scheduled. */
export interface Standing {
  readonly scopes: readonly string[];
  /** Unix seconds. */
  readonly issuedAt?: number;
  /** `jti`. */
  readonly tokenId?: string;
}

/** May it be said now? `isMember`: is the sender in the named topic that it is for. Asked in the middle of a write. */
export type MayBeSent = (scheduled: Scheduled, isMember: boolean) => boolean;

export interface DueSent {
  /** The entries that were appended, in order. */
  readonly entries: readonly Message[];
  /** What may not be said any more. */
  readonly refused: readonly Scheduled[];
  /** 0: nothing is left to do. */
  readonly taken: number;
}

export type ScheduleOutcome =
  | { readonly outcome: 'stored' }
  /** The same sender had scheduled the same content under this id before, for `scheduledFor`; sent or not. */
  | { readonly outcome: 'repeated'; readonly scheduledFor: string }
  | { readonly outcome: 'conflict' }
  /** As many of this sender wait as may. */
  | { readonly outcome: 'too_many' };

export interface ScheduledPosition {
  readonly sendAt: number;
  readonly id: string;
  readonly from: string;
}

export interface ScheduleStore {
  /**
   * Keeps a message until its time; flushed to disk like an append. An id of a client is idempotent as there; what is
   * scheduled again stands on the later token. `maxWaiting`: of one sender, exceeded at most by what is asked for at
   * the same moment.
   */
  schedule(scheduled: Scheduled, maxWaiting?: number): Promise<ScheduleOutcome>;

  /**
   * Appends what is due, oldest first, at most `limit`; each exactly once, whatever is stopped in between. What services
   * have scheduled gets at least half of the places. One that replaces very many may take several calls. What has
   * expired meanwhile, or whose topic is gone, is dropped, and so is what may not be sent; everything may when nobody
   * is asked.
   */
  appendDue(limit: number, mayBeSent?: MayBeSent): Promise<DueSent>;

  /** What waits, by time; `from`: only what this user has scheduled. */
  scheduled(options: {
    from?: string | undefined;
    limit: number;
    after?: ScheduledPosition | undefined;
  }): Promise<readonly Scheduled[]>;

  /** Who has a message of this id waiting. */
  sendersOfScheduled(id: string): Promise<readonly string[]>;

  /** Cancels what a user has scheduled. @returns false when nothing of this id waits. */
  cancelScheduled(id: string, from: string): Promise<boolean>;
}

/** An answer that is kept under the key of a caller. */
export interface KeptAnswer {
  readonly status: number;
  readonly body: string;
}

export interface IdempotencyKey {
  readonly caller: string;
  readonly key: string;
}

export type Claim =
  /**
   * The caller is the only one who may carry it out, until `releaseKey`, or the process ends. `claimedAt`:
   * milliseconds since the epoch at which the key was first claimed; the same when a request that was not answered is
   * carried out again within 24 hours.
   */
  | { readonly outcome: 'claimed'; readonly claimedAt: number }
  | { readonly outcome: 'running' }
  | { readonly outcome: 'answered'; readonly answer: KeptAnswer }
  /** The key was used for another request. */
  | { readonly outcome: 'conflict' };

export interface KeyStore {
  /** Asks to carry out a request under a key; flushed to disk. `fingerprint`: the same for the same request only. */
  claimKey(key: IdempotencyKey, fingerprint: string): Promise<Claim>;

  /** Keeps the answer of what was claimed, flushed to disk, until 24 hours after the first claim. */
  keepAnswer(key: IdempotencyKey, fingerprint: string, answer: KeptAnswer): Promise<void>;

  /** Ends a claim. Where no answer was kept, the key is free for this request or another one. */
  releaseKey(key: IdempotencyKey): Promise<void>;

  /** Forgets keys that were claimed 24 hours ago, at most `limit`. @returns how many. */
  forgetAnswers(limit: number): Promise<number>;
}

/** What an erasure took. */
export interface Erased {
  readonly messages: number;
  readonly devices: number;
  readonly memberships: number;
  readonly scheduled: number;
}

export interface UserStore {
  /**
   * Removes a part of what deleted topics, forgotten devices and interrupted erasures have left, for some milliseconds.
   * What is under way is known after a crash, and several nodes may do it at once. @returns false when nothing is left.
   */
  removeDeleted(): Promise<boolean>;

  /**
   * Erases a user: the messages of the personal topic, states, memberships, devices, cursors, what the user has
   * scheduled or was to get, and kept answers. The personal topic keeps its `seq` and the mark of its erasure.
   * What the user has said to others is theirs and stays, tokens that were revoked stay so, and the audit
   * log keeps the name. What is begun is ended by `removeDeleted` when the process ends in between.
   */
  erase(userId: string): Promise<Erased>;
}

/** One batch that went to the disk, or to the server, together. */
export interface Flush {
  readonly writes: number;
  readonly durationMs: number;
  /** false: the store did not accept it. */
  readonly isDone: boolean;
}

export type FlushListener = (flush: Flush) => void;

/** Tokens of a user that are refused. Times are Unix seconds, as tokens have them. */
export type Revocation =
  /** All that were issued before this time, or do not say when. */
  | { readonly userId: string; readonly issuedBefore: number; readonly jti?: never }
  /** The one with this id. `expiresAt`: when it ends, once that is known. */
  | { readonly userId: string; readonly jti: string; readonly expiresAt?: number };

export interface RevocationStore {
  /**
   * Keeps a revocation; flushed to disk. `issuedBefore` of a user only grows, and so does `expiresAt` of a token: what
   * is less, or missing, changes nothing.
   */
  revoke(revocation: Revocation): Promise<void>;

  /** Revocations of all users in an order of the store, behind the one that is named; at most `limit`. */
  revocations(options: { limit: number; after?: Revocation | undefined }): Promise<readonly Revocation[]>;

  /** Forgets tokens that expired a day ago, at most `limit`. @returns how many; the others are kept for ever. */
  forgetRevocations(limit: number): Promise<number>;
}

/** Who did what, to how many. Never what was said. */
export interface AuditEntry {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The `sub` of the token. */
  readonly actor: string;
  readonly action: AuditAction;
  readonly outcome: AuditOutcome;
  /** Name of a topic. */
  readonly target?: string;
  readonly messageId?: string;
  readonly count?: number;
  /** The entry stands for so many requests. */
  readonly requests?: number;
  readonly requestId?: string;
}

/** Entries are in the order of time, and then of `id`. */
export type AuditPosition = Pick<AuditEntry, 'at' | 'id'>;

export interface AuditQuery {
  readonly actor?: string | undefined;
  readonly action?: AuditAction | undefined;
  /** Only entries of this time or later. */
  readonly since?: number | undefined;
  /** Only entries before this one. */
  readonly after?: AuditPosition | undefined;
  readonly limit: number;
}

export interface AuditStore {
  /**
   * Keeps entries; flushed to disk. An entry takes the place of one that has its `id`, `at`, `actor` and `action`. When
   * it fails, saving the same again is harmless.
   */
  saveAudit(entries: readonly AuditEntry[]): Promise<void>;

  /** Entries that fit the query, newest first, at most `limit`: fewer mean that nothing is left. */
  audit(query: AuditQuery): Promise<readonly AuditEntry[]>;

  /** Removes entries from before a time, oldest first, at most `limit`. @returns how many. */
  pruneAudit(before: number, limit: number): Promise<number>;
}

export interface Store
  extends LogStore,
    DeviceStore,
    TopicStore,
    InboxStore,
    ReceiptStore,
    ScheduleStore,
    KeyStore,
    UserStore,
    RevocationStore,
    AuditStore {
  /** Writes that wait for their batch, or are in it. */
  readonly queuedWrites: number;

  /** Keys that this process has claimed and neither answered nor given back. */
  readonly heldClaims: number;

  /** Resolves when a small write has reached the disk; throws StoreError when the store cannot be written. */
  probe(): Promise<void>;

  /** Waits for what is under way and closes. Later calls throw StoreError. Closing twice does nothing. */
  close(): Promise<void>;
}

/** A store that several nodes use at once. */
export interface SharedStore extends Store {
  /** Names what is stored here: the same for all nodes, and for no other store. */
  readonly identity: string;

  /**
   * The logs that got entries since a time, each with its last `seq`. `since`: milliseconds since the epoch, by the
   * clock of the node that appended. One cheap query, however many logs there are.
   */
  recentHeads(since: number): Promise<ReadonlyMap<string, number>>;

  /**
   * Memberships that have begun or ended since a time, as they are now, and topics that were deleted. `since` as of
   * `recentHeads`. A few cheap queries, however many memberships there are.
   */
  recentMemberships(since: number): Promise<readonly MembershipChange[]>;

  /**
   * Revocations that were kept, or grew, since a time. `since`: milliseconds since the epoch, by the clock of the node
   * that kept them. One cheap query, however many there are.
   */
  recentRevocations(since: number): Promise<readonly Revocation[]>;
}

export function isShared(store: Store): store is SharedStore {
  return 'recentHeads' in store;
}

/** JSON of the messages of one page of a list; one message alone may have more. */
export const MAX_PAGE_BYTES = 256 * 1024;

/** How far back a further device of a user starts: so many unread messages of each topic. */
export const FURTHER_DEVICE_MESSAGES = 100;

/** Forgotten devices of a user whose names are kept. */
export const MAX_FORGOTTEN_DEVICES = 100;

/** How exactly it is known when a device was last seen. */
export const SEEN_PRECISION_MS = 86_400_000;

/** How long answers are kept under an Idempotency-Key. */
export const ANSWER_LIFETIME_MS = 86_400_000;

/** How long a revoked token is known after its end: clocks may be set back. */
export const REVOCATION_MARGIN_MS = 86_400_000;

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
