/**
 * Delivery on one node: append → emit in the order of `seq`, and catch-up that joins the live stream without
 * gap or repeat. The store is the truth; a node only remembers, for each topic that somebody here follows,
 * the last `seq` it has emitted (`head`).
 *
 * Why nothing is lost between "the store was read" and "the connection joined": a connection joins in the same
 * tick in which its position equals `head`. Whatever is appended later is emitted after that tick, to it as well;
 * whatever was emitted before has moved `head`, so the positions differ and the store is read again.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Logger } from 'pino';
import { AppError, badField } from '../utils/errors';
import type { AnyMessage, LiveMessage, Message } from '../utils/protocol';
import { type Connection, writeToAll } from './connections';
import type { Cursors } from './cursors';
import type { Metrics } from './metrics';
import { type Appended, type Draft, type Page, type Store, StoreError } from './storage/contract';

/** Unacknowledged messages that catch-up puts on the way to one device. */
export const CATCH_UP_WINDOW_MESSAGES = 200;
const MAX_PAGE_BYTES = 256 * 1024;

/** A topic that at least one connection of this node follows. */
interface FollowedTopic {
  readonly topic: string;
  /** Last `seq` that was emitted here, or that was stored before anybody joined. */
  head: number;
  /** Resolves when `head` has been read from the store. */
  readonly loaded: Promise<void>;
  followers: number;
  readonly members: Set<Connection>;
  /** The greatest `seq` that is known to be stored. */
  newest: number;
  isHealing: boolean;
}

/** What a connection has been sent in catch-up and not acknowledged yet. */
interface Window {
  inFlight: { readonly topic: string; readonly seq: number; readonly count: number }[];
  waiting: (() => void)[];
}

/** One connection's following of one topic, from its beginning to its end. Following again is another one. */
interface Subscription {
  readonly followed: FollowedTopic;
  /** Last `seq` written in catch-up; `undefined` once it has joined: then it stands at the `head` of the node. */
  position: number | undefined;
}

/** Where one connection stands. */
interface Session {
  readonly subscriptions: Map<string, Subscription>;
  /** Topics that were left while catch-up had not come to them yet. */
  readonly left: Set<string>;
  readonly window: Window;
}

export interface DeliveryParts {
  readonly store: Store;
  readonly cursors: Cursors;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** Unsent bytes beyond which a connection is cut. */
  readonly maxBufferedBytes: number;
}

export class Delivery {
  readonly #topics = new Map<string, FollowedTopic>();
  readonly #sessions = new Map<Connection, Session>();
  /** Topics whose `head` has moved for clients that do not acknowledge, since cursors were last collected. */
  readonly #moved = new Set<FollowedTopic>();

  /** A page fits the buffer of a connection: who reads is never cut for what catch-up writes. */
  readonly #pageBytes: number;

  constructor(private readonly parts: DeliveryParts) {
    this.#pageBytes = Math.min(MAX_PAGE_BYTES, parts.maxBufferedBytes);
  }

  /**
   * Stores a message and emits it to who follows the topic here. Resolves after the message is on disk.
   * @throws AppError `store_unavailable` or `store_full`; the message may then be sent again under the same id.
   */
  async publish(draft: Draft): Promise<Appended> {
    const appended = await this.#append(draft);
    if (appended.outcome === 'stored') {
      this.parts.metrics.sends.inc();
      const followed = this.#topics.get(draft.topic);
      if (followed !== undefined) this.#emitInOrder(followed, appended.message);
    }
    return appended;
  }

  async #append(draft: Draft): Promise<Appended> {
    try {
      return await this.parts.store.append(draft);
    } catch (error) {
      throw asAppError(error);
    }
  }

  /** Emits a message that is not stored, to who has joined the topic now. */
  publishLive(message: LiveMessage): void {
    emit(this.membersOf(message.topic), message);
  }

  #emitInOrder(followed: FollowedTopic, message: Message): void {
    followed.newest = Math.max(followed.newest, message.seq);
    // Nobody has joined: who catches up compares with this head, reads the store, and finds the message there.
    if (followed.members.size === 0) followed.head = Math.max(followed.head, message.seq);
    else if (message.seq === followed.head + 1) this.#emitNext(followed, message);
    else if (message.seq > followed.head) void this.#heal(followed);
  }

  #emitNext(followed: FollowedTopic, message: Message): void {
    // What is written to a connection that is closing does not arrive: its place stays before this message.
    for (const member of followed.members) if (!member.isOpen) this.detach(member);
    followed.head = message.seq;
    this.#moved.add(followed);
    this.parts.metrics.deliveries.inc(followed.members.size);
    emit(followed.members, message);
  }

  /** Something newer is stored than was emitted here: emits what is between, from the store. */
  async #heal(followed: FollowedTopic): Promise<void> {
    if (followed.isHealing) return;
    followed.isHealing = true;
    try {
      await this.#emitFromStore(followed);
    } catch (error) {
      // The next message of the topic, or the next connection, comes here again.
      this.parts.logger.error({ err: error, topic: followed.topic }, 'a gap could not be read from the store');
    } finally {
      followed.isHealing = false;
    }
  }

  async #emitFromStore(followed: FollowedTopic): Promise<void> {
    let page: Page;
    do {
      page = await this.#readPage(followed.topic, followed.head, CATCH_UP_WINDOW_MESSAGES);
      for (const message of page.messages) if (message.seq > followed.head) this.#emitNext(followed, message);
      followed.head = Math.max(followed.head, page.position);
      // What was stored while the page was read showed as a gap too, and was left to this.
    } while (page.position < page.head || followed.head < followed.newest);
  }

  #readPage(topic: string, after: number, limit: number): Promise<Page> {
    return this.parts.store.read(topic, { after, limit, maxBytes: this.#pageBytes });
  }

  /**
   * Brings a connection up to date in all its topics, joins it to them, then tells `sync:done`.
   * Resolves early, without a word, when the connection ends meanwhile.
   * @throws AppError when the store cannot be read: the connection should be closed, it would have a gap.
   */
  async attach(connection: Connection): Promise<void> {
    const session = newSession();
    this.#sessions.set(connection, session);
    try {
      const cursors = await this.parts.cursors.open(connection.userId, connection.device);
      for (const [topic, cursor] of cursors) {
        if (!connection.isOpen) return;
        await this.#catchUp(connection, session, { topic, cursor });
      }
      if (connection.isOpen) connection.send('sync:done', { cursors: this.#positionsOf(session) });
    } catch (error) {
      throw asAppError(error);
    }
  }

  async #catchUp(connection: Connection, session: Session, from: { topic: string; cursor: number }): Promise<void> {
    const { topic, cursor } = from;
    if (session.subscriptions.has(topic) || session.left.delete(topic)) return;
    const subscription = { followed: this.#follow(topic), position: cursor };
    const { followed } = subscription;
    session.subscriptions.set(topic, subscription);
    const isFollowing = () => connection.isOpen && session.subscriptions.get(topic) === subscription;
    await followed.loaded;
    while (isFollowing() && subscription.position !== followed.head) {
      const limit = await windowRoom(session.window, isFollowing);
      if (!isFollowing()) return;
      const page = await this.#readPage(topic, subscription.position, limit);
      if (!isFollowing()) return;
      if (page.prunedUpTo > subscription.position) tellReset(connection, topic, page.head);
      // An acknowledgement may arrive before the buffer is empty, so the position moves before writing.
      subscription.position = page.position;
      await this.#sendPage(connection, session, page, topic);
      if (!isFollowing()) return;
      if (!connection.isAcknowledging) this.parts.cursors.advanceDefault(connection.userId, topic, page.position);
      // The store is ahead of what was emitted here: emit that first, or it would reach this connection twice.
      if (page.position > followed.head) await this.#raise(followed, page.position);
    }
    if (isFollowing()) join(connection, subscription);
  }

  /** Lets a connection follow one more topic from `cursor` on, as after joining it. */
  async follow(connection: Connection, topic: string, cursor: number): Promise<void> {
    const session = this.#sessions.get(connection);
    if (session === undefined) return;
    session.left.delete(topic);
    await this.#catchUp(connection, session, { topic, cursor });
  }

  /** Ends what `follow` began: nothing of the topic reaches the connection afterwards. */
  unfollow(connection: Connection, topic: string): void {
    const session = this.#sessions.get(connection);
    const subscription = session?.subscriptions.get(topic);
    if (session === undefined) return;
    if (subscription === undefined) {
      session.left.add(topic);
      return;
    }
    session.subscriptions.delete(topic);
    this.#unfollow(connection, subscription.followed);
    openWindow(session.window, topic, Number.POSITIVE_INFINITY);
  }

  /** Does this connection get what is said in the topic? */
  isFollowing(connection: Connection, topic: string): boolean {
    return this.#sessions.get(connection)?.subscriptions.has(topic) === true;
  }

  /** The connections of this node that get what is said in the topic as it is said. */
  membersOf(topic: string): Iterable<Connection> {
    return this.#topics.get(topic)?.members ?? [];
  }

  /** Does anybody on this node get what is said in the topic? */
  hasFollowers(topic: string): boolean {
    return this.#topics.has(topic);
  }

  async #sendPage(connection: Connection, session: Session, page: Page, topic: string): Promise<void> {
    const count = page.messages.length;
    if (count === 0) return;
    if (connection.isAcknowledging) session.window.inFlight.push({ topic, seq: page.position, count });
    connection.sendPage(page.messages);
    this.parts.metrics.deliveries.inc(count);
    await connection.drained();
    if (page.position < page.head) await nextTurn();
  }

  async #raise(followed: FollowedTopic, position: number): Promise<void> {
    if (followed.members.size === 0) followed.head = Math.max(followed.head, position);
    else await this.#emitFromStore(followed);
  }

  #follow(topic: string): FollowedTopic {
    const followed = this.#topics.get(topic) ?? this.#startFollowing(topic);
    followed.followers += 1;
    return followed;
  }

  #startFollowing(topic: string): FollowedTopic {
    const loaded = this.parts.store.head(topic).then((head) => {
      followed.head = Math.max(followed.head, head);
    });
    const followed: FollowedTopic = {
      topic,
      head: 0,
      loaded,
      followers: 0,
      members: new Set(),
      newest: 0,
      isHealing: false,
    };
    this.#topics.set(topic, followed);
    return followed;
  }

  /** Forgets a connection that ended or is about to be closed; nothing is delivered to it afterwards. */
  detach(connection: Connection): void {
    const session = this.#sessions.get(connection);
    if (session === undefined) return;
    this.#sessions.delete(connection);
    for (const { followed } of session.subscriptions.values()) this.#unfollow(connection, followed);
    wake(session.window);
  }

  #unfollow(connection: Connection, followed: FollowedTopic): void {
    if (followed.members.delete(connection)) this.#recordPosition(connection, followed);
    followed.followers -= 1;
    if (followed.followers > 0) return;
    this.#topics.delete(followed.topic);
    this.#moved.delete(followed);
  }

  #recordPosition(connection: Connection, { topic, head }: FollowedTopic): void {
    if (!connection.isAcknowledging) this.parts.cursors.advanceDefault(connection.userId, topic, head);
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
    if (session === undefined || subscription === undefined) {
      throw badField('topic', 'is not followed by this connection');
    }
    const sent = positionOf(subscription);
    if (seq > sent) throw badField('seq', `is ahead of the last message sent (${sent})`);
    this.parts.cursors.advance({ userId: connection.userId, device: connection.device, topic, seq });
    openWindow(session.window, topic, seq);
  }

  #positionsOf(session: Session): Record<string, number> {
    const positions = Object.create(null) as Record<string, number>;
    for (const [topic, subscription] of session.subscriptions) positions[topic] = positionOf(subscription);
    return positions;
  }
}

function emit(members: Iterable<Connection>, message: AnyMessage): void {
  writeToAll(members, (transport) => transport.encodeMessage(message));
}

function newSession(): Session {
  return { subscriptions: new Map(), left: new Set(), window: { inFlight: [], waiting: [] } };
}

/** In the tick in which the connection has everything up to `head`: see above. */
function join(connection: Connection, subscription: Subscription): void {
  subscription.position = undefined;
  subscription.followed.members.add(connection);
}

function positionOf({ position, followed }: Subscription): number {
  return position ?? followed.head;
}

/** Waits until the window has room, or nobody waits for it any more. @returns how many messages fit. */
async function windowRoom(window: Window, isWanted: () => boolean): Promise<number> {
  for (;;) {
    const inFlight = window.inFlight.reduce((sum, { count }) => sum + count, 0);
    if (inFlight < CATCH_UP_WINDOW_MESSAGES || !isWanted()) return CATCH_UP_WINDOW_MESSAGES - inFlight;
    await new Promise<void>((resolve) => window.waiting.push(resolve));
  }
}

function openWindow(window: Window, topic: string, seq: number): void {
  window.inFlight = window.inFlight.filter((page) => page.topic !== topic || page.seq > seq);
  wake(window);
}

function wake(window: Window): void {
  for (const resolve of window.waiting.splice(0)) resolve();
}

function tellReset(connection: Connection, topic: string, head: number): void {
  connection.send('sync:reset', { topic, reason: 'retention', head });
}

function asAppError(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  const options = { retryAfterSeconds: 5, cause: error };
  return error.isFull
    ? new AppError('store_full', 'There is no space left to store the message.', options)
    : new AppError('store_unavailable', 'The store did not accept this; nothing was sent.', options);
}
