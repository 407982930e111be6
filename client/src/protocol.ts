/**
 * The wire, as in the service's docs/reference/events.md. The package is used without the sources of the service, so
 * the shapes are repeated here; a test of the service compares the two.
 */

/** The service's error codes. A newer service may have more. */
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

/** How many messages of the inbox are unseen, and unread. Archived ones count in neither. */
export interface Counts {
  readonly unseen: number;
  readonly unread: number;
}

export type MessageState = 'unseen' | 'seen' | 'read' | 'archived';

/** The states that a client may set: `unread` undoes `read` and `archived`. */
export type RequestedState = 'seen' | 'read' | 'unread' | 'archived';

/** Fields of all messages, whatever their event. */
export interface MessageMeta {
  readonly id: string;
  /** `@<userId>`, `*` for broadcasts, or the name of a topic. */
  readonly topic: string;
  /** The position in the log of the topic; absent for messages sent with `persist: false`. */
  readonly seq?: number;
  /** ISO 8601, UTC. */
  readonly timestamp: string;
  readonly from: string;
  /** On messages to the user's personal topic. */
  readonly counts?: Counts;
}

export interface Message<Data = unknown> extends MessageMeta {
  readonly type: string;
  readonly data: Data;
}

/** A message as histories have it: `event` if it was sent as a custom event. */
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
  /** The device was unknown: its acknowledgements are forgotten, and it receives what is unread. */
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
  /** `null`: not automatically, something has to change first. */
  readonly retryInMs: number | null;
}

export interface PresenceList {
  readonly users: readonly string[];
  readonly count: number;
}

/** One user, or several that came at the same time. */
export type PresenceJoin = { readonly userId: string } | { readonly users: readonly string[] };
export type PresenceLeave = PresenceJoin & { readonly lastSeen: string };

export interface Typing {
  readonly topic: string;
  readonly userId: string;
  readonly typing: boolean;
}

/** Another user has added this user to a topic. */
export interface TopicJoined {
  readonly name: string;
  readonly isPrivate: boolean;
  /** Who added the user. */
  readonly by: string;
}

/** Names that the service uses itself; any other name is a custom event. */
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
  /** Makes the send safe to repeat. If not given, the client makes one. */
  readonly id?: string;
  /** The event name of the message, instead of `message`. Needs scope `send`. */
  readonly event?: string;
  readonly persist?: boolean;
  /** Seconds until it expires. */
  readonly ttl?: number;
  /** ISO 8601. */
  readonly expiresAt?: string;
  /** Replaces the sender's unread message with the same key. */
  readonly collapseKey?: string;
  /** ISO 8601. */
  readonly sendAt?: string;
  /** Seconds until it is sent. */
  readonly delay?: number;
  readonly exceptUserId?: string;
}

/** A message to one user, or to a topic of which the user is a member. */
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
  /** Is the recipient online now? Absent for a scheduled message. */
  readonly connected?: boolean;
  readonly live?: 'ok' | 'degraded';
  /** ISO 8601, if it was sent with `sendAt` or `delay`. */
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
  /** Is this user a member? */
  readonly isMember: boolean;
}

/** A page of topics; `nextCursor` if there are more. */
export interface TopicPage {
  readonly topics: readonly Topic[];
  readonly nextCursor?: string | null;
}

/** A page of a topic's history; `nextCursor` if it ended early. */
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
