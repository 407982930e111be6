/** Where the keys of tokens come from: one that is configured, or a set that the issuer publishes (key-set.ts). */
import type { KeyObject } from 'node:crypto';
import type { VerificationKey } from '../../utils/verification-keys';

/** What the header of a token says about its key. Unverified. */
export interface TokenHeader {
  readonly alg: unknown;
  readonly kid: unknown;
}

export interface TokenKeys {
  /** Changes when a key may be gone: tokens verified before have to be verified again. */
  readonly version: number;
  /** Is this key still valid? Absent where keys are never withdrawn. */
  has?(key: KeyObject): boolean;
  /** The loaded key that a token with this header must be signed with; `undefined`: none matches. */
  find(header: TokenHeader): VerificationKey | undefined;
  /**
   * Looks for a key that is not loaded, if the issuer may have published it since. `undefined`: nothing to wait for.
   * The promise never rejects, whether the key was found or not. Absent where no keys are added later.
   */
  seek?(header: TokenHeader): Promise<void> | undefined;
}

/** One key for all tokens, whatever their headers say. */
export function fixedKey({ key, algorithm }: VerificationKey): TokenKeys {
  return { version: 0, find: () => ({ key, algorithm }) };
}
