/**
 * The logs in MongoDB, read. The documents of a topic stand without gap from `prunedUpTo` + 1 to its head: what goes
 * before its time leaves its place behind. So the head is the last document, or `prunedUpTo` when there is none.
 */
import type { Filter } from 'mongodb';
import type { Clock } from '../../utils/clock';
import type { Message } from '../../utils/protocol';
import type { HistoryOptions, Page, Place, Reader, ReadOptions } from './contract';
import { type Collections, HOLE, type LogDoc, type MessageDoc } from './mongodb-layout';
import type { Marks } from './mongodb-marks';
import { bytesOf, toMessage } from './mongodb-record';
import { partsOf } from './mongodb-turns';
import { isUnread } from './states';

export interface LogState {
  readonly head: number;
  readonly prunedUpTo: number;
  readonly erasedUpTo: number;
  readonly generation: number;
}

/** Places of a log that one read looks at: what a long row of expired ones costs is bounded. */
const MAX_PLACES_PER_READ = 1_000;
/** Documents fetched at once where `maxBytes` may end a page early. */
const DOCS_PER_FETCH = 50;
const HEADS_AT_ONCE = 25;
const IDS_PER_QUERY = 1_000;

export class Log {
  constructor(
    private readonly collections: Collections,
    private readonly marks: Marks,
    private readonly clock: Clock,
  ) {}

  async state(topic: string): Promise<LogState> {
    const last = await this.last(topic);
    return stateOf(last?.seq ?? 0, await this.floor(topic));
  }

  /** The last document of a topic. */
  async last(topic: string): Promise<Pick<MessageDoc, 'seq' | 'order'> | undefined> {
    const projection = { _id: 0, seq: 1, order: 1 };
    const found = await this.collections.messages.findOne({ topic }, { sort: { seq: -1 }, projection });
    return found ?? undefined;
  }

  /**
   * What is gone from the beginning. Written before anything is deleted: who reads it after documents knows whether
   * any were missing.
   */
  async floor(topic: string): Promise<LogDoc | undefined> {
    return (await this.collections.logs.findOne({ _id: topic })) ?? undefined;
  }

  async states(topics: readonly string[]): Promise<ReadonlyMap<string, LogState>> {
    const heads = new Map<string, number>();
    for (const part of partsOf(topics, HEADS_AT_ONCE)) {
      const found = await Promise.all(part.map((topic) => this.last(topic)));
      for (const [index, topic] of part.entries()) heads.set(topic, found[index]?.seq ?? 0);
    }
    const floors = await this.floors(topics);
    return new Map(topics.map((topic) => [topic, stateOf(heads.get(topic) ?? 0, floors.get(topic))]));
  }

  /** Both stages are answered from one index. */
  async recentHeads(since: number): Promise<ReadonlyMap<string, number>> {
    const heads = this.collections.messages.aggregate<{ _id: string; head: number }>([
      { $match: { order: { $gte: since } } },
      { $group: { _id: '$topic', head: { $max: '$seq' } } },
    ]);
    return new Map((await heads.toArray()).map(({ _id, head }) => [_id, head]));
  }

  async floors(topics: readonly string[]): Promise<ReadonlyMap<string, LogDoc>> {
    const floors = new Map<string, LogDoc>();
    for (const part of partsOf(topics, IDS_PER_QUERY)) {
      for (const log of await this.collections.logs.find({ _id: { $in: part } }).toArray()) floors.set(log._id, log);
    }
    return floors;
  }

  /** Can it be read now? */
  isThere({ isGone, expiresAt }: Pick<MessageDoc, 'isGone' | 'expiresAt'>): boolean {
    return !isGone && (expiresAt === undefined || expiresAt > this.clock.now());
  }

  async doc({ topic, seq }: Place): Promise<MessageDoc | undefined> {
    return (await this.collections.messages.findOne({ topic, seq })) ?? undefined;
  }

  /** What can be read at a place: `undefined` for what is gone, expired, or out of sight. */
  async visible(place: Place): Promise<MessageDoc | undefined> {
    const [doc, log] = await Promise.all([this.doc(place), this.floor(place.topic)]);
    const isVisible = doc !== undefined && this.isThere(doc) && doc.seq > (log?.prunedUpTo ?? 0);
    return isVisible ? doc : undefined;
  }

  async read(topic: string, options: ReadOptions): Promise<Page> {
    const [first, state] = await Promise.all([this.#fetch(topic, options.after, sizeOf(options)), this.state(topic)]);
    const start = Math.max(options.after, state.prunedUpTo);
    // Retention went by in between: the documents are younger than what is known of the log.
    const isTorn = first[0] !== undefined && first[0].seq > start + 1;
    return this.#page(topic, { ...options, first }, isTorn ? await this.state(topic) : state);
  }

  async #page(topic: string, options: ReadOptions & { first: MessageDoc[] }, state: LogState): Promise<Page> {
    const { after, limit, maxBytes, reader, first } = options;
    const { head, prunedUpTo, erasedUpTo } = state;
    const start = Math.max(after, prunedUpTo);
    const messages: Message[] = [];
    let position = Math.min(start, Math.max(head, first.at(-1)?.seq ?? 0));
    const pageOf = () => ({ messages, position, head: Math.max(head, position), prunedUpTo, erasedUpTo });
    let bytes = 0;
    for await (const docs of this.#walk(topic, first, sizeOf(options))) {
      const isFor = await this.#filterFor(topic, docs, reader);
      for (const doc of docs) {
        if (doc.seq <= start) continue;
        if (this.isThere(doc) && isFor(doc)) {
          const message = toMessage(doc);
          bytes += maxBytes === undefined ? 0 : bytesOf(doc, message);
          if (messages.length === limit) return pageOf();
          if (maxBytes !== undefined && bytes > maxBytes && messages.length > 0) return pageOf();
          messages.push(message);
        }
        position = doc.seq;
      }
    }
    return pageOf();
  }

  /** Parts of a log, from one that was fetched on. */
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
    return this.collections.messages.find(filter).sort({ seq: 1 }).limit(size).toArray();
  }

  /** What of some documents is for a reader. */
  async #filterFor(topic: string, docs: readonly MessageDoc[], reader: Reader | undefined) {
    const { userId, unreadUpTo = 0 } = reader ?? {};
    const [first] = docs;
    const upTo = Math.min(docs.at(-1)?.seq ?? 0, unreadUpTo);
    const flagsAt =
      userId === undefined || first === undefined || first.seq > upTo
        ? noFlags
        : await this.marks.flagsOf(userId, { topic, from: first.seq, upTo });
    return ({ seq, ref, exceptUserId }: MessageDoc): boolean => {
      if (userId === undefined) return true;
      if (exceptUserId === userId) return false;
      return seq > unreadUpTo || (ref === undefined && isUnread(flagsAt(seq)));
    };
  }

  async history(topic: string, options: HistoryOptions): Promise<readonly Message[]> {
    const { after, before, limit, userId } = options;
    const { prunedUpTo } = await this.state(topic);
    const isForward = after !== undefined;
    const range = { from: Math.max(after ?? 0, prunedUpTo) + 1, upTo: (before ?? Number.POSITIVE_INFINITY) - 1 };
    const found: Message[] = [];
    for await (const doc of this.#scan(topic, range, { isForward, size: limit + 1 })) {
      if (found.length === limit) break;
      if (this.#isListed(doc, userId)) found.push(toMessage(doc));
    }
    return isForward ? found : found.reverse();
  }

  #isListed(doc: MessageDoc, userId: string | undefined): boolean {
    const isForThem = doc.exceptUserId === undefined || doc.exceptUserId !== userId;
    return doc.ref === undefined && isForThem && this.isThere(doc);
  }

  async *#scan(
    topic: string,
    { from, upTo }: { from: number; upTo: number },
    { isForward, size }: { isForward: boolean; size: number },
  ): AsyncGenerator<MessageDoc> {
    let range = { $gte: from, $lte: upTo };
    for (let length = Math.min(size, MAX_PLACES_PER_READ); ; length = Math.min(length * 2, MAX_PLACES_PER_READ)) {
      const query = this.collections.messages.find({ topic, seq: range }).sort({ seq: isForward ? 1 : -1 });
      const docs = await query.limit(length).toArray();
      yield* docs;
      const last = docs.at(-1);
      if (docs.length < length || last === undefined) return;
      range = isForward ? { ...range, $gte: last.seq + 1 } : { ...range, $lte: last.seq - 1 };
    }
  }

  async find(id: string): Promise<readonly Message[]> {
    return (await this.findAll([id])).map(toMessage);
  }

  /** The messages of these ids that can be read, one for each sender. */
  async findAll(ids: readonly string[]): Promise<readonly MessageDoc[]> {
    const docs: MessageDoc[] = [];
    for (const part of partsOf(ids, IDS_PER_QUERY)) docs.push(...(await this.#withIds(part)));
    const visible = await this.withoutHidden(docs.filter((doc) => this.isThere(doc) && !doc.tags.includes(HOLE)));
    const bySender = new Map(visible.map((doc) => [JSON.stringify([doc.id, doc.from]), doc]));
    return [...bySender.values()].toSorted((one, other) => (one.from < other.from ? -1 : 1));
  }

  /** Oldest first: of what one sender sent under one id the newest counts. */
  async #withIds(ids: string[]): Promise<MessageDoc[]> {
    const found = await this.collections.messages.find({ id: { $in: ids } } satisfies Filter<MessageDoc>).toArray();
    return found.toSorted((one, other) => one.order - other.order || one.seq - other.seq);
  }

  async withoutHidden(docs: readonly MessageDoc[]): Promise<readonly MessageDoc[]> {
    if (docs.length === 0) return docs;
    const floors = await this.floors([...new Set(docs.map(({ topic }) => topic))]);
    return docs.filter(({ topic, seq }) => seq > (floors.get(topic)?.prunedUpTo ?? 0));
  }

  /** The documents at some places of a topic. */
  docsAt(topic: string, seqs: readonly number[]): Promise<MessageDoc[]> {
    return this.collections.messages.find({ topic, seq: { $in: [...seqs] } }).toArray();
  }
}

/** One more than a page takes tells whether anything is behind it. */
function sizeOf({ limit, maxBytes }: ReadOptions): number {
  return Math.min(limit + 1, maxBytes === undefined ? MAX_PLACES_PER_READ : DOCS_PER_FETCH);
}

function stateOf(last: number, log: LogDoc | undefined): LogState {
  const { prunedUpTo = 0, erasedUpTo = 0, generation = 0 } = log ?? {};
  return { head: Math.max(last, prunedUpTo), prunedUpTo, erasedUpTo, generation };
}

const noFlags = (_seq: number): number => 0;
