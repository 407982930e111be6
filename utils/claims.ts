/** Which claims of a token are read, and how: each issuer names the user and the scopes differently. */
import { z } from 'zod';
import { SCOPES } from './caller';
import type { Config } from './config';
import { inputSentences } from './input-sentences';
import { userIdSchema } from './schemas';

/** How to read an issuer's tokens. */
export interface ClaimRules {
  /** A claim, or a dotted path to one: `realm_access.roles`. A claim whose own name has dots is found under it. */
  readonly userClaim: string;
  /** Absent: `scope` as text and `scopes` as a list, together. */
  readonly scopeClaim?: string | undefined;
  /** The prefix of scopes for this service; other scopes are ignored. */
  readonly scopePrefix: string;
  /** Every valid token holds every scope. */
  readonly isOpen: boolean;
}

/** Tokens that this service makes itself. */
export const STANDARD_CLAIMS: ClaimRules = { userClaim: 'sub', scopePrefix: '', isOpen: false };

export function claimRulesOf(
  config: Pick<Config, 'JWT_USER_CLAIM' | 'JWT_SCOPE_CLAIM' | 'JWT_SCOPE_PREFIX' | 'AUTHORIZATION'>,
): ClaimRules {
  return {
    userClaim: config.JWT_USER_CLAIM,
    scopeClaim: config.JWT_SCOPE_CLAIM,
    scopePrefix: config.JWT_SCOPE_PREFIX ?? '',
    isOpen: config.AUTHORIZATION === 'open',
  };
}

/** The greatest time that a Date can hold, in seconds: beyond it a claim is nonsense, not a far future. */
const MAX_TIME_SECONDS = 8.64e12;
const timeClaim = z.number().min(0).max(MAX_TIME_SECONDS);

/** Claims that have the same name at every issuer. */
const commonSchema = z.object({
  exp: timeClaim.optional(),
  nbf: timeClaim.optional(),
  iat: timeClaim.optional(),
  jti: z.string().optional(),
});

const scopeText = z.string().transform((text) => text.split(' ').filter((name) => name !== ''));
const scopeList = z.array(z.string());
const anyScopes = z
  .union([scopeText, scopeList], 'must be a string with spaces between scopes, or an array of strings')
  .optional();

export interface Claims extends z.output<typeof commonSchema> {
  readonly userId: string;
  readonly scopes: ReadonlySet<string>;
}

/** @throws ZodError whose issues name the claims. */
export function readClaims(payload: unknown, rules: ClaimRules): Claims {
  const common = commonSchema.parse(payload, inputSentences);
  const userId = readClaim(payload, rules.userClaim, userIdSchema);
  const names = rules.isOpen ? SCOPES : ownNames(readScopeNames(payload, rules), rules.scopePrefix);
  return { ...common, userId, scopes: new Set(names) };
}

function readScopeNames(payload: unknown, { scopeClaim }: ClaimRules): readonly string[] {
  if (scopeClaim !== undefined) return readClaim(payload, scopeClaim, anyScopes) ?? [];
  const text = readClaim(payload, 'scope', scopeText.optional()) ?? [];
  return [...text, ...(readClaim(payload, 'scopes', scopeList.optional()) ?? [])];
}

function ownNames(names: readonly string[], prefix: string): readonly string[] {
  return names.filter((name) => name.startsWith(prefix) && name !== prefix).map((name) => name.slice(prefix.length));
}

function readClaim<Schema extends z.ZodType>(payload: unknown, name: string, schema: Schema): z.output<Schema> {
  const result = schema.safeParse(findClaim(payload, name), inputSentences);
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => ({ ...issue, path: [name, ...issue.path] }));
  throw new z.ZodError(issues);
}

/** The claim with exactly this name, otherwise the one at the dotted path; `undefined` if there is none. */
function findClaim(payload: unknown, name: string): unknown {
  const exact = fieldOf(payload, name);
  if (exact !== undefined || !name.includes('.')) return exact;
  return name.split('.').reduce(fieldOf, payload);
}

function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name];
}

/** The claims of a token that `readClaims` reads as this user with these scopes, named according to the rules. */
export function writeClaims(userId: string, scope: string | undefined, rules: ClaimRules): Record<string, string> {
  const { userClaim, scopeClaim = 'scope', scopePrefix } = rules;
  const names = scope?.split(' ').filter((name) => name !== '');
  return {
    [userClaim]: userId,
    ...(names === undefined ? {} : { [scopeClaim]: names.map((name) => `${scopePrefix}${name}`).join(' ') }),
  };
}
