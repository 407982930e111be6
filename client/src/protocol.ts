/**
 * What goes over the wire, as docs/reference/events.md of the service has it. The package is used without the
 * sources of the service, so the shapes stand here again; a test of the service holds them against its own.
 */

/** The codes of the service's errors. A newer service may have more. */
export type ProblemCode =
  | 'bad_request'
  | 'invalid_json'
  | 'unknown_event'
  | 'ambiguous_name'
  | 'unauthorized'
  | 'token_expired'
  | 'token_revoked'
  | 'insufficient_scope'
  | 'direct_messages_off'
  | 'topic_creation_off'
  | 'invitee_full'
  | 'forbidden'
  | 'not_a_member'
  | 'too_many_topics'
  | 'too_many_scheduled'
  | 'origin_not_allowed'
  | 'not_found'
  | 'method_not_allowed'
  | 'request_timeout'
  | 'topic_taken'
  | 'name_taken'
  | 'owner_cannot_leave'
  | 'request_in_progress'
  | 'ambiguous_id'
  | 'body_too_large'
  | 'batch_too_large'
  | 'message_too_large'
  | 'unsupported_media_type'
  | 'idempotency_conflict'
  | 'rate_limited'
  | 'too_many_connections'
  | 'headers_too_large'
  | 'internal'
  | 'store_unavailable'
  | 'going_away'
  | 'overloaded'
  | 'store_full';

/** An error of the service (RFC 9457). */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ProblemCode;
  /** When a retry makes sense. */
  readonly retryInMs?: number;
  readonly requestId?: string;
  /** The fields that were refused. */
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
}

/** Messages of the inbox that are not seen, and not read. Archived ones are in neither. */
export interface Counts {
  readonly unseen: number;
  readonly unread: number;
}

export type MessageState = 'unseen' | 'seen' | 'read' | 'archived';

/** What a message can be marked as: `unread` takes `read` and `archived` back. */
export type RequestedState = 'seen' | 'read' | 'unread' | 'archived';

/** What all messages have, whatever the event they come under. */
export interface MessageMeta {
  readonly id: string;
  /** `@<userId>`, `*` for broadcasts, or the name of a topic. */
  readonly topic: string;
  /** The place in the log of the topic; absent on what was sent with `persist: false`. */
  readonly seq?: number;
  /** ISO 8601, UTC. */
  readonly timestamp: string;
  readonly from: string;
  /** On messages to one's own topic. */
  readonly counts?: Counts;
}

export interface Message<Data = unknown> extends MessageMeta {
  readonly type: string;
  readonly data: Data;
}

/** A message as histories have it: `event` when it was sent under a name of its own. */
export interface ListedMessage<Data = unknown> extends Message<Data> {
  readonly seq: number;
  readonly event?: string;
}

/** Which message an entry is about. */
export interface MessageRef {
  readonly topic: string;
  /** The id of the message. Two senders may use the same one. */
  readonly ref: string;
  /** Its `seq`, which no other message of the topic has. An older service leaves it out. */
  readonly refSeq?: number;
}

export interface MessageUpdated<Data = unknown> extends MessageRef {
  readonly id: string;
  readonly seq: number;
  readonly data: Data;
  readonly counts?: Counts;
}

export interface MessageRemoved extends MessageRef {
  /** Absent when it expired: that is no entry of the log. */
  readonly id?: string;
  readonly seq?: number;
  readonly reason: 'retracted' | 'replaced' | 'expired';
  readonly counts?: Counts;
}

/** Which messages a change of state is about. */
export type StateScope =
  | { readonly ids: readonly string[] }
  | { readonly topic: string; readonly upTo: number }
  | { readonly all: true; readonly cursors: Readonly<Record<string, number>> };

export type StateChange = StateScope & { readonly state: RequestedState; readonly counts?: Counts };

export interface SyncDone {
  readonly cursors: Readonly<Record<string, number>>;
  readonly counts: Counts;
}

export type SyncReset =
  | { readonly topic: string; readonly reason: 'retention' | 'erased'; readonly head: number }
  /** The device was unknown: what it had acknowledged is not known any more, and it gets what is unread. */
  | { readonly topic?: never; readonly reason: 'forgotten'; readonly head?: never };

export interface Authenticated {
  readonly userId: string;
  readonly socketId: string;
  readonly device: string;
  readonly expiresAt: string | null;
}

export type ClosingCode =
  | 'slow_consumer'
  | 'token_expired'
  | 'revoked'
  | 'disconnected'
  | 'logged_out'
  | 'rate_limited'
  | 'bad_frames'
  | 'too_many_connections'
  | 'going_away';

export interface Closing {
  readonly code: ClosingCode;
  readonly reason: string;
  /** `null`: not by itself, something has to change first. */
  readonly retryInMs: number | null;
}

export interface PresenceList {
  readonly users: readonly string[];
  readonly count: number;
}

/** One user, or several when they came in a moment. */
export type PresenceJoin = { readonly userId: string } | { readonly users: readonly string[] };
export type PresenceLeave = PresenceJoin & { readonly lastSeen: string };

export interface Typing {
  readonly topic: string;
  readonly userId: string;
  readonly typing: boolean;
}

/** Somebody else has added this user to a topic. */
export interface TopicJoined {
  readonly name: string;
  readonly isPrivate: boolean;
  /** Who it was. */
  readonly by: string;
}

/** Names that the service uses itself; any other name is that of a custom event. */
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

export interface SendOptions {
  /** Makes the send safe to repeat. Made by the client when it is not given. */
  readonly id?: string;
  /** The event it comes under, instead of `message`. Needs scope `send`. */
  readonly event?: string;
  readonly persist?: boolean;
  /** Seconds until it expires. */
  readonly ttl?: number;
  /** ISO 8601. */
  readonly expiresAt?: string;
  /** Takes the place of the unread message with the same key. */
  readonly collapseKey?: string;
  /** ISO 8601. */
  readonly sendAt?: string;
  /** Seconds until it is sent. */
  readonly delay?: number;
  readonly exceptUserId?: string;
}

/** A message to one user, or to a topic that one is in. */
export type Outgoing = SendOptions & { readonly type: string; readonly data: unknown } & (
    | { readonly to: string; readonly topic?: never }
    | { readonly topic: string; readonly to?: never }
  );

export interface SendAnswer {
  readonly success: true;
  readonly message: string;
  readonly id: string;
  readonly topic: string;
  /** Absent for `persist: false`, and until a scheduled message is sent. */
  readonly seq?: number;
  /** Is the recipient online now? Absent when it is scheduled. */
  readonly connected?: boolean;
  readonly live?: 'ok' | 'degraded';
  /** ISO 8601, when it was sent with `sendAt` or `delay`. */
  readonly scheduledFor?: string;
}

export interface StateAnswer {
  readonly success: true;
  readonly state: RequestedState;
  readonly changed: number;
  readonly counts: Counts;
}

export interface Topic {
  readonly name: string;
  readonly isPrivate: boolean;
  /** The user who created it. */
  readonly owner: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** Is this user in it? */
  readonly isMember: boolean;
}

/** A page of topics; `nextCursor` when there are more. */
export interface TopicPage {
  readonly topics: readonly Topic[];
  readonly nextCursor?: string | null;
}

/** A page of a topic's history; `nextCursor` when it ended early. */
export interface HistoryPage {
  readonly messages: readonly ListedMessage[];
  readonly nextCursor?: string;
}

export interface InboxItem<Data = unknown> extends ListedMessage<Data> {
  readonly state: MessageState;
}

export interface InboxPage {
  readonly items: readonly InboxItem[];
  readonly nextCursor: string | null;
  readonly counts: Counts;
}

/** What an acknowledgement callback gets. */
export type Reply<Answer> = ({ readonly ok: true } & Answer) | { readonly ok: false; readonly error: Problem };
