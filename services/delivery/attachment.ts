/** The position of one connection in the topics that it follows. */
import type { FollowingFlight } from '../../utils/single-flight';
import { isStateTopic } from '../../utils/topic-names';
import type { Position } from '../storage/contract';
import type { Connection } from './connections';
import type { FollowedTopic } from './followed-topic';
import { Window } from './window';

const MAX_WRITTEN_TOPICS = 1_000;

/** One connection's following of one topic, from its beginning to its end. Following it again makes a new one. */
export interface Subscription {
  readonly followed: FollowedTopic;
  /** Last `seq` written in catch-up; `undefined` once it has joined: then it is at the node's `head`. */
  position: number | undefined;
  /** Up to here, catch-up wrote the messages, so the time until acknowledgement is not measured. */
  measuredUpTo: number;
  /** For the log of states: has the client been asked for a sign that the entries arrived? */
  isConfirming: boolean;
}

/** A connection from attach() to detach(). */
export interface Attachment {
  readonly subscriptions: Map<string, Subscription>;
  /** Topics that the first catch-up has yet to reach. */
  pending: Map<string, Position>;
  /** Counts the topics that the connection was made to follow or to leave. */
  changes: number;
  /** Last `seq` written in topics that the user has left, so that nothing comes twice on one connection. */
  readonly written: Map<string, number>;
  readonly window: Window;
  /** Reads where the device stands, for topics that were joined meanwhile. */
  looking?: FollowingFlight<ReadonlyMap<string, Position>>;
  /** Messages written in catch-up. */
  caughtUp: number;
}

export type Attachments = Map<Connection, Attachment>;

/** A subscription, and its owner. */
export interface Following {
  readonly connection: Connection;
  readonly attachment: Attachment;
  readonly subscription: Subscription;
}

export function newAttachment(): Attachment {
  return {
    subscriptions: new Map(),
    pending: new Map(),
    changes: 0,
    written: new Map(),
    window: new Window(),
    caughtUp: 0,
  };
}

export function newSubscription(followed: FollowedTopic, position: number): Subscription {
  return { followed, position, measuredUpTo: Number.POSITIVE_INFINITY, isConfirming: false };
}

/** Last `seq` that was written to the connection. */
export function positionOf({ position, followed }: Subscription): number {
  return position ?? followed.head;
}

/** Remembers this many topics; in others, a message may come twice, with the same id. */
export function rememberWritten({ written }: Attachment, topic: string, seq: number): void {
  written.delete(topic);
  written.set(topic, seq);
  const [oldest] = written.keys();
  if (written.size > MAX_WRITTEN_TOPICS && oldest !== undefined) written.delete(oldest);
}

/** Clients acknowledge messages, not changes of state. */
export function isAcknowledging(connection: Connection, topic: string): boolean {
  return connection.isAcknowledging && !isStateTopic(topic);
}
