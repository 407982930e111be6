/** Where the keys of tokens come from: one that is configured, or a set that the issuer publishes (key-set.ts). */
import type { KeyObject } from 'node:crypto';
import type { VerificationKey } from '../../utils/verification-keys';

/** What the header of a token says of its key. Nothing of it is checked yet. */
export interface TokenHeader {
  readonly alg: unknown;
  readonly kid: unknown;
}

export interface TokenKeys {
  /** Another number when a key may be gone: what was checked with it has to be checked again. */
  readonly version: number;
  /** Would a token that was checked with this key still be? Absent where keys never go. */
  has?(key: KeyObject): boolean;
  /** The loaded key that a token with this header has to be signed with; `undefined`: none fits. */
  find(header: TokenHeader): VerificationKey | undefined;
  /**
   * Looks for a key that is not loaded, where it may have come since. `undefined`: there is nothing to wait for. What
   * it gives never rejects, whether the key was found or not. Absent where keys never come later.
   */
  seek?(header: TokenHeader): Promise<void> | undefined;
}

/** One key for all tokens, whatever their headers say of it. */
export function fixedKey({ key, algorithm }: VerificationKey): TokenKeys {
  return { version: 0, find: () => ({ key, algorithm }) };
}
