/** What was said in a topic, a page at a time: the same over every door. */
import { z } from 'zod';
import type { Store } from '../services/storage/contract';
import { readPageToken, writePageToken } from '../utils/page-token';
import { toListedMessage } from '../utils/protocol';

export interface HistoryAnswer {
  /** In the order of `seq`. */
  readonly messages: readonly object[];
  /** Where to read on, when the page ended before `limit` and before all was looked at. */
  readonly nextCursor?: string;
}

export interface HistoryQuery {
  readonly after?: number | undefined;
  readonly before?: number | undefined;
  readonly limit: number;
  /** Says more than `after` and `before`, which it was made from. */
  readonly cursor?: string | undefined;
}

const LIST = 'history';
const rangeSchema = z.object({ after: z.int().min(0).optional(), before: z.int().min(1).optional() });

/** Reads what the user may see; whether the topic may be read is asked before. */
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
