/** Where the service is: its origin, and the path below which a proxy has put it. */
export interface Address {
  readonly origin: string;
  /** `''` or as `/notifications`. */
  readonly path: string;
}

/** @throws TypeError when it is no address. In a page it may be a path: that of the page's own origin. */
export function parseAddress(url: string): Address {
  const { location } = globalThis as { location?: { href: string } };
  const { protocol, host, pathname } = read(url, location?.href);
  return { origin: `${protocol}//${host}`, path: pathname.replace(/\/+$/, '') };
}

function read(url: string, base: string | undefined): URL {
  const message = `url: expected an address as in http://localhost:8090, not ${JSON.stringify(url)}`;
  let address: URL;
  try {
    address = new URL(url, base);
  } catch (cause) {
    throw new TypeError(message, { cause });
  }
  if (address.protocol === 'http:' || address.protocol === 'https:') return address;
  throw new TypeError(message);
}
