/** The collections of the MongoDB engine, what their documents are, and the indexes that they need. */

import type { Collection, Db, IndexDescription, ObjectId } from 'mongodb';
import type { Clock } from '../../../utils/clock';
import type { Message, RemovalReason } from '../../../utils/protocol';
import type { AuditEntry, Cursor, KeptAnswer, Member, ScheduledPosition, Standing, Topic, User } from '../contract';
import type { Left } from '../rules/gaps';
import type { DeviceFacts } from '../rules/opened-device';
import type { Span } from '../rules/slot-row';
import type { Turns } from '../turns';

/** Grows with every change of the layout that older code cannot read. */
export const LAYOUT_VERSION = 2;

/** What this version opens beside its own: 1 has no documents of devices, see Removals. */
export const EARLIER_LAYOUT = 1;

/** Separates the parts of a key: no name contains a control character, and it sorts before all others. */
const SEPARATOR = '\u0001';
const BEHIND_SEPARATOR = '\u0002';

export function keyOf(...parts: readonly string[]): string {
  return parts.join(SEPARATOR);
}

/** All keys that begin with these parts. */
export function startingWith(...parts: readonly string[]): { $gte: string; $lt: string } {
  const start = parts.join(SEPARATOR);
  return { $gte: `${start}${SEPARATOR}`, $lt: `${start}${BEHIND_SEPARATOR}` };
}

export interface Keyed {
  readonly _id: string;
}

/** An entry about a change of this message that still has to be appended. */
export interface Owed {
  /** Distinguishes a write repeated by the driver from that of another node. */
  readonly nonce: ObjectId;
  readonly event: 'message:updated' | 'message:removed';
  readonly by: string;
  readonly reason?: RemovalReason | undefined;
  readonly exceptUserId?: string | undefined;
  /** `seq` of the entry about the change before. */
  readonly earlier?: number | undefined;
}

/** A place of a log. Only retention and erasure delete one; everything else leaves an empty place. */
export interface MessageDoc extends Omit<Message, 'data'> {
  readonly _id: ObjectId;
  /** JSON text: operators and dots in data are data. */
  readonly data: string;
  /** Unique in the topic: of sender and id where repeating must not store twice, otherwise `seq`. */
  readonly key: string | number;
  /** Never less than that of the place before: what lists are sorted by, see StoredMessage. */
  readonly order: number;
  /** What it is looked for by: see tagsOf. */
  readonly tags: readonly string[];
  /** Milliseconds since the epoch when expire() has something to do here. */
  readonly dueAt?: number | undefined;
  readonly isGone?: true;
  /** Out of sight, and without anything but its position: see KEPT_MS. */
  readonly isBare?: true;
  /** Counts changes of `data`. */
  readonly revision?: number;
  /** `seq` of the entry about the latest change of `data`. */
  readonly entry?: number;
  /** Fingerprint of what was sent under the id of a client, whatever became of the message. */
  readonly said?: string;
  readonly owes?: Owed;
  /** On an entry: `seq` of the message that it takes out of the log. */
  readonly removes?: number | undefined;
}

/**
 * Positions stay taken this long, also those that are out of sight: the unique index of topic and `seq` refuses whoever
 * remembers where a log ended, and not what has been added and removed since. So nobody has to look after an insert.
 */
export const KEPT_MS = 86_400_000;
/** The end of a log may be remembered for half of that: clocks of nodes differ. */
export const REMEMBERED_MS = KEPT_MS / 2;

/** What is removed from the beginning of a log, if anything. Both numbers only grow. */
export interface LogDoc extends Keyed {
  readonly prunedUpTo: number;
  readonly erasedUpTo?: number;
  /** Messages up to `prunedUpTo` may still have to be deleted. */
  readonly isHidden?: boolean;
  /** How often a topic of this name was deleted: memberships of an earlier one are none of this one. 0 when missing. */
  readonly generation?: number | undefined;
  /** When that was the last time, by the clock of a node. */
  readonly deletedAt?: number;
}

/** Taken by a client's id: [sender, id]. */
export interface ClaimDoc extends Keyed {
  readonly topic: string;
  /** On an id under which something was scheduled. */
  readonly sendAt?: number;
}

/** A row of slots: [topic, block, owner…], see slot-row.ts. */
export interface RowDoc extends Keyed {
  /** Another one after each write. */
  readonly version: ObjectId;
  readonly bytes: Buffer;
}

/** [userId, device, topic]. */
export interface CursorDoc extends Keyed, Omit<Cursor, 'at'> {
  readonly unreadUpTo: number;
}

/** [userId, device]; without a device: more were forgotten than documents are kept for. */
export interface DeviceDoc extends Keyed, DeviceFacts {
  readonly userId: string;
}

/** Pending work, which survives the death of a node: `topic` of [name, generation], `user` of [userId], `listing`. */
export interface RemovalDoc extends Keyed {
  readonly kind: 'topic' | 'user' | 'listing';
  /** A topic or a user. */
  readonly name: string;
  readonly generation: number;
  /** When it was asked for. */
  readonly at: number;
  /** Until then a node works on it. */
  readonly freeAt: number;
  /** Last `seq` of the topic when it was deleted. */
  readonly upTo: number;
  /** Id of the document that a walk has come to. */
  readonly after?: string;
}

export interface UserDoc extends Keyed, User {
  readonly firstDevice: string;
}

export interface TopicDoc extends Keyed, Omit<Topic, 'name'> {
  readonly nonce: ObjectId;
  /** Its first member is still to come. */
  readonly isUnfinished?: boolean;
  /** As of its log when it was created. 0 when missing. */
  readonly generation?: number | undefined;
  /** Somebody has begun to delete it: it is not there any more, but its members may be. */
  readonly deletedBy?: ObjectId;
  /** Last `seq` when it was deleted. */
  readonly deletedUpTo?: number;
}

/** [topic, userId]. */
export interface MemberDoc extends Keyed, Member {
  readonly topic: string;
  readonly start: number;
  readonly nonce: ObjectId;
  /** Of the topic that was joined. 0 when missing. */
  readonly generation?: number | undefined;
  /** Somebody else has added the user. */
  readonly isInvited?: true | undefined;
  /** What of the topic is not for the user. */
  readonly gaps?: readonly Span[] | undefined;
  /** When it was written, by the clock of a node. */
  readonly changedAt?: number;
}

export type MemberKey = Pick<MemberDoc, 'topic' | 'userId'>;

/** [topic, userId] of a membership that has ended. */
export interface AbsenceDoc extends Keyed, MemberKey, Left {
  readonly generation?: number | undefined;
  readonly changedAt: number;
}

export function generationOf(doc: { readonly generation?: number | undefined } | undefined): number {
  return doc?.generation ?? 0;
}

/** As a filter has it: in the first generation the field is missing. */
export function generationIs(generation: number): number | null {
  return generation === 0 ? null : generation;
}

export function removalId(kind: RemovalDoc['kind'], name: string, generation = 0): string {
  return keyOf(kind, name, String(generation));
}

/** [sender, id]. */
export interface ScheduledDoc extends Keyed, ScheduledPosition {
  readonly topic: string;
  /** Nonce of the named topic that it is for: a later one of the same name is another. */
  readonly home?: ObjectId | undefined;
  /** JSON text. */
  readonly draft: string;
  /** The token by which it was scheduled; missing on what an earlier version kept. */
  readonly standing?: Standing | undefined;
  readonly isOfService?: true | undefined;
  readonly nonce: ObjectId;
  /** Until then a node is sending it: it can neither be cancelled nor sent by another. */
  readonly freeAt: number;
  readonly takenBy?: ObjectId;
}

/** [caller, key]. */
export interface AnswerDoc extends Keyed, Partial<KeptAnswer> {
  readonly fingerprint: string;
  /** Another one for each claim. */
  readonly nonce: ObjectId;
  /** When it was first claimed, whatever failed since. */
  readonly claimedAt: number;
  /** Until then somebody works on it, unless it is answered. */
  readonly freeAt: number;
  readonly forgetAt: number;
}

/** [userId], or [userId, jti]. */
export interface RevocationDoc extends Keyed {
  readonly userId: string;
  readonly jti?: string;
  readonly issuedBefore?: number;
  readonly expiresAt?: number;
  /** When it was kept, or grew, by the clock of a node. */
  readonly keptAt: number;
}

/** [id]. */
export type AuditDoc = Keyed & Omit<AuditEntry, 'id'>;

export interface MetaDoc extends Keyed {
  readonly version?: number;
  readonly identity?: string;
  readonly nonce?: ObjectId;
}

export interface Collections {
  readonly messages: Collection<MessageDoc>;
  readonly logs: Collection<LogDoc>;
  readonly ids: Collection<ClaimDoc>;
  readonly flags: Collection<RowDoc>;
  /** What messages say of their places: [topic, block] for all, [topic, block, userId] for one user, see Facts. */
  readonly facts: Collection<RowDoc>;
  readonly stamps: Collection<RowDoc>;
  readonly cursors: Collection<CursorDoc>;
  readonly devices: Collection<DeviceDoc>;
  readonly removals: Collection<RemovalDoc>;
  readonly users: Collection<UserDoc>;
  readonly topics: Collection<TopicDoc>;
  readonly members: Collection<MemberDoc>;
  readonly absences: Collection<AbsenceDoc>;
  readonly scheduled: Collection<ScheduledDoc>;
  readonly answers: Collection<AnswerDoc>;
  readonly revocations: Collection<RevocationDoc>;
  readonly audit: Collection<AuditDoc>;
  readonly meta: Collection<MetaDoc>;
}

/** What all parts of the store work with. */
export interface Database {
  readonly collections: Collections;
  readonly clock: Clock;
  /** What happens one by one within this process. */
  readonly turns: Turns;
}

/** None is partial, sparse or a TTL index: not every server that speaks the protocol has them. */
const INDEXES: Readonly<Record<keyof Collections, IndexDescription[]>> = {
  messages: [
    { name: 'place', key: { topic: 1, seq: 1 }, unique: true },
    { name: 'key', key: { topic: 1, key: 1 }, unique: true },
    { name: 'tags', key: { topic: 1, tags: 1, seq: 1 } },
    { name: 'id', key: { id: 1 } },
    { name: 'due', key: { dueAt: 1 } },
    { name: 'expiry', key: { topic: 1, dueAt: 1 } },
    { name: 'age', key: { order: 1, topic: 1, seq: 1 } },
  ],
  logs: [
    { name: 'hidden', key: { isHidden: 1 } },
    { name: 'deleted', key: { deletedAt: 1 } },
  ],
  ids: [],
  flags: [],
  facts: [],
  stamps: [],
  removals: [],
  topics: [],
  meta: [],
  cursors: [{ name: 'topic', key: { topic: 1 } }],
  devices: [{ name: 'age', key: { forgottenAt: 1, seenAt: 1 } }],
  users: [{ name: 'start', key: { broadcastStart: 1 } }],
  members: [
    { name: 'user', key: { userId: 1 } },
    { name: 'recent', key: { changedAt: 1 } },
  ],
  absences: [
    { name: 'user', key: { userId: 1, changedAt: 1 } },
    { name: 'recent', key: { changedAt: 1 } },
  ],
  scheduled: [
    { name: 'due', key: { sendAt: 1, id: 1, from: 1 } },
    { name: 'sender', key: { from: 1, sendAt: 1, id: 1 } },
    { name: 'id', key: { id: 1 } },
    { name: 'topic', key: { topic: 1 } },
  ],
  answers: [{ name: 'age', key: { forgetAt: 1 } }],
  revocations: [
    { name: 'recent', key: { keptAt: 1 } },
    { name: 'age', key: { expiresAt: 1 } },
  ],
  audit: [
    { name: 'age', key: { at: 1, _id: 1 } },
    { name: 'actor', key: { actor: 1, at: 1, _id: 1 } },
    { name: 'action', key: { action: 1, at: 1, _id: 1 } },
    { name: 'both', key: { actor: 1, action: 1, at: 1, _id: 1 } },
  ],
};

export function collectionsOf(db: Db): Collections {
  return Object.fromEntries(Object.keys(INDEXES).map((name) => [name, db.collection(name)])) as unknown as Collections;
}

/** Makes those that are missing, and their collections. */
export async function makeIndexes(db: Db): Promise<void> {
  for (const [name, indexes] of Object.entries(INDEXES)) {
    if (indexes.length > 0) await db.collection(name).createIndexes(indexes);
  }
}

/** The place is a hole, see isHole; folded into a row later, see Facts. */
export const HOLE = 'hole';
export const fromTag = (userId: string) => `from:${userId}`;
export const exceptTag = (userId: string) => `except:${userId}`;
/** May be replaced by the next one with the same sender and key: no user id contains a control character. */
export const collapseTag = (from: string, key: string) => `collapse:${from}${SEPARATOR}${key}`;
/** The same for any sender, as an earlier version wrote it. */
export const earlierCollapseTag = (key: string) => `collapse:${key}`;
/** Has a collapse key, and was read when the next one came. */
export const COLLAPSED = 'collapsed';

/** Is it an entry about something else, or what is left of a message? */
export function isHole({ isGone, ref, event }: Pick<MessageDoc, 'isGone' | 'ref' | 'event'>): boolean {
  return isGone === true || (ref !== undefined && ref !== null) || event === 'state';
}

export function tagsOf(message: Pick<Message, 'from' | 'exceptUserId' | 'collapseKey'>): string[] {
  const { from, exceptUserId, collapseKey } = message;
  return [
    fromTag(from),
    ...(exceptUserId === undefined ? [] : [exceptTag(exceptUserId)]),
    ...(collapseKey === undefined ? [] : [collapseTag(from, collapseKey)]),
  ];
}
