/** Answers that are kept under a key until they are forgotten. */
import type { Clock } from '../../../utils/clock';
import type { Slice } from '../../../utils/slices';
import { ANSWER_LIFETIME_MS, type Claim, type IdempotencyKey, type KeptAnswer } from '../contract';
import { refusedClaim } from '../rules/claims';
import { assertFitsKey } from '../rules/key-size';
import type { Access } from './access';
import { type DueKey, numberedFrom, startingWith, type Trees, walk } from './layout';

interface KeyRow {
  readonly fingerprint: string;
  readonly claimedAt: number;
  readonly answer?: KeptAnswer;
}

export class Keys {
  /** Being carried out ends with the process: whoever was not answered may ask again under the same key. */
  readonly #running = new Set<string>();

  constructor(
    private readonly trees: Trees,
    private readonly parts: { readonly access: Access; readonly clock: Clock },
  ) {}

  get heldClaims(): number {
    return this.#running.size;
  }

  async claim(key: IdempotencyKey, fingerprint: string): Promise<Claim> {
    let claim: Claim | undefined;
    try {
      return await this.parts.access.write(() => {
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
    const claimedAt = known?.claimedAt ?? this.parts.clock.now();
    this.#put(name, { fingerprint, claimedAt });
    this.#running.add(nameOf(name));
    return { outcome: 'claimed', claimedAt };
  }

  #row({ caller, key }: IdempotencyKey): KeyRow | undefined {
    const row = this.trees.answers.get([caller, key]) as KeyRow | undefined;
    return row !== undefined && row.claimedAt + ANSWER_LIFETIME_MS > this.parts.clock.now() ? row : undefined;
  }

  #put(name: IdempotencyKey, row: KeyRow): void {
    this.#forget(name);
    this.trees.answers.put([name.caller, name.key], row);
    this.trees.due.put(dueOf(name, row), true);
  }

  keepAnswer(name: IdempotencyKey, fingerprint: string, answer: KeptAnswer): void {
    const claimedAt = this.#row(name)?.claimedAt ?? this.parts.clock.now();
    this.#put(name, { fingerprint, claimedAt, answer });
  }

  release(key: IdempotencyKey): void {
    this.#running.delete(nameOf(key));
  }

  async forget(limit: number): Promise<number> {
    const { access } = this.parts;
    return (await access.isDue('answer')) ? access.write(() => this.#forgetOld(limit)) : 0;
  }

  #forgetOld(limit: number): number {
    const range = { ...numberedFrom<DueKey>('answer', 0, this.parts.clock.now()), limit };
    const due = Array.from(this.trees.due.getKeys(range));
    for (const [, , caller, key] of due) this.#forget({ caller, key: String(key) });
    return due.length;
  }

  /** Forgets answers that a caller got, for a slice. @returns how many. */
  forgetOf(caller: string, slice: Slice): number {
    let forgotten = 0;
    for (const { key } of walk(this.trees.answers, startingWith<[string, string]>(caller))) {
      this.#forget({ caller, key: key[1] });
      forgotten += 1;
      if (slice.isOver) break;
    }
    return forgotten;
  }

  #forget({ caller, key }: IdempotencyKey): void {
    const row = this.trees.answers.get([caller, key]) as KeyRow | undefined;
    if (row === undefined) return;
    this.trees.answers.remove([caller, key]);
    this.trees.due.remove(dueOf({ caller, key }, row));
  }
}

function dueOf({ caller, key }: IdempotencyKey, { claimedAt }: KeyRow): DueKey {
  return ['answer', claimedAt + ANSWER_LIFETIME_MS, caller, key];
}

/** No user id and no header value contains a control character. */
function nameOf({ caller, key }: IdempotencyKey): string {
  return `${caller}\u0000${key}`;
}
