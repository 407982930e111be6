/** Where the service is: its origin, and the path below which a proxy has put it. */
export interface Address {
  readonly origin: string;
  /** `''` or as `/notifications`. */
  readonly path: string;
}

/** `URL` is not used for what is whole: React Native's has no `protocol`, `host` and `pathname`. */
const ABSOLUTE = /^(https?):\/\/([^\s/?#@]+)(\/[^\s?#]*)?(?:[?#].*)?$/i;

/** @throws TypeError when it is no address. In a page it may be a path: that of the page's own origin. */
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
    // No address either way: the caller says so.
    return '';
  }
}
