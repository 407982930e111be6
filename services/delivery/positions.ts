/**
 * How far each device has everything: by its acknowledgements, by what was written to it if it does not acknowledge, or
 * by a pong (changes of state).
 */
import type { Clock } from '../../utils/clock';
import { badField } from '../../utils/errors';
import { isStateTopic } from '../../utils/topic-names';
import type { Metrics } from '../observability/metrics';
import { type Attachments, type Following, positionOf, type Subscription } from './attachment';
import type { Connection } from './connections';
import type { Cursors } from './cursors';
import type { EmissionRecorder, FollowedTopic } from './followed-topic';

export interface PositionParts {
  readonly cursors: Cursors;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly attachments: Attachments;
}

export class Positions implements EmissionRecorder {
  /** Topics whose `head` has moved for clients that do not acknowledge, since positions were last collected. */
  readonly #moved = new Set<FollowedTopic>();

  constructor(private readonly parts: PositionParts) {}

  get movedTopics(): number {
    return this.#moved.size;
  }

  moved(followed: FollowedTopic): void {
    this.#moved.add(followed);
  }

  /** Nobody follows it any more. */
  forget(followed: FollowedTopic): void {
    this.#moved.delete(followed);
  }

  sent(topic: string, from: number, upTo: number): void {
    if (!isStateTopic(topic)) this.parts.cursors.sent(topic, from, upTo);
  }

  advance({ userId, device }: Connection, topic: string, seq: number): void {
    this.parts.cursors.advance({ userId, device, topic, seq });
  }

  /** For a connection that does not acknowledge, what was emitted is delivered. */
  recordHead(connection: Connection, { topic, head }: FollowedTopic): void {
    if (!connection.isAcknowledging) this.advance(connection, topic, head);
  }

  /** A page was written: for a connection that does not acknowledge, that is delivery. */
  recordPage(following: Following): void {
    const { connection, subscription } = following;
    const { topic } = subscription.followed;
    if (!connection.isAcknowledging) this.advance(connection, topic, positionOf(subscription));
    else if (isStateTopic(topic)) this.#confirm(following);
  }

  /** Hands the positions of clients that do not acknowledge to the cursors; called about every second. */
  collect(): void {
    for (const followed of this.#moved) {
      for (const member of followed.members) this.recordHead(member, followed);
    }
    this.#moved.clear();
  }

  confirmStates({ topic, members }: FollowedTopic): void {
    for (const connection of members) {
      const attachment = this.parts.attachments.get(connection);
      const subscription = attachment?.subscriptions.get(topic);
      if (!connection.isAcknowledging || attachment === undefined || subscription === undefined) continue;
      this.#confirm({ connection, attachment, subscription });
    }
  }

  /**
   * A client does not acknowledge changes of state. Its device's cursor follows those that have shown a sign of their
   * arrival: see docs/decisions/0024-states-that-arrived.md.
   */
  #confirm(following: Following): void {
    const { connection, attachment, subscription } = following;
    const { topic } = subscription.followed;
    if (subscription.isConfirming) return;
    subscription.isConfirming = true;
    const upTo = positionOf(subscription);
    connection.confirm(() => {
      subscription.isConfirming = false;
      const isFollowing =
        this.parts.attachments.get(connection) === attachment && attachment.subscriptions.get(topic) === subscription;
      if (!isFollowing) return;
      this.advance(connection, topic, upTo);
      if (positionOf(subscription) > upTo) this.#confirm(following);
    });
  }

  /**
   * Records that a device has everything of a topic up to `seq`. Cumulative and idempotent.
   * @throws AppError `bad_request` for a topic that the connection does not follow, or a `seq` it was not sent.
   */
  acknowledge(connection: Connection, topic: string, seq: number): void {
    const attachment = this.parts.attachments.get(connection);
    const subscription = attachment?.subscriptions.get(topic);
    if (attachment === undefined || subscription === undefined || isStateTopic(topic)) {
      throw badField('topic', 'is not followed by this connection');
    }
    const sent = positionOf(subscription);
    if (seq > sent) throw badField('seq', `is greater than the last seq sent on this connection (${sent})`);
    this.#measure(subscription, seq);
    this.advance(connection, topic, attachment.window.acknowledge(topic, seq));
  }

  #measure(subscription: Subscription, seq: number): void {
    const { metrics, clock } = this.parts;
    const { followed, measuredUpTo } = subscription;
    metrics.acks.inc();
    if (seq <= measuredUpTo) return;
    subscription.measuredUpTo = seq;
    const now = clock.now();
    for (const sentAt of followed.recent?.between(measuredUpTo, seq) ?? []) {
      // Another node may have sent it, by a clock that is ahead.
      metrics.sendToAck.observe(Math.max(0, now - sentAt) / 1_000);
    }
  }
}
