/**
 * Revoked tokens. The store is the truth, and each node has all of it in memory, so judging a token needs no call.
 * Other nodes are notified by a frame; each also reads the store four times a second.
 */
import { randomUUID } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Balance, Lender } from '../../utils/balance';
import type { Caller } from '../../utils/caller';
import type { Clock, Timer } from '../../utils/clock';
import type { FrameOf } from '../../utils/cluster-protocol';
import { SingleFlight } from '../../utils/single-flight';
import type { Cluster } from '../cluster/contract';
import type { FrameFor } from '../cluster/frames';
import type { Logger } from '../observability/logger';
import type { Roster } from '../presence/roster';
import { REVOCATION_MARGIN_MS, type Revocation, type Store, StoreOpenError } from '../storage/contract';

/** Delay on a node that missed the frame; together with the look itself well below a second. */
const COMPARE_INTERVAL_MS = 250;
/** How much the clocks of nodes, and of issuers, may differ. */
const COMPARE_OVERLAP_MS = 60_000;
const FORGET_INTERVAL_MS = 3_600_000;
const FORGET_CHUNK = 100;
const PAGE_SIZE = 1_000;
/** How long to wait for other nodes to answer how many connections they closed. */
const ANSWER_TIMEOUT_MS = 500;
/** A frame may arrive this long after a look into the store has closed the connections it asks about. */
const FRAME_DELAY_MS = 5_000;

/** The revocations of one user. */
interface Refused {
  issuedBefore: number;
  /** When each `jti` expires; `undefined` while that is unknown. Most users have none. */
  tokens?: Map<string, number | undefined>;
}

/** A question to other nodes whose answers are still awaited. */
interface Question {
  missing: number;
  closed: number;
  readonly finish: () => void;
}

export interface RevocationParts {
  readonly store: Store;
  readonly cluster: Cluster;
  readonly roster: Pick<Roster, 'countElsewhere' | 'nodeCount'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What revoking needs from the rest of the node. */
export interface KnownTokens {
  /** Closes the connections of a user whose tokens are revoked by now. @returns how many. */
  readonly close: (userId: string) => number;
  /** When a token expires, if this node has seen it. */
  readonly expiryOf: (userId: string, jti: string) => number | undefined;
}

export class RevokedTokens implements Lender {
  readonly #byUser = new Map<string, Refused>();
  /** Expiry times of revoked tokens that are not in the store yet. */
  readonly #learned = new Map<string, Revocation>();
  readonly #questions = new Map<string, Question>();
  /** How many connections a look into the store has closed, for a question that arrives a moment later. */
  readonly #closedUnasked = new LRUCache<string, number>({ max: 1_000, ttl: FRAME_DELAY_MS });
  readonly #looks = new SingleFlight(() => this.#lookOnce());
  readonly #sweeps = new SingleFlight(() => this.#forgetOnce());
  #known: KnownTokens = { close: () => 0, expiryOf: () => undefined };
  /** Everything stored up to this time has been seen. */
  #comparedAt = 0;
  #isFailing = false;
  #isClosed = false;
  #timers: Timer[] = [];

  constructor(private readonly parts: RevocationParts) {}

  get balance(): Balance {
    return { revocationQuestions: this.#questions.size };
  }

  /** Reads all revocations. No token may be judged before. @throws StoreOpenError */
  async open(known: KnownTokens): Promise<void> {
    this.#known = known;
    this.#comparedAt = this.parts.clock.now();
    try {
      await this.#load();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StoreOpenError(`The revoked tokens cannot be read from the store: ${reason}`, error);
    }
    this.#timers = [
      this.parts.clock.every(COMPARE_INTERVAL_MS, () => void this.#looks.run()),
      this.parts.clock.every(FORGET_INTERVAL_MS, () => void this.#sweeps.run()),
    ];
    void this.#sweeps.run();
  }

  async #load(): Promise<void> {
    let page: readonly Revocation[] = [];
    do {
      page = await this.parts.store.revocations.list({ limit: PAGE_SIZE, after: page.at(-1) });
      for (const revocation of page) this.#note(revocation);
    } while (page.length === PAGE_SIZE);
  }

  /** Is the token of this caller revoked? For one revoked by its `jti` this also learns when it expires. */
  isRevoked({ userId, issuedAt = Number.NEGATIVE_INFINITY, tokenId, expiresAt }: Caller): boolean {
    const refused = this.#byUser.get(userId);
    if (refused === undefined) return false;
    if (issuedAt < refused.issuedBefore) return true;
    if (tokenId === undefined || refused.tokens?.has(tokenId) !== true) return false;
    if (expiresAt !== undefined) this.#learn({ userId, jti: tokenId, expiresAt });
    return true;
  }

  #learn(revocation: Revocation): void {
    if (this.#note(revocation)) this.#learned.set(keyOf(revocation), revocation);
  }

  /** @returns whether it was new. */
  #note(revocation: Revocation): boolean {
    const { userId } = revocation;
    const refused = this.#byUser.get(userId) ?? { issuedBefore: Number.NEGATIVE_INFINITY };
    this.#byUser.set(userId, refused);
    if (revocation.jti === undefined) {
      if (revocation.issuedBefore <= refused.issuedBefore) return false;
      refused.issuedBefore = revocation.issuedBefore;
      return true;
    }
    const { jti, expiresAt } = revocation;
    const tokens = refused.tokens ?? new Map<string, number | undefined>();
    refused.tokens = tokens;
    const known = tokens.get(jti);
    if (tokens.has(jti) && (expiresAt === undefined || (known !== undefined && known >= expiresAt))) return false;
    tokens.set(jti, expiresAt ?? known);
    return true;
  }

  /** The same, and adds when the token expires if this node knows it. */
  #take(revocation: Revocation): boolean {
    const isNew = this.#note(revocation);
    const { userId, jti } = revocation;
    const expiresAt = jti === undefined ? undefined : this.#known.expiryOf(userId, jti);
    if (jti !== undefined && expiresAt !== undefined) this.#learn({ userId, jti, expiresAt });
    return isNew;
  }

  /**
   * Revokes tokens on all nodes, and closes the connections that use them. Resolves when the revocation is on disk.
   * @returns how many connections were closed; on other nodes as far as they answer. @throws StoreError
   */
  async revoke(revocation: Revocation): Promise<number> {
    const { store, cluster, roster } = this.parts;
    // Asked first: other nodes may find it in the store before the frame arrives.
    const isElsewhere = cluster.live === 'ok' && roster.countElsewhere(revocation.userId) > 0;
    await store.revocations.keep(revocation);
    this.#take(revocation);
    const here = this.#close(revocation);
    if (isElsewhere) return here + (await this.#ask(revocation));
    cluster.publish({ kind: 'revoked', revocation });
    return here;
  }

  #close(revocation: Revocation): number {
    const before = this.#closedUnasked.get(keyOf(revocation)) ?? 0;
    this.#closedUnasked.delete(keyOf(revocation));
    return before + this.#known.close(revocation.userId);
  }

  /** Notifies the other nodes, and waits for how many connections they closed. */
  #ask(revocation: Revocation): Promise<number> {
    const { cluster, roster, clock } = this.parts;
    const question = randomUUID();
    return new Promise((resolve) => {
      const finish = () => {
        timer.cancel();
        this.#questions.delete(question);
        resolve(asked.closed);
      };
      const timer = clock.after(ANSWER_TIMEOUT_MS, finish);
      const asked: Question = { missing: roster.nodeCount - 1, closed: 0, finish };
      this.#questions.set(question, asked);
      cluster.publish({ kind: 'revoked', revocation, question });
    });
  }

  /** Does what another node requests, and takes answers to the questions of this one. */
  receive(frame: FrameFor<'revocations'>): void {
    if (frame.kind === 'revoked') this.#receiveRevoked(frame);
    else this.#receiveClosed(frame);
  }

  #receiveRevoked({ revocation, question }: FrameOf<'revoked'>): void {
    this.#take(revocation);
    const closed = this.#close(revocation);
    if (question !== undefined) this.parts.cluster.publish({ kind: 'revoked-closed', question, closed });
  }

  #receiveClosed({ question, closed }: FrameOf<'revoked-closed'>): void {
    const asked = this.#questions.get(question);
    if (asked === undefined) return;
    asked.closed += closed;
    asked.missing -= 1;
    if (asked.missing <= 0) asked.finish();
  }

  async #lookOnce(): Promise<void> {
    try {
      // First: a store that accepts no writes may still return what others have stored.
      await this.#compare();
      await this.#writeLearned();
      this.#isFailing = false;
    } catch (error) {
      // One line per outage, not four per second.
      if (!this.#isFailing) this.parts.logger.error({ err: error }, 'revoked tokens could not be compared, retrying');
      this.#isFailing = true;
    }
  }

  async #writeLearned(): Promise<void> {
    for (const [key, revocation] of this.#learned) {
      await this.parts.store.revocations.keep(revocation);
      if (this.#learned.get(key) === revocation) this.#learned.delete(key);
    }
  }

  /** Finds revocations by other nodes whose frames were lost. */
  async #compare(): Promise<void> {
    const { store, clock } = this.parts;
    if (!store.isShared) return;
    const now = clock.now();
    const recent = await store.recent.revocations(Math.min(now, this.#comparedAt) - COMPARE_OVERLAP_MS);
    this.#comparedAt = now;
    for (const revocation of recent) {
      if (!this.#take(revocation)) continue;
      const closed = this.#known.close(revocation.userId);
      if (closed > 0) this.#closedUnasked.set(keyOf(revocation), closed);
    }
  }

  async #forgetOnce(): Promise<void> {
    this.#forgetHere();
    try {
      while (!this.#isClosed && (await this.parts.store.revocations.forget(FORGET_CHUNK)) === FORGET_CHUNK);
    } catch (error) {
      this.parts.logger.error({ err: error }, 'expired revocations could not be removed, retrying');
    }
  }

  #forgetHere(): void {
    const latest = (this.parts.clock.now() - REVOCATION_MARGIN_MS) / 1000;
    for (const [userId, refused] of this.#byUser) {
      const { tokens, issuedBefore } = refused;
      if (tokens === undefined) continue;
      for (const [jti, expiresAt] of tokens) if (expiresAt !== undefined && expiresAt <= latest) tokens.delete(jti);
      if (tokens.size > 0) continue;
      delete refused.tokens;
      if (issuedBefore === Number.NEGATIVE_INFINITY) this.#byUser.delete(userId);
    }
  }

  /** Stops the timers, and writes the expiry times that were learned. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers) timer.cancel();
    await this.#sweeps.idle();
    await this.#looks.idle();
    if (this.#learned.size > 0) await this.#looks.run();
  }
}

/** No user id contains a control character. */
function keyOf({ userId, jti, issuedBefore }: { userId: string; jti?: string; issuedBefore?: number }): string {
  return `${userId}\u0000${issuedBefore ?? `jti ${jti}`}`;
}
