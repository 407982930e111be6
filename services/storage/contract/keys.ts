/** How long answers are kept under an Idempotency-Key. */
export const ANSWER_LIFETIME_MS = 86_400_000;

/** An answer that is kept under the key of a caller. */
export interface KeptAnswer {
  readonly status: number;
  readonly body: string;
}

export interface IdempotencyKey {
  readonly caller: string;
  readonly key: string;
}

export type Claim =
  /**
   * The caller is the only one who may carry it out, until `release`, or the process ends. `claimedAt`:
   * milliseconds since the epoch at which the key was first claimed; the same when a request that was not answered is
   * carried out again within 24 hours.
   */
  | { readonly outcome: 'claimed'; readonly claimedAt: number }
  | { readonly outcome: 'running' }
  | { readonly outcome: 'answered'; readonly answer: KeptAnswer }
  /** The key was used for another request. */
  | { readonly outcome: 'conflict' };

export interface KeyStore {
  /** Asks to carry out a request under a key; flushed to disk. `fingerprint`: the same for the same request only. */
  claim(key: IdempotencyKey, fingerprint: string): Promise<Claim>;

  /** Keeps the answer of what was claimed, flushed to disk, until 24 hours after the first claim. */
  keepAnswer(key: IdempotencyKey, fingerprint: string, answer: KeptAnswer): Promise<void>;

  /** Ends a claim. Where no answer was kept, the key is free for this request or another one. */
  release(key: IdempotencyKey): Promise<void>;

  /** Forgets keys that were claimed 24 hours ago, at most `limit`. @returns how many. */
  forget(limit: number): Promise<number>;
}
