/** What events do to an inbox list, newest first and without archived messages. Lists are never changed in place. */
import type { Counts, InboxItem, MessageRef, MessageState, RequestedState, StateScope } from './protocol.ts';

export type Items = readonly InboxItem[];

/** An inbox that is empty or not known yet. */
export const NO_COUNTS: Counts = { unseen: 0, unread: 0 };

/** Inserts a message by its time, unless it is there already. */
export function insert(items: Items, item: InboxItem): Items {
  if (items.some(({ topic, seq }) => topic === item.topic && seq === item.seq)) return items;
  const place = items.findIndex(({ timestamp }) => timestamp <= item.timestamp);
  return place < 0 ? [...items, item] : [...items.slice(0, place), item, ...items.slice(place)];
}

/**
 * The message that an entry is about, if it is in the list. Its id alone is not enough: two senders may use the same
 * one.
 */
export function find(items: Items, { topic, refSeq }: MessageRef): InboxItem | undefined {
  return items.find((item) => item.topic === topic && item.seq === refSeq);
}

/** The list that was read, with the previous objects where nothing has changed, so that a view need not redraw them. */
export function keepSame(before: Items, read: Items): Items {
  const kept = read.map((item) => {
    const known = before.find(({ topic, seq }) => topic === item.topic && seq === item.seq);
    return known !== undefined && JSON.stringify(known) === JSON.stringify(item) ? known : item;
  });
  return isSameList(before, kept) ? before : kept;
}

function isSameList(one: Items, other: Items): boolean {
  return one.length === other.length && one.every((item, index) => item === other[index]);
}

export function remove(items: Items, gone: InboxItem): Items {
  return items.filter((item) => item !== gone);
}

export function replace(items: Items, old: InboxItem, changes: Partial<InboxItem>): Items {
  return items.map((item) => (item === old ? { ...item, ...changes } : item));
}

/** Marks what a change of state is about, and removes what it has archived. The user's own messages stay read. */
export function mark(items: Items, change: StateScope & { state: RequestedState }, userId: string | undefined): Items {
  const marked = items.flatMap((item) => {
    if (!isMeant(change, item) || (change.state === 'unread' && item.from === userId)) return [item];
    const next = NEXT[change.state](item.state);
    if (next === 'archived') return [];
    return [next === item.state ? item : { ...item, state: next }];
  });
  return isSameList(items, marked) ? items : marked;
}

function isMeant(scope: StateScope, { id, topic, seq }: InboxItem): boolean {
  if ('ids' in scope) return scope.ids.includes(id);
  if ('all' in scope) return seq <= (scope.cursors[topic] ?? 0);
  return topic === scope.topic && seq <= scope.upTo;
}

/** For messages that are not archived: `read` and `archived` imply seen. */
const NEXT: Readonly<Record<RequestedState, (state: MessageState) => MessageState>> = {
  seen: (state) => (state === 'unseen' ? 'seen' : state),
  read: () => 'read',
  unread: (state) => (state === 'read' ? 'seen' : state),
  archived: () => 'archived',
};

/** The counts after a message has come (`+1`) or gone (`-1`) for which the service gave none. */
export function count({ unseen, unread }: Counts, state: MessageState, by: 1 | -1): Counts {
  return {
    unseen: Math.max(0, unseen + (state === 'unseen' ? by : 0)),
    unread: Math.max(0, unread + (state === 'read' || state === 'archived' ? 0 : by)),
  };
}
