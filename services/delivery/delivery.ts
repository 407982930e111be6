/**
 * Delivery on one node: append → emit in the order of `seq`, and catch-up that joins the live stream without
 * gap or repeat. The store is the truth; a node only remembers, for each topic that somebody here follows,
 * the last `seq` it has emitted (`head`).
 *
 * Why nothing is lost between "the store was read" and "the connection joined": a connection joins in the same
 * tick in which its position equals `head`. Whatever is appended later is emitted after that tick, to it as well;
 * whatever was emitted before has moved `head`, so the positions differ and the store is read again.
 */
import type { Logger } from 'pino';
import type { Balance, Lender } from '../../utils/balance';
import { type Clock, fromIsoTime, nextTurn } from '../../utils/clock';
import type { ClusterFrame } from '../../utils/cluster-protocol';
import { withDeadline } from '../../utils/deadline';
import { badField } from '../../utils/errors';
import type { AnyMessage, Counts, LiveMessage, Message } from '../../utils/protocol';
import { FollowingFlight, SingleFlight } from '../../utils/single-flight';
import { destinationOf, isStateTopic, ownerOfPersonalTopic } from '../../utils/topic-names';
import type { Cluster } from '../cluster/contract';
import type { Metrics } from '../observability/metrics';
import { type Describe, inSpan } from '../observability/tracing';
import { type Connection, type Transport, type Written, writeToAll } from '../sockets/connections';
import type { Appended, Draft, Expired, MembershipChange, Page, Position, Reader, Store } from '../storage/contract';
import type { Cursors } from './cursors';
import { RecentSends } from './recent-sends';
import { CATCH_UP_WINDOW_MESSAGES, Window } from './window';

const MAX_PAGE_BYTES = 256 * 1024;
/** How long a message waits for the counts that go with it. */
const COUNTS_TIMEOUT_MS = 1_000;
/** A gap that could not be filled is tried again after this time, then after twice as long, and so on. */
const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 5_000;
const DROPPED_PER_TURN = 500;
const MAX_WRITTEN_TOPICS = 1_000;

/** A topic that at least one connection of this node follows. */
interface FollowedTopic {
  readonly topic: string;
  /** Last `seq` that was emitted here, or that was stored before anybody joined. */
  head: number;
  /** Reads `head` from the store. */
  readonly loading: SingleFlight<void>;
  isLoaded: boolean;
  /** Who follows it, joined or catching up. */
  readonly followers: Set<Connection>;
  /** Who has joined: gets what is emitted. */
  readonly members: Set<Connection>;
  /** The greatest `seq` that is known to be stored. */
  newest: number;
  /** Emits what is stored and was not emitted. What shows while a run ends is for the next one. */
  readonly healing: FollowingFlight;
  /** How often in a row that has failed, and when it is tried again by the steady time. */
  failures: number;
  retryAt: number;
  /** What was emitted lately, once somebody has joined who acknowledges. */
  recent: RecentSends | undefined;
}

/** One connection's following of one topic, from its beginning to its end. Following again is another one. */
interface Subscription {
  readonly followed: FollowedTopic;
  /** Last `seq` written in catch-up; `undefined` once it has joined: then it stands at the `head` of the node. */
  position: number | undefined;
  /** Up to there the time until acknowledgement is measured; what came in catch-up is not. */
  measuredUpTo: number;
  /** Of the log of states: has the client been asked whether it is reached? */
  isConfirming: boolean;
}

/** A subscription, and whose it is. */
interface Following {
  readonly connection: Connection;
  readonly session: Session;
  readonly subscription: Subscription;
}

/** How a message is told. */
interface Telling {
  /** On what is one person's alone. */
  readonly counts: Counts | undefined;
  /** A connection that knows already. */
  readonly except?: Connection | undefined;
}

/** Where one connection stands. */
interface Session {
  readonly subscriptions: Map<string, Subscription>;
  /** Topics that the first catch-up has still to come to. */
  pending: Map<string, Position>;
  /** Counts the topics that the connection was told to follow or to leave. */
  changes: number;
  /** Up to where topics had been written to it when its user left them: nothing comes twice over one connection. */
  readonly written: Map<string, number>;
  readonly window: Window;
  /** Has the first catch-up ended? */
  isUpToDate: boolean;
  /** Messages written in catch-up. */
  caughtUp: number;
}

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
  readonly #topics = new Map<string, FollowedTopic>();
  readonly #sessions = new Map<Connection, Session>();
  /** Topics with something stored that could not be emitted yet. */
  readonly #gaps = new Set<FollowedTopic>();
  /** Users whose connections may not follow what they should. */
  readonly #doubted = new Set<string>();
  /** Topics whose `head` has moved for clients that do not acknowledge, since cursors were last collected. */
  readonly #moved = new Set<FollowedTopic>();

  /** A page fits the buffer of a connection: who reads is never cut for what catch-up writes. */
  readonly #pageBytes: number;
  /** New connections that are not up to date yet. */
  readonly #catchingUp = new Set<Session>();

  constructor(private readonly parts: DeliveryParts) {
    this.#pageBytes = Math.min(MAX_PAGE_BYTES, parts.maxBufferedBytes);
  }

  get balance(): Balance {
    const windows = Array.from(this.#sessions.values(), ({ window }) => window);
    return {
      sessions: this.#sessions.size,
      catchUps: this.#catchingUp.size,
      followedTopics: this.#topics.size,
      movedTopics: this.#moved.size,
      gaps: this.#gaps.size,
      doubtedUsers: this.#doubted.size,
      unacknowledged: windows.reduce((sum, { inFlight }) => sum + inFlight, 0),
      windowWaiters: windows.reduce((sum, { waiting }) => sum + waiting, 0),
    };
  }

  /** New connections that are not up to date yet. */
  get catchUps(): number {
    return this.#catchingUp.size;
  }

  /**
   * Stores a message and emits it to who follows the topic here. Resolves after the message is on disk.
   * @throws StoreError; the message may then be sent again under the same id.
   */
  async publish(draft: Draft): Promise<Appended> {
    const appended = await inSpan('tidings.append', () => this.parts.store.append(draft));
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
   * @param except a connection that knows already, because it asked for this.
   */
  async emitAppended(entries: readonly Message[], except?: Connection): Promise<void> {
    if (entries.length > 0) this.parts.cluster.tell({ kind: 'entries', entries });
    await this.#emitHere(entries, except);
  }

  async #emitHere(entries: readonly Message[], except?: Connection): Promise<void> {
    for (const entry of entries) {
      const followed = this.#topics.get(entry.topic);
      if (followed !== undefined) await this.#emitAppended(followed, entry, except);
    }
  }

  async #emitAppended(followed: FollowedTopic, entry: Message, except?: Connection): Promise<void> {
    const counts = await this.#countsFor(entry.topic);
    try {
      this.#emitInOrder(followed, entry, { counts, except });
    } catch (error) {
      // It is stored: the sender must not be told otherwise.
      this.parts.logger.error({ err: error, topic: entry.topic }, 'a stored message could not be emitted yet');
      followed.newest = Math.max(followed.newest, entry.seq);
      this.#retryLater(followed);
    }
  }

  /** Emits a message that is not stored, to who has joined the topic now. */
  async publishLive(message: LiveMessage): Promise<void> {
    this.parts.cluster.tell({ kind: 'live', message });
    await this.#emitLiveHere(message);
  }

  async #emitLiveHere(message: LiveMessage): Promise<void> {
    if (!this.hasFollowers(message.topic)) return;
    const counts = await this.#countsFor(message.topic);
    emit(this.membersOf(message.topic), message, { counts });
  }

  /** Tells who is connected that messages have expired. Who is not will not find them. */
  async emitExpired(expired: readonly Expired[]): Promise<void> {
    if (expired.length > 0) this.parts.cluster.tell({ kind: 'expired', expired });
    await this.#emitExpiredHere(expired);
  }

  async #emitExpiredHere(expired: readonly Expired[]): Promise<void> {
    for (const { topic, id, exceptUserId } of expired) {
      const followed = this.#topics.get(topic);
      if (followed === undefined) continue;
      const counts = await this.#countsFor(topic);
      const removed = { topic, ref: id, reason: 'expired', ...(counts === undefined ? {} : { counts }) };
      const encode = (transport: Transport) => transport.encodeEvent('message:removed', removed);
      writeToAll(followed.followers, encode, exceptUserId);
    }
  }

  /** Emits here what another node has told. */
  async receive(frame: ClusterFrame): Promise<void> {
    try {
      if (frame.kind === 'entries') await this.#emitHere(frame.entries);
      else if (frame.kind === 'live') await this.#emitLiveHere(frame.message);
      else if (frame.kind === 'expired') await this.#emitExpiredHere(frame.expired);
    } catch (error) {
      // What is stored is found by the next comparison of heads; the rest is a hint like any other.
      this.parts.logger.error({ err: error, kind: frame.kind }, 'what another node has told could not be emitted');
    }
  }

  /** Takes note of whose connections do not follow what they should by now: `checkFollowing` looks at them. */
  compareMemberships(changes: readonly MembershipChange[]): void {
    if (changes.length === 0) return;
    const sessions = new Map<string, Session[]>();
    for (const [{ userId }, session] of this.#sessions) {
      const own = sessions.get(userId);
      if (own === undefined) sessions.set(userId, [session]);
      else own.push(session);
    }
    for (const { topic, userId, isMember } of changes) {
      if (userId === undefined) this.#doubtFollowers(topic);
      else if (sessions.get(userId)?.some((session) => this.#isFollowed(session, topic) !== isMember)) {
        this.#doubted.add(userId);
      }
    }
  }

  #isFollowed(session: Session, topic: string): boolean {
    return session.pending.has(topic) || this.#isSubscribed(session, topic);
  }

  #doubtFollowers(topic: string): void {
    for (const { userId } of this.#topics.get(topic)?.followers ?? []) this.#doubted.add(userId);
  }

  /**
   * Compares what the connections of doubted users follow with what they should. Nobody may go on reading a topic that
   * they were removed from. Who could not be looked at is looked at the next time. @throws StoreError
   */
  async checkFollowing(): Promise<void> {
    for (const userId of [...this.#doubted]) {
      const own = [...this.#sessions].filter(([connection]) => connection.userId === userId && connection.isOpen);
      // Before the look: a doubt that arises during it is for the next one.
      this.#doubted.delete(userId);
      try {
        for (const [connection, session] of own) await this.#checkConnection(connection, session);
      } catch (error) {
        this.#doubted.add(userId);
        throw error;
      }
    }
  }

  async #checkConnection(connection: Connection, session: Session): Promise<void> {
    const positions = await this.#open(connection, session);
    const known = [...session.subscriptions.keys(), ...session.pending.keys()];
    for (const topic of known) if (!positions.has(topic)) this.unfollow(connection, topic);
    for (const [topic, position] of positions) {
      if (session.pending.has(topic)) continue;
      // Not awaited: a client that does not acknowledge must not hold up the others.
      this.#followAgain(connection, session, topic, position).catch((error: unknown) => {
        this.parts.logger.error({ err: error, topic }, 'a topic could not be followed yet');
        this.#doubted.add(connection.userId);
      });
    }
  }

  /** Emits what is stored and was not emitted here, of topics that somebody here follows. */
  catchUpTo(heads: ReadonlyMap<string, number>): void {
    for (const [topic, seq] of heads) {
      const followed = this.#topics.get(topic);
      if (followed === undefined || seq <= followed.head) continue;
      followed.newest = Math.max(followed.newest, seq);
      if (followed.members.size > 0) void followed.healing.run();
    }
  }

  /**
   * A message is told with the counts of its moment where it is one person's alone; without them when the store does
   * not give them: no message waits for a number.
   */
  async #countsFor(topic: string): Promise<Counts | undefined> {
    const userId = isStateTopic(topic) ? topic.slice(1) : ownerOfPersonalTopic(topic);
    if (userId === undefined) return undefined;
    const late = () => new Error(`the store did not count within ${COUNTS_TIMEOUT_MS} ms`);
    try {
      return await withDeadline(this.parts.store.counts(userId), COUNTS_TIMEOUT_MS, late);
    } catch (error) {
      this.parts.logger.warn({ err: error, topic }, 'a message is told without counts');
      return undefined;
    }
  }

  #emitInOrder(followed: FollowedTopic, message: Message, telling: Telling): void {
    followed.newest = Math.max(followed.newest, message.seq);
    // Nobody has joined: who catches up compares with this head, reads the store, and finds the message there.
    if (followed.members.size === 0) followed.head = Math.max(followed.head, message.seq);
    else if (message.seq === followed.head + 1) this.#emitNext(followed, message, telling);
    else if (message.seq > followed.head) void followed.healing.run();
  }

  #emitNext(followed: FollowedTopic, message: Message, telling: Telling): void {
    const { count, closing } = emit(followed.members, message, telling);
    // What would be written to a connection that is closing does not arrive: its place stays before this message.
    for (const member of closing) this.detach(member);
    followed.head = message.seq;
    this.#moved.add(followed);
    if (followed.members.size === 0) return;
    if (isStateTopic(followed.topic)) this.#confirmStates(followed);
    this.parts.metrics.deliveries.live.inc(count);
    followed.recent?.add(message.seq, fromIsoTime(message.timestamp));
    this.#recordSending(followed.topic, message.seq, message.seq);
  }

  #recordSending(topic: string, from: number, upTo: number): void {
    if (!isStateTopic(topic)) this.parts.cursors.sent(topic, from, upTo);
  }

  /** Something newer is stored than was emitted here: emits what is between, from the store. */
  async #heal(followed: FollowedTopic): Promise<void> {
    try {
      const isBehind = followed.head < followed.newest;
      if (isBehind && (await this.#emitFromStore(followed))) this.parts.metrics.gapsHealed.inc();
      followed.failures = 0;
      this.#gaps.delete(followed);
    } catch (error) {
      this.parts.logger.error({ err: error, topic: followed.topic }, 'a gap could not be read from the store yet');
      this.#retryLater(followed);
    }
  }

  #retryLater(followed: FollowedTopic): void {
    const waitMs = Math.min(MIN_RETRY_MS * 2 ** followed.failures, MAX_RETRY_MS);
    followed.failures += 1;
    followed.retryAt = this.parts.clock.steady() + waitMs;
    this.#gaps.add(followed);
  }

  /** Tries again to fill the gaps that could not be read; called several times a second. */
  healGaps(): void {
    const now = this.parts.clock.steady();
    for (const followed of this.#gaps) {
      if (this.#topics.get(followed.topic) !== followed) this.#gaps.delete(followed);
      else if (followed.retryAt <= now) void followed.healing.run();
    }
  }

  /** @returns whether anything was missing: what was told meanwhile is not. */
  async #emitFromStore(followed: FollowedTopic): Promise<boolean> {
    let isAnyMissing = false;
    let page: Page;
    let before: number;
    do {
      before = followed.head;
      page = await this.#readPage(followed.topic, { after: followed.head, limit: CATCH_UP_WINDOW_MESSAGES });
      const counts = await this.#countsFor(followed.topic);
      for (const message of page.messages) {
        if (message.seq <= followed.head) continue;
        this.#emitNext(followed, message, { counts });
        isAnyMissing = true;
      }
      followed.head = Math.max(followed.head, page.position);
      // What was stored while the page was read showed as a gap too, and was left to this. What cannot be seen yet is
      // left to the next comparison.
    } while (page.position < page.head || (before < followed.head && followed.head < followed.newest));
    return isAnyMissing;
  }

  #readPage(topic: string, options: { after: number; limit: number; reader?: Reader }): Promise<Page> {
    return this.parts.store.read(topic, { ...options, maxBytes: this.#pageBytes });
  }

  /**
   * Brings a connection up to date in all its topics, joins it to them, then tells `sync:done`.
   * Resolves early, without a word, when the connection ends meanwhile.
   * @throws StoreError when the store cannot be read: the connection should be closed, it would have a gap.
   */
  async attach(connection: Connection): Promise<void> {
    const session = newSession();
    this.#catchingUp.add(session);
    try {
      await inSpan('tidings.catch_up', (describe) => this.#attach(connection, session, describe));
    } finally {
      this.#catchingUp.delete(session);
    }
  }

  async #attach(connection: Connection, session: Session, describe: Describe): Promise<void> {
    const startedAt = this.parts.clock.steady();
    this.#sessions.set(connection, session);
    session.pending = await this.#open(connection, session);
    for (const [topic, position] of session.pending) {
      if (!connection.isOpen || this.#sessions.get(connection) !== session) return;
      session.pending.delete(topic);
      await this.#catchUp(connection, session, topic, position);
    }
    const counts = await this.parts.store.counts(connection.userId);
    session.isUpToDate = true;
    if (!connection.isOpen) return;
    this.#measureCatchUp(session, this.parts.clock.steady() - startedAt);
    describe({
      'tidings.transport': connection.transport.name,
      'tidings.topics': session.subscriptions.size,
      'tidings.messages': session.caughtUp,
    });
    connection.send('sync:done', { cursors: this.#positionsOf(session), counts });
  }

  /** Where a connection stands, read while nothing was followed or left: what was read is not older than that. */
  async #open(connection: Connection, session: Session): Promise<Map<string, Position>> {
    for (;;) {
      const { changes } = session;
      const positions = await this.parts.cursors.open(connection.userId, connection.device);
      if (positions.wasForgotten) connection.send('sync:reset', { reason: 'forgotten' });
      if (changes === session.changes) return new Map(positions);
    }
  }

  #measureCatchUp({ caughtUp }: Session, durationMs: number): void {
    this.parts.metrics.catchUpMessages.observe(caughtUp);
    this.parts.metrics.catchUpDuration.observe(durationMs / 1_000);
  }

  /** @throws StoreError; the connection does not follow the topic then. */
  async #catchUp(connection: Connection, session: Session, topic: string, start: Position): Promise<void> {
    // Who was seen out meanwhile follows nothing any more, however open the connection still is.
    if (this.#sessions.get(connection) !== session || this.#isSubscribed(session, topic)) return;
    const followed = this.#follow(connection, topic);
    const subscription = {
      followed,
      position: start.seq,
      measuredUpTo: Number.POSITIVE_INFINITY,
      isConfirming: false,
    };
    session.subscriptions.set(topic, subscription);
    try {
      await this.#bringUpToDate({ connection, session, subscription }, start);
    } catch (error) {
      if (session.subscriptions.get(topic) === subscription) this.#leave(connection, session, subscription);
      throw error;
    }
  }

  async #bringUpToDate(following: Following, { unreadUpTo, gaps }: Position): Promise<void> {
    const { connection, session, subscription } = following;
    const { followed } = subscription;
    const { topic } = followed;
    const isFollowing = () => connection.isOpen && session.subscriptions.get(topic) === subscription;
    const reader = { userId: connection.userId, unreadUpTo, gaps };
    if (!followed.isLoaded) await followed.loading.run();
    while (isFollowing() && subscription.position !== followed.head) {
      const limit = await session.window.room(isFollowing);
      if (!isFollowing()) return;
      const page = await this.#readPage(topic, { after: positionOf(subscription), limit, reader });
      const counts = page.messages.length === 0 ? undefined : await this.#countsFor(topic);
      // Several topics may catch up at once; together they fit the buffer as one page does.
      while (isFollowing() && connection.unsentBytes > 0) await connection.drained();
      if (!isFollowing()) return;
      await this.#sendPage(following, page, counts);
      if (!isFollowing()) return;
      this.#recordWriting(following);
      // The store is ahead of what was emitted here: emit that first, or it would reach this connection twice.
      if (page.position > followed.head) await this.#raise(followed, page.position);
    }
    if (isFollowing()) join(connection, subscription);
  }

  /**
   * Lets a connection follow a topic that its user has joined, from where the device stands there; not from before what
   * the connection has been sent already.
   */
  async follow(connection: Connection, topic: string): Promise<void> {
    const session = this.#sessions.get(connection);
    if (session === undefined) return;
    session.changes += 1;
    session.pending.delete(topic);
    if (this.#isSubscribed(session, topic)) return;
    const position = (await this.#open(connection, session)).get(topic);
    if (position === undefined || !connection.isOpen) return;
    return this.#followAgain(connection, session, topic, position);
  }

  /** Catches up from a place, but from nothing that was written to this connection before. */
  #followAgain(connection: Connection, session: Session, topic: string, position: Position): Promise<void> {
    if (this.#isSubscribed(session, topic)) return Promise.resolve();
    const dropped = session.subscriptions.get(topic);
    if (dropped !== undefined) rememberWritten(session, topic, positionOf(dropped));
    const written = session.written.get(topic) ?? 0;
    if (written <= position.seq) return this.#catchUp(connection, session, topic, position);
    // What was written before has to be acknowledged still, whatever comes after it.
    if (connection.isAcknowledging) session.window.add({ topic, seq: written, count: 0, upTo: written });
    return this.#catchUp(connection, session, topic, { ...position, seq: written });
  }

  /** Ends what `follow` began: nothing of the topic reaches the connection afterwards. */
  unfollow(connection: Connection, topic: string): void {
    const session = this.#sessions.get(connection);
    if (session === undefined) return;
    session.changes += 1;
    session.pending.delete(topic);
    const subscription = session.subscriptions.get(topic);
    if (subscription === undefined) return;
    rememberWritten(session, topic, positionOf(subscription));
    this.#leave(connection, session, subscription);
  }

  #leave(connection: Connection, session: Session, { followed }: Subscription): void {
    session.subscriptions.delete(followed.topic);
    this.#unfollow(connection, followed);
    session.window.drop(followed.topic);
  }

  /** Not to one that was dropped, and may be there again under the same name. */
  #isSubscribed({ subscriptions }: Session, topic: string): boolean {
    const subscription = subscriptions.get(topic);
    return subscription !== undefined && subscription.followed === this.#topics.get(topic);
  }

  /**
   * Ends all following of a topic. Nothing of it is emitted from this moment on; what connections remember of it goes in
   * parts that hold nobody up.
   */
  async drop(topic: string): Promise<void> {
    const followed = this.#topics.get(topic);
    // Who reads what the store had before would come to it later.
    for (const session of this.#catchingUp) {
      session.changes += 1;
      session.pending.delete(topic);
    }
    if (followed === undefined) return;
    this.#topics.delete(topic);
    this.#moved.delete(followed);
    followed.members.clear();
    let dropped = 0;
    for (const connection of followed.followers) {
      dropped += 1;
      if (dropped % DROPPED_PER_TURN === 0) await nextTurn();
      const session = this.#sessions.get(connection);
      const subscription = session?.subscriptions.get(topic);
      if (session === undefined || subscription?.followed !== followed) continue;
      // The name may be that of a topic made since, of which something was written already.
      rememberWritten(session, topic, positionOf(subscription));
      session.subscriptions.delete(topic);
      session.window.drop(topic);
    }
  }

  /** Does this connection get what is said in the topic? */
  isFollowing(connection: Connection, topic: string): boolean {
    const session = this.#sessions.get(connection);
    return session !== undefined && this.#isSubscribed(session, topic);
  }

  /** The connections of this node that get what is said in the topic as it is said. */
  membersOf(topic: string): Iterable<Connection> {
    return this.#topics.get(topic)?.members ?? [];
  }

  /** Does anybody on this node get what is said in the topic? */
  hasFollowers(topic: string): boolean {
    return this.#topics.has(topic);
  }

  async #sendPage(following: Following, page: Page, counts?: Counts): Promise<void> {
    const { connection, session, subscription } = following;
    const { topic } = subscription.followed;
    const isReset = tellReset(connection, topic, page, positionOf(subscription));
    // An acknowledgement may arrive before the buffer is empty, so the position moves before writing.
    subscription.position = page.position;
    if (isAcknowledging(connection, topic)) this.#await(following, page, isReset);
    const [first] = page.messages;
    if (first !== undefined) {
      connection.sendPage(page.messages, counts);
      session.caughtUp += page.messages.length;
      this.parts.metrics.deliveries.catch_up.inc(page.messages.length);
      this.#recordSending(topic, first.seq, page.position);
    }
    if (first !== undefined || isReset) await connection.drained();
    if (page.position < page.head) await nextTurn();
  }

  /** What of a page has to be acknowledged, and what need not be: where nothing is for the device, and what is gone. */
  #await({ connection, session, subscription }: Following, page: Page, isReset: boolean): void {
    const { topic } = subscription.followed;
    const { messages, position, prunedUpTo } = page;
    const last = messages.at(-1);
    if (last !== undefined) session.window.add({ topic, seq: last.seq, count: messages.length, upTo: position });
    if (last === undefined && session.window.pass(topic, position)) this.#advance(connection, topic, position);
    else if (isReset) this.#advance(connection, topic, prunedUpTo);
  }

  async #raise(followed: FollowedTopic, position: number): Promise<void> {
    if (followed.members.size === 0) followed.head = Math.max(followed.head, position);
    else await this.#emitFromStore(followed);
  }

  #follow(connection: Connection, topic: string): FollowedTopic {
    const followed = this.#topics.get(topic) ?? this.#startFollowing(topic);
    followed.followers.add(connection);
    return followed;
  }

  #startFollowing(topic: string): FollowedTopic {
    const followed: FollowedTopic = {
      topic,
      head: 0,
      loading: new SingleFlight(() => this.#load(followed)),
      isLoaded: false,
      followers: new Set(),
      members: new Set(),
      newest: 0,
      healing: new FollowingFlight(() => this.#heal(followed)),
      failures: 0,
      retryAt: 0,
      recent: undefined,
    };
    this.#topics.set(topic, followed);
    return followed;
  }

  async #load(followed: FollowedTopic): Promise<void> {
    followed.head = Math.max(followed.head, await this.parts.store.head(followed.topic));
    followed.isLoaded = true;
  }

  /** Forgets a connection that ended or is about to be closed; nothing is delivered to it afterwards. */
  detach(connection: Connection): void {
    const session = this.#sessions.get(connection);
    if (session === undefined) return;
    this.#sessions.delete(connection);
    if (this.#sessions.size === 0) this.#doubted.clear();
    session.pending.clear();
    for (const { followed } of session.subscriptions.values()) this.#unfollow(connection, followed);
    session.window.close();
  }

  #unfollow(connection: Connection, followed: FollowedTopic): void {
    if (followed.members.delete(connection)) this.#recordPosition(connection, followed);
    followed.followers.delete(connection);
    if (followed.followers.size > 0 || this.#topics.get(followed.topic) !== followed) return;
    this.#topics.delete(followed.topic);
    this.#moved.delete(followed);
    this.#gaps.delete(followed);
  }

  #recordPosition(connection: Connection, { topic, head }: FollowedTopic): void {
    if (!connection.isAcknowledging) this.#advance(connection, topic, head);
  }

  /** A page was written: to who does not acknowledge that is delivery. */
  #recordWriting(following: Following): void {
    const { connection, subscription } = following;
    const { topic } = subscription.followed;
    if (!connection.isAcknowledging) this.#advance(connection, topic, positionOf(subscription));
    else if (isStateTopic(topic)) this.#confirm(following);
  }

  #confirmStates({ topic, members }: FollowedTopic): void {
    for (const connection of members) {
      const session = this.#sessions.get(connection);
      const subscription = session?.subscriptions.get(topic);
      if (!connection.isAcknowledging || session === undefined || subscription === undefined) continue;
      this.#confirm({ connection, session, subscription });
    }
  }

  /**
   * A client does not acknowledge changes of state. A device stands after those of which there is a sign that they have
   * reached it: see docs/decisions/0024-states-that-arrived.md.
   */
  #confirm(following: Following): void {
    const { connection, session, subscription } = following;
    const { topic } = subscription.followed;
    if (subscription.isConfirming) return;
    subscription.isConfirming = true;
    const upTo = positionOf(subscription);
    connection.confirm(() => {
      subscription.isConfirming = false;
      const isFollowing =
        this.#sessions.get(connection) === session && session.subscriptions.get(topic) === subscription;
      if (!isFollowing) return;
      this.#advance(connection, topic, upTo);
      if (positionOf(subscription) > upTo) this.#confirm(following);
    });
  }

  #advance({ userId, device }: Connection, topic: string, seq: number): void {
    this.parts.cursors.advance({ userId, device, topic, seq });
  }

  /** Hands the positions of clients that do not acknowledge to the cursors; called about every second. */
  collectPositions(): void {
    for (const followed of this.#moved) {
      for (const member of followed.members) this.#recordPosition(member, followed);
    }
    this.#moved.clear();
  }

  /**
   * Records that a device has everything of a topic up to `seq`. Cumulative and idempotent.
   * @throws AppError `bad_request` for a topic that the connection does not follow, or a `seq` it was not sent.
   */
  acknowledge(connection: Connection, topic: string, seq: number): void {
    const session = this.#sessions.get(connection);
    const subscription = session?.subscriptions.get(topic);
    if (session === undefined || subscription === undefined || isStateTopic(topic)) {
      throw badField('topic', 'is not followed by this connection');
    }
    const sent = positionOf(subscription);
    if (seq > sent) throw badField('seq', `is ahead of the last message sent (${sent})`);
    this.#measureAck(subscription, seq);
    this.#advance(connection, topic, session.window.acknowledge(topic, seq));
  }

  #measureAck(subscription: Subscription, seq: number): void {
    const { followed, measuredUpTo } = subscription;
    this.parts.metrics.acks.inc();
    if (seq <= measuredUpTo) return;
    subscription.measuredUpTo = seq;
    const now = this.parts.clock.now();
    for (const sentAt of followed.recent?.between(measuredUpTo, seq) ?? []) {
      // Another node may have sent it, by a clock that is ahead.
      this.parts.metrics.sendToAck.observe(Math.max(0, now - sentAt) / 1_000);
    }
  }

  #positionsOf(session: Session): Record<string, number> {
    const positions = Object.create(null) as Record<string, number>;
    for (const [topic, subscription] of session.subscriptions) {
      if (!isStateTopic(topic)) positions[topic] = positionOf(subscription);
    }
    return positions;
  }
}

function emit(members: Iterable<Connection>, message: AnyMessage, { counts, except }: Telling): Written {
  const encode = (transport: Transport) => transport.encodeMessage(message, counts);
  return writeToAll(except === undefined ? members : without(members, except), encode, message.exceptUserId);
}

function* without(members: Iterable<Connection>, except: Connection): Generator<Connection> {
  for (const member of members) if (member !== except) yield member;
}

/** Clients acknowledge messages, not changes of state. */
function isAcknowledging(connection: Connection, topic: string): boolean {
  return connection.isAcknowledging && !isStateTopic(topic);
}

function newSession(): Session {
  return {
    subscriptions: new Map(),
    pending: new Map(),
    changes: 0,
    written: new Map(),
    window: new Window(),
    isUpToDate: false,
    caughtUp: 0,
  };
}

/** In the tick in which the connection has everything up to `head`: see above. */
function join(connection: Connection, subscription: Subscription): void {
  const { followed } = subscription;
  subscription.position = undefined;
  subscription.measuredUpTo = followed.head;
  if (isAcknowledging(connection, followed.topic)) followed.recent ??= new RecentSends();
  followed.members.add(connection);
}

/** Of so many topics; of others something may come twice, with the same id. */
function rememberWritten({ written }: Session, topic: string, seq: number): void {
  written.delete(topic);
  written.set(topic, seq);
  const [oldest] = written.keys();
  if (written.size > MAX_WRITTEN_TOPICS && oldest !== undefined) written.delete(oldest);
}

function positionOf({ position, followed }: Subscription): number {
  return position ?? followed.head;
}

/** Says that messages which this connection has not got are gone, if so. */
function tellReset(connection: Connection, topic: string, page: Page, position: number): boolean {
  if (page.prunedUpTo <= position || isStateTopic(topic)) return false;
  const reason = page.erasedUpTo > position ? 'erased' : 'retention';
  connection.send('sync:reset', { topic, reason, head: page.head });
  return true;
}
