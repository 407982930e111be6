/** The audit log: entries by time, and an index for each kind of query, so that none reads entries it leaves out. */
import type { AuditEntry, AuditQuery } from '../contract';
import { assertFitsKey } from '../rules/key-size';
import type { Access } from './access';
import type { AuditKey, Trees } from './layout';

export class Audit {
  readonly #trees: Trees;

  constructor(private readonly access: Access) {
    this.#trees = access.trees;
  }

  save(entries: readonly AuditEntry[]): void {
    for (const { actor, action, id } of entries) assertFitsKey(actor, action, id);
    for (const entry of entries) {
      const key: AuditKey = [entry.at, entry.id];
      this.#trees.audit.put(key, entry);
      for (const facet of facetsOf(entry)) this.#trees.auditIndex.put([facet, ...key], true);
    }
  }

  list(query: AuditQuery): AuditEntry[] {
    const { since = 0, after, limit } = query;
    const facet = facetOf(query);
    const start = after === undefined ? [facet, Number.MAX_SAFE_INTEGER] : [facet, after.at, after.id];
    // In reverse: the end is before every key with its time.
    const range = { start, end: [facet, since], reverse: true, exclusiveStart: after !== undefined, limit };
    const keys = Array.from(this.#trees.auditIndex.getKeys(range as unknown as object));
    return keys.flatMap(([, at, id]) => this.#trees.audit.get([at, id]) ?? []);
  }

  async prune(before: number, limit: number): Promise<number> {
    const isAny = await this.access.reading(() => this.#older(before, 1).length > 0);
    return isAny ? this.access.write(() => this.#prune(before, limit)) : 0;
  }

  #prune(before: number, limit: number): number {
    const old = this.#older(before, limit);
    for (const { key, value } of old) {
      this.#trees.audit.remove(key);
      for (const facet of facetsOf(value)) this.#trees.auditIndex.remove([facet, ...key]);
    }
    return old.length;
  }

  /** The end is before every key of its time. */
  #older(before: number, limit: number): { key: AuditKey; value: AuditEntry }[] {
    return Array.from(this.#trees.audit.getRange({ end: [before] as unknown as AuditKey, limit }));
  }
}

/** What a query names. No action is called `actor`, and none has a blank. */
function facetOf({ actor, action }: Pick<AuditQuery, 'actor' | 'action'>): string {
  if (actor === undefined) return action ?? '';
  return `${action ?? 'actor'} ${actor}`;
}

function facetsOf({ actor, action }: AuditEntry): string[] {
  return [facetOf({}), facetOf({ actor }), facetOf({ action }), facetOf({ actor, action })];
}
