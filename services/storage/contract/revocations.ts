/** How long a revoked token is known after its end: clocks may be set back. */
export const REVOCATION_MARGIN_MS = 86_400_000;

/** Tokens of a user that are refused. Times are Unix seconds, as tokens have them. */
export type Revocation =
  /** All that were issued before this time, or do not say when. */
  | { readonly userId: string; readonly issuedBefore: number; readonly jti?: never }
  /** The one with this id. `expiresAt`: when it ends, once that is known. */
  | { readonly userId: string; readonly jti: string; readonly expiresAt?: number };

export interface RevocationQuery {
  /** At most so many. */
  readonly limit: number;
  /** Only what comes after this one. */
  readonly after?: Revocation | undefined;
}

export interface RevocationStore {
  /**
   * Keeps a revocation; flushed to disk. `issuedBefore` of a user only grows, and so does `expiresAt` of a token: what
   * is less, or missing, changes nothing.
   */
  keep(revocation: Revocation): Promise<void>;

  /** Revocations of all users in an order of the store. */
  list(options: RevocationQuery): Promise<readonly Revocation[]>;

  /** Forgets tokens that expired a day ago, at most `limit`. @returns how many; the others are kept for ever. */
  forget(limit: number): Promise<number>;
}
