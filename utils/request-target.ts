/**
 * The only reader of a request's target. Nothing is decoded, and no `.`, `..` or empty segment is removed: a path is
 * taken literally, or belongs to nobody. A reader that repairs paths reads a different path from the next one.
 */
export interface RequestTarget {
  /** As received; `/` if only a host was named. */
  readonly path: string;
  /** What follows the first question mark, without it. */
  readonly search: string;
}

/** The form for proxies, which a server has to accept as well: RFC 9112, section 3.2.2. */
const SCHEME_AND_HOST = /^https?:\/\/[^/?#]*/i;

export function readTarget(text = ''): RequestTarget {
  const [prefix = ''] = SCHEME_AND_HOST.exec(text) ?? [];
  const target = text.slice(prefix.length);
  const end = target.indexOf('?');
  const path = end < 0 ? target : target.slice(0, end);
  return { path: path === '' && prefix !== '' ? '/' : path, search: end < 0 ? '' : target.slice(end + 1) };
}

export type Query = Readonly<Record<string, string | undefined>>;

/** Between the values of a parameter that occurs twice: no token, name or number contains it. */
const SEPARATOR = '\n';

/**
 * The parameters of a query. One that occurs twice has a value that nothing accepts: which of the two counts would be
 * arbitrary.
 */
export function readQuery(search: string): Query {
  const query: Record<string, string> = Object.create(null);
  for (const [name, value] of new URLSearchParams(search)) {
    const before = query[name];
    query[name] = before === undefined ? value : `${before}${SEPARATOR}${value}`;
  }
  return query;
}
