/**
 * Appends lines. Each topic has a queue: lines that gather during a batch form the next one. A batch is inserted after
 * the head known here; if another node was faster, the unique index of topic and `seq` refuses it, and the head is read
 * again. So no place is given twice or left out.
 */
import { LRUCache } from 'lru-cache';
import { ObjectId } from 'mongodb';
import { fromIsoTime, nextTurn, systemClock, toIsoTime } from '../../../utils/clock';
import { newId } from '../../../utils/ids';
import { type FlushListener, StoreError } from '../contract';
import { entryAbout } from '../rules/entries';
import { pauseBefore } from '../turns';
import type { Claims } from './claims';
import { CALL_DEADLINE_MS } from './connection';
import { isDuplicate, isLost, retryingUntil, toStoreError } from './errors';
import { type Database, type MessageDoc, REMEMBERED_MS } from './layout';
import type { Log } from './log';
import { type Content, entryKey, type Line, toDoc } from './record';

/** How a line came to its place. */
export type Placed =
  | { readonly outcome: 'refused' }
  | {
      readonly outcome: 'placed';
      readonly doc: MessageDoc;
      /** false: its key existed before. */
      readonly isNew: boolean;
      /** Entries about what it replaced, which come before it. */
      readonly entries: readonly MessageDoc[];
    };

export interface Request extends Omit<Line, '_id'> {
  /** Is the key a client id, unique over all topics? */
  readonly isClaimed?: boolean;
}

interface Waiting extends Request {
  readonly _id: ObjectId;
  readonly until: number;
  doc: MessageDoc | undefined;
  readonly entries: MessageDoc[];
  readonly resolve: (placed: Placed) => void;
  readonly reject: (error: StoreError) => void;
}

/** Other work that takes its turn among the lines of a topic. */
interface Step {
  readonly run: () => Promise<void>;
}

interface Head {
  readonly seq: number;
  readonly order: number;
  /** When the log ended there, in milliseconds since the epoch. */
  readonly at: number;
}

export interface Replaced {
  /** In the order of their places. */
  readonly docs: readonly MessageDoc[];
  /** They are not all. */
  readonly isMore: boolean;
}

/** What a message with a collapse key replaces, and how that goes. */
export interface Replacing {
  find(content: Content): Promise<Replaced>;
  /** Removes what an entry is about. */
  settle(entry: MessageDoc): Promise<void>;
}

/** Small enough for the longest message of any server, and to be answered long before the deadline. */
const MAX_BATCH_LINES = 500;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
/** Remembered ends of logs save reads; another node may have added to them. */
const MAX_HEADS = 10_000;
/** How long others wait for a node that died during a change. */
export const GRACE_MS = 5_000;

export class Writer {
  readonly #queues = new Map<string, (Waiting | Step)[]>();
  readonly #heads = new LRUCache<string, Head>({ max: MAX_HEADS });
  #queuedLines = 0;

  constructor(
    private readonly db: Database,
    private readonly parts: {
      readonly claims: Claims;
      readonly log: Log;
      readonly replacing: Replacing;
      readonly onFlush: FlushListener;
    },
  ) {}

  /** Lines that are waiting or being inserted. */
  get queuedLines(): number {
    return this.#queuedLines;
  }

  /** Resolves in the order of the calls for one topic. */
  append(request: Request): Promise<Placed> {
    return new Promise((resolve, reject) => {
      const until = systemClock.steady() + CALL_DEADLINE_MS;
      const waiting = { ...request, _id: new ObjectId(), until, doc: undefined, entries: [], resolve, reject };
      this.#queuedLines += 1;
      this.#enqueue(request.content.topic, waiting);
    });
  }

  /** Runs `work` after the lines given before, and before later ones of this process. */
  between<Result>(topic: string, work: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      // An error that is thrown synchronously becomes a rejection, and does not block the queue.
      const begin = async () => work();
      this.#enqueue(topic, { run: () => begin().then(resolve, reject) });
    });
  }

  #enqueue(topic: string, item: Waiting | Step): void {
    const queue = this.#queues.get(topic);
    if (queue !== undefined) queue.push(item);
    else {
      this.#queues.set(topic, [item]);
      void this.#drain(topic);
    }
  }

  /** Appends an entry, which no inbox shows. With a `key` it is appended once, however often that is tried. */
  async appendEntry(entry: Omit<Content, 'id' | 'timestamp'>, key?: string): Promise<MessageDoc> {
    const placed = await this.append({ key, content: this.#dated(entry) });
    if (placed.outcome === 'refused') throw new StoreError('an entry was refused');
    return placed.doc;
  }

  #dated(entry: Omit<Content, 'id' | 'timestamp'>): Content {
    const now = this.db.clock.now();
    return { id: newId(now), timestamp: toIsoTime(now), ...entry };
  }

  async #drain(topic: string): Promise<void> {
    const queue = this.#queues.get(topic) ?? [];
    while (queue.length > 0) {
      // Requests that were read in the same turn of the event loop share a batch.
      await nextTurn();
      const [first] = queue;
      if (first === undefined || 'content' in first) await this.#writeBatch(topic, takeBatch(queue));
      else {
        queue.shift();
        await first.run();
      }
    }
    this.#queues.delete(topic);
  }

  async #writeBatch(topic: string, batch: readonly Waiting[]): Promise<void> {
    const now = systemClock.steady();
    const late = batch.filter(({ until }) => until <= now);
    for (const { reject } of late) reject(new StoreError('the store did not get to it in time'));
    const timely = batch.filter(({ until }) => until > now);
    try {
      const settled = await this.#place(topic, timely);
      for (const [index, { resolve }] of timely.entries()) resolve(settled[index] ?? { outcome: 'refused' });
    } catch (error) {
      this.#heads.delete(topic);
      const failure = toStoreError(error);
      // Lines with a place are stored, whatever happened to the others.
      for (const one of timely) {
        if (one.doc === undefined) one.reject(failure);
        else one.resolve(placedAt(one, one.doc));
      }
    } finally {
      this.#queuedLines -= batch.length;
    }
  }

  async #place(topic: string, batch: readonly Waiting[]): Promise<Placed[]> {
    const claimed = [...new Set(batch.flatMap(({ isClaimed, key }) => (isClaimed && key !== undefined ? key : [])))];
    const { refused, scheduled, isAnyKnown } = await this.parts.claims.take(topic, claimed);
    const byKey = new Map<string, MessageDoc>();
    if (isAnyKnown) for (const doc of await this.#ofKeys(topic, claimed)) byKey.set(String(doc.key), doc);
    const isTaken = (key: string) => refused.has(key) || (scheduled.has(key) && !byKey.has(key));
    const taken = new Set(claimed.filter(isTaken));
    const isRefused = ({ isClaimed, key = '' }: Waiting) => isClaimed === true && taken.has(key);
    // Of several with one key the first is the message; the others repeat it.
    const fresh = firstOfEachKey(batch).filter((one) => !isRefused(one) && !byKey.has(one.key ?? ''));
    await this.#insert(topic, fresh);
    for (const { key, doc } of fresh) if (key !== undefined && doc !== undefined) byKey.set(key, doc);
    return batch.map((one) => {
      const doc = one.doc ?? byKey.get(one.key ?? '');
      if (isRefused(one) || doc === undefined) return { outcome: 'refused' };
      return placedAt(one, doc);
    });
  }

  /** Visible messages with these keys. */
  async #ofKeys(topic: string, keys: readonly string[]): Promise<readonly MessageDoc[]> {
    if (keys.length === 0) return [];
    const found = await this.db.collections.messages.find({ topic, key: { $in: [...keys] } }).toArray();
    return this.#inSight(topic, found);
  }

  async #insert(topic: string, lines: readonly Waiting[]): Promise<void> {
    let left = lines;
    for (let attempt = 0; left.length > 0; attempt += 1) {
      if (left.some(({ until }) => until <= systemClock.steady()))
        throw new StoreError('others wrote to it all the time');
      await pauseBefore(attempt);
      await this.#insertSome(topic, left);
      left = left.filter(({ doc }) => doc === undefined);
    }
  }

  /** A lost write may have been done: the next attempt finds it by its id. */
  async #insertSome(topic: string, lines: readonly Waiting[]): Promise<void> {
    const [first] = lines;
    try {
      if (first?.content.collapseKey !== undefined) await this.#insertReplacing(topic, first);
      else await this.#insertAll(topic, lines);
    } catch (error) {
      if (!isLost(error)) throw error;
    }
  }

  async #insertAll(topic: string, lines: readonly Waiting[]): Promise<void> {
    const until = Math.min(...lines.map((line) => line.until));
    const find = finderOf(await this.#tryInsert(topic, lines, until));
    for (const line of lines) line.doc = find(line);
  }

  /**
   * Entries and message come together, and what is replaced goes afterwards, so that one of them always exists. Of very
   * many the newest go last.
   */
  async #insertReplacing(topic: string, line: Waiting): Promise<void> {
    for (let isMore = true; isMore; ) {
      const replaced = await this.parts.replacing.find(line.content);
      isMore = replaced.isMore;
      const removals = replaced.docs.map((doc) => this.#removalOf(doc, line.content.from));
      const find = finderOf(await this.#tryInsert(topic, isMore ? removals : [...removals, line], line.until));
      if (!isMore) line.doc = find(line);
      const entries = removals.map((removal) => ({ removal, entry: find(removal) }));
      for (const { removal, entry } of entries) if (entry?._id.equals(removal._id)) line.entries.push(entry);
      // If this fails, expire() does it: the message is stored.
      await Promise.all(entries.map(({ entry }) => entry && this.parts.replacing.settle(entry).catch(() => undefined)));
      // Another node was faster: start over.
      if (entries.some(({ entry }) => entry === undefined)) return;
    }
  }

  #removalOf(doc: MessageDoc, by: string): Line {
    const event = 'message:removed';
    const content = this.#dated(entryAbout(doc, { event, data: 'null', reason: 'replaced', from: by }));
    const dueAt = this.db.clock.now() + GRACE_MS;
    return { _id: new ObjectId(), content, key: entryKey(event, doc.seq), removes: doc.seq, dueAt };
  }

  /** @returns those lines that are in the log now, whoever has written them. */
  async #tryInsert(topic: string, lines: readonly Line[], until: number): Promise<readonly MessageDoc[]> {
    const head = this.#remembered(topic) ?? (await this.#readHead(topic));
    const docs = toDocs(lines, head);
    const at = this.db.clock.now();
    const startedAt = systemClock.steady();
    const tell = (isDone: boolean) =>
      this.parts.onFlush({ writes: docs.length, durationMs: systemClock.steady() - startedAt, isDone });
    try {
      await this.db.collections.messages.insertMany(docs, { ordered: true });
    } catch (error) {
      this.#heads.delete(topic);
      // Another node was faster, which is no fault: the lines are written again.
      if (isDuplicate(error)) return retryingUntil(until, () => this.#readBack(topic, docs));
      tell(false);
      throw error;
    }
    tell(true);
    const { seq, order } = docs.at(-1) ?? head;
    this.#heads.set(topic, { seq, order, at });
    return docs;
  }

  /** Where the log ended, if nobody can have added and removed anything since: see KEPT_MS. */
  #remembered(topic: string): Head | undefined {
    const head = this.#heads.get(topic);
    return head !== undefined && this.db.clock.now() - head.at < REMEMBERED_MS ? head : undefined;
  }

  /** Last `seq` of a topic, or where it was when this node last wrote there. */
  async headOf(topic: string): Promise<number> {
    const remembered = this.#remembered(topic);
    const head = remembered ?? (await this.#readHead(topic));
    if (remembered === undefined) this.#heads.set(topic, head);
    return head.seq;
  }

  async #readHead(topic: string): Promise<Head> {
    const at = this.db.clock.now();
    const { head: seq, order } = await this.parts.log.state(topic);
    return { seq, order, at };
  }

  /** A duplicate may be due to the first try of the driver: then the ids are those of this batch. */
  async #readBack(topic: string, docs: readonly MessageDoc[]): Promise<readonly MessageDoc[]> {
    const keys = docs.flatMap(({ key }) => (typeof key === 'string' ? key : []));
    const [own, ofKeys] = await Promise.all([this.#placesOf(topic, docs), this.#ofKeys(topic, keys)]);
    return [...(await this.#inSight(topic, own)), ...ofKeys];
  }

  /** Lines found in the log, as they were written: others may have changed them, and report that themselves. */
  async #placesOf(topic: string, docs: readonly MessageDoc[]): Promise<readonly MessageDoc[]> {
    const written = new Map(docs.map((doc) => [doc._id.toHexString(), doc]));
    const filter = { topic, _id: { $in: docs.map(({ _id }) => _id) } };
    const projection = { seq: 1, order: 1, key: 1 };
    const found = await this.db.collections.messages.find(filter, { projection }).toArray();
    return found.flatMap(({ _id, seq, order, key }) => {
      const doc = written.get(_id.toHexString());
      return doc === undefined ? [] : { ...doc, seq, order, key };
    });
  }

  /** Without lines where retention has been by now: they are invisible, and withdrawn to be written after the end. */
  async #inSight(topic: string, docs: readonly MessageDoc[]): Promise<readonly MessageDoc[]> {
    if (docs.length === 0) return docs;
    const { prunedUpTo = 0 } = (await this.parts.log.floor(topic)) ?? {};
    const hidden = docs.filter(({ seq }) => seq <= prunedUpTo).map(({ _id }) => _id);
    if (hidden.length === 0) return docs;
    this.#heads.delete(topic);
    await this.db.collections.messages.deleteMany({ topic, _id: { $in: hidden } });
    return docs.filter(({ seq }) => seq > prunedUpTo);
  }
}

function placedAt({ _id, entries }: Waiting, doc: MessageDoc): Placed {
  return { outcome: 'placed', doc, isNew: doc._id.equals(_id), entries };
}

/** The beginning of a queue. A line that may replace another is written alone: the other may be just before. */
function takeBatch(queue: (Waiting | Step)[]): Waiting[] {
  const batch: Waiting[] = [];
  let bytes = 0;
  for (const item of queue) {
    if (!('content' in item)) break;
    bytes += item.content.data.length;
    const isAlone = item.content.collapseKey !== undefined;
    if (batch.length > 0 && (isAlone || batch.length === MAX_BATCH_LINES || bytes > MAX_BATCH_BYTES)) break;
    batch.push(item);
    if (isAlone) break;
  }
  queue.splice(0, batch.length);
  return batch;
}

function firstOfEachKey(batch: readonly Waiting[]): Waiting[] {
  const firsts = new Map(batch.toReversed().map((one) => [one.key, one]));
  return batch.filter((one) => one.key === undefined || firsts.get(one.key) === one);
}

function toDocs(lines: readonly Line[], { seq, order: before }: Omit<Head, 'at'>): MessageDoc[] {
  let order = before;
  return lines.map((line, index) => {
    order = Math.max(order, fromIsoTime(line.content.timestamp));
    return toDoc(line, seq + index + 1, order);
  });
}

/** Finds a line among documents: the line itself, or what has its key. */
function finderOf(docs: readonly MessageDoc[]): (line: Line) => MessageDoc | undefined {
  const byId = new Map(docs.map((doc) => [doc._id.toHexString(), doc]));
  const byKey = new Map(docs.map((doc) => [doc.key, doc]));
  return ({ _id, key }) => byId.get(_id.toHexString()) ?? (key === undefined ? undefined : byKey.get(key));
}
