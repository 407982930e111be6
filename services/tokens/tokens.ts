/** Tokens: JWT text → Caller. The one door to jsonwebtoken. */
import { hash, type KeyObject } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { LRUCache } from 'lru-cache';
import { z } from 'zod';
import type { Caller } from '../../utils/caller';
import { type ClaimRules, type Claims, readClaims, STANDARD_CLAIMS, writeClaims } from '../../utils/claims';
import type { Clock } from '../../utils/clock';
import { AppError } from '../../utils/errors';
import type { VerificationKey } from '../../utils/verification-keys';
import type { TokenHeader, TokenKeys } from './token-keys';

/** Larger than any real token; checked before anything is decoded. */
const MAX_TOKEN_BYTES = 8 * 1024;
const MAX_CACHED_TOKENS = 10_000;
/** Tolerance for `nbf` and `iat` between machines whose clocks differ; `exp` has none. */
const CLOCK_TOLERANCE_SECONDS = 60;

export interface TokenRules {
  readonly keys: TokenKeys;
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
  /** Which claims hold the user and the scopes. */
  readonly claims?: ClaimRules;
  /** Refuse tokens that never expire. */
  readonly isExpRequired: boolean;
  /** Was the token of this caller revoked? Asked every time, even for tokens that were verified before. */
  readonly isRevoked?: (caller: Caller) => boolean;
}

export interface Tokens {
  /**
   * To be awaited before `verify`: fetches the key that this token names, if the issuer may have published it since.
   * `undefined`: nothing to wait for. The promise never rejects, whether the token is valid or not.
   */
  prepare(token: string): Promise<void> | undefined;
  /**
   * @returns who presents this token, with its scopes.
   * @throws AppError `unauthorized`, `token_expired` or `token_revoked`; the detail gives the reason, and never quotes
   * the token.
   */
  verify(token: string): Caller;
  /** Has the key that verified this caller's token been withdrawn since? */
  isKeyGone(caller: Caller): boolean;
  /**
   * When the token of a user with this `jti` expires; `undefined` when it was not verified lately, or never expires.
   */
  expiryOf(userId: string, jti: string): number | undefined;
}

export function createTokens(rules: TokenRules, clock: Clock): Tokens {
  const { keys, isRevoked = () => false } = rules;
  // Keyed by the hash of the token: the text itself is not kept in memory.
  const verified = new LRUCache<string, Caller>({ max: MAX_CACHED_TOKENS });
  const expiries = new LRUCache<string, number>({ max: MAX_CACHED_TOKENS });
  const keyOf = new WeakMap<Caller, KeyObject>();
  /** Verdicts on keys under the current version: thousands of connections share a few keys. */
  let areGone = new Map<KeyObject, boolean>();
  let keysVersion = keys.version;

  function forgetOldKeys(): void {
    if (keys.version === keysVersion) return;
    keysVersion = keys.version;
    verified.clear();
    areGone = new Map();
  }

  function isGone(key: KeyObject): boolean {
    const gone = areGone.get(key) ?? keys.has?.(key) === false;
    areGone.set(key, gone);
    return gone;
  }

  function check(token: string): Caller {
    const { key, claims } = checkToken(token, rules);
    const caller = toCaller(claims, rules);
    keyOf.set(caller, key);
    return caller;
  }

  function remember(key: string, caller: Caller): void {
    verified.set(key, caller);
    const { userId, tokenId, expiresAt } = caller;
    if (tokenId !== undefined && expiresAt !== undefined) expiries.set(nameOf(userId, tokenId), expiresAt);
  }

  return {
    prepare(token) {
      if (keys.seek === undefined || token.length > MAX_TOKEN_BYTES) return undefined;
      return keys.seek(readHeader(token));
    },
    verify(token) {
      if (token.length > MAX_TOKEN_BYTES) throw refused(`it is longer than ${MAX_TOKEN_BYTES} bytes`);
      forgetOldKeys();
      const key = hash('sha256', token, 'base64');
      const known = verified.get(key);
      const caller = known ?? check(token);
      assertCurrent(caller, clock.now() / 1000);
      if (isRevoked(caller)) throw new AppError('token_revoked', 'The token was revoked.');
      if (known === undefined) remember(key, caller);
      return caller;
    },
    isKeyGone(caller) {
      forgetOldKeys();
      const key = keyOf.get(caller);
      return key !== undefined && isGone(key);
    },
    expiryOf: (userId, jti) => expiries.get(nameOf(userId, jti)),
  };
}

/** No user id contains a control character. */
function nameOf(userId: string, jti: string): string {
  return `${userId}\u0000${jti}`;
}

function checkToken(token: string, rules: TokenRules): { key: KeyObject; claims: Claims } {
  const found = rules.keys.find(readHeader(token));
  if (found === undefined) throw refused('this service has no key for its `kid` and `alg`');
  const { header, payload } = checkSignature(token, found, rules);
  if ('crit' in header) throw refused('it has a `crit` header, which this service does not support');
  try {
    return { key: found.key, claims: readClaims(payload, rules.claims ?? STANDARD_CLAIMS) };
  } catch (error) {
    if (error instanceof z.ZodError) throw refused(claimFaults(error));
    throw error;
  }
}

function claimFaults({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => `its claim ${path.join('.')} ${message}`).join('; ');
}

function checkSignature(token: string, { key, algorithm }: VerificationKey, rules: TokenRules): jwt.Jwt {
  try {
    return jwt.verify(token, key, {
      complete: true,
      algorithms: [algorithm],
      // Times are checked below, by the injected clock, each with its own tolerance.
      ignoreExpiration: true,
      ignoreNotBefore: true,
      ...(rules.issuer === undefined ? {} : { issuer: rules.issuer }),
      ...(rules.audience === undefined ? {} : { audience: rules.audience }),
    });
  } catch (error) {
    throw refused(error instanceof jwt.JsonWebTokenError ? reasonOf(error.message) : NOT_A_JWT);
  }
}

const NOT_A_JWT = 'it is not a well-formed JWT';

/** The messages of jsonwebtoken, in words that name what to check. */
const REASONS: readonly [message: RegExp, reason: string][] = [
  [/^(jwt malformed|invalid token)/, NOT_A_JWT],
  [/^jwt signature is required/, 'it has no signature'],
  [/^invalid algorithm/, 'its `alg` is not the one that this service accepts'],
  [/^jwt audience invalid/, 'its `aud` is not JWT_AUDIENCE'],
  [/^jwt issuer invalid/, 'its `iss` is not JWT_ISSUER'],
];

function reasonOf(message: string): string {
  return REASONS.find(([pattern]) => pattern.test(message))?.[1] ?? message;
}

/** The header, whether the token is valid or not: jsonwebtoken refuses an unreadable header later. */
function readHeader(token: string): TokenHeader {
  const [encoded = ''] = token.split('.', 1);
  try {
    const header: unknown = JSON.parse(Buffer.from(encoded, 'base64url').toString('utf8'));
    return typeof header === 'object' && header !== null ? (header as TokenHeader) : NO_HEADER;
  } catch {
    return NO_HEADER;
  }
}

const NO_HEADER: TokenHeader = { alg: undefined, kid: undefined };

function toCaller(claims: Claims, rules: TokenRules): Caller {
  if (rules.isExpRequired && claims.exp === undefined) throw refused('it has no `exp`, which is required here');
  return {
    userId: claims.userId,
    scopes: claims.scopes,
    ...(claims.exp === undefined ? {} : { expiresAt: claims.exp }),
    ...(claims.nbf === undefined ? {} : { notBefore: claims.nbf }),
    ...(claims.iat === undefined ? {} : { issuedAt: claims.iat }),
    ...(claims.jti === undefined ? {} : { tokenId: claims.jti }),
  };
}

function assertCurrent({ expiresAt, notBefore, issuedAt }: Caller, nowSeconds: number): void {
  if (expiresAt !== undefined && nowSeconds >= expiresAt) throw new AppError('token_expired', 'The token has expired.');
  const latest = nowSeconds + CLOCK_TOLERANCE_SECONDS;
  if (notBefore !== undefined && notBefore > latest) throw refused('it is not valid yet (`nbf`)');
  if (issuedAt !== undefined && issuedAt > latest) throw refused('it was issued in the future (`iat`)');
}

function refused(reason: string): AppError {
  return new AppError('unauthorized', `The token was refused: ${reason}.`);
}

export interface TokenRequest {
  readonly userId: string;
  /** Space separated; none when absent. */
  readonly scope?: string | undefined;
  /** Seconds from now. Absent: the token never expires. */
  readonly lifetimeSeconds?: number | undefined;
  readonly issuer?: string | undefined;
  readonly audience?: string | undefined;
  /** How the token will be read. */
  readonly claims?: ClaimRules;
}

/** Makes an HS256 token for people at a terminal, the start-up banner and tests. */
export function signToken(key: KeyObject, request: TokenRequest): string {
  const { userId, scope, lifetimeSeconds, issuer, audience, claims = STANDARD_CLAIMS } = request;
  return jwt.sign(writeClaims(userId, scope, claims), key, {
    algorithm: 'HS256',
    ...(lifetimeSeconds === undefined ? {} : { expiresIn: lifetimeSeconds }),
    ...(issuer === undefined ? {} : { issuer }),
    ...(audience === undefined ? {} : { audience }),
  });
}
