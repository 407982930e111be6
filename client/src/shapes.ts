/**
 * Input from outside is checked once, where it comes in. A shape requires only what this package relies on: a newer
 * service may send more.
 */
import type {
  Closing,
  Counts,
  HistoryPage,
  InboxItem,
  InboxPage,
  ListedMessage,
  MessageMeta,
  Problem,
  Reply,
  SendAnswer,
  StateAnswer,
  Topic,
  TopicPage,
} from './protocol.ts';

export type Shape<Value> = (value: unknown) => value is Value;
type Check = (value: unknown) => boolean;

const text: Check = (value) => typeof value === 'string';
const flag: Check = (value) => typeof value === 'boolean';
const number: Check = (value) => Number.isFinite(value);
/** A position in a log, as an exact number. */
const place: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const nothing: Check = (value) => value === null;
const oneOf =
  (values: readonly string[]): Check =>
  (value) =>
    typeof value === 'string' && values.includes(value);
const optional = (check: Check): Check => either((value) => value === undefined, check);

function either(...checks: readonly Check[]): Check {
  return (value) => checks.some((check) => check(value));
}

function list(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fields<Value>(checks: Readonly<Record<string, Check>>): Shape<Value> {
  const entries = Object.entries(checks);
  return (value): value is Value => isObject(value) && entries.every(([name, check]) => check(value[name]));
}

const seqs: Check = (value) => isObject(value) && Object.values(value).every(place);

export const isCounts = fields<Counts>({ unseen: number, unread: number });
const counts = optional(isCounts);

const meta = { id: text, topic: text, seq: optional(place), timestamp: text, from: text, counts };
const isMeta = fields<MessageMeta>(meta);
const listed = { ...meta, seq: place, type: text, event: optional(text) };
const isListed = fields<ListedMessage>(listed);
export const isInboxItem = fields<InboxItem>({ ...listed, state: oneOf(['unseen', 'seen', 'read', 'archived']) });

const state = oneOf(['seen', 'read', 'unread', 'archived']);
const users = either(fields({ userId: text }), fields({ users: list(text) }));
const entry = { topic: text, ref: text, refSeq: optional(place), counts };

export const isClosing = fields<Closing>({ code: text, reason: text });
export const isProblem = fields<Problem>({ code: text, detail: text, status: number });

/** Payloads of the service's own events. */
const FRAMES: ReadonlyMap<string, Check> = new Map([
  ['authenticated', fields({ userId: text })],
  // An echo has the same name.
  ['message', either(fields({ ...meta, type: text }), fields({ type: oneOf(['echo']) }))],
  ['message:updated', fields({ ...entry, id: text, seq: place })],
  ['message:removed', fields({ ...entry, id: optional(text), seq: optional(place), reason: text })],
  [
    'state',
    either(
      fields({ ids: list(text), state, counts }),
      fields({ topic: text, upTo: place, state, counts }),
      fields({ all: flag, cursors: seqs, state, counts }),
    ),
  ],
  ['sync:done', fields({ cursors: seqs, counts: isCounts })],
  ['sync:reset', fields({ reason: text, topic: optional(text) })],
  ['presence', fields({ users: list(text) })],
  ['presence:join', users],
  ['presence:leave', users],
  ['typing', fields({ topic: text, userId: text, typing: flag })],
  ['topic:joined', fields({ name: text, isPrivate: flag, by: text })],
  ['auth:expiring', fields({ expiresAt: text })],
  ['closing', isClosing],
]);

/** Is this what the service sends under this name? Custom events are not checked. */
export function isFrame(event: string, [payload, second]: readonly unknown[]): boolean {
  const check = FRAMES.get(event);
  if (check !== undefined) return check(payload);
  return !claimsToBeMeta(second) || isMeta(second);
}

/** Does it say which message a custom event is? */
export function claimsToBeMeta(value: unknown): value is MessageMeta {
  return isObject(value) && 'id' in value && 'topic' in value;
}

/** What an acknowledgement callback gets. */
export function isReply<Answer>(value: unknown): value is Reply<Answer> {
  return isObject(value) && (value.ok === true || (value.ok === false && isProblem(value.error)));
}

export const isSendAnswer = fields<SendAnswer>({ id: text, topic: text, seq: optional(place) });
export const isStateAnswer = fields<StateAnswer>({ counts: isCounts });
export const isTopic = fields<Topic>({ name: text, isPrivate: flag, owner: text });
export const isTopics = fields<TopicPage>({ topics: list(isTopic), nextCursor: optional(either(nothing, text)) });
export const isHistoryPage = fields<HistoryPage>({ messages: list(isListed), nextCursor: optional(text) });
export const isInboxPage = fields<InboxPage>({
  items: list(isInboxItem),
  nextCursor: either(nothing, text),
  counts: isCounts,
});
