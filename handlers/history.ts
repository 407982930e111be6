/** The messages of a topic, a page at a time: the same through every door. */
import { z } from 'zod';
import type { Store } from '../services/storage/contract';
import { readPageToken, writePageToken } from '../utils/page-token';
import { toListedMessage } from '../utils/protocol';

export interface HistoryAnswer {
  /** In the order of `seq`. */
  readonly messages: readonly object[];
  /** Where to continue, if the page ended before `limit` and before everything was examined. */
  readonly nextCursor?: string;
}

export interface HistoryQuery {
  readonly after?: number | undefined;
  readonly before?: number | undefined;
  readonly limit: number;
  /** Made from `after` and `before`, and more precise. */
  readonly cursor?: string | undefined;
}

const LIST = 'history';
const rangeSchema = z.object({ after: z.int().min(0).optional(), before: z.int().min(1).optional() });

/** Reads what the user may see; the caller has checked that the topic may be read. */
export async function readHistory(
  store: Store,
  { topic, userId }: { readonly topic: string; readonly userId: string },
  { cursor, limit, ...asked }: HistoryQuery,
): Promise<HistoryAnswer> {
  const { after, before } = cursor === undefined ? asked : readPageToken(LIST, rangeSchema, cursor);
  const { messages, next } = await store.log.history(topic, { after, before, limit, userId });
  const listed = messages.map(toListedMessage);
  if (next === undefined) return { messages: listed };
  const rest = after === undefined ? { before: next } : { after: next, before };
  return { messages: listed, nextCursor: writePageToken(LIST, rest) };
}
