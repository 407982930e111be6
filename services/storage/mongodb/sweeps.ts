/** Removes messages for good: by retention, with a deleted topic, or with an erased user. */
import { groupedBy, partsOf } from '../../../utils/parts';
import type { Claims } from './claims';
import { upsert, writeAll } from './commands';
import { type Database, KEPT_MS, type LogDoc, type MessageDoc } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import { isClientKey } from './record';

type Old = Pick<MessageDoc, 'topic' | 'seq' | 'key' | 'order'>;

const OLD = { _id: 0, topic: 1, seq: 1, key: 1, order: 1 };
/** Where nothing but the position is left, see KEPT_MS. */
const WITH_CONTENT = { isBare: null } as object;
const TOPICS_AT_ONCE = 10;

interface Hiding {
  readonly isErased?: boolean;
  /** For memberships from now on, after the topic was deleted. */
  readonly generation?: number;
  readonly deletedAt?: number;
}

export class Sweeps {
  constructor(
    private readonly db: Database,
    private readonly parts: { readonly claims: Claims; readonly log: Log; readonly marks: Marks },
  ) {}

  /** Hides all messages up to a `seq`; they still have to be removed. */
  async hide(topic: string, seq: number, { isErased = false, generation, deletedAt }: Hiding = {}): Promise<void> {
    if (seq === 0 && generation === undefined) return;
    const $max = { prunedUpTo: seq, erasedUpTo: isErased ? seq : undefined, generation, deletedAt } as Partial<LogDoc>;
    await upsert(this.db.collections.logs, topic, { $max, $set: { isHidden: true } });
  }

  /** One at a time: two would count the same messages twice. */
  prune(before: number, limit: number): Promise<number> {
    return this.db.turns.take('prune', () => this.#prune(before, limit));
  }

  /** Order never decreases within a topic: what is less than `before` is its beginning. */
  async #prune(before: number, limit: number): Promise<number> {
    let removed = await this.#removeHidden(limit);
    while (removed < limit) {
      const wanted = limit - removed;
      const filter = { order: { $lt: before }, ...WITH_CONTENT };
      const query = this.db.collections.messages.find<Old>(filter, { projection: OLD });
      const old = await query.sort({ order: 1, topic: 1, seq: 1 }).limit(wanted).toArray();
      const topics = groupedBy(old, ({ topic }) => topic);
      for (const part of partsOf([...topics], TOPICS_AT_ONCE)) {
        const counts = await Promise.all(part.map(([topic, places]) => this.#remove(topic, places)));
        for (const count of counts) removed += count;
      }
      if (old.length < wanted) break;
    }
    return removed;
  }

  async #removeHidden(limit: number): Promise<number> {
    let removed = 0;
    for (let after = ''; ; ) {
      const query = this.db.collections.logs.find({ isHidden: true, _id: { $gt: after } }).sort({ _id: 1 });
      const logs = await query.limit(TOPICS_AT_ONCE).toArray();
      for (const log of logs) {
        removed += await this.#removeHiddenOf(log, limit - removed);
        if (removed >= limit) return removed;
        after = log._id;
      }
      if (logs.length === 0) return removed;
    }
  }

  /** Removes all hidden messages of one topic, in parts. */
  async removeHiddenOf(topic: string, atOnce: number): Promise<void> {
    while ((await this.removeSomeHiddenOf(topic, atOnce)) === atOnce);
  }

  /** Removes a part of them. @returns how many. */
  async removeSomeHiddenOf(topic: string, limit: number): Promise<number> {
    const log = await this.parts.log.floor(topic);
    return log === undefined ? 0 : this.#removeHiddenOf(log, limit);
  }

  async #removeHiddenOf({ _id: topic, prunedUpTo }: LogDoc, limit: number): Promise<number> {
    const { messages, logs } = this.db.collections;
    const hidden = { topic, seq: { $lte: prunedUpTo } };
    const query = messages.find<Old>({ ...hidden, ...WITH_CONTENT }, { projection: OLD });
    const places = await query.sort({ seq: 1 }).limit(limit).toArray();
    const removed = await this.#remove(topic, places);
    if (places.length === limit) return removed;
    await messages.deleteMany({ ...hidden, order: { $lt: this.#keptFrom } });
    const isAnyLeft = (await messages.findOne(hidden, { projection: { _id: 1 } })) !== null;
    if (!isAnyLeft) await logs.updateOne({ _id: topic, prunedUpTo }, { $unset: { isHidden: '' } });
    return removed;
  }

  /** `order` of the oldest positions that are kept. */
  get #keptFrom(): number {
    return this.db.clock.now() - KEPT_MS;
  }

  /** The floor first: no log may look shorter. Ids before messages: a new message keeps its id. */
  async #remove(topic: string, places: readonly Old[]): Promise<number> {
    const { seq } = places.at(-1) ?? {};
    if (seq === undefined) return 0;
    const keptFrom = this.#keptFrom;
    const kept = places.filter(({ order }) => order >= keptFrom);
    const { logs, messages } = this.db.collections;
    const hiding = kept.length === 0 ? {} : { $set: { isHidden: true as const } };
    await upsert(logs, topic, { $max: { prunedUpTo: seq }, ...hiding });
    const keys = places.map(({ key }) => key).filter(isClientKey);
    await this.parts.claims.free(topic, keys);
    await messages.deleteMany({ topic, seq: { $lte: seq }, order: { $lt: keptFrom } });
    await this.#empty(kept);
    await this.parts.marks.removeUpTo(topic, seq);
    return places.length;
  }

  /** Leaves nothing but the positions. */
  async #empty(places: readonly Old[]): Promise<void> {
    const operations = places.map(({ topic, seq, order }) => ({
      replaceOne: { filter: { topic, seq }, replacement: bareDoc(topic, seq, order) },
    }));
    await writeAll(this.db.collections.messages, operations);
  }
}

function bareDoc(topic: string, seq: number, order: number): Omit<MessageDoc, '_id'> {
  const nothing = { id: '', type: '', from: '', timestamp: '', data: 'null', tags: [] };
  return { topic, seq, key: seq, order, ...nothing, isGone: true, isBare: true };
}
