/**
 * Delivery on one node: append → emit in the order of `seq`, and catch-up that joins the live stream without gap or
 * repeat. The store is the truth; a node only remembers, for each topic that a connection here follows, the last `seq`
 * it has emitted (`head`).
 */
import type { Logger } from 'pino';
import type { Balance, Lender } from '../../utils/balance';
import type { Clock } from '../../utils/clock';
import type { FrameOf } from '../../utils/cluster-protocol';
import type { Counts, LiveMessage, Message } from '../../utils/protocol';
import { destinationOf } from '../../utils/topic-names';
import type { Cluster } from '../cluster/contract';
import type { FrameFor } from '../cluster/frames';
import type { Metrics } from '../observability/metrics';
import { inSpan } from '../observability/tracing';
import type { Appended, Draft, Expired, MembershipChange, Store } from '../storage/contract';
import type { Attachments } from './attachment';
import { CatchUp } from './catch-up';
import { type Connection, type Transport, writeToAll } from './connections';
import type { Cursors } from './cursors';
import { type CountedTopic, FoldedCounts } from './folded-counts';
import { emit, type FollowedTopic } from './followed-topic';
import { FollowedTopics } from './followed-topics';
import { FollowingCheck } from './following-check';
import { createTopicReader } from './pages';
import { Positions } from './positions';
import { Subscriptions } from './subscriptions';

export interface DeliveryParts {
  readonly store: Store;
  readonly cursors: Cursors;
  readonly cluster: Cluster;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Unsent bytes beyond which a connection is cut. */
  readonly maxBufferedBytes: number;
}

export class Delivery implements Lender {
  readonly #attachments: Attachments = new Map();
  readonly #counts: FoldedCounts;
  readonly #positions: Positions;
  readonly #topics: FollowedTopics;
  readonly #subscriptions: Subscriptions;
  readonly #check: FollowingCheck;

  constructor(private readonly parts: DeliveryParts) {
    const { store, cursors, cluster, metrics, clock, logger, maxBufferedBytes } = parts;
    const attachments = this.#attachments;
    const reader = createTopicReader(store, maxBufferedBytes);
    const positions = new Positions({ cursors, metrics, clock, attachments });
    const detach = (connection: Connection) => this.detach(connection);
    const isCurrent = (followed: CountedTopic): boolean => topics.get(followed.topic) === followed;
    const epoch = () => 2 * cluster.outages + (cluster.live === 'ok' ? 1 : 0);
    const counts = new FoldedCounts({ store, clock, logger, epoch, isCurrent });
    const topics = new FollowedTopics({ reader, counts, recorder: positions, metrics, clock, logger, detach });
    const catchUp = new CatchUp({ reader, counts, positions, metrics });
    const shared = { cursors, metrics, clock, attachments, counts };
    const subscriptions = new Subscriptions({ ...shared, topics, positions, catchUp });
    this.#counts = counts;
    this.#positions = positions;
    this.#topics = topics;
    this.#subscriptions = subscriptions;
    this.#check = new FollowingCheck({ attachments, topics, subscriptions, counts, logger });
  }

  get balance(): Balance {
    const windows = Array.from(this.#attachments.values(), ({ window }) => window);
    return {
      sessions: this.#attachments.size,
      catchUps: this.#subscriptions.catchUps,
      followedTopics: this.#topics.size,
      movedTopics: this.#positions.movedTopics,
      gaps: this.#topics.gaps,
      doubtedUsers: this.#check.doubtedUsers,
      countedUsers: this.#counts.size,
      unacknowledged: windows.reduce((sum, { inFlight }) => sum + inFlight, 0),
      windowWaiters: windows.reduce((sum, { waiting }) => sum + waiting, 0),
    };
  }

  /** New connections that are not up to date yet. */
  get catchUps(): number {
    return this.#subscriptions.catchUps;
  }

  /**
   * Stores a message and emits it to the followers of its topic. Resolves after the message is on disk.
   * @throws StoreError; the message may then be sent again under the same id.
   */
  async publish(draft: Draft): Promise<Appended> {
    const appended = await inSpan('tidings.append', () => this.parts.store.log.append(draft));
    if (appended.outcome === 'stored') {
      this.parts.metrics.sends[destinationOf(draft.topic)].inc();
      await inSpan('tidings.deliver', (describe) => {
        describe({ 'tidings.connections': this.#topics.get(draft.topic)?.members.size ?? 0 });
        return this.emitAppended(appended.entries);
      });
    }
    return appended;
  }

  /**
   * Emits what has been appended to logs, in the order of each log, on all nodes.
   * @param except a connection that needs no notice, because it asked for the change.
   */
  async emitAppended(entries: readonly Message[], except?: Connection): Promise<void> {
    if (entries.length > 0) this.parts.cluster.publish({ kind: 'entries', entries });
    await this.#emitHere(entries, except);
  }

  async #emitHere(entries: readonly Message[], except?: Connection): Promise<void> {
    for (const entry of entries) {
      const followed = this.#topics.get(entry.topic);
      if (followed !== undefined) await this.#emitEntry(followed, entry, except);
    }
  }

  async #emitEntry(followed: FollowedTopic, entry: Message, except?: Connection): Promise<void> {
    const counts = await this.#counts.prepareNext(followed, entry);
    try {
      followed.emitInOrder(entry, { counts, except });
    } catch (error) {
      // It is stored: the sender must not receive another answer.
      this.parts.logger.error({ err: error, topic: entry.topic }, 'a stored message could not be emitted yet');
      followed.missed(entry.seq);
    }
  }

  /** Emits a message that is not stored, to the connections that have joined its topic now. */
  async publishLive(message: LiveMessage): Promise<void> {
    this.parts.cluster.publish({ kind: 'live', message });
    await this.#emitLiveHere(message);
  }

  async #emitLiveHere(message: LiveMessage): Promise<void> {
    if (!this.hasFollowers(message.topic)) return;
    const counts = await this.#counts.of(message.topic);
    emit(this.membersOf(message.topic), message, { counts });
  }

  /** Notifies connections that messages have expired. Users who are offline will not find them. */
  async emitExpired(expired: readonly Expired[]): Promise<void> {
    if (expired.length > 0) this.parts.cluster.publish({ kind: 'expired', expired });
    await this.#emitExpiredHere(expired);
  }

  /** By the clock of this node or of another one: where counts are known, the expiry may be early, or unexpected. */
  async #emitExpiredHere(expired: FrameOf<'expired'>['expired']): Promise<void> {
    for (const topic of new Set(expired.map((one) => one.topic))) {
      const followed = this.#topics.get(topic);
      if (followed !== undefined) this.#counts.doubtFollowers(followed);
    }
    for (const { topic, seq, id, exceptUserId } of expired) {
      const followed = this.#topics.get(topic);
      if (followed === undefined) continue;
      const counts = await this.#counts.of(topic);
      const removed = {
        topic,
        ref: id,
        ...(seq === undefined ? {} : { refSeq: seq }),
        reason: 'expired',
        ...(counts === undefined ? {} : { counts }),
      };
      const encode = (transport: Transport) => transport.encodeEvent('message:removed', removed);
      writeToAll(followed.followers, encode, exceptUserId);
    }
  }

  /** The counts of a user, with all in them that is stored at this moment. @throws StoreError */
  counts(userId: string): Promise<Counts> {
    return this.#counts.fresh(userId);
  }

  /** Counts from before, no older than those of frames that were written meanwhile, unless the store fails. */
  countsSince(userId: string, counted: Counts): Promise<Counts> {
    return this.#counts.since(userId, counted);
  }

  /** Something has happened that no log tells of, to the inbox of this user or to any: they are counted again. */
  recount(userId?: string): void {
    this.parts.cluster.publish({ kind: 'recount', ...(userId === undefined ? {} : { userId }) });
    this.recountHere(userId);
  }

  recountHere(userId?: string): void {
    if (userId === undefined) this.#counts.doubtAll();
    else this.#counts.doubt(userId);
  }

  /** Emits here what another node has published. */
  async receive(frame: FrameFor<'delivery'>): Promise<void> {
    try {
      if (frame.kind === 'entries') await this.#emitHere(frame.entries);
      else if (frame.kind === 'live') await this.#emitLiveHere(frame.message);
      else if (frame.kind === 'recount') this.recountHere(frame.userId);
      else await this.#emitExpiredHere(frame.expired);
    } catch (error) {
      // What is stored is found by the next comparison of heads; the rest is a hint like any other.
      this.parts.logger.error({ err: error, kind: frame.kind }, 'a frame of another node could not be emitted');
    }
  }

  /** Notes users whose connections do not follow what they should by now; `checkFollowing` looks at them. */
  compareMemberships(changes: readonly MembershipChange[]): void {
    this.#check.compare(changes);
  }

  /** Compares what the connections of noted users follow with what they should. @throws StoreError */
  checkFollowing(): Promise<void> {
    return this.#check.check();
  }

  /** Emits what is stored up to these heads and was not emitted here, of topics that connections here follow. */
  catchUpTo(heads: ReadonlyMap<string, number>): void {
    this.#topics.catchUpTo(heads);
  }

  /** Tries again to fill the gaps that could not be read; called several times a second. */
  healGaps(): void {
    this.#topics.heal(this.parts.clock.steady());
  }

  /**
   * Brings a connection up to date in all its topics, joins it to them, then sends `sync:done`.
   * Resolves early, without sending anything, when the connection ends meanwhile.
   * @throws StoreError when the store cannot be read: the connection should be closed, it would have a gap.
   */
  attach(connection: Connection): Promise<void> {
    return this.#subscriptions.attach(connection);
  }

  /**
   * Lets a connection follow a topic that its user has joined, from where the device stands there, but never from
   * before what was already written to the connection.
   */
  follow(connection: Connection, topic: string): Promise<void> {
    return this.#subscriptions.follow(connection, topic);
  }

  /** Ends what `follow` began: nothing of the topic reaches the connection afterwards. */
  unfollow(connection: Connection, topic: string): void {
    this.#subscriptions.unfollow(connection, topic);
  }

  /** Ends all following of a topic. Nothing of it is emitted from this moment on. */
  drop(topic: string): Promise<void> {
    return this.#subscriptions.drop(topic);
  }

  /** Forgets a connection that ended or is about to be closed; nothing is delivered to it afterwards. */
  detach(connection: Connection): void {
    this.#subscriptions.detach(connection);
    if (this.#attachments.size === 0) this.#check.forgetAll();
  }

  /** Does this connection receive messages of the topic? */
  isFollowing(connection: Connection, topic: string): boolean {
    const attachment = this.#attachments.get(connection);
    return attachment !== undefined && this.#subscriptions.isSubscribed(attachment, topic);
  }

  /** The connections of this node that receive messages of the topic, live. */
  membersOf(topic: string): Iterable<Connection> {
    return this.#topics.get(topic)?.members ?? [];
  }

  /** Does any connection of this node follow the topic? */
  hasFollowers(topic: string): boolean {
    return this.#topics.get(topic) !== undefined;
  }

  /** Hands the positions of clients that do not acknowledge to the cursors; called about every second. */
  collectPositions(): void {
    this.#positions.collect();
  }

  /**
   * Records that a device has everything of a topic up to `seq`. Cumulative and idempotent.
   * @throws AppError `bad_request` for a topic that the connection does not follow, or a `seq` it was not sent.
   */
  acknowledge(connection: Connection, topic: string, seq: number): void {
    this.#positions.acknowledge(connection, topic, seq);
  }
}
