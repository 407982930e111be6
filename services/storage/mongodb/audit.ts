/** The audit log. */

import type { Filter } from 'mongodb';
import type { AuditEntry, AuditQuery } from '../contract';
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
    // The index is read between the bounds of `at`; `$or` only chooses among equal times.
    const at = since === undefined && after === undefined ? undefined : { $gte: since, $lte: after?.at };
    const $or = after && [{ at: { $lt: after.at } }, { _id: { $lt: after.id } }];
    const filter = { actor, action, at, $or } as Filter<AuditDoc>;
    const found = await this.collections.audit.find(filter).sort({ at: -1, _id: -1 }).limit(limit).toArray();
    return found.map(fromDoc);
  }

  async prune(before: number, limit: number): Promise<number> {
    return deleteSome(this.collections.audit, { at: { $lt: before } }, { limit, sort: { at: 1, _id: 1 } });
  }
}

function fromDoc({ _id: id, ...entry }: AuditDoc): AuditEntry {
  return { id, ...entry };
}
