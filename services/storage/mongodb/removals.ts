/**
 * Removes documents of what is hidden already: deleted topics and users whose erasure was interrupted. A document for
 * each keeps it pending, so it continues when a node dies. Several nodes may do the same at once.
 */
import { isStateTopic } from '../../../utils/topic-names';
import { deleteSome, insertNew, put } from './commands';
import { type Database, keyOf, type RemovalDoc, removalId, startingWith } from './layout';
import type { Marks } from './marks';
import type { Sweeps } from './sweeps';
import type { Topics } from './topics';

const DOCS_AT_ONCE = 500;
/** When a node dies, another one continues its work after this time. */
const WORKING_MS = 30_000;

export interface RemovalParts {
  readonly topics: Topics;
  readonly marks: Marks;
  readonly sweeps: Sweeps;
}

export class Removals {
  constructor(
    private readonly db: Database,
    private readonly parts: RemovalParts,
  ) {}

  /** Works on a removal that nobody else works on. @returns false without one. `erase`: finishes an erasure. */
  async advance(erase: (userId: string) => Promise<unknown>): Promise<boolean> {
    const removal = await this.#take();
    if (removal === undefined) return false;
    const { _id } = removal;
    const isDone = await this.#work(removal, erase);
    if (isDone) await this.db.collections.removals.deleteOne({ _id });
    else await this.db.collections.removals.updateOne({ _id }, { $set: { freeAt: 0 } });
    return true;
  }

  async #take(): Promise<RemovalDoc | undefined> {
    const now = this.db.clock.now();
    const { removals } = this.db.collections;
    const found = await removals.findOne({ freeAt: { $lte: now } });
    if (found === null) return undefined;
    await removals.updateOne({ _id: found._id }, { $set: { freeAt: now + WORKING_MS } });
    return found;
  }

  async #work(removal: RemovalDoc, erase: (userId: string) => Promise<unknown>): Promise<boolean> {
    if (removal.kind === 'topic') return this.#removeTopic(removal);
    if (removal.kind === 'listing') return this.#listDevices(removal);
    await erase(removal.name);
    return true;
  }

  /** Marks an erasure as pending, until it has ended. */
  async beginErasure(userId: string): Promise<void> {
    const at = this.db.clock.now();
    const fields = { kind: 'user', name: userId, generation: 0, at, freeAt: at + WORKING_MS, upTo: 0 } as const;
    await put(this.db.collections.removals, { _id: removalId('user', userId), ...fields });
  }

  async endErasure(userId: string): Promise<void> {
    await this.db.collections.removals.deleteOne({ _id: removalId('user', userId) });
  }

  /** @returns whether nothing is left. */
  async #removeTopic(removal: RemovalDoc): Promise<boolean> {
    const { name, generation, upTo } = removal;
    if (!(await this.parts.topics.resumeDeletion(removal))) return true;
    const { marks, sweeps } = this.parts;
    if ((await this.#removeMembers(name, generation)) > 0) return false;
    if ((await this.#removeCursors(name, upTo)) > 0) return false;
    if ((await sweeps.removeSomeHiddenOf(name, DOCS_AT_ONCE)) > 0) return false;
    const later = await this.db.collections.topics.findOne({ _id: name });
    // The last row of states may also belong to a later topic with this name.
    return (await marks.removeSome(name, later === null ? Number.POSITIVE_INFINITY : upTo)) === 0;
  }

  async #removeMembers(name: string, generation: number): Promise<number> {
    const isEarlier = [{ generation: null }, { generation: { $lte: generation } }];
    const filter = { _id: startingWith(name), $or: isEarlier } as object;
    return deleteSome(this.db.collections.members, filter, { limit: DOCS_AT_ONCE });
  }

  /** Only up to where the topic stood: the rest belongs to a later one. */
  async #removeCursors(topic: string, upTo: number): Promise<number> {
    // A cursor there that still waits for unread messages belongs to the later topic.
    const filter = { topic, seq: { $lte: upTo }, unreadUpTo: { $lte: upTo } };
    return deleteSome(this.db.collections.cursors, filter, { limit: DOCS_AT_ONCE });
  }

  /** Writes the documents that layout 1 did not have: its devices have a cursor in the log of states. */
  async #listDevices({ _id, after = '' }: RemovalDoc): Promise<boolean> {
    const { cursors, devices, removals } = this.db.collections;
    const query = cursors.find({ _id: { $gt: after } }).sort({ _id: 1 });
    const page = await query.limit(DOCS_AT_ONCE).toArray();
    const now = this.db.clock.now();
    const docs = page
      .filter(({ topic }) => isStateTopic(topic))
      .map(({ userId, device }) => ({ _id: keyOf(userId, device), userId, device, ackedAt: now, seenAt: now }));
    await insertNew(devices, docs);
    const last = page.at(-1);
    if (last === undefined) return true;
    await removals.updateOne({ _id }, { $set: { after: last._id } });
    return false;
  }
}
