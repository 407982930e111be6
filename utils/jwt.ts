/** What a token says: claims, scopes and the caller they make. Pure; checking signatures is services/tokens.ts. */
import { z } from 'zod';
import { AppError } from './errors';
import { userIdSchema } from './schemas';

export const SCOPES = ['send', 'broadcast', 'presence', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

/** The greatest time that a Date can hold, in seconds: beyond it a claim is nonsense, not a far future. */
const MAX_TIME_SECONDS = 8.64e12;
const timeClaim = z.number().min(0).max(MAX_TIME_SECONDS);

export const claimsSchema = z.object({
  sub: userIdSchema,
  exp: timeClaim.optional(),
  nbf: timeClaim.optional(),
  iat: timeClaim.optional(),
  jti: z.string().optional(),
  scope: z.string().optional(),
  scopes: z.array(z.string()).optional(),
});
export type Claims = z.output<typeof claimsSchema>;

/** Who presents a valid token. Times are Unix seconds. */
export interface Caller {
  readonly userId: string;
  readonly scopes: ReadonlySet<string>;
  readonly expiresAt?: number;
  readonly notBefore?: number;
  readonly issuedAt?: number;
  /** `jti`. */
  readonly tokenId?: string;
}

/** Scopes from `scope` (space separated) and `scopes` (array) together. */
export function readScopes({ scope, scopes }: Claims): ReadonlySet<string> {
  return new Set([...(scope?.split(' ').filter((name) => name !== '') ?? []), ...(scopes ?? [])]);
}

/** Does the caller hold a scope? `admin` holds them all. */
export function holdsScope(caller: Caller, scope: Scope): boolean {
  return caller.scopes.has(scope) || caller.scopes.has('admin');
}

/**
 * Takes the token out of an Authorization header.
 * @throws AppError `unauthorized` when the header has another form.
 */
export function readBearer(header: string): string {
  const match = /^Bearer +([^\s,]+)$/i.exec(header);
  if (match?.[1] === undefined) throw new AppError('unauthorized', 'Expected `Authorization: Bearer <token>`.');
  return match[1];
}

/**
 * The Authorization header, out of raw headers: Node joins or drops repeated ones, and which of two tokens counts
 * must not depend on that.
 * @throws AppError `unauthorized` when there are several.
 */
export function readAuthorization(rawHeaders: readonly string[]): string | undefined {
  const isName = (index: number) => rawHeaders[index - 1]?.toLowerCase() === 'authorization';
  const found = rawHeaders.filter((_text, index) => index % 2 === 1 && isName(index));
  if (found.length > 1) throw new AppError('unauthorized', 'Expected one Authorization header, not several.');
  return found[0];
}
