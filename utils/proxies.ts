/**
 * Who is behind the proxies, and at which address the service was reached: the only reader of these facts in requests.
 */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, isIPv4 } from 'node:net';
import { isSamePlace } from './origins';

/** Is this address, the `hop`-th from the service on, a trusted proxy? */
type Trust = (address: string, hop: number) => boolean;

const NAMED_SUBNETS = new Map([
  ['loopback', ['127.0.0.0/8', '::1/128']],
  ['linklocal', ['169.254.0.0/16', 'fe80::/10']],
  ['uniquelocal', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7']],
]);
const MAX_HOPS = 32;
/** A wider subnet trusts everybody, and then everybody can claim to be anybody. */
const MIN_PREFIX = { ipv4: 8, ipv6: 7 } as const;

/**
 * Reads TRUST_PROXY: a number of hops, or addresses and subnets.
 * @returns the rule, or what is wrong, to follow the variable's name: `must be …`.
 */
export function parseTrust(text: string): Trust | string {
  if (/^\d+$/.test(text)) return trustHops(Number(text));
  const list = new BlockList();
  for (const entry of text.split(',').flatMap((part) => NAMED_SUBNETS.get(part.trim()) ?? [part.trim()])) {
    const fault = addTo(list, entry);
    if (fault !== undefined) return fault;
  }
  return (address) => list.check(address, familyOf(address));
}

function trustHops(hops: number): Trust | string {
  return hops <= MAX_HOPS ? (_address, hop) => hop < hops : `must be at most ${MAX_HOPS} hops`;
}

const FORM = 'must be a number of hops, or addresses and subnets such as 10.0.0.0/8, loopback or uniquelocal';

function addTo(list: BlockList, entry: string): string | undefined {
  const [address = '', prefix, ...rest] = entry.split('/');
  if (isIP(address) === 0 || rest.length > 0) return FORM;
  const family = familyOf(address);
  if (prefix === undefined) {
    list.addAddress(address, family);
    return undefined;
  }
  const bits = isIPv4(prefix) && family === 'ipv4' ? bitsOfMask(prefix) : readBits(prefix);
  if (bits === undefined || bits > (family === 'ipv4' ? 32 : 128)) return FORM;
  if (bits < MIN_PREFIX[family]) return 'must name only the subnets of the proxies: one this large trusts everybody';
  list.addSubnet(address, bits, family);
  return undefined;
}

function readBits(text: string): number | undefined {
  return /^\d{1,3}$/.test(text) ? Number(text) : undefined;
}

/** 255.255.0.0 is 16; `undefined` for a mask with holes. */
function bitsOfMask(mask: string): number | undefined {
  const digits = mask.split('.').map((part) => Number(part).toString(2).padStart(8, '0'));
  return /^(1*)0*$/.exec(digits.join(''))?.[1]?.length;
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6';
}

/** How a client reached the service. */
export interface Client {
  /** As far as trusted proxies say; empty for a connection that is already closed. */
  readonly address: string;
  readonly scheme: 'http' | 'https';
  /** With its port if the client named one; `undefined` if it named none, or something that is no host. */
  readonly host: string | undefined;
  /** The path prefix that trusted proxies have removed: `/notify`, or nothing. */
  readonly prefix: string;
}

type PeerRequest = Pick<IncomingMessage, 'headers'> & {
  readonly socket: { readonly remoteAddress?: string | undefined };
};

export interface Clients {
  read(request: PeerRequest): Client;
  /** The beginning of links: scheme, host and prefix. Empty if the host is unknown: links are relative then. */
  linkBase(request: PeerRequest): string;
  /** Is this the origin of the service's own pages, as the client reached it? */
  isOwnOrigin(request: PeerRequest, origin: string): boolean;
}

/** @param onContradiction is called once, the first time that two headers of a trusted proxy name different clients. */
export function createClients(
  { TRUST_PROXY, PUBLIC_URL }: { readonly TRUST_PROXY?: string | undefined; readonly PUBLIC_URL?: string | undefined },
  onContradiction: () => void = () => {},
): Clients {
  const parsed = TRUST_PROXY === undefined ? () => false : parseTrust(TRUST_PROXY);
  if (typeof parsed === 'string') throw new Error(`TRUST_PROXY ${parsed}`);
  const publicHost = PUBLIC_URL === undefined ? undefined : new URL(PUBLIC_URL).host;
  let isContradictionTold = false;
  const tellOnce = () => {
    if (!isContradictionTold) onContradiction();
    isContradictionTold = true;
  };
  const read = (request: PeerRequest) => readClient(request, parsed, tellOnce);
  return {
    read,
    linkBase(request) {
      if (PUBLIC_URL !== undefined) return PUBLIC_URL;
      const { scheme, host, prefix } = read(request);
      return host === undefined ? '' : `${scheme}://${host}${prefix}`;
    },
    isOwnOrigin: (request, origin) => isSamePlace(origin, read(request).host) || isSamePlace(origin, publicHost),
  };
}

function readClient({ headers, socket }: PeerRequest, trust: Trust, onContradiction: () => void): Client {
  const peer = plainAddress(socket.remoteAddress ?? '');
  const direct: Client = { address: peer, scheme: 'http', host: asHost(headers.host), prefix: '' };
  if (peer === '' || !trust(peer, 0)) return direct;
  const forwarded = forwardedBy(headers, { direct, trust });
  if (forwarded !== undefined) return forwarded;
  onContradiction();
  return direct;
}

type Headers = IncomingMessage['headers'];
interface Hops {
  readonly direct: Client;
  readonly trust: Trust;
}

/**
 * What trusted proxies say. A proxy that writes one family of headers passes on the other unchanged, from anybody: if
 * they name different clients, neither is believed.
 */
function forwardedBy(headers: Headers, hops: Hops): Client | undefined {
  const classic = headers['x-forwarded-for'] === undefined ? undefined : fromClassic(headers, hops);
  const standard = headers.forwarded === undefined ? undefined : fromStandard(headers, hops);
  if (classic === undefined) return standard ?? fromClassic(headers, hops);
  return standard === undefined || standard.address === classic.address ? classic : undefined;
}

function fromClassic(headers: Headers, hops: Hops): Client {
  const { address, depth } = walk(listOf(headers['x-forwarded-for']), hops);
  return describe(headers, hops.direct, {
    address,
    scheme: fromEnd(listOf(headers['x-forwarded-proto']), depth),
    host: fromEnd(listOf(headers['x-forwarded-host']), depth),
    depth,
  });
}

function fromStandard(headers: Headers, hops: Hops): Client {
  const elements = listOf(headers.forwarded).map(parseElement);
  const { address, depth } = walk(
    elements.map((element) => element.get('for') ?? ''),
    hops,
  );
  const element = fromEnd(elements, depth);
  return describe(headers, hops.direct, {
    address,
    scheme: element?.get('proto'),
    host: element?.get('host'),
    depth,
  });
}

interface Forwarded {
  readonly address: string;
  readonly scheme: string | undefined;
  readonly host: string | undefined;
  readonly depth: number;
}

function describe(headers: Headers, direct: Client, forwarded: Forwarded): Client {
  return {
    address: forwarded.address,
    scheme: asScheme(forwarded.scheme) ?? direct.scheme,
    host: asHost(forwarded.host) ?? direct.host,
    prefix: asPrefix(fromEnd(listOf(headers['x-forwarded-prefix']), forwarded.depth)),
  };
}

/**
 * Walks outwards from the service while the current peer is trusted and names an address.
 * @param named by each proxy, the nearest last. @returns the client, and how many proxies are in front of the service.
 */
function walk(named: readonly string[], { direct, trust }: Hops): { address: string; depth: number } {
  let { address } = direct;
  let hop = 0;
  while (trust(address, hop)) {
    const next = asAddress(named.at(-1 - hop));
    if (next === undefined) break;
    address = next;
    hop += 1;
  }
  return { address, depth: Math.max(1, hop) };
}

/** What the `depth`-th proxy from the service on has added; a shorter list was set by it as a whole. */
function fromEnd<Item>(list: readonly Item[], depth: number): Item | undefined {
  return list.at(-Math.min(depth, list.length));
}

/** A repeated header is one list. Commas inside quotes are part of their value. */
function listOf(header: string | string[] | undefined): string[] {
  const text = Array.isArray(header) ? header.join(',') : (header ?? '');
  const parts = text.match(/(?:"[^"]*"|[^,"])+/g) ?? [];
  return parts.map((part) => part.trim()).filter((part) => part !== '');
}

/** One element of Forwarded (RFC 7239): `for=192.0.2.1;proto=https;host="x:443"`. */
function parseElement(text: string): ReadonlyMap<string, string> {
  const pairs = text.split(';').map((pair): [name: string, value: string] => {
    const at = pair.indexOf('=');
    const value = pair.slice(at + 1).trim();
    return [pair.slice(0, Math.max(0, at)).trim().toLowerCase(), /^"(.*)"$/.exec(value)?.[1] ?? value];
  });
  return new Map(pairs);
}

/** `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`; names such as `unknown` are none. */
function asAddress(text = ''): string | undefined {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  return isIP(bare) === 0 ? undefined : plainAddress(bare);
}

/**
 * How a dual-stack socket writes IPv4: ::ffff:127.0.0.1. The zone of a local address means something only to this
 * machine.
 */
function plainAddress(address: string): string {
  const mapped = address.replace(/^::ffff:/i, '');
  return isIPv4(mapped) ? mapped : (address.split('%', 1)[0] ?? '');
}

function asScheme(text: string | undefined): Client['scheme'] | undefined {
  const scheme = text?.toLowerCase();
  if (scheme === 'https' || scheme === 'wss') return 'https';
  return scheme === 'http' || scheme === 'ws' ? 'http' : undefined;
}

function asHost(text: string | undefined): string | undefined {
  return text !== undefined && /^([\w.-]+|\[[\da-f:.]+\])(:\d{1,5})?$/i.test(text) ? text : undefined;
}

/** Path segments without a trailing slash: anything else could lead elsewhere. */
function asPrefix(text = ''): string {
  const prefix = text.replace(/\/$/, '');
  return /^(\/[\w.~%-]+)+$/.test(prefix) && !/\/\.{1,2}(\/|$)/.test(prefix) ? prefix : '';
}
