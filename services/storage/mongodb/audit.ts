/** The audit log. */

import type { AuditEntry, AuditPosition, AuditQuery } from '../contract';
import { assertFitsKey } from '../rules/key-size';
import { deleteSome, writeAll } from './commands';
import type { AuditDoc, Collections } from './layout';

export class Audit {
  constructor(private readonly collections: Collections) {}

  async save(entries: readonly AuditEntry[]): Promise<void> {
    for (const { actor, action, id } of entries) assertFitsKey(actor, action, id);
    const operations = entries.map(({ id, ...replacement }) => ({
      replaceOne: { filter: { _id: id }, replacement, upsert: true },
    }));
    await writeAll(this.collections.audit, operations);
  }

  async list({ actor, action, since, after, limit }: AuditQuery): Promise<AuditEntry[]> {
    const filter = {
      ...(actor === undefined ? {} : { actor }),
      ...(action === undefined ? {} : { action }),
      ...timesOf(since, after),
    };
    const found = await this.collections.audit.find(filter).sort({ at: -1, _id: -1 }).limit(limit).toArray();
    return found.map(fromDoc);
  }

  async prune(before: number, limit: number): Promise<number> {
    return deleteSome(this.collections.audit, { at: { $lt: before } }, { limit, sort: { at: 1, _id: 1 } });
  }
}

/** The bounds of `at` are what an index is read between; the choice only takes its place among equal times. */
function timesOf(since: number | undefined, after: AuditPosition | undefined): object {
  const bounds = {
    ...(since === undefined ? {} : { $gte: since }),
    ...(after === undefined ? {} : { $lte: after.at }),
  };
  return {
    ...(Object.keys(bounds).length === 0 ? {} : { at: bounds }),
    ...(after === undefined ? {} : { $or: [{ at: { $lt: after.at } }, { _id: { $lt: after.id } }] }),
  };
}

function fromDoc({ _id: id, ...entry }: AuditDoc): AuditEntry {
  return { id, ...entry };
}
