/** Where one connection stands in the topics that it follows. */
import { isStateTopic } from '../../utils/topic-names';
import type { Position } from '../storage/contract';
import type { Connection } from './connections';
import type { FollowedTopic } from './followed-topic';
import { Window } from './window';

const MAX_WRITTEN_TOPICS = 1_000;

/** One connection's following of one topic, from its beginning to its end. Following again is another one. */
export interface Subscription {
  readonly followed: FollowedTopic;
  /** Last `seq` written in catch-up; `undefined` once it has joined: then it stands at the `head` of the node. */
  position: number | undefined;
  /** Up to there the time until acknowledgement is not measured: catch-up wrote it. */
  measuredUpTo: number;
  /** Of the log of states: has the client been asked whether it has arrived? */
  isConfirming: boolean;
}

/** A connection from attach() to detach(). */
export interface Attachment {
  readonly subscriptions: Map<string, Subscription>;
  /** Topics that the first catch-up has still to come to. */
  pending: Map<string, Position>;
  /** Counts the topics that the connection was made to follow or to leave. */
  changes: number;
  /** Up to where topics had been written to it when its user left them: nothing comes twice over one connection. */
  readonly written: Map<string, number>;
  readonly window: Window;
  /** Messages written in catch-up. */
  caughtUp: number;
}

export type Attachments = Map<Connection, Attachment>;

/** A subscription, and whose it is. */
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

/** Remembers this many topics; of others a message may come twice, with the same id. */
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
