/** What a person at a terminal needs for the first minute: addresses, ready tokens, a line that works. */
import { type MakeToken, makeSampleTokens } from './development-tokens';

/** The start-up banner of development. Without a secret to sign with, it says where tokens come from instead. */
export function renderBanner({ host, port }: { host: string; port: number }, makeToken: MakeToken | undefined): string {
  const url = `http://${nameOf(host)}:${port}`;
  const lines = ['', `tidings is listening on ${url}`, `  test page  ${url}/`, ''];
  if (makeToken === undefined) {
    return [
      ...lines,
      'Tokens are checked with public keys (JWT_PUBLIC_KEY, JWT_JWKS_URL): get them from your issuer.',
      '',
    ].join('\n');
  }
  const samples = makeSampleTokens(makeToken);
  const users = samples.users.map(({ userId, token }) => `  ${userId}  ${token}`);
  const service = samples.service.token;
  return [
    ...lines,
    'Tokens for development, valid one day:',
    ...users,
    `  service  ${service}`,
    '',
    'Send a notification to user123:',
    `curl -X POST ${url}/websocket/notification -H 'Authorization: Bearer ${service}' -H 'Content-Type: application/json' ` +
      `-d '{"userId":"user123","title":"Hello","body":"Your first notification"}'`,
    '',
  ].join('\n');
}

/** As a URL names it: one's own machine by its name, an address of IPv6 in brackets. */
function nameOf(host: string): string {
  if (host === '0.0.0.0' || host === '::' || host === '127.0.0.1') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}
