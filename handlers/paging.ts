/** Pages of lists whose entries have names: the caller limits the number of entries, the service the bytes. */
import type { Listed, NamePage } from '../services/storage/contract';
import { readPageToken, writePageToken } from '../utils/page-token';
import { userIdSchema } from '../utils/schemas';

/** The limits of one page of a list. */
const MAX_PAGE_BYTES = 256 * 1024;

export const STANDARD_LIST_LIMIT = 50;

export interface ListQuery {
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

/** @throws AppError `bad_request` for the page token of another list. */
export function readPage(list: string, { limit, cursor }: ListQuery, standardLimit: number): NamePage {
  // Names of topics follow the grammar of user ids.
  const after = cursor === undefined ? undefined : readPageToken(list, userIdSchema, cursor);
  return { after, limit: limit ?? standardLimit };
}

/** The items that fit on a page, at least one. */
export function fitPage<Item>(
  list: string,
  { items, next }: Listed<Item>,
  nameOf: (item: Item) => string,
): { readonly page: readonly Item[]; readonly nextCursor: string | null } {
  let bytes = 0;
  const end = items.findIndex((item, index) => {
    bytes += Buffer.byteLength(JSON.stringify(item)) + 1;
    return bytes > MAX_PAGE_BYTES && index > 0;
  });
  const page = end === -1 ? items : items.slice(0, end);
  const last = page.at(-1);
  const after = end === -1 || last === undefined ? next : nameOf(last);
  return { page, nextCursor: after === undefined ? null : writePageToken(list, after) };
}
