/** Which connections follow which topics: joining, catching up, leaving. */
import { type Clock, nextTurn } from '../../utils/clock';
import { FollowingFlight } from '../../utils/single-flight';
import { isSliceOver, nextSlice } from '../../utils/slices';
import { isStateTopic } from '../../utils/topic-names';
import type { Metrics } from '../observability/metrics';
import { type Describe, inSpan } from '../observability/tracing';
import type { Position } from '../storage/contract';
import {
  type Attachment,
  type Attachments,
  newAttachment,
  newSubscription,
  positionOf,
  rememberWritten,
  type Subscription,
} from './attachment';
import type { CatchUp } from './catch-up';
import type { Connection } from './connections';
import type { Cursors } from './cursors';
import type { FoldedCounts } from './folded-counts';
import type { FollowedTopic } from './followed-topic';
import type { FollowedTopics } from './followed-topics';
import type { Positions } from './positions';

const DROPPED_PER_TURN = 500;

export interface SubscriptionParts {
  readonly cursors: Cursors;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly attachments: Attachments;
  readonly topics: FollowedTopics;
  readonly positions: Positions;
  readonly catchUp: CatchUp;
  readonly counts: FoldedCounts;
}

export class Subscriptions {
  /** New connections that are not up to date yet. */
  readonly #catchingUp = new Set<Attachment>();

  constructor(private readonly parts: SubscriptionParts) {}

  /** New connections that are not up to date yet. */
  get catchUps(): number {
    return this.#catchingUp.size;
  }

  /** Brings a new connection up to date in all its topics, joins it to them, then sends `sync:done`. */
  async attach(connection: Connection): Promise<void> {
    const attachment = newAttachment();
    this.#catchingUp.add(attachment);
    try {
      await inSpan('tidings.catch_up', (describe) => this.#attach(connection, attachment, describe));
    } finally {
      this.#catchingUp.delete(attachment);
    }
  }

  async #attach(connection: Connection, attachment: Attachment, describe: Describe): Promise<void> {
    const { clock, attachments, counts } = this.parts;
    const startedAt = clock.steady();
    attachments.set(connection, attachment);
    counts.attach(connection.userId, attachment);
    attachment.pending = await this.open(connection, attachment);
    for (const [topic, position] of attachment.pending) {
      // A user may be in a thousand topics, and come back on twenty connections at once.
      if (isSliceOver()) await nextSlice();
      if (attachment.pending.get(topic) !== position) continue;
      if (!connection.isOpen || attachments.get(connection) !== attachment) return;
      attachment.pending.delete(topic);
      await this.#catchUp(connection, attachment, topic, position);
    }
    const counted = await counts.now(connection.userId);
    if (!connection.isOpen) return;
    this.#measureCatchUp(attachment, clock.steady() - startedAt);
    describe({
      'tidings.transport': connection.transport.name,
      'tidings.topics': attachment.subscriptions.size,
      'tidings.messages': attachment.caughtUp,
    });
    connection.send('sync:done', { cursors: positionsOf(attachment), counts: counted });
  }

  #measureCatchUp({ caughtUp }: Attachment, durationMs: number): void {
    this.parts.metrics.catchUpMessages.observe(caughtUp);
    this.parts.metrics.catchUpDuration.observe(durationMs / 1_000);
  }

  /** Where a connection stands in each topic; reads again if it was made to follow or leave a topic meanwhile. */
  async open(connection: Connection, attachment: Attachment): Promise<Map<string, Position>> {
    for (;;) {
      // Each look reads all topics of the device.
      if (isSliceOver()) await nextSlice();
      const { changes } = attachment;
      const positions = await this.parts.cursors.open(connection.userId, connection.device);
      if (positions.wasForgotten) connection.send('sync:reset', { reason: 'forgotten' });
      if (changes === attachment.changes) return new Map(positions);
    }
  }

  /** @throws StoreError; the connection does not follow the topic then. */
  async #catchUp(connection: Connection, attachment: Attachment, topic: string, start: Position): Promise<void> {
    const { attachments, topics, catchUp } = this.parts;
    // A connection that was detached meanwhile follows nothing any more, however open it still is.
    if (attachments.get(connection) !== attachment || this.isSubscribed(attachment, topic)) return;
    const subscription = newSubscription(topics.add(connection, topic), start.seq);
    attachment.subscriptions.set(topic, subscription);
    this.parts.counts.doubt(connection.userId);
    try {
      await catchUp.run({ connection, attachment, subscription }, start);
    } catch (error) {
      if (attachment.subscriptions.get(topic) === subscription) this.#leave(connection, attachment, subscription);
      throw error;
    }
  }

  /** Follows a topic that the user has joined, from the device's position in it. */
  async follow(connection: Connection, topic: string): Promise<void> {
    const attachment = this.parts.attachments.get(connection);
    if (attachment === undefined) return;
    attachment.changes += 1;
    attachment.pending.delete(topic);
    this.parts.counts.doubt(connection.userId);
    if (this.isSubscribed(attachment, topic)) return;
    // Those who join during a look share the next one: a user joins faster than a look ends.
    attachment.looking ??= new FollowingFlight(() => this.open(connection, attachment));
    const position = (await attachment.looking.run()).get(topic);
    if (position === undefined || !connection.isOpen) return;
    return this.followFrom(position, { connection, attachment, topic });
  }

  /** Catches up from a position, but never from before what was already written to this connection. */
  followFrom(
    position: Position,
    { connection, attachment, topic }: { connection: Connection; attachment: Attachment; topic: string },
  ): Promise<void> {
    if (this.isSubscribed(attachment, topic)) return Promise.resolve();
    const dropped = attachment.subscriptions.get(topic);
    if (dropped !== undefined) rememberWritten(attachment, topic, positionOf(dropped));
    const written = attachment.written.get(topic) ?? 0;
    if (written <= position.seq) return this.#catchUp(connection, attachment, topic, position);
    // What was written before still has to be acknowledged, whatever comes after it.
    if (connection.isAcknowledging) attachment.window.add({ topic, seq: written, count: 0, upTo: written });
    return this.#catchUp(connection, attachment, topic, { ...position, seq: written });
  }

  /** Ends what `follow` began: nothing of the topic reaches the connection afterwards. */
  unfollow(connection: Connection, topic: string): void {
    const attachment = this.parts.attachments.get(connection);
    if (attachment === undefined) return;
    attachment.changes += 1;
    attachment.pending.delete(topic);
    this.parts.counts.doubt(connection.userId);
    const subscription = attachment.subscriptions.get(topic);
    if (subscription === undefined) return;
    rememberWritten(attachment, topic, positionOf(subscription));
    this.#leave(connection, attachment, subscription);
  }

  #leave(connection: Connection, attachment: Attachment, { followed }: Subscription): void {
    attachment.subscriptions.delete(followed.topic);
    this.parts.counts.doubt(connection.userId);
    this.#remove(connection, followed);
    attachment.window.drop(followed.topic);
  }

  #remove(connection: Connection, followed: FollowedTopic): void {
    const { topics, positions } = this.parts;
    if (followed.members.delete(connection)) positions.recordHead(connection, followed);
    if (topics.remove(connection, followed)) positions.forget(followed);
  }

  /** False for a dropped topic, even if a new one has its name by now. */
  isSubscribed({ subscriptions }: Attachment, topic: string): boolean {
    const subscription = subscriptions.get(topic);
    return subscription !== undefined && subscription.followed === this.parts.topics.get(topic);
  }

  /** Ends all following of a topic. What connections remember of it is removed in parts that hold nobody up. */
  async drop(topic: string): Promise<void> {
    const { topics, positions } = this.parts;
    const followed = topics.get(topic);
    // Otherwise, whoever had read the store before would come to the topic later.
    for (const attachment of this.#catchingUp) {
      attachment.changes += 1;
      attachment.pending.delete(topic);
    }
    if (followed === undefined) return;
    topics.drop(followed);
    positions.forget(followed);
    this.parts.counts.doubtFollowers(followed);
    let dropped = 0;
    for (const connection of followed.followers) {
      dropped += 1;
      if (dropped % DROPPED_PER_TURN === 0) await nextTurn();
      this.#forgetDropped(connection, followed);
    }
  }

  #forgetDropped(connection: Connection, followed: FollowedTopic): void {
    const { topic } = followed;
    const attachment = this.parts.attachments.get(connection);
    const subscription = attachment?.subscriptions.get(topic);
    if (attachment === undefined || subscription?.followed !== followed) return;
    // The name may belong to a topic created since, of which something was already written.
    rememberWritten(attachment, topic, positionOf(subscription));
    attachment.subscriptions.delete(topic);
    this.parts.counts.doubt(connection.userId);
    attachment.window.drop(topic);
  }

  /** Forgets a connection: nothing is delivered to it afterwards. */
  detach(connection: Connection): void {
    const { attachments } = this.parts;
    const attachment = attachments.get(connection);
    if (attachment === undefined) return;
    attachments.delete(connection);
    this.parts.counts.detach(connection.userId, attachment);
    attachment.pending.clear();
    for (const { followed } of attachment.subscriptions.values()) this.#remove(connection, followed);
    attachment.window.close();
  }
}

function positionsOf(attachment: Attachment): Record<string, number> {
  const positions = Object.create(null) as Record<string, number>;
  for (const [topic, subscription] of attachment.subscriptions) {
    if (!isStateTopic(topic)) positions[topic] = positionOf(subscription);
  }
  return positions;
}
