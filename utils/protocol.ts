/**
 * The wire contract: messages, frames, event names and closing codes. Every door and every transport imports its shapes
 * from here; docs/reference/events.md is the same in prose.
 */
import type { Problem } from './errors';

/** A message as it is stored and delivered. */
export interface Message {
  /** Client-made, or a ULID. */
  readonly id: string;
  readonly topic: string;
  /** Position in the topic's log: 1, 2, 3, … without gaps, never reused. */
  readonly seq: number;
  readonly type: string;
  /** Any JSON value. */
  readonly data: unknown;
  /** ISO 8601 UTC, when the service accepted it. */
  readonly timestamp: string;
  /** The `sub` of the sender. */
  readonly from: string;
  /** The event under which it is emitted; absent means `message`. */
  readonly event?: string;
  /** A user of the topic who never receives it. */
  readonly exceptUserId?: string;
  /** Milliseconds since the epoch after which nobody receives it. */
  readonly expiresAt?: number;
  /** A later message with the same key replaces it while it is unread. */
  readonly collapseKey?: string;
  /** ISO 8601 UTC: when a scheduled message was due. */
  readonly scheduledFor?: string;
  /** In log entries about another message: its id. */
  readonly ref?: string;
  /** And its `seq`, because two senders may use the same id. Entries stored by an older version lack it. */
  readonly refSeq?: number;
  /** In entries `message:removed`: the reason. */
  readonly reason?: RemovalReason;
}

/** Why a message is gone: `expired` is only sent live, the others are log entries. */
export type RemovalReason = 'retracted' | 'replaced' | 'expired';

/** What a user has done with a message of the inbox, in this order. */
export type MessageState = 'unseen' | 'seen' | 'read' | 'archived';

/** What a client may request: `unread` undoes `read` and `archived`. */
export const REQUESTED_STATES = ['seen', 'read', 'unread', 'archived'] as const;
export type RequestedState = (typeof REQUESTED_STATES)[number];

/** How many messages of the inbox the user has not seen, and not read; archived ones count in neither. */
export interface Counts {
  readonly unseen: number;
  readonly unread: number;
}

/** A message sent with `persist: false`: it has no `seq`. */
export type LiveMessage = Omit<Message, 'seq'> & { readonly seq?: never };

export type AnyMessage = Message | LiveMessage;

/** Why the server closes a connection; sent in `closing` just before. */
export const CLOSING_CODES = [
  'slow_consumer',
  'token_expired',
  'revoked',
  'disconnected',
  'logged_out',
  'rate_limited',
  'bad_frames',
  'too_many_connections',
  'going_away',
] as const;
export type ClosingCode = (typeof CLOSING_CODES)[number];

/** Close codes of the plain endpoint, by the closing code in `closing`. */
export const WEBSOCKET_CLOSE_CODES: Readonly<Record<ClosingCode, number>> = {
  slow_consumer: 4408,
  token_expired: 4401,
  revoked: 4401,
  disconnected: 4403,
  logged_out: 1000,
  rate_limited: 4429,
  bad_frames: 4400,
  too_many_connections: 4409,
  going_away: 1001,
};

export interface Closing {
  readonly code: ClosingCode;
  readonly reason: string;
  /** When to reconnect, in milliseconds; `null`: not automatically, a person or another token is needed first. */
  readonly retryInMs: number | null;
}

/** Events that the server sends by itself: no sender may use them as the name of a custom event. */
export const SERVER_EVENTS = [
  'authenticated',
  'connected',
  'message',
  'sync:done',
  'sync:reset',
  'state',
  'message:updated',
  'message:removed',
  'presence',
  'presence:join',
  'presence:leave',
  'typing',
  'topic:joined',
  'pong',
  'messageReceived',
  'auth:expiring',
  'closing',
  'reply',
  'error',
] as const;

/** Who added a user to a topic. */
export interface Invitation {
  readonly isPrivate: boolean;
  readonly by: string;
}

/** Names that Socket.IO reserves on either side. */
const SOCKET_IO_EVENTS = ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'];

/** Events that only clients send: a message with such a name would be mistaken for one. */
export const CLIENT_EVENTS = [
  'ping',
  'ack',
  'history',
  'logout',
  'auth:refresh',
  'topic:create',
  'topic:join',
  'topic:leave',
  'topic:invite',
  'topic:list',
  'presence:subscribe',
  'presence:unsubscribe',
] as const;

/** Types that people believe to come from the service: only callers with scope `send` may use them. */
export const SERVICE_TYPES: ReadonlySet<string> = new Set([
  'notification',
  'system',
  'alert',
  'update',
  'announcement',
]);

/** Does it look like one of those to a reader: in capitals, with blanks around it, in letters of another width? */
export function isServiceType(type: string): boolean {
  const read = type
    .normalize('NFKC')
    .replaceAll(/\p{Cf}/gu, '')
    .trim()
    .toLowerCase();
  return SERVICE_TYPES.has(read);
}

/** Names under which no message may be emitted. */
export const RESERVED_EVENTS: ReadonlySet<string> = new Set([...SERVER_EVENTS, ...CLIENT_EVENTS, ...SOCKET_IO_EVENTS]);

/** Is this name reserved by the protocol or by Socket.IO? */
export function isReservedEvent(name: string): boolean {
  return RESERVED_EVENTS.has(name);
}

/** What an acknowledgement callback receives. */
export type Reply = ({ readonly ok: true } & Record<string, unknown>) | { readonly ok: false; readonly error: Problem };

/**
 * The payload of the event `message`, and of entries about another message. What is `undefined` is not on the wire.
 * Bare literals: this is made for each message and connection in catch-up, and spreading costs several times as much.
 * `counts`: in messages to a personal topic, those of its owner at this moment.
 */
function toMessageFrame(message: AnyMessage, counts?: Counts): Record<string, unknown> {
  const { id, topic, seq, type, data, timestamp, from, ref, refSeq, reason } = message;
  if (ref === undefined) return { id, topic, seq, type, data, timestamp, from, counts };
  return reason === undefined
    ? { id, topic, seq, ref, refSeq, data, counts }
    : { id, topic, seq, ref, refSeq, reason, counts };
}

/** A message as lists show it: what a client receives, and the event under which it was emitted. */
export function toListedMessage(message: Message): Record<string, unknown> {
  return { ...toMessageFrame(message), ...(message.event === undefined ? {} : { event: message.event }) };
}

/** The second argument of a custom event; the first is `data` as it was sent. */
export function toCustomEventMeta(message: AnyMessage, counts?: Counts): Record<string, unknown> {
  const { id, topic, seq, timestamp, from } = message;
  return { id, topic, seq, timestamp, from, counts };
}

/** The payload of a log entry; `undefined` for a custom event, whose payload is the sender's. */
export function toOwnEvent(
  message: AnyMessage,
  counts?: Counts,
): { event: string; payload: Record<string, unknown> } | undefined {
  const { event = 'message', data } = message;
  if (event === 'message' || message.ref !== undefined) return { event, payload: toMessageFrame(message, counts) };
  return event === 'state' ? { event, payload: { ...(data as object), counts } } : undefined;
}
