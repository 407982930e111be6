/**
 * Makes a token, or says why one is refused.
 *   npm run token -- --sub user123 [--scope "send broadcast"] [--expires 1d]
 *   npm run token -- --check TOKEN
 *   npm run token -- --samples
 */

import { createLogger } from '../services/observability/logger';
import { KeySet, KeySetOpenError } from '../services/tokens/key-set';
import { fixedKey, type TokenKeys } from '../services/tokens/token-keys';
import { createTokens } from '../services/tokens/tokens';
import { SCOPES } from '../utils/caller';
import { claimRulesOf } from '../utils/claims';
import { systemClock, toIsoTime } from '../utils/clock';
import { EXIT_USAGE, readCommandLine, UsageError } from '../utils/command-line';
import { type Config, ConfigError, parseConfig } from '../utils/config';
import { AppError } from '../utils/errors';
import { parseDuration } from './support/arguments';
import { localKey, makeLocalToken } from './support/local-token';

const USAGE = `Makes tokens for development, and checks tokens.

Usage:
  npm run token -- --sub USER [--scope "send broadcast presence admin"] [--expires 15m|12h|1d]
  npm run token -- --check TOKEN
  npm run token -- --samples

  --sub USER      the user; the token is signed with JWT_SECRET, or with the secret in DATA_DIR
  --scope SCOPES  what the token allows, separated by spaces
  --expires TIME  default: 1d
  --check TOKEN   show the user of a token, or why it is refused
  --samples       tokens of sample users, to try the service
`;

/** The sample users of the compatible topic service, which is tried with wscat; their tokens are valid for one day. */
const SAMPLE_USERS = ['omar', 'diego', 'satoshi', 'memoor'];

const OPTIONS = {
  sub: { type: 'string' },
  scope: { type: 'string' },
  expires: { type: 'string', default: '1d' },
  check: { type: 'string' },
  samples: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

async function main(): Promise<void> {
  const { values } = readCommandLine(process.argv.slice(2), { options: OPTIONS, usage: USAGE, env: process.env });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const config = parseConfig(process.env);
  if (values.check !== undefined) await checkToken(config, values.check);
  else if (values.samples) printSamples(config);
  else if (values.sub !== undefined) printToken(config, { ...values, sub: values.sub });
  else throw new UsageError(USAGE);
}

function printSamples(config: Config): void {
  for (const user of SAMPLE_USERS) {
    console.log(`${user}\nwscat -c ws://localhost:${config.PORT}/${makeToken(config, { sub: user, expires: '1d' })}\n`);
  }
}

function printToken(config: Config, request: TokenWish): void {
  console.log(makeToken(config, request));
}

interface TokenWish {
  readonly sub: string;
  readonly scope?: string;
  readonly expires: string;
}

function makeToken(config: Config, { sub, scope, expires }: TokenWish): string {
  const unknown = (scope ?? '').split(' ').filter((name) => name !== '' && !SCOPES.some((known) => known === name));
  if (unknown.length > 0)
    throw new UsageError(`--scope must consist of ${SCOPES.join(', ')}: there is no scope ${unknown.join(', ')}`);
  return makeLocalToken(config, { sub, scope, lifetimeSeconds: readLifetime(expires) });
}

function readLifetime(text: string): number {
  const seconds = parseDuration(text);
  if (seconds !== undefined && seconds > 0) return seconds;
  throw new UsageError('--expires must be a number with s, m, h or d, for example 12h');
}

/** Only the running service knows revoked tokens. */
async function checkToken(config: Config, token: string): Promise<void> {
  const { JWT_ISSUER: issuer, JWT_AUDIENCE: audience, JWT_REQUIRE_EXP: isExpRequired } = config;
  const rules = { keys: await keysFor(config), issuer, audience, isExpRequired, claims: claimRulesOf(config) };
  const caller = createTokens(rules, systemClock).verify(token);
  const scopes = [...caller.scopes].join(' ') || 'none';
  const expiry = caller.expiresAt === undefined ? 'never' : toIsoTime(caller.expiresAt * 1000);
  console.log(`accepted: user ${caller.userId}, scopes ${scopes}, expires ${expiry}`);
}

/** What the service verifies tokens with. */
async function keysFor(config: Config): Promise<TokenKeys> {
  const { tokenKey } = config;
  if (tokenKey.kind === 'public-key') return fixedKey(tokenKey);
  if (tokenKey.kind !== 'key-set') return fixedKey({ key: localKey(config), algorithm: 'HS256' });
  return KeySet.load({ url: tokenKey.url, logger: createLogger({ ...config, LOG_LEVEL: 'silent' }) });
}

main().catch((error: unknown) => {
  const isExpected = [UsageError, ConfigError, KeySetOpenError].some((kind) => error instanceof kind);
  if (error instanceof AppError) console.error(`refused: ${error.message}`);
  else if (isExpected) console.error((error as Error).message);
  else throw error;
  process.exitCode = error instanceof UsageError ? EXIT_USAGE : 1;
});
