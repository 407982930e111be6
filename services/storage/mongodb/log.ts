/**
 * Reads logs. The documents of a topic are complete from `prunedUpTo` + 1 to its head, since messages that go leave
 * their place. So the head is the last document, or `prunedUpTo` without any.
 */
import { LRUCache } from 'lru-cache';
import type { Filter } from 'mongodb';
import { groupedBy, partsOf } from '../../../utils/parts';
import type { Message } from '../../../utils/protocol';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import type { HistoryOptions, HistoryPage, LogPosition, Page, Reader, ReadOptions } from '../contract';
import { isForReader, isThere, ListedPage, MAX_PLACES_PER_READ, ReadPage, SENDERS_PER_ID } from '../rules/log-page';
import type { PageRoom } from '../rules/page-room';
import { blocksOf, emptySlots } from '../rules/slot-row';
import { FLAGS, isUnread } from '../rules/states';
import { allOf, findByIds } from './commands';
import type { Facts } from './facts';
import { type Database, isHole, type LogDoc, type MessageDoc } from './layout';
import type { Marks } from './marks';
import { bytesOf, toMessage } from './record';
import type { TopicSpan } from './rows';

export interface LogState {
  readonly head: number;
  /** The order of the last document, and so the greatest. */
  readonly order: number;
  readonly prunedUpTo: number;
  readonly erasedUpTo: number;
  readonly generation: number;
}

type Last = Pick<MessageDoc, 'seq' | 'order'>;

/** Documents fetched at once when `maxBytes` may end a page early. */
const DOCS_PER_FETCH = 50;
/** Rows of holes that one query fetches after the first. */
const BLOCKS_AT_ONCE = 64;
/** Up to so many topics are queried one by one, more of them together. */
const FEW_TOPICS = 8;
const TOPICS_PER_QUERY = 250;
const PLACES_PER_QUERY = 100;
/** So few that a server merges their indexes instead of sorting. */
const EXPIRIES_PER_QUERY = 100;
const MAX_LASTS = 10_000;
const IDS_PER_QUERY = 1_000;

export class Log {
  readonly #lasts = new LRUCache<string, Last>({ max: MAX_LASTS });

  constructor(
    private readonly db: Database,
    private readonly parts: { readonly marks: Marks; readonly facts: Facts },
  ) {}

  async state(topic: string): Promise<LogState> {
    const last = await this.last(topic);
    return stateOf(last, await this.floor(topic));
  }

  async head(topic: string): Promise<number> {
    return (await this.state(topic)).head;
  }

  /** The last document of a topic, searched from the one known before: no `seq` is given twice. */
  async last(topic: string): Promise<Last | undefined> {
    const known = this.#lasts.get(topic);
    const newer = known === undefined ? undefined : await this.#lastFrom(topic, known.seq);
    const last = newer ?? (await this.#lastFrom(topic, 0));
    if (last === undefined) this.#lasts.delete(topic);
    else this.#lasts.set(topic, last);
    return last;
  }

  async #lastFrom(topic: string, seq: number): Promise<Last | undefined> {
    const filter = seq === 0 ? { topic } : { topic, seq: { $gte: seq } };
    const projection = { _id: 0, seq: 1, order: 1 };
    return (await this.db.collections.messages.findOne(filter, { sort: { seq: -1 }, projection })) ?? undefined;
  }

  /** What is removed from the beginning. Written before anything is deleted, so read it after documents. */
  async floor(topic: string): Promise<LogDoc | undefined> {
    return (await this.db.collections.logs.findOne({ _id: topic })) ?? undefined;
  }

  async states(topics: readonly string[]): Promise<ReadonlyMap<string, LogState>> {
    const [lasts, floors] = await Promise.all([this.#lastOfEach(topics), this.floors(topics)]);
    return new Map(topics.map((topic) => [topic, stateOf(lasts.get(topic), floors.get(topic))]));
  }

  async #lastOfEach(topics: readonly string[]): Promise<ReadonlyMap<string, Last>> {
    const lasts = new Map<string, Last>();
    if (topics.length > FEW_TOPICS) {
      for (const part of partsOf(topics, TOPICS_PER_QUERY)) await this.#readLasts(part, lasts);
      return lasts;
    }
    const found = await Promise.all(topics.map((topic) => this.last(topic)));
    for (const [index, topic] of topics.entries()) {
      const last = found[index];
      if (last !== undefined) lasts.set(topic, last);
    }
    return lasts;
  }

  /** One step of the index for each topic, whatever its length. */
  async #readLasts(topics: readonly string[], lasts: Map<string, Last>): Promise<void> {
    const found = this.db.collections.messages.aggregate<Last & { _id: string }>([
      { $match: { topic: { $in: [...topics] } } },
      { $sort: { topic: -1, seq: -1 } },
      { $group: { _id: '$topic', seq: { $first: '$seq' }, order: { $first: '$order' } } },
    ]);
    for (const { _id, ...last } of await allOf(found)) lasts.set(_id, last);
  }

  /** When something of some topics expires after `now`, or has to be looked at; `undefined`: never. */
  async nextDue(topics: readonly string[], now: number): Promise<number | undefined> {
    let next = Number.POSITIVE_INFINITY;
    for (const part of partsOf(topics, EXPIRIES_PER_QUERY)) {
      const topic = { $in: part };
      // First what is overdue and expires later: once its debt is paid, it is due at its expiry, and found there.
      const overdue = await this.#first({ topic, dueAt: { $lte: now }, expiresAt: { $gt: now } }, 'expiresAt');
      const due = await this.#first({ topic, dueAt: { $gt: now } }, 'dueAt');
      next = Math.min(next, overdue, due);
    }
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  async #first(filter: Filter<MessageDoc>, time: 'dueAt' | 'expiresAt'): Promise<number> {
    const options = { sort: { [time]: 1 } as const, projection: { _id: 0, [time]: 1 } };
    const first = await this.db.collections.messages.findOne(filter, options);
    return first?.[time] ?? Number.POSITIVE_INFINITY;
  }

  floors(topics: readonly string[]): Promise<ReadonlyMap<string, LogDoc>> {
    return findByIds(this.db.collections.logs, topics);
  }

  /** Can it be read now? */
  isThere(doc: Pick<MessageDoc, 'isGone' | 'expiresAt'>): boolean {
    return isThere(doc, this.db.clock.now());
  }

  async doc({ topic, seq }: LogPosition): Promise<MessageDoc | undefined> {
    return (await this.db.collections.messages.findOne({ topic, seq })) ?? undefined;
  }

  /** The message at a place; `undefined` when it is gone, expired or hidden. */
  async visible(place: LogPosition): Promise<MessageDoc | undefined> {
    const [doc, log] = await Promise.all([this.doc(place), this.floor(place.topic)]);
    const isVisible = doc !== undefined && this.isThere(doc) && doc.seq > (log?.prunedUpTo ?? 0);
    return isVisible ? doc : undefined;
  }

  async read(topic: string, options: ReadOptions): Promise<Page> {
    const [first, state] = await Promise.all([this.#fetch(topic, options.after, sizeOf(options)), this.state(topic)]);
    const start = Math.max(options.after, state.prunedUpTo);
    // Retention ran in between: the documents are newer than the state.
    const isTorn = first[0] !== undefined && first[0].seq > start + 1;
    return this.#page(topic, { ...options, first }, isTorn ? await this.state(topic) : state);
  }

  async #page(topic: string, options: ReadOptions & { first: MessageDoc[] }, state: LogState): Promise<Page> {
    const { after, reader, first } = options;
    const { head, prunedUpTo, erasedUpTo } = state;
    const start = Math.max(after, prunedUpTo);
    const page = new ReadPage(options);
    const { messages } = page;
    let position = Math.min(start, Math.max(head, first.at(-1)?.seq ?? 0));
    const pageOf = () => ({ messages, position, head: Math.max(head, position), prunedUpTo, erasedUpTo });
    for await (const docs of this.#walk(topic, first, sizeOf(options))) {
      const isFor = await this.#filterFor(topic, docs, reader);
      for (const doc of docs) {
        if (doc.seq <= start) continue;
        if (this.isThere(doc) && isFor(doc)) {
          const message = toMessage(doc);
          if (!page.take(message, () => bytesOf(doc, message))) return pageOf();
        }
        position = doc.seq;
      }
    }
    return pageOf();
  }

  /** Parts of a log, starting with one that was fetched. */
  async *#walk(topic: string, first: MessageDoc[], size: number): AsyncGenerator<MessageDoc[]> {
    let docs = first;
    for (let places = docs.length; ; places += docs.length) {
      yield docs;
      const last = docs.at(-1);
      if (docs.length < size || last === undefined || places >= MAX_PLACES_PER_READ) return;
      docs = await this.#fetch(topic, last.seq, size);
    }
  }

  #fetch(topic: string, after: number, size: number): Promise<MessageDoc[]> {
    const filter = { topic, seq: { $gt: after } };
    return this.db.collections.messages.find(filter).sort({ seq: 1 }).limit(size).toArray();
  }

  /** What of some documents is for a reader. */
  async #filterFor(topic: string, docs: readonly MessageDoc[], reader: Reader | undefined) {
    const { userId, unreadUpTo = 0 } = reader ?? {};
    const [first] = docs;
    const upTo = Math.min(docs.at(-1)?.seq ?? 0, unreadUpTo);
    const flagsAt =
      userId === undefined || first === undefined || first.seq > upTo
        ? noFlags
        : await this.parts.marks.flagsAt(userId, [{ topic, from: first.seq, upTo }]);
    // One's own are read, which their flags do not say.
    const isOpen = (doc: MessageDoc) => doc.from !== userId && isUnread(flagsAt(doc));
    return (doc: MessageDoc): boolean => isForReader(doc, reader, () => isOpen(doc));
  }

  async history(topic: string, options: HistoryOptions): Promise<HistoryPage> {
    const page = new ListedPage(options, await this.state(topic));
    const { room, span, isForward } = page;
    for await (const { docs, looked } of this.#scan({ topic, ...span }, { isForward, room })) {
      for (const doc of docs) {
        if (isSliceOver()) await nextSlice();
        if (room.isFull || !this.#list(doc, page)) return page.endBefore(doc.seq);
      }
      if (room.isSpent) return page.end(looked);
    }
    return page.end();
  }

  /** Adds a message. @returns false when the page is full. */
  #list(doc: MessageDoc, page: ListedPage): boolean {
    if (this.isThere(doc)) return page.take(doc, () => read(doc));
    page.room.lookInVain();
    return true;
  }

  /** Documents of a part of a log except known holes; `looked`: up to where that has come. */
  async *#scan(
    { topic, ...span }: TopicSpan,
    { isForward, room }: { readonly isForward: boolean; readonly room: PageRoom },
  ): AsyncGenerator<{ docs: readonly MessageDoc[]; looked: number }> {
    const blocks = Array.from(blocksOf(FLAGS, span, { isForward }));
    for (const group of groupsOf(blocks)) {
      const rowsOf = await this.parts.facts.rowsOf(
        undefined,
        group.map(([, part]) => ({ topic, ...part })),
      );
      room.lookInVain(group.length - 1);
      const places = group.flatMap(([block, part]) =>
        Array.from(emptySlots(FLAGS, rowsOf(topic, block).holes, { ...part, isForward })),
      );
      for (let start = 0, part = places.slice(0, room.nextFetch()); part.length > 0; ) {
        const docs = (await this.docsOf([{ topic, places: part }])).get(topic) ?? [];
        this.parts.facts.foldHoles('', docs);
        yield { docs: isForward ? docs.toReversed() : docs, looked: part.at(-1) ?? 0 };
        start += part.length;
        part = places.slice(start, start + room.nextFetch());
      }
      const last = group.at(-1)?.[1];
      if (last !== undefined) yield { docs: [], looked: isForward ? last.upTo : last.from };
    }
  }

  async find(id: string, from?: string): Promise<readonly Message[]> {
    return (await this.findAll([id], from)).map(toMessage);
  }

  /** Visible messages with these ids, one for each sender. */
  async findAll(ids: readonly string[], from?: string): Promise<readonly MessageDoc[]> {
    const docs: MessageDoc[] = [];
    for (const part of partsOf(ids, IDS_PER_QUERY)) docs.push(...(await this.#withIds(part, from)));
    const visible = await this.withoutHidden(docs.filter((doc) => this.isThere(doc) && !isHole(doc)));
    const bySender = new Map(visible.map((doc) => [JSON.stringify([doc.id, doc.from]), doc]));
    return [...bySender.values()].toSorted((one, other) => (one.from < other.from ? -1 : 1));
  }

  /** Oldest first: of several from one sender the newest counts. */
  async #withIds(ids: string[], from: string | undefined): Promise<MessageDoc[]> {
    const filter = { id: { $in: ids }, from } as Filter<MessageDoc>;
    const found = await allOf(this.db.collections.messages.find(filter).limit(ids.length * SENDERS_PER_ID));
    return found.toSorted((one, other) => one.order - other.order || one.seq - other.seq);
  }

  async withoutHidden(docs: readonly MessageDoc[]): Promise<readonly MessageDoc[]> {
    const floors = await this.floors(docs.map(({ topic }) => topic));
    return docs.filter(({ topic, seq }) => seq > (floors.get(topic)?.prunedUpTo ?? 0));
  }

  /** The documents at some places of several topics, by topic, last one first. */
  async docsOf(wanted: readonly TopicPlaces[]): Promise<ReadonlyMap<string, readonly MessageDoc[]>> {
    const found = await allOf(this.#at<MessageDoc>(wanted, {}));
    const lastFirst = found.sort((one, other) => other.seq - one.seq);
    return groupedBy(lastFirst, ({ topic }) => topic);
  }

  /** The order of some places of several topics. */
  async ordersAt(wanted: readonly TopicPlaces[]): Promise<(topic: string, seq: number) => number | undefined> {
    const projection = { projection: { _id: 0, topic: 1, seq: 1, order: 1 } };
    const found = await allOf(this.#at<Last & { topic: string }>(wanted, projection));
    const orders = new Map(found.map(({ topic, seq, order }) => [`${seq} ${topic}`, order]));
    return (topic, seq) => orders.get(`${seq} ${topic}`);
  }

  async *#at<Doc extends object>(wanted: readonly TopicPlaces[], options: object): AsyncGenerator<Doc> {
    const clauses = wanted
      .filter(({ places }) => places.length > 0)
      .map(({ topic, places }) => ({ topic, seq: { $in: [...places] } }));
    for (const part of partsOf(clauses, PLACES_PER_QUERY)) {
      const [first] = part;
      const filter = part.length === 1 && first !== undefined ? first : { $or: part };
      yield* this.db.collections.messages.find<Doc>(filter, options);
    }
  }
}

/** Some places of one topic. */
interface TopicPlaces {
  readonly topic: string;
  readonly places: readonly number[];
}

function read(doc: MessageDoc): { readonly message: Message; readonly bytes: number } {
  const message = toMessage(doc);
  return { message, bytes: bytesOf(doc, message) };
}

/** The first one alone, then several at once. */
function groupsOf<Value>(values: readonly Value[]): Value[][] {
  return [values.slice(0, 1), ...partsOf(values.slice(1), BLOCKS_AT_ONCE)].filter(({ length }) => length > 0);
}

/** One more than a page takes shows whether more follows. */
function sizeOf({ limit, maxBytes }: ReadOptions): number {
  return Math.min(limit + 1, maxBytes === undefined ? MAX_PLACES_PER_READ : DOCS_PER_FETCH);
}

function stateOf(last: Last | undefined, log: LogDoc | undefined): LogState {
  const { prunedUpTo = 0, erasedUpTo = 0, generation = 0 } = log ?? {};
  const head = Math.max(last?.seq ?? 0, prunedUpTo);
  return { head, order: last?.order ?? 0, prunedUpTo, erasedUpTo, generation };
}

const noFlags = (_doc: MessageDoc): number => 0;
