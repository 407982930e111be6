/** The values of the connection's fields. */
import { fieldValue, textOf } from './dom.ts';
import { PageError } from './page-error.ts';

export const DEFAULT_SERVER = 'http://localhost:8090';

/** The base URL of the service: what paths are appended to. A service may live below a path of its origin. */
export function readServer(): string {
  const typed = textOf('server-url').replace(/^ws(s?):/i, 'http$1:');
  const text = typed.includes('://') ? typed : `http://${typed}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // Browsers differ in whether a host may contain blanks; none does.
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname.includes('%')) {
    throw new PageError(`The server URL is not an address. Correct it: it looks like ${DEFAULT_SERVER}.`);
  }
  return url.origin + withoutPage(url.pathname);
}

/** The path of a service, out of that of its page. */
function withoutPage(path: string): string {
  return path.replace(/\/(websocket-client\.html)?$/, '');
}

/** The service that this page comes from, which may live below a path of its origin as well. */
export function ownBase(): string {
  return location.origin + withoutPage(location.pathname);
}

export function isServed(): boolean {
  return /^https?:$/.test(location.protocol);
}

export type TokenField = 'token' | 'service-token';

/** Takes what people paste: a bare token, `Bearer …`, a whole header line, broken over lines by a terminal. */
export function bareToken(id: TokenField): string {
  return fieldValue(id)
    .replace(/^\s*(authorization:\s*)?bearer\s+/i, '')
    .replace(/\s+/g, '');
}

export function readToken(id: TokenField): string {
  const token = bareToken(id);
  if (/[^\x21-\x7e]/.test(token)) {
    throw new PageError('The token contains characters that no token has. Copy it again and paste it whole.');
  }
  return token;
}
