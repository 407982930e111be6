/** Answers kept under idempotency keys. A claim is a lease, renewed while this process lives. */
import { ObjectId } from 'mongodb';
import type { Timer } from '../../../utils/clock';
import { FollowingFlight } from '../../../utils/single-flight';
import { ANSWER_LIFETIME_MS, type Claim, type IdempotencyKey, type KeptAnswer, StoreError } from '../contract';
import { refusedClaim } from '../rules/claims';
import { assertFitsKey } from '../rules/key-size';
import { pauseBefore } from '../turns';
import { type Calls, inTime } from './calls';
import { deleteSome, put } from './commands';
import { CALL_DEADLINE_MS } from './connection';
import { ignoringDuplicates, retryingLost } from './errors';
import { type AnswerDoc, type Database, keyOf } from './layout';

/** Longer than clocks of nodes differ: a node whose clock is ahead must not take over a running request. */
const LEASE_MS = 60_000;
const RENEWAL_MS = 15_000;
/** Between two tries to give a claim back. */
const RETURN_PACE_MS = 1_000;
const MAX_ATTEMPTS = 30;

type Claimed = Pick<AnswerDoc, '_id' | 'nonce'>;

/** A claim that is to be freed, or that the server may not even have. */
interface Returned extends Claimed {
  /** When its lease has ended by itself. */
  readonly endsAt: number;
}

export class Keys {
  /** Requests of this process. Another node may have taken over what was not renewed in time. */
  readonly #held = new Map<string, ObjectId>();
  /** Claims that the server does not know to be free. */
  readonly #returned = new Set<Returned>();
  /** When the server fails, many are freed at once, by one statement. */
  readonly #returns = new FollowingFlight(() => this.#freeReturned());
  #renewal: Timer | undefined;
  #returning: Timer | undefined;
  #isClosed = false;

  constructor(
    private readonly db: Database,
    private readonly calls: Calls,
  ) {}

  get heldClaims(): number {
    return this.#held.size;
  }

  async claim(key: IdempotencyKey, fingerprint: string): Promise<Claim> {
    const claiming = this.calls.sweep(() => this.#claimOrGiveBack(key, fingerprint));
    try {
      return await inTime(claiming);
    } catch (error) {
      // Nobody waits for it any more, so nobody else would free it.
      void claiming.then(
        ({ outcome }) => (outcome === 'claimed' ? this.release(key) : undefined),
        () => undefined,
      );
      throw error;
    }
  }

  async #claimOrGiveBack(key: IdempotencyKey, fingerprint: string): Promise<Claim> {
    assertFitsKey(key.caller, key.key);
    const nonce = new ObjectId();
    try {
      return await this.#claim(idOf(key), fingerprint, nonce);
    } catch (error) {
      void this.#giveBack(idOf(key), nonce);
      throw error;
    }
  }

  async #claim(_id: string, fingerprint: string, nonce: ObjectId): Promise<Claim> {
    let known: AnswerDoc | undefined;
    for (let attempt = 0; attempt <= MAX_ATTEMPTS; attempt += 1) {
      await pauseBefore(attempt - 1);
      const claimedAt = this.#firstOf(known);
      const freeAt = this.db.clock.now() + LEASE_MS;
      const doc = { _id, fingerprint, nonce, claimedAt, freeAt, forgetAt: claimedAt + ANSWER_LIFETIME_MS };
      known = known === undefined ? await this.#insert(doc) : await this.#takeOver(known, doc);
      if (known?.nonce.equals(nonce)) return this.#hold(known);
      const taken = this.#outcomeOf(known, fingerprint);
      if (taken !== undefined) return taken;
    }
    throw new StoreError('the key is claimed by others all the time');
  }

  /** When a key was first claimed, unless that is forgotten. */
  #firstOf(known: AnswerDoc | undefined): number {
    return this.#isRemembered(known) ? known.claimedAt : this.db.clock.now();
  }

  #isRemembered(known: AnswerDoc | undefined): known is AnswerDoc {
    return known !== undefined && known.forgetAt > this.db.clock.now();
  }

  #hold({ _id, nonce, claimedAt }: AnswerDoc): Claim {
    this.#held.set(_id, nonce);
    // A failure is repeated before the lease ends.
    const renew = () => this.#setFreeAt(this.#listHeld(), this.db.clock.now() + LEASE_MS).catch(() => undefined);
    this.#renewal ??= this.db.clock.every(RENEWAL_MS, () => void renew());
    return { outcome: 'claimed', claimedAt };
  }

  #listHeld(): Claimed[] {
    return Array.from(this.#held, ([_id, nonce]) => ({ _id, nonce }));
  }

  async #setFreeAt(claims: readonly Claimed[], freeAt: number): Promise<void> {
    if (claims.length === 0) return;
    const own = { _id: { $in: claims.map(({ _id }) => _id) }, nonce: { $in: claims.map(({ nonce }) => nonce) } };
    await this.db.collections.answers.updateMany(own, { $set: { freeAt } });
  }

  /** What a key is taken by; `undefined` when it is free. */
  #outcomeOf(known: AnswerDoc | undefined, fingerprint: string): Claim | undefined {
    if (!this.#isRemembered(known)) return undefined;
    const { status, body = '', freeAt } = known;
    const answer = status === undefined ? undefined : { status, body };
    return refusedClaim({ ...known, answer, isRunning: freeAt > this.db.clock.now() }, fingerprint);
  }

  /** @returns what is there now. */
  async #insert(doc: AnswerDoc): Promise<AnswerDoc | undefined> {
    const insert = () => this.db.collections.answers.insertOne(doc);
    const isNew = await ignoringDuplicates(retryingLost(insert, CALL_DEADLINE_MS));
    return isNew ? doc : this.#find(doc._id);
  }

  async #find(_id: string): Promise<AnswerDoc | undefined> {
    return (await this.db.collections.answers.findOne({ _id })) ?? undefined;
  }

  /** @returns what is there now. */
  async #takeOver(known: AnswerDoc, doc: AnswerDoc): Promise<AnswerDoc | undefined> {
    // Read rather than counted: a write that the driver has repeated counts nothing.
    await this.db.collections.answers.replaceOne({ _id: doc._id, nonce: known.nonce }, doc);
    return this.#find(doc._id);
  }

  async keepAnswer(key: IdempotencyKey, fingerprint: string, answer: KeptAnswer): Promise<void> {
    const _id = idOf(key);
    const nonce = this.#held.get(_id);
    if (nonce === undefined) return this.#keepUnclaimed(_id, fingerprint, answer);
    // A node that has taken over gives its own answer.
    const kept = { $set: { fingerprint, ...answer } };
    await retryingLost(() => this.db.collections.answers.updateOne({ _id, nonce }, kept), CALL_DEADLINE_MS);
    this.#forgetHeld(_id);
  }

  async #keepUnclaimed(_id: string, fingerprint: string, { status, body }: KeptAnswer): Promise<void> {
    const claimedAt = this.#firstOf(await this.#find(_id));
    const forgetAt = claimedAt + ANSWER_LIFETIME_MS;
    const doc = { _id, fingerprint, nonce: new ObjectId(), claimedAt, freeAt: 0, forgetAt, status, body };
    await put(this.db.collections.answers, doc);
  }

  async release(key: IdempotencyKey): Promise<void> {
    const _id = idOf(key);
    const nonce = this.#held.get(_id);
    if (nonce === undefined) return;
    this.#forgetHeld(_id);
    await this.#giveBack(_id, nonce);
  }

  /** Never fails: it is repeated until the server answers or the lease ends. */
  async #giveBack(_id: string, nonce: ObjectId): Promise<void> {
    this.#returned.add({ _id, nonce, endsAt: this.db.clock.now() + LEASE_MS });
    await this.#returns.run();
  }

  async #freeReturned(): Promise<void> {
    const now = this.db.clock.now();
    for (const claim of this.#returned) if (claim.endsAt <= now) this.#returned.delete(claim);
    const claims = [...this.#returned];
    try {
      await this.#setFreeAt(claims, 0);
      for (const claim of claims) this.#returned.delete(claim);
    } catch {
      if (!this.#isClosed) this.#returning ??= this.db.clock.after(RETURN_PACE_MS, () => this.#returnAgain());
    }
  }

  #returnAgain(): void {
    this.#returning = undefined;
    void this.#returns.run();
  }

  #forgetHeld(_id: string): void {
    this.#held.delete(_id);
    if (this.#held.size === 0) this.#stopRenewal();
  }

  #stopRenewal(): void {
    this.#renewal?.cancel();
    this.#renewal = undefined;
  }

  /** Frees all claims of this process: clients without an answer may ask again. */
  async close(): Promise<void> {
    this.#stopRenewal();
    this.#isClosed = true;
    this.#returning?.cancel();
    const held = this.#listHeld();
    this.#held.clear();
    await this.#setFreeAt([...held, ...this.#returned], 0);
  }

  async forget(limit: number): Promise<number> {
    return deleteSome(this.db.collections.answers, { forgetAt: { $lte: this.db.clock.now() } }, { limit });
  }
}

function idOf({ caller, key }: IdempotencyKey): string {
  return keyOf(caller, key);
}
