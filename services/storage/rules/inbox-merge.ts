/** One page of an inbox out of many topics, newest first. */
import { isSliceOver, nextSlice } from '../../../utils/slices';
import type { InboxItem, InboxPage, InboxPosition, InboxQuery } from '../contract';
import type { PageRoom } from './page-room';
import { isFilled, type Section } from './state-change';

/** What is left of one topic. */
export interface Stream<Item> {
  /** The position of `item`; without one, nothing that is left comes before this position. */
  position: InboxPosition;
  /** The next item; `undefined` before it was searched. */
  item: Item | undefined;
  /** Nothing is left. */
  isOver: boolean;
}

/** What is left of a section after a position, of which `order` is the greatest order. */
export function streamAfter(after: InboxPosition | undefined, { topic, upTo }: Section, order: number) {
  const latest = after === undefined ? order : Math.min(order, latestOrderAfter(after, topic));
  return { position: { order: latest, topic, seq: upTo }, item: undefined, isOver: false };
}

export interface Merging<Item, One extends Stream<Item>> {
  readonly room: PageRoom;
  /** How many streams `look` gets at once. */
  readonly atOnce: number;
  /** Finds the next item of each stream, or ends it, or moves it on when `room` is spent. */
  readonly look: (streams: readonly One[]) => Promise<void>;
  /** A listed item and its bytes; `undefined` when it does not match the query. */
  readonly toListed: (item: Item) => { readonly item: InboxItem; readonly bytes: number } | undefined;
}

/** The sections that a list is made of. */
export function listed<One extends Section>(sections: readonly One[], { topic }: InboxQuery): One[] {
  return sections.filter((section) => isFilled(section) && (topic ?? section.topic) === section.topic);
}

/**
 * Topics are searched when it is their turn: not those whose newest message is older than the page. When no more may be
 * looked at, the page ends before the first place that was not.
 */
export async function mergePage<Item, One extends Stream<Item>>(
  streams: readonly One[],
  { room, atOnce, look, toListed }: Merging<Item, One>,
): Promise<InboxPage> {
  const items: InboxItem[] = [];
  let queue = sorted(streams);
  let last: InboxPosition | undefined;
  for (let first = queue[0]; first !== undefined; first = queue[0]) {
    if (isSliceOver()) await nextSlice();
    if (first.item === undefined) {
      if (room.isSpent) return { items, next: before(first.position) };
      await look(atOnce === 1 ? [first] : queue.filter(isUnknown).slice(0, atOnce));
      queue = atOnce === 1 ? withFirstMoved(queue) : sorted(queue);
      continue;
    }
    const listed = toListed(first.item);
    if (room.isFull || (listed !== undefined && !room.take(listed.bytes))) return { items, next: last };
    if (listed === undefined) room.lookInVain();
    else items.push(listed.item);
    last = first.position;
    first.item = undefined;
    first.position = { ...first.position, seq: first.position.seq - 1 };
    queue = withFirstMoved(queue);
  }
  return { items, next: undefined };
}

/** The position after which a list continues with this one. */
function before(position: InboxPosition): InboxPosition {
  return { ...position, seq: position.seq + 1 };
}

function isUnknown({ item }: Stream<unknown>): boolean {
  return item === undefined;
}

function sorted<One extends Stream<unknown>>(streams: readonly One[]): One[] {
  return streams.filter(({ isOver }) => !isOver).sort(compare);
}

function compare({ position: one }: Stream<unknown>, { position: other }: Stream<unknown>): number {
  if (one.order !== other.order) return other.order - one.order;
  if (one.topic !== other.topic) return one.topic < other.topic ? -1 : 1;
  return other.seq - one.seq;
}

/** Moves the first, the only one out of order, to where it belongs. */
function withFirstMoved<One extends Stream<unknown>>(queue: One[]): One[] {
  const first = queue.shift();
  if (first === undefined || first.isOver) return queue;
  let low = 0;
  let high = queue.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compare(queue[middle] as One, first) < 0) low = middle + 1;
    else high = middle;
  }
  queue.splice(low, 0, first);
  return queue;
}

/** The greatest order after a position: at the same time, topics are in the order of their names. */
export function latestOrderAfter({ order, topic }: InboxPosition, listedTopic: string): number {
  return listedTopic >= topic ? order : order - 1;
}
