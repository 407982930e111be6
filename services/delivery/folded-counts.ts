/**
 * The counts of the users who are connected here, as a fold over the logs that this node follows for them: known where
 * the logs stand, they are known one entry further from the entry alone. Whatever an entry does not say, and whatever is
 * not an entry, makes them unknown, and the store is asked once, by whoever needs them next.
 * See docs/decisions/0035-counts-as-a-fold.md for what is folded, and why that cannot be wrong.
 */
import type { Clock } from '../../utils/clock';
import { withDeadline } from '../../utils/deadline';
import type { Counts, Message } from '../../utils/protocol';
import { FollowingFlight } from '../../utils/single-flight';
import { isStateTopic, ownerOfPersonalTopic } from '../../utils/topic-names';
import type { Logger } from '../observability/logger';
import type { CountedInbox, Store } from '../storage/contract';
import type { Connection } from './connections';

/** A topic that is followed here, as counting sees it. */
export interface CountedTopic {
  readonly topic: string;
  /** Last `seq` that was emitted. */
  readonly head: number;
  readonly followers: ReadonlySet<Connection>;
  /** Those of them that receive what is emitted. */
  readonly members: ReadonlySet<Connection>;
}

/** What one connection follows. */
interface Following {
  readonly subscriptions: ReadonlyMap<string, { readonly followed: CountedTopic }>;
}

/** How long a message waits for its counts. */
const COUNTS_TIMEOUT_MS = 1_000;
/** Entries that are kept while the store counts. After more of them what it answers is not kept. */
const MAX_MEANWHILE = 1_000;

/** What an entry adds to both counts, and from when on it does not any more. */
interface Difference {
  readonly count: number;
  readonly until: number;
}

const NEVER = Number.POSITIVE_INFINITY;
const NOTHING: Difference = { count: 0, until: NEVER };

interface Known {
  unseen: number;
  unread: number;
  /** When something of it may expire. */
  until: number;
  readonly epoch: number;
}

/** What a log went on by; `undefined`: nobody can tell from the entry alone. */
interface Step {
  readonly topic: string;
  readonly seq: number;
  readonly difference: Difference | undefined;
}

/** A user who is connected here. */
class CountedUser {
  readonly attachments = new Set<Following>();
  known: Known | undefined;
  /** Topics of which the store had counted more than was emitted here, and up to where; mostly none. */
  ahead: Map<string, number> | undefined;
  /** What has happened since the store was asked; `undefined` while nobody asks, or when too much has. */
  meanwhile: Step[] | undefined;
  asking: FollowingFlight<Counts> | undefined;
  /** The last movement of a head that was taken into account. */
  movement = 0;

  constructor(readonly userId: string) {}

  forget(): void {
    this.known = undefined;
    this.meanwhile = undefined;
    this.ahead = undefined;
  }

  /** Has the store counted it already? */
  hasCounted({ topic, seq }: Pick<Message, 'topic' | 'seq'>): boolean {
    return seq <= (this.ahead?.get(topic) ?? 0);
  }

  /** The log of a topic has gone on. */
  step(step: Step): void {
    if (this.meanwhile !== undefined && this.meanwhile.push(step) > MAX_MEANWHILE) this.meanwhile = undefined;
    if (this.known === undefined || this.hasCounted(step)) return;
    this.ahead?.delete(step.topic);
    if (step.difference === undefined) this.known = undefined;
    else add(this.known, step.difference);
  }
}

export interface FoldedCountsParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Another number after each time in which frames of other nodes may have been lost. */
  readonly epoch: () => number;
  /** False once the topic was dropped. */
  readonly isCurrent: (followed: CountedTopic) => boolean;
}

export class FoldedCounts {
  readonly #users = new Map<string, CountedUser>();
  #movements = 0;

  constructor(private readonly parts: FoldedCountsParts) {}

  /** Users who are connected here. */
  get size(): number {
    return this.#users.size;
  }

  attach(userId: string, attachment: Following): void {
    const user = this.#users.get(userId) ?? new CountedUser(userId);
    user.attachments.add(attachment);
    this.#users.set(userId, user);
  }

  /** The connections that are left may follow less. */
  detach(userId: string, attachment: Following): void {
    const user = this.#users.get(userId);
    if (user === undefined) return;
    user.forget();
    user.attachments.delete(attachment);
    if (user.attachments.size === 0) this.#users.delete(userId);
  }

  /** Something has happened to the inbox of this user that no log tells of. */
  doubt(userId: string): void {
    this.#users.get(userId)?.forget();
  }

  /** The same for all who follow a topic. */
  doubtFollowers({ followers }: CountedTopic): void {
    for (const { userId } of followers) this.doubt(userId);
  }

  doubtAll(): void {
    for (const user of this.#users.values()) user.forget();
  }

  /** The head of a topic has moved; `entry`: by this one, which was the next. */
  moved({ topic, head: seq, followers }: CountedTopic, entry: Message | undefined): void {
    this.#movements += 1;
    const step = { topic, seq, difference: entry && this.#differenceOf(entry) };
    for (const { userId } of followers) {
      const user = this.#users.get(userId);
      if (user === undefined || user.movement === this.#movements) continue;
      user.movement = this.#movements;
      user.step(entry !== undefined && isNoneFor(entry, userId) ? { ...step, difference: NOTHING } : step);
    }
  }

  /** What a message adds for whom it is for; `undefined`: that cannot be told from it. */
  #differenceOf({ topic, ref, reason, expiresAt = NEVER }: Message): Difference | undefined {
    if (isStateTopic(topic) || reason !== undefined) return undefined;
    const isOver = expiresAt <= this.parts.clock.now();
    // While a change is made, a count may have missed when the message expires: its entry says so again.
    if (ref !== undefined) return isOver ? undefined : { count: 0, until: expiresAt };
    return isOver ? NOTHING : { count: 1, until: expiresAt };
  }

  #knownOf(user: CountedUser): Known | undefined {
    const { clock, epoch } = this.parts;
    if (user.known === undefined) return undefined;
    if (user.known.until <= clock.now() || user.known.epoch !== epoch()) user.known = undefined;
    return user.known;
  }

  #ownerOf(topic: string): CountedUser | undefined {
    const userId = ownerOf(topic);
    return userId === undefined ? undefined : this.#users.get(userId);
  }

  /** The counts of the owner of a topic when this entry is the next; `undefined` when they are not known. */
  after(topic: string, entry: Message): Counts | undefined {
    const user = this.#ownerOf(topic);
    const known = user && this.#knownOf(user);
    if (user === undefined || known === undefined) return undefined;
    if (user.hasCounted(entry) || isNoneFor(entry, user.userId)) return toCounts(known);
    const difference = this.#differenceOf(entry);
    if (difference === undefined) return undefined;
    return { unseen: known.unseen + difference.count, unread: known.unread + difference.count };
  }

  /** As below, for one entry. While there is a gap before it, nothing is emitted: what fills the gap asks for itself. */
  async prepareNext(followed: CountedTopic, entry: Message): Promise<Counts | undefined> {
    const user = this.#ownerOf(followed.topic);
    const isKnown = user !== undefined && user.meanwhile === undefined && this.#knownOf(user) !== undefined;
    return isKnown && entry.seq > followed.head + 1 ? undefined : this.prepare(followed, [entry]);
  }

  /**
   * Makes sure that there are counts to go with entries that are about to be emitted, if they are the next of a topic
   * that belongs to one user. @returns those to give where `after` has none; `undefined` also when the store fails or is
   * slow: no message waits for a number.
   */
  async prepare({ topic, head, members }: CountedTopic, entries: readonly Message[]): Promise<Counts | undefined> {
    const userId = ownerOf(topic);
    if (userId === undefined || members.size === 0 || entries.every(({ seq }) => seq <= head)) return undefined;
    const user = this.#ownerOf(topic);
    if (user !== undefined && this.#canTell(user, head, entries)) return undefined;
    return this.#inTime(topic, this.fresh(userId));
  }

  #canTell(user: CountedUser, head: number, entries: readonly Message[]): boolean {
    if (this.#knownOf(user) === undefined) return false;
    return entries.every((entry, index) => {
      const isNext = entry.seq === head + 1 + index;
      return user.hasCounted(entry) || (isNext && this.#differenceOf(entry) !== undefined);
    });
  }

  /** The counts of the owner of a topic at this moment, for what is not in its log; `undefined` as above. */
  async of(topic: string): Promise<Counts | undefined> {
    const userId = ownerOf(topic);
    return userId === undefined ? undefined : this.#inTime(topic, this.now(userId));
  }

  async #inTime(topic: string, asked: Promise<Counts>): Promise<Counts | undefined> {
    const late = () => new Error(`the store did not count within ${COUNTS_TIMEOUT_MS} ms`);
    try {
      return await withDeadline(asked, COUNTS_TIMEOUT_MS, late);
    } catch (error) {
      this.parts.logger.warn({ err: error, topic }, 'a message is sent without counts');
      return undefined;
    }
  }

  /** The counts of a user. @throws StoreError */
  async now(userId: string): Promise<Counts> {
    const user = this.#users.get(userId);
    const known = user === undefined ? undefined : this.#knownOf(user);
    return known === undefined ? this.fresh(userId) : toCounts(known);
  }

  /** Counts of a user from before, brought to where the logs stand here by now; unchanged when the store fails. */
  async since(userId: string, counted: Counts): Promise<Counts> {
    if (!this.#users.has(userId)) return counted;
    const [counts] = await Promise.allSettled([this.now(userId)]);
    return counts.status === 'fulfilled' ? counts.value : counted;
  }

  /** The same as `now`, with all in it that is stored at this moment. @throws StoreError */
  async fresh(userId: string): Promise<Counts> {
    const user = this.#users.get(userId);
    if (user === undefined) return this.parts.store.inbox.counts(userId);
    user.asking ??= new FollowingFlight(() => this.#ask(user));
    const counts = await user.asking.run();
    return toCounts(this.#knownOf(user) ?? counts);
  }

  async #ask(user: CountedUser): Promise<Counts> {
    const epoch = this.parts.epoch();
    user.meanwhile = [];
    try {
      const counted = await this.parts.store.inbox.counted(user.userId);
      this.#keep(user, counted, epoch);
      return counted.counts;
    } finally {
      user.meanwhile = undefined;
    }
  }

  /** Keeps what the store has counted, brought to where the logs stand here; nothing when that cannot be told. */
  #keep(user: CountedUser, { counts, heads, until }: CountedInbox, epoch: number): void {
    const { meanwhile } = user;
    const followed = this.#followedBy(user);
    user.known = undefined;
    user.ahead = undefined;
    if (meanwhile === undefined || followed.size !== heads.size) return;
    const known = { ...counts, until: until ?? NEVER, epoch };
    const ahead = new Map<string, number>();
    for (const [topic, counted] of heads) {
      const head = followed.get(topic)?.head;
      const steps = meanwhile.filter((step) => step.topic === topic && step.seq > counted);
      if (head === undefined || counted + steps.length < head) return;
      for (const { difference } of steps) {
        if (difference === undefined) return;
        add(known, difference);
      }
      if (counted > head) ahead.set(topic, counted);
    }
    user.known = known;
    user.ahead = ahead.size === 0 ? undefined : ahead;
  }

  /** All that any connection of a user follows here. */
  #followedBy({ attachments }: CountedUser): ReadonlyMap<string, CountedTopic> {
    const topics = new Map<string, CountedTopic>();
    for (const { subscriptions } of attachments) {
      for (const [topic, { followed }] of subscriptions) {
        if (this.parts.isCurrent(followed)) topics.set(topic, followed);
      }
    }
    return topics;
  }
}

/** Is it the user's own, or not for the user? What is told of other messages is neither. */
function isNoneFor({ topic, ref, from, exceptUserId }: Message, userId: string): boolean {
  return ref === undefined && !isStateTopic(topic) && (from === userId || exceptUserId === userId);
}

function add(known: Known, { count, until }: Difference): void {
  known.unseen += count;
  known.unread += count;
  known.until = Math.min(known.until, until);
}

function toCounts({ unseen, unread }: Counts): Counts {
  return { unseen, unread };
}

/** Whose inbox the frames of a topic tell the counts of. */
function ownerOf(topic: string): string | undefined {
  return isStateTopic(topic) ? topic.slice(1) : ownerOfPersonalTopic(topic);
}
