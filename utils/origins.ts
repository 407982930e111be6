/** Origins as browsers send them, and which of them are allowed: the one comparison for every door. */

/** `https://*.example.com`: every origin below the domain, but not the domain itself. */
const WILDCARD = '://*.';
const DEFAULT_PORT = /:(443|80)$/;
/** Pages of these schemes have the origin `null`, or none: a page that opens a WebSocket is http or https. */
const WITHOUT_ORIGIN = new Set(['about', 'blob', 'data', 'file', 'ftp', 'javascript', 'ws', 'wss']);
/** A scheme outside the web: `capacitor://localhost`, `chrome-extension://<id>`. */
const CUSTOM_ORIGIN = /^([a-z][a-z0-9+.-]*):\/\/[a-z0-9_-]+(\.[a-z0-9_-]+)*(:\d{1,5})?$/;

/**
 * Reads an entry of CORS_ORIGIN.
 * @returns the entry in the form that is compared; `undefined` if no browser could send a matching origin.
 */
export function parseOriginEntry(text: string): string | undefined {
  const sample = text.replace(WILDCARD, '://any.');
  if (sample.includes('*') || text.endsWith(WILDCARD)) return undefined;
  const isWeb = /^https?:/.test(text);
  return (isWeb ? isWebOrigin(sample) : isCustomOrigin(sample)) ? withoutDefaultPort(text) : undefined;
}

/** Browsers send origins in the form that URL gives them: in lower case, with international names encoded. */
function isWebOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === withoutPortOfScheme(text);
}

function withoutPortOfScheme(text: string): string {
  return text.replace(text.startsWith('https:') ? /:443$/ : /:80$/, '');
}

function isCustomOrigin(text: string): boolean {
  const scheme = CUSTOM_ORIGIN.exec(text)?.[1];
  return scheme !== undefined && !WITHOUT_ORIGIN.has(scheme);
}

/** Does CORS_ORIGIN list this origin? */
export function isOriginListed(origin: string, allowed: '*' | readonly string[]): boolean {
  if (allowed === '*') return true;
  const plain = withoutDefaultPort(origin);
  return allowed.some((entry) => (entry.includes(WILDCARD) ? isBelow(plain, entry) : plain === entry));
}

type AnswerOrigin = (error: null, allowed: string[]) => void;

/** Options for the package `cors`, with which REST and Socket.IO answer browsers. Credentials never go with `*`. */
export function corsOptionsOf(allowed: '*' | readonly string[]) {
  if (allowed === '*') return { origin: '*' };
  const origin = (asked: string | undefined, answer: AnswerOrigin) =>
    answer(null, asked !== undefined && isOriginListed(asked, allowed) ? [asked] : []);
  return { origin, credentials: true };
}

function isBelow(origin: string, entry: string): boolean {
  const [scheme = '', domain = ''] = entry.split(WILDCARD);
  const [start, end] = [`${scheme}://`, `.${domain}`];
  if (!origin.startsWith(start) || !origin.endsWith(end)) return false;
  return /^[a-z0-9_.-]+$/.test(origin.slice(start.length, -end.length));
}

/** Is this the origin of pages at this host? Whether http or https is up to the proxy in front. */
export function isSamePlace(origin: string, host: string | undefined): boolean {
  const own = /^https?:\/\/(.+)$/.exec(origin)?.[1];
  return own !== undefined && host !== undefined && withoutDefaultPort(own) === withoutDefaultPort(host.toLowerCase());
}

/** Proxies add or omit the scheme's default port: it is the same host either way. */
function withoutDefaultPort(text: string): string {
  return text.replace(DEFAULT_PORT, '');
}
