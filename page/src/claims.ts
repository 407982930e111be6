/** The claims of the token. Nothing is verified here: that is up to the service. */
import { byId, h } from './dom.ts';
import { bareToken } from './fields.ts';
import { formatDuration, formatTime } from './format.ts';

export type Claims = Readonly<Record<string, unknown>>;

const KNOWN_CLAIMS = new Set(['sub', 'scope', 'scopes', 'exp', 'iat', 'nbf']);

export function decodeToken(token: string): Claims | undefined {
  const part = token.split('.')[1];
  if (part === undefined) return undefined;
  try {
    const base64 = part.replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return typeof claims === 'object' && claims !== null ? (claims as Claims) : undefined;
  } catch {
    // Not a JWT: the caller says so, in words.
    return undefined;
  }
}

export function scopesOf({ scope, scopes }: Claims): string {
  const listed: unknown[] = Array.isArray(scopes) ? scopes : [];
  const spaced = typeof scope === 'string' ? scope.split(' ') : [];
  return [...spaced, ...listed].filter((name) => name !== '').join(' ') || 'none';
}

function expiryOf({ exp }: Claims): { readonly text: string; readonly isLate: boolean } {
  if (typeof exp !== 'number') return { text: 'never', isLate: false };
  const left = exp - Date.now() / 1_000;
  if (left <= 0) return { text: `expired ${formatDuration(left)} ago`, isLate: true };
  return { text: `in ${formatDuration(left)}, ${formatTime(exp * 1_000)}`, isLate: false };
}

function hintOf(token: string, claims: Claims | undefined): string {
  if (token === '') return 'Nothing yet: paste a token.';
  if (claims !== undefined) return 'Decoded by the page; the service decides whether it is valid.';
  return 'This does not look like a token: three parts with dots between, beginning with eyJ. Copy it again and paste it whole.';
}

function factsOf(claims: Claims): [string, string][] {
  const time = (seconds: unknown) => (typeof seconds === 'number' ? formatTime(seconds * 1_000) : undefined);
  const others = Object.entries(claims).filter(([name]) => !KNOWN_CLAIMS.has(name));
  const facts: [string, string | undefined][] = [
    ['User', String(claims['sub'] ?? 'missing: `sub` is required')],
    ['Scopes', scopesOf(claims)],
    ['Issued', time(claims['iat'])],
    ['Not before', time(claims['nbf'])],
    ...others.map(([name, value]): [string, string] => [name, JSON.stringify(value)]),
  ];
  return facts.filter((fact): fact is [string, string] => fact[1] !== undefined);
}

export function showClaims(): void {
  const token = bareToken('token');
  const claims = decodeToken(token);
  const list = byId('claims');
  byId('claims-hint').textContent = hintOf(token, claims);
  list.replaceChildren();
  list.hidden = claims === undefined;
  if (claims === undefined) return;
  list.append(h('dt', {}, 'Expires'), h('dd', { id: 'expiry' }));
  for (const [name, value] of factsOf(claims)) list.append(h('dt', {}, name), h('dd', {}, value));
  tickExpiry();
}

export function tickExpiry(): void {
  const place = document.getElementById('expiry');
  const claims = decodeToken(bareToken('token'));
  if (place === null || claims === undefined) return;
  const { text, isLate } = expiryOf(claims);
  if (place.textContent !== text) place.textContent = text;
  place.classList.toggle('late', isLate);
}
