/** What a person at a terminal needs in the first minute: addresses, ready tokens, a command that works. */
import type { MakeToken } from '../services/tokens/configured-keys';
import type { TokenKey } from '../utils/config';
import { makeSampleTokens } from './development-tokens';

/** How tokens are verified, for the sentence that says where they come from. */
export type KeyKind = TokenKey['kind'];

const ORIGINS: Readonly<Record<Exclude<KeyKind, 'development-secret'>, string>> = {
  secret: 'Tokens are verified with JWT_SECRET: `npm run token -- --sub user123` makes one.',
  'public-key': 'Tokens are verified with JWT_PUBLIC_KEY: get them from your issuer.',
  'key-set': 'Tokens are verified with the keys of JWT_JWKS_URL: get them from your issuer.',
};

/** The start-up banner in development. It has tokens only if the service made its secret itself. */
export function renderBanner(
  { host, port }: { host: string; port: number },
  { kind, makeToken }: { kind: KeyKind; makeToken: MakeToken | undefined },
): string {
  const url = `http://${nameOf(host)}:${port}`;
  const lines = ['', `tidings is listening on ${url}`, `  test page  ${url}/`, ''];
  if (kind !== 'development-secret') return [...lines, ORIGINS[kind], ''].join('\n');
  return makeToken === undefined ? lines.join('\n') : [...lines, ...offerTokens(url, makeToken)].join('\n');
}

function offerTokens(url: string, makeToken: MakeToken): string[] {
  const samples = makeSampleTokens(makeToken);
  const users = samples.users.map(({ userId, token }) => `  ${userId}  ${token}`);
  const service = samples.service.token;
  return [
    'Tokens for development, valid one day:',
    ...users,
    `  service  ${service}`,
    '',
    'Send a notification to user123:',
    `curl -X POST ${url}/websocket/notification -H 'Authorization: Bearer ${service}' -H 'Content-Type: application/json' ` +
      `-d '{"userId":"user123","title":"Hello","body":"Your first notification"}'`,
    '',
  ];
}

/** As in a URL: this machine by its name, an IPv6 address in brackets. */
function nameOf(host: string): string {
  if (host === '0.0.0.0' || host === '::' || host === '127.0.0.1') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}
