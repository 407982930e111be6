/**
 * Who presents a token, and what it allows. claims.ts decides which claims say so, services/tokens/tokens.ts verifies
 * signatures.
 */
import { AppError } from './errors';

export const SCOPES = ['send', 'broadcast', 'presence', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

/** Who presents a valid token. Times are Unix seconds. */
export interface Caller {
  readonly userId: string;
  /** Decided once, by utils/claims.ts, including AUTHORIZATION=open. Only `holdsScope` reads them. */
  readonly scopes: ReadonlySet<string>;
  readonly expiresAt?: number;
  readonly notBefore?: number;
  readonly issuedAt?: number;
  /** `jti`. */
  readonly tokenId?: string;
}

/** Does the caller hold a scope? `admin` includes all others. */
export function holdsScope(caller: Caller, scope: Scope): boolean {
  return caller.scopes.has(scope) || caller.scopes.has('admin');
}

/**
 * Extracts the token from an Authorization header.
 * @throws AppError `unauthorized` when the header has another form.
 */
export function readBearer(header: string): string {
  const match = /^Bearer +([^\s,]+)$/i.exec(header);
  if (match?.[1] === undefined)
    throw new AppError('unauthorized', 'The Authorization header must be `Bearer <token>`.');
  return match[1];
}

/**
 * The Authorization header, from the raw headers: Node joins or drops repeated ones, and which of two tokens counts
 * must not depend on that.
 * @throws AppError `unauthorized` when there are several.
 */
export function readAuthorization(rawHeaders: readonly string[]): string | undefined {
  const isName = (index: number) => rawHeaders[index - 1]?.toLowerCase() === 'authorization';
  const found = rawHeaders.filter((_text, index) => index % 2 === 1 && isName(index));
  if (found.length > 1) throw new AppError('unauthorized', 'Send one Authorization header, not several.');
  return found[0];
}
