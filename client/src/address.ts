/** Where the service is: its origin, and the path under which a proxy has put it. */
export interface Address {
  readonly origin: string;
  /** `''`, or a path such as `/notifications`. */
  readonly path: string;
}

/** A whole address is not parsed with `URL`: React Native's has no `protocol`, `host` and `pathname`. */
const ABSOLUTE = /^(https?):\/\/([^\s/?#@]+)(\/[^\s?#]*)?(?:[?#].*)?$/i;

/** @throws TypeError when it is not an address. In a page it may be a path on the page's own origin. */
export function parseAddress(url: string): Address {
  const { location } = globalThis as { location?: { href?: string } };
  const [, protocol, host, path = ''] = ABSOLUTE.exec(url) ?? ABSOLUTE.exec(resolve(url, location?.href)) ?? [];
  if (protocol === undefined || host === undefined) {
    throw new TypeError(`url: expected an address as in http://localhost:8090, not ${JSON.stringify(url)}`);
  }
  return { origin: `${protocol}://${host}`.toLowerCase(), path: path.replace(/\/+$/, '') };
}

function resolve(url: string, base: string | undefined): string {
  try {
    return base === undefined ? '' : new URL(url, base).href;
  } catch {
    // Not an address either way: the caller says so.
    return '';
  }
}
