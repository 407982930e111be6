import type { Claim, KeptAnswer } from '../contract';

/** What is known of a key. */
export interface KnownKey {
  readonly fingerprint: string;
  readonly answer?: KeptAnswer | undefined;
  /** Is the request being carried out? */
  readonly isRunning: boolean;
}

/** Why a key cannot be claimed; `undefined` when it can. */
export function refusedClaim({ answer, isRunning, ...known }: KnownKey, fingerprint: string): Claim | undefined {
  if (answer === undefined && !isRunning) return undefined;
  if (known.fingerprint !== fingerprint) return { outcome: 'conflict' };
  return answer === undefined ? { outcome: 'running' } : { outcome: 'answered', answer };
}
