/** Tokens made with the secret of the local service: JWT_SECRET, or the one kept in DATA_DIR. */
import type { KeyObject } from 'node:crypto';
import { developmentSecret } from '../../services/tokens/development-secret';
import { signToken } from '../../services/tokens/tokens';
import { claimRulesOf } from '../../utils/claims';
import { UsageError } from '../../utils/command-line';
import type { Config } from '../../utils/config';
import { inputSentences } from '../../utils/input-sentences';
import { userIdSchema } from '../../utils/schemas';

export interface TokenWish {
  readonly sub: string;
  /** Space separated; none when absent. */
  readonly scope?: string | undefined;
  readonly lifetimeSeconds: number;
}

/** @throws UsageError when the service can only verify tokens, or the user id is not allowed. */
export function makeLocalToken(config: Config, { sub, scope, lifetimeSeconds }: TokenWish): string {
  const subject = userIdSchema.safeParse(sub, inputSentences);
  if (!subject.success) throw new UsageError(`--sub ${subject.error.issues[0]?.message}.`);
  const { JWT_ISSUER: issuer, JWT_AUDIENCE: audience } = config;
  return signToken(localKey(config), {
    userId: sub,
    scope,
    lifetimeSeconds,
    issuer,
    audience,
    claims: claimRulesOf(config),
  });
}

/** The variable that is set instead of a secret, and only verifies tokens. */
export function checkingVariable({ kind }: Config['tokenKey']): string | undefined {
  if (kind === 'public-key') return 'JWT_PUBLIC_KEY';
  return kind === 'key-set' ? 'JWT_JWKS_URL' : undefined;
}

/** @throws UsageError when there is only a key that verifies. */
export function localKey({ tokenKey, DATA_DIR }: Config): KeyObject {
  if (tokenKey.kind === 'development-secret') return developmentSecret(DATA_DIR);
  if (tokenKey.kind === 'secret') return tokenKey.key;
  throw new UsageError(`${checkingVariable(tokenKey)} only verifies tokens: get one from your issuer.`);
}
