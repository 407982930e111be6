/** The one map of what a client tells: event → listener. */
import type { TidingsError } from './errors.ts';
import type {
  Message,
  MessageMeta,
  MessageRemoved,
  MessageUpdated,
  PresenceJoin,
  PresenceLeave,
  PresenceList,
  StateChange,
  SyncDone,
  SyncReset,
  TopicJoined,
  Typing,
} from './protocol.ts';

/**
 * Only names that no message can come under: the service refuses them to senders.
 *
 * The first three are handed over once each, in the order of their topic, and acknowledged when all listeners have
 * returned or resolved. A listener that throws is called again with the same message.
 */
export interface ClientEvents {
  message: (message: Message) => unknown;
  /** The message at `refSeq`, with the id `ref`, has other `data` now. */
  'message:updated': (entry: MessageUpdated) => unknown;
  /** The message at `refSeq`, with the id `ref`, is gone. */
  'message:removed': (entry: MessageRemoved) => unknown;
  /** Marked on another connection of this user. */
  state: (change: StateChange) => unknown;
  /** Everything that waited has been sent. */
  'sync:done': (sync: SyncDone) => unknown;
  /** Messages that this device has not had are gone. */
  'sync:reset': (reset: SyncReset) => unknown;
  presence: (list: PresenceList) => unknown;
  'presence:join': (join: PresenceJoin) => unknown;
  'presence:leave': (leave: PresenceLeave) => unknown;
  typing: (typing: Typing) => unknown;
  /** Somebody else has added this user to a topic. Told while connected only. */
  'topic:joined': (joined: TopicJoined) => unknown;
  /** In a minute the token expires; one that can be renewed is. */
  'auth:expiring': (expiring: { readonly expiresAt: string }) => unknown;
  /** Without a listener errors go to the console. `client.status` says whether the client goes on. */
  error: (error: TidingsError) => unknown;
}

/** Names of custom events, and what is sent under them. */
export type CustomEvents = Readonly<Record<string, unknown>>;

/** Under a name of its own a message comes as it was sent; what it is besides comes second. */
export type CustomListener<Data> = (data: Data, message: MessageMeta) => unknown;
