/** Where the service is: its origin, and the path below which a proxy has put it. */
export interface Address {
  readonly origin: string;
  /** `''` or as `/notifications`. */
  readonly path: string;
}

/** @throws TypeError when it is no address. A page may give one that begins with its own. */
export function parseAddress(url: string): Address {
  const { location } = globalThis as { location?: { href: string } };
  const { protocol, host, pathname } = new URL(url, location?.href);
  return { origin: `${protocol}//${host}`, path: pathname.replace(/\/+$/, '') };
}
