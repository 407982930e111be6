/** Lists of an inbox: one query looks into many topics, at a few places each. */

import { partsOf } from '../../../utils/parts';
import type { InboxPage, InboxPosition, InboxQuery } from '../contract';
import { latestOrderAfter, listed, mergePage, type Stream, streamAfter } from '../rules/inbox-merge';
import { PageRoom } from '../rules/page-room';
import { blockOf, emptySlots, readSlot } from '../rules/slot-row';
import { isFilled } from '../rules/state-change';
import { FLAGS, isListed, OWN, stateOf } from '../rules/states';
import type { Facts } from './facts';
import type { Inbox, OrderedSection } from './inbox';
import { isHole, type MessageDoc } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import { bytesOf, toMessage } from './record';
import type { TopicSpan } from './rows';

/** Topics searched at once. */
const STREAMS_AT_ONCE = 50;
/** Places that one step of a search asks for, over all topics. */
const PROBES_PER_STEP = 300;
const MAX_PROBES = 15;

interface ListParts {
  readonly inbox: Inbox;
  readonly log: Log;
  readonly marks: Marks;
  readonly facts: Facts;
}

/** A message of an inbox, with what its user has done with it. */
interface Found {
  readonly doc: MessageDoc;
  readonly flags: number;
}

interface TopicStream extends Stream<Found> {
  readonly section: OrderedSection;
  /** Found after `item` already. */
  ready: Found[];
  /** Where nobody has looked yet. */
  next: number;
  /** Nothing from `next` on comes later in the order of lists. */
  order: number;
  /** Is it known where the list continues in the topic? */
  isLocated: boolean;
}

/** Places of one topic that may be listed. */
interface Wanted {
  readonly stream: TopicStream;
  readonly span: TopicSpan;
  readonly places: readonly number[];
  readonly flagsAt: (seq: number) => number;
  /** Everything from here up has been looked at then. */
  readonly down: number;
}

interface Look {
  readonly userId: string;
  readonly state: InboxQuery['state'];
  readonly room: PageRoom;
}

export class InboxList {
  constructor(private readonly parts: ListParts) {}

  async list(userId: string, query: InboxQuery): Promise<InboxPage> {
    const sections = listed(await this.parts.inbox.sections(userId), query);
    const room = new PageRoom(query.limit);
    const { after, state, type } = query;
    return mergePage<Found, TopicStream>(
      sections.map((section) => streamOf(section, after)),
      {
        room,
        atOnce: STREAMS_AT_ONCE,
        look: async (streams) => {
          if (after !== undefined) await this.#locate(streams, after);
          await this.#look(streams, { userId, state, room });
        },
        toListed: ({ doc, flags }) => {
          if (type !== undefined && doc.type !== type) return undefined;
          const message = toMessage(doc);
          return { item: { message, state: stateOf(flags) }, bytes: bytesOf(doc, message) };
        },
      },
    );
  }

  /** By topic, the oldest of the last `count` unread messages, or of fewer. */
  async lastUnread(userId: string, count: number): Promise<ReadonlyMap<string, number>> {
    const sections = (await this.parts.inbox.sections(userId)).filter(isFilled);
    const oldest = new Map<string, number>();
    for (const part of partsOf(sections, STREAMS_AT_ONCE)) {
      const found = new Map<TopicStream, number>();
      let open = part.map((section) => streamOf(section, undefined));
      while (open.length > 0) {
        await this.#look(open, { userId, state: 'unread', room: new PageRoom(count) });
        for (const stream of open) {
          if (stream.item === undefined) continue;
          oldest.set(stream.section.topic, stream.position.seq);
          found.set(stream, (found.get(stream) ?? 0) + 1);
        }
        open = open.filter((stream) => !stream.isOver && (found.get(stream) ?? 0) < count);
      }
    }
    return oldest;
  }

  /** Finds the next message of each stream: in what was fetched before, or with one query for all. */
  async #look(streams: readonly TopicStream[], look: Look): Promise<void> {
    const unknown = streams.filter((stream) => !takeReady(stream) && !stream.isOver);
    if (unknown.length === 0) return;
    const wanted = await this.#wanted(unknown, look);
    const docs = await this.parts.log.docsOf(wanted.map(({ span: { topic }, places }) => ({ topic, places })));
    for (const { stream, span, places, flagsAt, down } of wanted) {
      const own = (docs.get(span.topic) ?? []).filter(({ seq }) => seq >= down && seq <= span.upTo);
      stream.order = own.at(-1)?.order ?? stream.order;
      stream.next = down - 1;
      stream.ready = own
        .filter((doc) => this.parts.log.isThere(doc) && !isHole(doc) && doc.exceptUserId !== look.userId)
        .map((doc) => ({ doc, flags: flagsAt(doc.seq) | (doc.from === look.userId ? OWN : 0) }))
        .filter(({ flags }) => isListed(look.state, flags));
      // A row without results counts as well.
      look.room.lookInVain(places.length - stream.ready.length + (stream.ready.length === 0 ? 1 : 0));
      takeReady(stream);
      this.parts.facts.foldHoles(look.userId, own);
    }
  }

  /** The next places of each stream, the same number for each: of one row of flags at most. */
  async #wanted(streams: readonly TopicStream[], { userId, state, room }: Look): Promise<Wanted[]> {
    const spans = streams.map(({ section: { topic, from }, next }) => {
      const start = blockOf(FLAGS, next) * FLAGS.count;
      return { topic, from: Math.max(from, start), upTo: next };
    });
    // Own messages are read; for other states that is checked once a message is fetched.
    const isOwn = state === 'read' ? await this.parts.facts.ownPlaces(userId, spans) : neverOwn;
    const [flagRow, factRows] = await Promise.all([
      this.parts.marks.flags.read(spans, [userId]),
      this.parts.facts.rowsOf(userId, spans),
    ]);
    const size = Math.max(1, Math.ceil(room.nextFetch() / streams.length));
    return streams.map((stream, index) => {
      const span = spans[index] as TopicSpan;
      const block = blockOf(FLAGS, span.upTo);
      const { holes, flags } = factRows(span.topic, block);
      const flagsAt = (seq: number) =>
        readSlot(FLAGS, flagRow(span.topic, block), seq) |
        readSlot(FLAGS, flags, seq) |
        (isOwn(span.topic, seq) ? OWN : 0);
      const places: number[] = [];
      for (const seq of emptySlots(FLAGS, holes, { ...span, isForward: false })) {
        if (isListed(state, flagsAt(seq))) places.push(seq);
        if (places.length === size) break;
      }
      return { stream, span, places, flagsAt, down: places.length < size ? span.from : (places.at(-1) ?? span.from) };
    });
  }

  /** Finds in each topic the last place that comes after a position; places taken by retention were older. */
  async #locate(streams: readonly TopicStream[], after: InboxPosition): Promise<void> {
    const searches = streams.filter(({ isLocated }) => !isLocated).map((stream) => searchOf(stream, after));
    let open = searches.filter(({ low, high }) => low < high);
    while (open.length > 0) {
      const count = Math.max(1, Math.min(MAX_PROBES, Math.floor(PROBES_PER_STEP / open.length)));
      const probed = open.map((search) => ({ search, places: probesOf(search, count) }));
      const orderAt = await this.parts.log.ordersAt(
        probed.map(({ search, places }) => ({ topic: search.stream.section.topic, places })),
      );
      for (const { search, places } of probed) narrow(search, places, orderAt);
      open = open.filter(({ low, high }) => low < high);
    }
    for (const { stream, low } of searches) {
      stream.next = low;
      stream.isLocated = true;
    }
  }
}

function streamOf(section: OrderedSection, after: InboxPosition | undefined): TopicStream {
  const stream = streamAfter(after, section, section.order);
  const { order, seq } = stream.position;
  return { ...stream, section, ready: [], next: seq, order, isLocated: after === undefined };
}

/** Takes what was fetched before, or notes up to where nothing is. @returns whether there is an item. */
function takeReady(stream: TopicStream): boolean {
  const { topic, from } = stream.section;
  stream.item = stream.ready.shift();
  if (stream.item !== undefined) {
    const { seq, order } = stream.item.doc;
    stream.position = { order, topic, seq };
    return true;
  }
  stream.position = { order: stream.order, topic, seq: stream.next };
  stream.isOver = stream.next < from;
  return false;
}

/** The last place that comes after a position lies from `low` to `high`. */
interface Search {
  readonly stream: TopicStream;
  readonly latest: number;
  low: number;
  high: number;
}

function searchOf(stream: TopicStream, after: InboxPosition): Search {
  const { topic, from, upTo, order } = stream.section;
  const latest = latestOrderAfter(after, topic);
  const high = topic === after.topic ? Math.min(upTo, after.seq - 1) : upTo;
  const isFound = topic === after.topic || order <= latest;
  return { stream, latest, low: isFound ? Math.max(high, from - 1) : from - 1, high: Math.max(high, from - 1) };
}

type OrderAt = (topic: string, seq: number) => number | undefined;

/** Places between `low` and `high`, `high` among them when they are few. */
function probesOf({ low, high }: Search, count: number): number[] {
  const places = Array.from({ length: count }, (_value, index) =>
    Math.ceil(low + ((high - low) * (index + 1)) / (count + 1)),
  );
  return [...new Set(places)];
}

function narrow(search: Search, places: readonly number[], orderAt: OrderAt): void {
  for (const place of places) {
    if ((orderAt(search.stream.section.topic, place) ?? Number.NEGATIVE_INFINITY) <= search.latest)
      search.low = Math.max(search.low, place);
    else search.high = Math.min(search.high, place - 1);
  }
}

const neverOwn = (_topic: string, _seq: number): boolean => false;
