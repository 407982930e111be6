/** Answers kept under idempotency keys. */
import { ANSWER_LIFETIME_MS, type Claim, type IdempotencyKey, type KeptAnswer } from '../contract';
import { refusedClaim } from '../rules/claims';
import { assertFitsKey } from '../rules/key-size';
import type { Access } from './access';
import type { AnswerRow, DueKey } from './layout';

export class Keys {
  /** Requests in progress end with the process: a client without an answer may ask again with the same key. */
  readonly #running = new Set<string>();

  constructor(private readonly access: Access) {}

  get heldClaims(): number {
    return this.#running.size;
  }

  async claim(key: IdempotencyKey, fingerprint: string): Promise<Claim> {
    let claim: Claim | undefined;
    try {
      return await this.access.write(() => {
        claim = this.#claim(key, fingerprint);
        return claim;
      });
    } catch (error) {
      // The claim was undone with its transaction: the key must not look taken.
      if (claim?.outcome === 'claimed') this.release(key);
      throw error;
    }
  }

  #claim(name: IdempotencyKey, fingerprint: string): Claim {
    assertFitsKey(name.caller, name.key);
    const known = this.#row(name);
    const isRunning = this.#running.has(nameOf(name));
    const refused = refusedClaim({ fingerprint: '', ...known, isRunning }, fingerprint);
    if (refused !== undefined) return refused;
    const claimedAt = known?.claimedAt ?? this.access.clock.now();
    this.#put(name, { fingerprint, claimedAt });
    this.#running.add(nameOf(name));
    return { outcome: 'claimed', claimedAt };
  }

  #row({ caller, key }: IdempotencyKey): AnswerRow | undefined {
    const row = this.access.trees.answers.get([caller, key]);
    return row !== undefined && row.claimedAt + ANSWER_LIFETIME_MS > this.access.clock.now() ? row : undefined;
  }

  #put(name: IdempotencyKey, row: AnswerRow): void {
    this.remove(name);
    this.access.trees.answers.put([name.caller, name.key], row);
    this.access.trees.due.put(dueOf(name, row), true);
  }

  keepAnswer(name: IdempotencyKey, fingerprint: string, answer: KeptAnswer): void {
    const claimedAt = this.#row(name)?.claimedAt ?? this.access.clock.now();
    this.#put(name, { fingerprint, claimedAt, answer });
  }

  release(key: IdempotencyKey): void {
    this.#running.delete(nameOf(key));
  }

  forget(limit: number): Promise<number> {
    return this.access.eachDue('answer', { limit }, ([, , caller, key]) => this.remove({ caller, key: String(key) }));
  }

  remove({ caller, key }: IdempotencyKey): void {
    const row = this.access.trees.answers.get([caller, key]);
    if (row === undefined) return;
    this.access.trees.answers.remove([caller, key]);
    this.access.trees.due.remove(dueOf({ caller, key }, row));
  }
}

function dueOf({ caller, key }: IdempotencyKey, { claimedAt }: AnswerRow): DueKey {
  return ['answer', claimedAt + ANSWER_LIFETIME_MS, caller, key];
}

/** No user id and no header value contains a control character. */
function nameOf({ caller, key }: IdempotencyKey): string {
  return `${caller}\u0000${key}`;
}
