/** The events of a client: name → listener. */
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
 * Only names that no message can have: the service refuses them to senders.
 *
 * The first three are handed over once each, in the order of their topic, and acknowledged when all listeners have
 * returned or resolved. A listener that throws is called again with the same message.
 */
export interface ClientEvents {
  message: (message: Message) => unknown;
  /** The message at `refSeq`, with the id `ref`, now has other `data`. */
  'message:updated': (entry: MessageUpdated) => unknown;
  /** The message at `refSeq`, with the id `ref`, is gone. */
  'message:removed': (entry: MessageRemoved) => unknown;
  /** Marked on another connection of this user. */
  state: (change: StateChange) => unknown;
  /** Everything that was waiting has been sent. */
  'sync:done': (sync: SyncDone) => unknown;
  /** Messages that this device has not received are gone. */
  'sync:reset': (reset: SyncReset) => unknown;
  presence: (list: PresenceList) => unknown;
  'presence:join': (join: PresenceJoin) => unknown;
  'presence:leave': (leave: PresenceLeave) => unknown;
  typing: (typing: Typing) => unknown;
  /** Another user has added this user to a topic. Sent only while connected. */
  'topic:joined': (joined: TopicJoined) => unknown;
  /** The token expires in a minute; if it can be renewed, it is. */
  'auth:expiring': (expiring: { readonly expiresAt: string }) => unknown;
  /** Without a listener, errors go to the console. `client.status` says whether the client continues. */
  error: (error: TidingsError) => unknown;
}

/** Names of custom events, and their data. */
export type CustomEvents = Readonly<Record<string, unknown>>;

/** A custom event has the data as it was sent; the other fields of the message come as the second argument. */
export type CustomListener<Data> = (data: Data, message: MessageMeta) => unknown;
