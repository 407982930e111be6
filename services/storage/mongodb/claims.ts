/**
 * Client ids are unique per sender over all topics: a document for each says which topic has it. It is written before
 * the message; within the topic the unique index of the messages decides.
 */
import { partsOf } from '../../../utils/parts';
import { CALL_DEADLINE_MS } from './connection';
import { ignoringDuplicates, retryingLost } from './errors';
import type { Collections } from './layout';

export interface Claimed {
  /** Taken in another topic, or by something scheduled. */
  readonly refused: ReadonlySet<string>;
  /** Taken by something scheduled, until its message exists. */
  readonly scheduled: ReadonlySet<string>;
  /** Did any of them exist? Then there may be a message, too. */
  readonly isAnyKnown: boolean;
}

const NOTHING: Claimed = { refused: new Set(), scheduled: new Set(), isAnyKnown: false };
const KEYS_AT_ONCE = 500;

export class Claims {
  constructor(private readonly collections: Collections) {}

  /** Claims keys for a topic, again if it has them: their messages may never have come. */
  async take(topic: string, keys: readonly string[]): Promise<Claimed> {
    if (keys.length === 0) return NOTHING;
    const claims = keys.map((_id) => ({ _id, topic }));
    const insert = () => this.collections.ids.insertMany(claims, { ordered: false });
    const areNew = await ignoringDuplicates(retryingLost(insert, CALL_DEADLINE_MS));
    return areNew ? NOTHING : this.#known(topic, keys);
  }

  async #known(topic: string, keys: readonly string[]): Promise<Claimed> {
    const { ids, scheduled } = this.collections;
    const among = { _id: { $in: [...keys] } };
    const [claims, waiting] = await Promise.all([
      ids.find(among).toArray(),
      scheduled.find(among, { projection: { _id: 1 } }).toArray(),
    ]);
    const elsewhere = claims.filter((claim) => claim.topic !== topic);
    return {
      refused: new Set([...elsewhere, ...waiting].map(({ _id }) => _id)),
      scheduled: new Set(claims.filter(({ sendAt }) => sendAt !== undefined).map(({ _id }) => _id)),
      isAnyKnown: true,
    };
  }

  /** Frees keys of a topic. */
  async free(topic: string, keys: readonly string[]): Promise<void> {
    for (const part of partsOf(keys, KEYS_AT_ONCE)) {
      await this.collections.ids.deleteMany({ _id: { $in: part }, topic });
    }
  }
}
