/** One page of an inbox out of many topics, newest first: the same for every engine. */
import { isSliceOver, nextSlice } from '../../../utils/slices';
import type { InboxItem, InboxPage, InboxPosition, InboxQuery } from '../contract';
import type { PageRoom } from './page-room';
import { isFilled, type Section } from './state-change';

/** What of one topic is still to be listed. */
export interface Stream<Item> {
  /** Where `item` stands; while there is none, nothing that is left comes before this position. */
  place: InboxPosition;
  /** Next to be listed; `undefined` while nobody has looked for it. */
  item: Item | undefined;
  /** Nothing is left. */
  isOver: boolean;
}

export interface Merging<Item, One extends Stream<Item>> {
  readonly room: PageRoom;
  /** Streams that `look` is given at once. */
  readonly atOnce: number;
  /** Finds the next item of each, or ends it, or moves its place on when `room` is spent. */
  readonly look: (streams: readonly One[]) => Promise<void>;
  /** What is listed, with its bytes; `undefined`: it does not fit the query. */
  readonly toListed: (item: Item) => { readonly item: InboxItem; readonly bytes: number } | undefined;
}

/** The sections that a list is made of. */
export function listed<One extends Section>(sections: readonly One[], { topic }: InboxQuery): One[] {
  return sections.filter((section) => isFilled(section) && (topic ?? section.topic) === section.topic);
}

/**
 * Topics are looked into when it is their turn: those whose newest message is older than the page are not. It ends at
 * the first place that nobody has looked at when no more may be looked at.
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
      if (room.isSpent) return { items, next: before(first.place) };
      await look(atOnce === 1 ? [first] : queue.filter(isUnknown).slice(0, atOnce));
      queue = atOnce === 1 ? withFirstMoved(queue) : sorted(queue);
      continue;
    }
    const listed = toListed(first.item);
    if (room.isFull || (listed !== undefined && !room.take(listed.bytes))) return { items, next: last };
    if (listed === undefined) room.lookInVain();
    else items.push(listed.item);
    last = first.place;
    first.item = undefined;
    first.place = { ...first.place, seq: first.place.seq - 1 };
    queue = withFirstMoved(queue);
  }
  return { items, next: undefined };
}

/** The position after which a list goes on with this one. */
function before(place: InboxPosition): InboxPosition {
  return { ...place, seq: place.seq + 1 };
}

function isUnknown({ item }: Stream<unknown>): boolean {
  return item === undefined;
}

function sorted<One extends Stream<unknown>>(streams: readonly One[]): One[] {
  return streams.filter(({ isOver }) => !isOver).sort(compare);
}

function compare({ place: one }: Stream<unknown>, { place: other }: Stream<unknown>): number {
  if (one.order !== other.order) return other.order - one.order;
  if (one.topic !== other.topic) return one.topic < other.topic ? -1 : 1;
  return other.seq - one.seq;
}

/** All but the first are in order: it goes where it belongs now. */
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

/**
 * What bounds the position of the first item of a section that comes after another one: of messages of one moment
 * those of the topic that sorts first are listed first.
 */
export function latestOrderAfter({ order, topic }: InboxPosition, listedTopic: string): number {
  return listedTopic >= topic ? order : order - 1;
}
