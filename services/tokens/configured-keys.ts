/**
 * The keys that the configuration names: for verifying tokens and, with the development secret only, for making them.
 */
import { claimRulesOf } from '../../utils/claims';
import type { Clock } from '../../utils/clock';
import type { Config, TokenKey } from '../../utils/config';
import type { Logger } from '../observability/logger';
import { developmentSecret } from './development-secret';
import { KeySet } from './key-set';
import { fixedKey, type TokenKeys } from './token-keys';
import { signToken } from './tokens';

type ResolvedKey = Exclude<TokenKey, { kind: 'development-secret' }>;

/** Makes a token for development. */
export type MakeToken = (userId: string, scope: string | undefined, lifetimeSeconds: number) => string;

/** The key that the configuration names, or the one that is made for development. */
export function resolveKey(config: Config): ResolvedKey {
  if (config.tokenKey.kind !== 'development-secret') return config.tokenKey;
  return { kind: 'secret', key: developmentSecret(config.DATA_DIR), algorithm: 'HS256' };
}

/** The keys that verify tokens. @throws KeySetOpenError when they have to be fetched and cannot be. */
export async function openTokenKeys(key: ResolvedKey, logger: Logger, clock: Clock): Promise<TokenKeys> {
  return key.kind === 'key-set' ? KeySet.load({ url: key.url, logger, clock }) : fixedKey(key);
}

export function tokenRulesOf(config: Config) {
  return {
    issuer: config.JWT_ISSUER,
    audience: config.JWT_AUDIENCE,
    claims: claimRulesOf(config),
    isExpRequired: config.JWT_REQUIRE_EXP,
  };
}

/** `undefined` if somebody configured a secret: it belongs to its owners, and nothing is signed with it unasked. */
export function createMakeToken(config: Config, key: ResolvedKey): MakeToken | undefined {
  if (config.tokenKey.kind !== 'development-secret' || key.kind !== 'secret') return undefined;
  const { issuer, audience, claims } = tokenRulesOf(config);
  return (userId, scope, lifetimeSeconds) =>
    signToken(key.key, { userId, scope, lifetimeSeconds, issuer, audience, claims });
}
