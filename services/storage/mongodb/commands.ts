/** Commands that several parts use. */

import type {
  AnyBulkWriteOperation,
  Collection,
  Filter,
  FindCursor,
  OptionalUnlessRequiredId,
  Sort,
  UpdateFilter,
  WithoutId,
} from 'mongodb';
import { partsOf } from '../../../utils/parts';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import { ignoringDuplicates, retryingDuplicates } from './errors';
import type { Keyed } from './layout';

/** Documents that one command reads or writes. */
const DOCS_AT_ONCE = 500;

/** Documents by id; those that do not exist are missing. */
export async function findByIds<Doc extends Keyed>(
  collection: Collection<Doc>,
  ids: Iterable<string>,
): Promise<Map<string, Doc>> {
  const found = new Map<string, Doc>();
  for (const part of partsOf([...new Set(ids)], DOCS_AT_ONCE)) {
    const docs = collection.find<Doc>({ _id: { $in: part } } as Filter<Doc>);
    for (const doc of await docs.toArray()) found.set(doc._id, doc);
  }
  return found;
}

/** All documents of a query, which may be many. */
export async function allOf<Doc>(query: AsyncIterable<Doc>): Promise<Doc[]> {
  const docs: Doc[] = [];
  for await (const doc of query) {
    if (isSliceOver()) await nextSlice();
    docs.push(doc);
  }
  return docs;
}

/** Writes in no order; those that are repeated do the same again. */
export async function writeAll<Doc extends object>(
  collection: Collection<Doc>,
  operations: readonly AnyBulkWriteOperation<Doc>[],
): Promise<void> {
  for (const part of partsOf(operations, DOCS_AT_ONCE)) {
    await retryingDuplicates(() => collection.bulkWrite(part, { ordered: false }));
  }
}

/** Inserts documents; those that are there already stay. */
export async function insertNew<Doc extends Keyed>(collection: Collection<Doc>, docs: readonly Doc[]): Promise<void> {
  const inserted = [...docs] as OptionalUnlessRequiredId<Doc>[];
  if (docs.length > 0) await ignoringDuplicates(collection.insertMany(inserted, { ordered: false }));
}

/** Changes a document, and makes it where it is missing. */
export async function upsert<Doc extends Keyed>(
  collection: Collection<Doc>,
  _id: string,
  update: UpdateFilter<Doc>,
): Promise<void> {
  await retryingDuplicates(() => collection.updateOne({ _id } as Filter<Doc>, update, { upsert: true }));
}

/** Puts a document in the place of the one with its id. */
export async function put<Doc extends Keyed>(collection: Collection<Doc>, { _id, ...doc }: Doc): Promise<void> {
  const write = () => collection.replaceOne({ _id } as Filter<Doc>, doc as WithoutId<Doc>, { upsert: true });
  await retryingDuplicates(write);
}

/** Deletes some documents: those that no longer fit stay. @returns how many were found. */
export async function deleteSome<Doc extends Keyed>(
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

/** Names that one page looks at: deleted and private ones show nothing. */
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
