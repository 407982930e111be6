/** Commands that several parts give. */
import type { Collection, Filter, FindCursor, Sort } from 'mongodb';

/** Deletes some documents: those that no longer fit stay. @returns how many were found. */
export async function deleteSome<Doc extends { readonly _id: string }>(
  collection: Collection<Doc>,
  filter: Filter<Doc>,
  { limit, sort }: { readonly limit: number; readonly sort?: Sort },
): Promise<number> {
  const query = collection.find<Pick<Doc, '_id'>>(filter, {
    projection: { _id: 1 },
    ...(sort === undefined ? {} : { sort }),
  });
  const ids = (await query.limit(limit).toArray()).map(({ _id }) => _id);
  if (ids.length > 0) await collection.deleteMany({ ...filter, _id: { $in: ids } });
  return ids.length;
}

/** Names that one page looks at: what was deleted, and what others keep private, shows nothing. */
const MAX_LOOKED_AT = 1_000;

/** One page of documents. `next`: the name of the last one where more follow. */
export async function pageOf<Doc>(
  query: FindCursor<Doc>,
  limit: number,
  nameOf: (doc: Doc) => string,
): Promise<{ readonly docs: readonly Doc[]; readonly next: string | undefined }> {
  const size = Math.min(limit, MAX_LOOKED_AT);
  const found = await query.limit(size + 1).toArray();
  const docs = found.slice(0, size);
  const last = docs.at(-1);
  return { docs, next: found.length > size && last !== undefined ? nameOf(last) : undefined };
}
