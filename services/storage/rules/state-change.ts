/** Changes of the states of messages, and the entries that say so. */
import type { Message, RequestedState } from '../../../utils/protocol';
import { BROADCAST_TOPIC, personalTopic } from '../../../utils/topic-names';
import type { StateChanged } from '../contract';
import type { Span } from './slot-row';
import { isUnread, READ, SEEN } from './states';

export type Refused = Exclude<StateChanged, { outcome: 'changed' }>;

/** The part of a topic that belongs to an inbox. */
export interface Section extends Span {
  readonly topic: string;
  /** Nothing in it comes later in the order of lists. */
  readonly order: number;
}

/** A topic from where it is the user's: after `start`. */
export function sectionOf(
  topic: string,
  start: number,
  log: { readonly head: number; readonly prunedUpTo: number; readonly order?: number } = { head: 0, prunedUpTo: 0 },
): Section {
  return { topic, from: Math.max(start, log.prunedUpTo) + 1, upTo: log.head, order: log.order ?? 0 };
}

/** The topics of an inbox, each with the `seq` after which it is the user's. */
export function startsOf(
  userId: string,
  user: { readonly broadcastStart: number } | undefined,
  memberships: Iterable<readonly [topic: string, start: number]>,
): Map<string, number> {
  const broadcasts = user === undefined ? [] : [[BROADCAST_TOPIC, user.broadcastStart] as const];
  return new Map([[personalTopic(userId), 0], ...broadcasts, ...memberships]);
}

/** Is a message in the inbox of a user to whom these topics belong? */
export function isHeld(
  starts: ReadonlyMap<string, number>,
  userId: string,
  message: Pick<Message, 'topic' | 'seq' | 'exceptUserId'>,
): boolean {
  const { topic, seq, exceptUserId } = message;
  return exceptUserId !== userId && seq > (starts.get(topic) ?? Number.POSITIVE_INFINITY);
}

/** What the entry of a change says; of all, a device that reads it later must know what came afterwards. */
export const told = {
  some: (ids: readonly string[], state: RequestedState) => ({ ids: [...new Set(ids)], state }),
  topic: (topic: string, upTo: number | undefined, state: RequestedState) => ({ topic, upTo, state }),
  all: (cursors: Readonly<Record<string, number>>, state: RequestedState) => ({ all: true, cursors, state }),
};

/** The flags of one place before and after a change. */
export interface FlagChange {
  readonly seq: number;
  readonly before: number;
  readonly after: number;
}

/** Which times changes set; 0 takes one back. */
export function stampsOf<Change extends FlagChange>(changes: readonly Change[], now: number) {
  const gained = (flag: number) => changes.filter(({ before, after }) => (after & flag & ~before) !== 0);
  const stamps = [
    { kind: 'seen', at: now, changes: gained(SEEN) },
    { kind: 'read', at: now, changes: gained(READ) },
    { kind: 'read', at: 0, changes: changes.filter(({ before, after }) => (before & READ & ~after) !== 0) },
  ] as const;
  return stamps.filter((stamp) => stamp.changes.length > 0);
}

/** Has it become unread again? */
export function isReopened({ before, after }: FlagChange): boolean {
  return !isUnread(before) && isUnread(after);
}
