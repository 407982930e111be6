/** The trees of the embedded store, in one environment, and what their keys and values are. */

import type { Database, RootDatabase } from 'lmdb';
import type { AuditEntry, KeptAnswer, Scheduled, Topic, User } from '../contract';
import type { Left } from '../rules/gaps';
import type { DeviceFacts } from '../rules/opened-device';

export const DATABASES = [
  { name: 'messages', encoding: 'string' },
  { name: 'topics', encoding: 'json' },
  { name: 'ids', encoding: 'json' },
  { name: 'collapse', encoding: 'json' },
  { name: 'collapsing', encoding: 'json' },
  { name: 'expiring', encoding: 'json' },
  { name: 'due', encoding: 'json' },
  { name: 'holes', encoding: 'binary' },
  { name: 'flags', encoding: 'binary' },
  { name: 'stamps', encoding: 'binary' },
  { name: 'scheduled', encoding: 'json' },
  { name: 'answers', encoding: 'json' },
  { name: 'cursors', encoding: 'json' },
  { name: 'devices', encoding: 'json' },
  { name: 'removals', encoding: 'json' },
  { name: 'users', encoding: 'json' },
  { name: 'named', encoding: 'json' },
  { name: 'members', encoding: 'json' },
  { name: 'memberships', encoding: 'json' },
  { name: 'absences', encoding: 'json' },
  { name: 'revocations', encoding: 'json' },
  { name: 'audit', encoding: 'json' },
  { name: 'auditIndex', encoding: 'json' },
  { name: 'meta', encoding: 'json' },
] as const;

type DatabaseName = (typeof DATABASES)[number]['name'];

/** Grows with every change of the layout that older code cannot read. */
export const LAYOUT_VERSION = 3;

/** What this version opens: 2 has no rows of devices, see Devices.enlist. */
export const READABLE_LAYOUTS: readonly number[] = [2, LAYOUT_VERSION];

export interface TopicState {
  readonly head: number;
  readonly prunedUpTo: number;
  /** Messages up to this `seq` went by the erasure of the user. */
  readonly erasedUpTo?: number;
  /** The greatest order of a message so far: lists are sorted by it (see StoredMessage). */
  readonly order?: number;
  /** Something of it has gone or can expire: then holes and expiries have to be looked at. */
  readonly isPatchy?: boolean;
  /** How often a topic of this name was deleted: memberships of an earlier one are none of this one. 0 when absent. */
  readonly generation?: number;
}

/** When a user joined; with a number, the generation of the topic unless that is 0. */
export type MemberRow = string | readonly [joinedAt: string, generation: number];

/** `seq` at which a user joined; the second number as in MemberRow; a third where somebody else has added the user. */
export type MembershipRow = number | readonly [start: number, generation: number, isInvited?: 1];

/** A membership that has ended, or continues with gaps: then there is no `leftAt`. */
export interface AbsenceRow extends Omit<Left, 'leftAt'>, Partial<Pick<Left, 'leftAt'>> {
  /** When the user left. */
  readonly at?: number;
  readonly generation?: number;
}

export type DeviceRow = Omit<DeviceFacts, 'device'>;

/** Pending work: `topic` of [name, generation], `device` of [userId, device], `user` of [userId, '']. */
export type RemovalKey = [kind: 'topic' | 'device' | 'user' | 'listing', string, string];

/** The rows of devices of a store of layout 2 are still to be written, see Removals. */
export const LISTING: RemovalKey = ['listing', '', ''];

export interface RemovalRow {
  /** When it was asked for. */
  readonly at: number;
  /** The part that it has come to. */
  readonly step: number;
  /** Up to where the step has come, in its own order. */
  readonly after?: readonly (string | number)[];
  /** Last `seq` of the topic when it was deleted; of everyone's topic when a user was erased. */
  readonly upTo: number;
  /** Where everyone's topic began for a user who was erased. */
  readonly from?: number;
}

/** A cursor; with a second number, what lies up to there reaches the device only while it is unread. */
export type CursorRow = number | readonly [seq: number, unreadUpTo: number];

/**
 * Things due at a time: `expiry` of [topic, seq], `send` of [id, from], `answer` of [caller, key], `revocation` of
 * [userId, jti], `device` of [userId, device], last connected at that time.
 */
export type DueKey = [kind: string, atMilliseconds: number, string, string | number];

/** Ids of clients and of the store do not conflict. */
export type IdKey = [id: string, from: string, maker: 'client' | 'store'];

/** `open`: may be unread; `read`: was not, when the next one came. No name contains a control character. */
export type CollapsingKey =
  | [kind: 'open', topic: string, from: string, key: string, seq: number]
  | [kind: 'read', topic: string, seq: number];
/** Sender and key of what was read. */
export type CollapsingRow = true | readonly [from: string, key: string];

/** Rows of slots, see SlotRows: [topic, block] and then whose. */
export type SlotKey = [topic: string, block: number, ...owner: string[]];

export interface ScheduledRow extends Scheduled {
  /** Creation time of its named topic, which distinguishes it from a later one with the same name. */
  readonly home?: string | undefined;
}

export interface AnswerRow {
  readonly fingerprint: string;
  readonly claimedAt: number;
  readonly answer?: KeptAnswer;
}

export type AuditKey = [atMilliseconds: number, id: string];

export interface Trees {
  /** Message as JSON. */
  readonly messages: Database<string, [topic: string, seq: number]>;
  readonly topics: Database<TopicState, string>;
  /** Position of the message with this id and sender; for client ids the fingerprint of what was sent. */
  readonly ids: Database<readonly [topic: string, seq: number, fingerprint: string], IdKey>;
  /** `seq` of the newest message with this key of any sender, as an earlier version wrote it. */
  readonly collapse: Database<number, [topic: string, key: string]>;
  /** What a later message may replace, and what had been read when one came. */
  readonly collapsing: Database<CollapsingRow, CollapsingKey>;
  /** What of a topic expires when. */
  readonly expiring: Database<true, [topic: string, atMilliseconds: number, seq: number]>;
  readonly due: Database<true, DueKey>;
  /** Slots that are 1: places of the log that hold no inbox item. */
  readonly holes: Database<Buffer, SlotKey>;
  /** What a user has done with a message. */
  readonly flags: Database<Buffer, SlotKey>;
  /** When something happened to a message. */
  readonly stamps: Database<Buffer, SlotKey>;
  readonly scheduled: Database<ScheduledRow, [id: string, from: string]>;
  readonly answers: Database<AnswerRow, [caller: string, key: string]>;
  readonly cursors: Database<CursorRow, [userId: string, device: string, topic: string]>;
  /** A device `''` with `forgottenAt`: more were forgotten than rows are kept for. */
  readonly devices: Database<DeviceRow, [userId: string, device: string]>;
  readonly removals: Database<RemovalRow, RemovalKey>;
  readonly users: Database<User, string>;
  readonly named: Database<Topic, string>;
  readonly members: Database<MemberRow, [topic: string, userId: string]>;
  readonly memberships: Database<MembershipRow, [userId: string, topic: string]>;
  /** Of users who have left a topic, or left and come back. */
  readonly absences: Database<AbsenceRow, [userId: string, topic: string]>;
  /** A number, in Unix seconds: `issuedBefore` of a user, whose `jti` is `''`; else `expiresAt`, 0 while it is not known. */
  readonly revocations: Database<number, [userId: string, jti: string]>;
  readonly audit: Database<AuditEntry, AuditKey>;
  /** The same entries by what they are looked for by, see audit.ts. */
  readonly auditIndex: Database<true, [facet: string, ...key: AuditKey]>;
  readonly meta: Database<number, string>;
}

export function openTrees(root: RootDatabase): Trees {
  // Together: creating each alone would take its own transaction and flush.
  const opened = root.transactionSync(() =>
    DATABASES.map(({ name, encoding }) => [name, root.openDB({ name, encoding })] as const),
  );
  return Object.fromEntries(opened) as Record<DatabaseName, Database> as unknown as Trees;
}

export interface RangeOf<Key> {
  readonly start: Key;
  readonly end: Key;
  readonly limit?: number;
}

const ROWS_AT_ONCE = 100;

type RowOf<Tree> = Tree extends Database<infer Value, infer Key> ? { readonly key: Key; readonly value: Value } : never;

/**
 * The rows of a range, which may be written meanwhile: a batch is read before any of it changes. The tree is looked up
 * for each batch, since the environment may be opened again during a pause.
 */
export function* walk<Name extends keyof Trees>(
  trees: Trees,
  name: Name,
  range: object,
): Generator<RowOf<Trees[Name]>> {
  let from = range;
  for (;;) {
    const found = trees[name].getRange({ ...from, limit: ROWS_AT_ONCE } as never);
    const rows = Array.from(found as Iterable<RowOf<Trees[Name]>>);
    yield* rows;
    const last = rows.at(-1);
    if (rows.length < ROWS_AT_ONCE || last === undefined) return;
    from = { ...range, start: last.key, exclusiveStart: true };
  }
}

/** All keys with this first part: no name contains a control character. NUL separates the parts of a key. */
export function startingWith<Key extends [string, ...unknown[]]>(first: string): RangeOf<Key> {
  return { start: [first, ''] as unknown as Key, end: [`${first}\u0001`, ''] as unknown as Key };
}

/** The range of all keys [first, number, …] whose number is within. */
export function numberedFrom<Key extends [string, ...unknown[]]>(
  first: string,
  from: number,
  upTo: number,
): RangeOf<Key> {
  return { start: [first, from] as unknown as Key, end: [first, upTo + 1] as unknown as Key };
}
