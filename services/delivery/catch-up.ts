/**
 * Catch-up of one connection in one topic: what is stored after its position, page by page, until it joins the live
 * stream.
 *
 * Why nothing is lost between reading the store and joining: a connection joins in the same tick in which its position
 * equals `head`. Whatever is appended later is emitted after that tick, to it as well; whatever was emitted before has
 * moved `head`, so the positions differ and the store is read again.
 */
import { nextTurn } from '../../utils/clock';
import type { Counts } from '../../utils/protocol';
import { isStateTopic } from '../../utils/topic-names';
import type { Metrics } from '../observability/metrics';
import type { Page, Position } from '../storage/contract';
import { type Following, isAcknowledging, positionOf, type Subscription } from './attachment';
import type { Connection } from './connections';
import type { FoldedCounts } from './folded-counts';
import type { TopicReader } from './pages';
import type { Positions } from './positions';
import { RecentSends } from './recent-sends';

export interface CatchUpParts {
  readonly reader: TopicReader;
  readonly counts: FoldedCounts;
  readonly positions: Positions;
  readonly metrics: Metrics;
}

export class CatchUp {
  constructor(private readonly parts: CatchUpParts) {}

  /** Resolves once the connection has joined, and early, without joining, when the following ends meanwhile. */
  async run(following: Following, { unreadUpTo, gaps }: Position): Promise<void> {
    const { connection, attachment, subscription } = following;
    const { followed } = subscription;
    const { topic } = followed;
    const isFollowing = () => connection.isOpen && attachment.subscriptions.get(topic) === subscription;
    const reader = { userId: connection.userId, unreadUpTo, gaps };
    if (!followed.isLoaded) await followed.loading.run();
    while (isFollowing() && subscription.position !== followed.head) {
      const limit = await attachment.window.room(isFollowing);
      if (!isFollowing()) return;
      const page = await this.parts.reader.read(topic, { after: positionOf(subscription), limit, reader });
      const counts = page.messages.length === 0 ? undefined : await this.parts.counts.of(topic);
      // Several topics may catch up at once; together they fit the buffer as one page does.
      while (isFollowing() && connection.unsentBytes > 0) await connection.drained();
      if (!isFollowing()) return;
      await this.#sendPage(following, page, counts);
      if (!isFollowing()) return;
      this.parts.positions.recordPage(following);
      // The store is ahead of what was emitted here: emit that first, or it would reach this connection twice.
      if (page.position > followed.head) await followed.raise(page.position);
    }
    if (isFollowing()) join(connection, subscription);
  }

  async #sendPage(following: Following, page: Page, counts?: Counts): Promise<void> {
    const { connection, attachment, subscription } = following;
    const { topic } = subscription.followed;
    const isReset = sendReset(connection, topic, page, positionOf(subscription));
    // An acknowledgement may arrive before the buffer is empty, so the position moves before writing.
    subscription.position = page.position;
    if (isAcknowledging(connection, topic)) this.#await(following, page, isReset);
    const [first] = page.messages;
    if (first !== undefined) {
      connection.sendPage(page.messages, counts);
      attachment.caughtUp += page.messages.length;
      this.parts.metrics.deliveries.catch_up.inc(page.messages.length);
      this.parts.positions.sent(topic, first.seq, page.position);
    }
    if (first !== undefined || isReset) await connection.drained();
    if (page.position < page.head) await nextTurn();
  }

  /**
   * Waits for acknowledgement of the messages of a page, and advances past what needs none: nothing for the device, or
   * gone.
   */
  #await({ connection, attachment, subscription }: Following, page: Page, isReset: boolean): void {
    const { positions } = this.parts;
    const { topic } = subscription.followed;
    const { messages, position, prunedUpTo } = page;
    const last = messages.at(-1);
    if (last !== undefined) attachment.window.add({ topic, seq: last.seq, count: messages.length, upTo: position });
    if (last === undefined && attachment.window.pass(topic, position)) positions.advance(connection, topic, position);
    else if (isReset) positions.advance(connection, topic, prunedUpTo);
  }
}

/** In the tick in which the connection has everything up to `head`: see above. */
function join(connection: Connection, subscription: Subscription): void {
  const { followed } = subscription;
  subscription.position = undefined;
  subscription.measuredUpTo = followed.head;
  if (isAcknowledging(connection, followed.topic)) followed.recent ??= new RecentSends();
  followed.members.add(connection);
}

/** Notifies a connection when messages that it has not received are gone. @returns whether they are. */
function sendReset(connection: Connection, topic: string, page: Page, position: number): boolean {
  if (page.prunedUpTo <= position || isStateTopic(topic)) return false;
  const reason = page.erasedUpTo > position ? 'erased' : 'retention';
  connection.send('sync:reset', { topic, reason, head: page.head });
  return true;
}
