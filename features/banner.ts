/** What a person at a terminal needs for the first minute: addresses, ready tokens, a line that works. */
const DAY_SECONDS = 86_400;
const SAMPLE_USERS = ['user123', 'user456', 'user789'];
const SERVICE_SCOPE = 'send broadcast presence admin';

type MakeToken = (userId: string, scope: string | undefined, lifetimeSeconds: number) => string;

/** The start-up banner of development. Without a secret to sign with, it says where tokens come from instead. */
export function renderBanner({ host, port }: { host: string; port: number }, makeToken: MakeToken | undefined): string {
  const url = `http://${isAnyHost(host) ? 'localhost' : host}:${port}`;
  const lines = ['', `tidings is listening on ${url}`, `  test page  ${url}/`, ''];
  if (makeToken === undefined) {
    return [...lines, 'Tokens are checked with JWT_PUBLIC_KEY: get them from your issuer.', ''].join('\n');
  }
  const users = SAMPLE_USERS.map((user) => `  ${user}  ${makeToken(user, undefined, DAY_SECONDS)}`);
  const service = makeToken('service', SERVICE_SCOPE, DAY_SECONDS);
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

function isAnyHost(host: string): boolean {
  return host === '0.0.0.0' || host === '::' || host === '127.0.0.1';
}
