/** Cursors of lists: opaque to clients, checked when they come back. */
import type { z } from 'zod';
import { badField } from './errors';

/**
 * Writes where a list goes on. `kind` tells the cursors of one list from those of another.
 */
export function writePageToken(kind: string, position: unknown): string {
  return Buffer.from(JSON.stringify([kind, position]), 'utf8').toString('base64url');
}

/**
 * A page of a list.
 * @param found one item more than the page may have shows that there is another page.
 */
export function cutPage<Item>(
  found: readonly Item[],
  limit: number,
  cursorOf: (last: Item) => string,
): { readonly page: readonly Item[]; readonly nextCursor: string | null } {
  const page = found.slice(0, limit);
  const last = found.length > limit ? page.at(-1) : undefined;
  return { page, nextCursor: last === undefined ? null : cursorOf(last) };
}

/** @throws AppError `bad_request` naming `cursor` for what `writePageToken` has not made for this kind. */
export function readPageToken<Schema extends z.ZodType>(
  kind: string,
  schema: Schema,
  cursor: string,
): z.output<Schema> {
  const [foundKind, position] = decode(cursor);
  const parsed = schema.safeParse(position);
  // Decoding is lenient: only what encodes to the same text again was made here.
  if (foundKind !== kind || !parsed.success || writePageToken(kind, position) !== cursor) {
    throw badField('cursor', 'must be a cursor that an earlier answer gave');
  }
  return parsed.data;
}

function decode(cursor: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}
