/**
 * A topic that at least one connection of this node follows. Messages are emitted in the order of `seq`, without gaps:
 * a message that arrives ahead of its predecessors waits until those were read from the store and emitted.
 */
import { type Clock, fromIsoTime } from '../../utils/clock';
import type { AnyMessage, Counts, Message } from '../../utils/protocol';
import { FollowingFlight, SingleFlight } from '../../utils/single-flight';
import { isStateTopic } from '../../utils/topic-names';
import type { Logger } from '../observability/logger';
import type { Metrics } from '../observability/metrics';
import type { Page } from '../storage/contract';
import { type Connection, type Transport, type Written, writeToAll } from './connections';
import type { FoldedCounts } from './folded-counts';
import type { TopicReader } from './pages';
import type { RecentSends } from './recent-sends';
import { CATCH_UP_WINDOW_MESSAGES } from './window';

/** A gap that could not be filled is tried again after this time, then after twice as long, and so on. */
const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 5_000;

/** Is notified of what was emitted. */
export interface EmissionRecorder {
  /** The head has moved: connections that do not acknowledge have received everything up to it. */
  moved(followed: FollowedTopic): void;
  /** Changes of state were written: asks whether they have arrived. */
  confirmStates(followed: FollowedTopic): void;
  sent(topic: string, from: number, upTo: number): void;
}

export interface FollowedTopicParts {
  readonly reader: TopicReader;
  readonly counts: FoldedCounts;
  readonly recorder: EmissionRecorder;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Topics with something stored that could not be emitted yet. */
  readonly gaps: Set<FollowedTopic>;
  /** Forgets a connection that is closing. */
  readonly detach: (connection: Connection) => void;
}

/** How a message is emitted. */
export interface Emission {
  /** Of the owner, where the topic belongs to one user alone and they do not follow from what is known. */
  readonly counts: Counts | undefined;
  /** A connection that needs no notice. */
  readonly except?: Connection | undefined;
}

export class FollowedTopic {
  /** Last `seq` that was emitted here, or that was stored before anybody joined. */
  head = 0;
  isLoaded = false;
  /** Reads `head` from the store. */
  readonly loading = new SingleFlight(() => this.#load());
  /** Connections that follow it, joined or catching up. */
  readonly followers = new Set<Connection>();
  /** Connections that have joined: they receive what is emitted. */
  readonly members = new Set<Connection>();
  /** What was emitted lately, if a connection that acknowledges has joined. */
  recent: RecentSends | undefined;
  /** The greatest `seq` that is known to be stored. */
  #newest = 0;
  /** Emits what is stored and was not emitted. A gap that appears while a run ends is left to the next run. */
  readonly #healing = new FollowingFlight(() => this.#heal());
  /** How often in a row healing has failed, and when it is tried again by the steady time. */
  #failures = 0;
  #retryAt = 0;

  constructor(
    readonly topic: string,
    private readonly parts: FollowedTopicParts,
  ) {}

  async #load(): Promise<void> {
    this.#moveTo(await this.parts.reader.head(this.topic));
    this.isLoaded = true;
  }

  /** Emits a message that was just appended. */
  emitInOrder(message: Message, emission: Emission): void {
    this.#newest = Math.max(this.#newest, message.seq);
    // Nobody has joined: a connection that catches up compares with this head, reads the store, and finds the message.
    if (this.members.size === 0) this.#moveTo(message.seq, message);
    else if (message.seq === this.head + 1) this.#emitNext(message, emission);
    else if (message.seq > this.head) void this.#healing.run();
  }

  /** `entry`: what stands there. */
  #moveTo(seq: number, entry?: Message): void {
    if (seq <= this.head) return;
    const isNext = seq === this.head + 1;
    this.head = seq;
    this.parts.counts.moved(this, isNext ? entry : undefined);
  }

  #emitNext(message: Message, { counts: given, except }: Emission): void {
    const { recorder, metrics, detach, counts } = this.parts;
    const emission = { counts: counts.after(this.topic, message) ?? given, except };
    const { count, closing } = emit(this.members, message, emission);
    // Nothing written to a closing connection arrives: its position stays before this message.
    for (const member of closing) detach(member);
    this.#moveTo(message.seq, message);
    recorder.moved(this);
    if (this.members.size === 0) return;
    if (isStateTopic(this.topic)) recorder.confirmStates(this);
    metrics.deliveries.live.inc(count);
    this.recent?.add(message.seq, fromIsoTime(message.timestamp));
    recorder.sent(this.topic, message.seq, message.seq);
  }

  /** Another node has stored up to `seq`: emits what is missing here. */
  catchUpTo(seq: number): void {
    if (seq <= this.head) return;
    this.#newest = Math.max(this.#newest, seq);
    if (this.members.size > 0) void this.#healing.run();
  }

  /** The store has up to `position`: emits that, so that nobody who joins now receives it twice. */
  async raise(position: number): Promise<void> {
    if (this.members.size === 0) this.#moveTo(position);
    else await this.#emitFromStore();
  }

  /** Something newer is stored than was emitted here: emits what is between, from the store. */
  async #heal(): Promise<void> {
    const { metrics, gaps, logger } = this.parts;
    try {
      const isBehind = this.head < this.#newest;
      if (isBehind && (await this.#emitFromStore())) metrics.gapsHealed.inc();
      this.#failures = 0;
      gaps.delete(this);
    } catch (error) {
      logger.error({ err: error, topic: this.topic }, 'a gap could not be read from the store yet');
      this.#retryLater();
    }
  }

  /** A stored message could not be emitted: healing comes back to it. */
  missed(seq: number): void {
    this.#newest = Math.max(this.#newest, seq);
    this.#retryLater();
  }

  #retryLater(): void {
    const { clock, gaps } = this.parts;
    const waitMs = Math.min(MIN_RETRY_MS * 2 ** this.#failures, MAX_RETRY_MS);
    this.#failures += 1;
    this.#retryAt = clock.steady() + waitMs;
    gaps.add(this);
  }

  /** Tries again to fill the gap, once its time has come. */
  healIfDue(now: number): void {
    if (this.#retryAt <= now) void this.#healing.run();
  }

  /** @returns whether anything was missing; what was emitted while this read the store was not. */
  async #emitFromStore(): Promise<boolean> {
    let isAnyMissing = false;
    let page: Page;
    let before: number;
    do {
      before = this.head;
      page = await this.parts.reader.read(this.topic, { after: this.head, limit: CATCH_UP_WINDOW_MESSAGES });
      const counts = await this.parts.counts.prepare(this, page.messages);
      for (const message of page.messages) {
        if (message.seq <= this.head) continue;
        this.#emitNext(message, { counts });
        isAnyMissing = true;
      }
      this.#moveTo(page.position);
      // A message stored while the page was read looked like a gap too, and was left to this run. What the store does
      // not show yet is left to the next comparison.
    } while (page.position < page.head || (before < this.head && this.head < this.#newest));
    return isAnyMissing;
  }
}

/** Writes a message to connections. */
export function emit(members: Iterable<Connection>, message: AnyMessage, { counts, except }: Emission): Written {
  const encode = (transport: Transport) => transport.encodeMessage(message, counts);
  return writeToAll(except === undefined ? members : without(members, except), encode, message.exceptUserId);
}

function* without(members: Iterable<Connection>, except: Connection): Generator<Connection> {
  for (const member of members) if (member !== except) yield member;
}
