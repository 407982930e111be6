/** Where the service is, and the token for it. */

import { UsageError } from '../../utils/command-line';
import { type Config, parseConfig } from '../../utils/config';
import { checkingVariable, makeLocalToken } from './local-token';

type Environment = Readonly<Record<string, string | undefined>>;

const DAY_SECONDS = 86_400;
const TOKEN_FORM = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export interface Access {
  /** Scheme, host and port. */
  readonly origin: string;
  /** Was the token made here? Otherwise it was given. */
  readonly isTokenLocal: boolean;
  /** A token that is valid now; a new one each time if it is made here. */
  token(): string;
}

interface Given {
  readonly url?: string | undefined;
  readonly token?: string | undefined;
  /** The user of a token that is made here. */
  readonly sub?: string | undefined;
}

interface Standard {
  /** The user if no token was given and no user named; absent if that is a mistake. */
  readonly sub?: string;
  /** The scopes of a token that is made here. */
  readonly scope?: string;
}

/**
 * The given address and token, otherwise those of the local service. Given values are not looked up in the
 * configuration: for a remote service, none is needed here.
 * @throws UsageError, ConfigError
 */
export function readAccess(given: Given, env: Environment, standard: Standard): Access {
  const origin = readOrigin(given, env);
  const token = readGivenToken(given, env);
  if (token !== undefined) return { origin, isTokenLocal: false, token: () => token };
  const { sub = standard.sub } = given;
  if (sub === undefined) throw new UsageError('Name the user: --sub USER, or --token TOKEN. --help shows all options.');
  const config = parseConfig(env);
  const checking = checkingVariable(config.tokenKey);
  if (checking !== undefined) {
    throw new UsageError(`${checking} only verifies tokens: get one from your issuer, and give it with --token.`);
  }
  const makeToken = () => makeLocalToken(config, { sub, scope: standard.scope, lifetimeSeconds: DAY_SECONDS });
  // A fault in the user is reported before anything is sent.
  makeToken();
  return { origin, isTokenLocal: true, token: makeToken };
}

/** @throws UsageError, ConfigError */
export function readOrigin({ url }: Pick<Given, 'url'>, env: Environment): string {
  if (url === undefined) return originHere(parseConfig(env));
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !['http:', 'https:'].includes(parsed.protocol)) {
    throw new UsageError('--url must be http:// or https:// with host and port, for example http://localhost:8090.');
  }
  if (parsed.href === `${parsed.origin}/`) return parsed.origin;
  throw new UsageError('--url must be scheme, host and port only, for example http://localhost:8090.');
}

function originHere({ PORT }: Config): string {
  if (PORT !== 0) return `http://localhost:${PORT}`;
  throw new UsageError('PORT is 0, so the service chose a free port: give its address with --url.');
}

/**
 * From `--token`, otherwise from TIDINGS_TOKEN unless `--sub` asks for another one: npm prints the commands that it
 * runs, so a token should not be an argument.
 */
export function readGivenToken({ token, sub }: Given, { TIDINGS_TOKEN }: Environment): string | undefined {
  if (token !== undefined && sub !== undefined) {
    throw new UsageError('--sub and --token exclude each other: the token already names its user.');
  }
  if (token !== undefined) return checkForm('--token', token);
  return sub !== undefined || !TIDINGS_TOKEN ? undefined : checkForm('TIDINGS_TOKEN', TIDINGS_TOKEN);
}

function checkForm(name: string, token: string): string {
  if (TOKEN_FORM.test(token)) return token;
  throw new UsageError(`${name} must be a token: three parts with dots between them, as npm run token prints.`);
}
