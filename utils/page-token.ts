/**
 * Page tokens: where the next page of a list begins. The fields `cursor` and `nextCursor` carry them. Opaque to
 * clients, and checked when they come back.
 */
import type { z } from 'zod';
import { badField } from './errors';

/** `list` keeps the tokens of one list apart from those of another. */
export function writePageToken(list: string, position: unknown): string {
  return Buffer.from(JSON.stringify([list, position]), 'utf8').toString('base64url');
}

/**
 * A page of a list.
 * @param found items, one more than the page holds if there is another page.
 */
export function cutPage<Item>(
  found: readonly Item[],
  limit: number,
  tokenOf: (last: Item) => string,
): { readonly page: readonly Item[]; readonly nextCursor: string | null } {
  const page = found.slice(0, limit);
  const last = found.length > limit ? page.at(-1) : undefined;
  return { page, nextCursor: last === undefined ? null : tokenOf(last) };
}

/** @throws AppError `bad_request` naming `cursor` unless `writePageToken` made the token for this list. */
export function readPageToken<Schema extends z.ZodType>(list: string, schema: Schema, token: string): z.output<Schema> {
  const [foundList, position] = decode(token);
  const parsed = schema.safeParse(position);
  // Decoding is lenient: only a text that encodes to itself again was made here.
  if (foundList !== list || !parsed.success || writePageToken(list, position) !== token) {
    throw badField('cursor', 'must be the nextCursor of an earlier answer');
  }
  return parsed.data;
}

function decode(token: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(token, 'base64url').toString('utf8'));
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}
