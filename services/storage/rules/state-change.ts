/** Changes of states, and the entries about them. */
import type { Message, RequestedState } from '../../../utils/protocol';
import { BROADCAST_TOPIC, personalTopic } from '../../../utils/topic-names';
import type { Selection, StateChanged } from '../contract';
import type { Span } from './slot-row';
import { ARCHIVED, EXCLUDED, isUnread, READ, SEEN, TRANSITIONS } from './states';

export type Refused = Exclude<StateChanged, { outcome: 'changed' }>;

/** The part of a topic that belongs to an inbox. */
export interface Section extends Span {
  readonly topic: string;
}

/** A topic from where it is the user's: after `start`. */
export function sectionOf(
  topic: string,
  start: number,
  { head, prunedUpTo }: { readonly head: number; readonly prunedUpTo: number } = { head: 0, prunedUpTo: 0 },
): Section {
  return { topic, from: Math.max(start, prunedUpTo) + 1, upTo: head };
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
  { topic, seq, exceptUserId }: Pick<Message, 'topic' | 'seq' | 'exceptUserId'>,
  flags: number,
): boolean {
  const isFor = exceptUserId !== userId && (flags & EXCLUDED) === 0;
  return isFor && seq > (starts.get(topic) ?? Number.POSITIVE_INFINITY);
}

/** Has a section any place? */
export function isFilled({ from, upTo }: Span): boolean {
  return from <= upTo;
}

/** The sections that a change is for, or why it is refused. `sections` includes empty ones. */
export function selected<One extends Section>(
  sections: readonly One[],
  selection: Exclude<Selection, { ids: readonly string[] }>,
): readonly One[] | Refused {
  if ('all' in selection) return sections.filter(isFilled);
  const section = sections.find(({ topic }) => topic === selection.topic);
  if (section === undefined) return { outcome: 'not_found', path: 'topic' };
  const { upTo = section.upTo } = selection;
  return upTo > section.upTo ? { outcome: 'ahead', head: section.upTo } : [{ ...section, upTo }].filter(isFilled);
}

/** The transition of a change: a change of many messages leaves archived ones alone. */
export function transitionOf(selection: Selection, state: RequestedState): (flags: number) => number {
  const transition = TRANSITIONS[state];
  return 'ids' in selection ? transition : (flags) => (flags & ARCHIVED ? flags : transition(flags));
}

/**
 * The data of the entry about a change; `topics`: those in which something has changed. With `all`, a device that reads
 * it later must know what came afterwards.
 */
export function entryData(
  selection: Selection,
  state: RequestedState,
  { spans, topics }: { readonly spans: readonly Section[]; readonly topics: ReadonlySet<string> },
): object {
  if ('ids' in selection) return { ids: [...new Set(selection.ids)], state };
  const changed = spans.filter(({ topic }) => topics.has(topic));
  if ('topic' in selection) return { topic: selection.topic, upTo: changed.at(-1)?.upTo, state };
  return { all: true, cursors: Object.fromEntries(changed.map(({ topic, upTo }) => [topic, upTo])), state };
}

/** The flags of one place before and after a change. */
export interface FlagChange {
  readonly seq: number;
  readonly before: number;
  readonly after: number;
}

/** The times that changes set; 0 removes one. */
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
