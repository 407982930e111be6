/** Who is behind the proxies, and how the service was reached. */
import type { IncomingHttpHeaders } from 'node:http';
import { createClients, parseTrust } from '../../utils/proxies';

const PROXY = '10.0.0.1';
const CLIENT = '192.0.2.7';

interface Given {
  readonly trust?: string;
  readonly peer?: string;
}

function read(headers: IncomingHttpHeaders, { trust = '10.0.0.0/8', peer = PROXY }: Given = {}) {
  const clients = createClients({ TRUST_PROXY: trust });
  return clients.read({ headers: { host: 'inside:8090', ...headers }, socket: { remoteAddress: peer } });
}

const DIRECT = { scheme: 'http', host: 'inside:8090', prefix: '' };

describe('addresses', () => {
  it.each<[name: string, headers: IncomingHttpHeaders, address: string, given?: Given]>([
    ['of a proxy that says nothing', {}, PROXY],
    ['behind one proxy', { 'x-forwarded-for': CLIENT }, CLIENT],
    ['behind two proxies', { 'x-forwarded-for': `${CLIENT}, 10.0.0.2` }, CLIENT],
    ['with a port', { 'x-forwarded-for': `${CLIENT}:4711` }, CLIENT],
    ['of IPv6', { 'x-forwarded-for': '2001:db8::1' }, '2001:db8::1'],
    ['of IPv6 with a port', { 'x-forwarded-for': '[2001:db8::1]:4711' }, '2001:db8::1'],
    ['of IPv4 in IPv6', { 'x-forwarded-for': `::ffff:${CLIENT}` }, CLIENT],
    ['that a client has made up', { 'x-forwarded-for': `198.51.100.1, ${CLIENT}` }, CLIENT],
    ['that are none', { 'x-forwarded-for': 'unknown' }, PROXY],
    ['behind one that is none', { 'x-forwarded-for': `${CLIENT}, garbage` }, PROXY],
    ['in Forwarded', { forwarded: `for=${CLIENT}` }, CLIENT],
    ['in Forwarded, quoted and with a port', { forwarded: 'For="[2001:db8::1]:4711";proto=https' }, '2001:db8::1'],
    ['in a chain of Forwarded', { forwarded: `for=198.51.100.1, for=${CLIENT};by=10.0.0.3, for=10.0.0.2` }, CLIENT],
    ['in Forwarded, hidden', { forwarded: 'for=_hidden' }, PROXY],
    ['in both, the same', { forwarded: `for=${CLIENT}`, 'x-forwarded-for': CLIENT }, CLIENT],
    ['in both, contradicting', { forwarded: 'for=198.51.100.1', 'x-forwarded-for': CLIENT }, PROXY],
    ['of a stranger who claims', { 'x-forwarded-for': '198.51.100.1' }, CLIENT, { peer: CLIENT }],
    ['by hops', { 'x-forwarded-for': `198.51.100.1, ${CLIENT}, 10.0.0.2` }, CLIENT, { trust: '2' }],
    ['by fewer hops than there are', { 'x-forwarded-for': `${CLIENT}, 10.0.0.2` }, '10.0.0.2', { trust: '1' }],
    ['by more hops than there are', { 'x-forwarded-for': CLIENT }, CLIENT, { trust: '5' }],
    ['by no hops', { 'x-forwarded-for': CLIENT }, PROXY, { trust: '0' }],
    ['of a peer in IPv6 form', { 'x-forwarded-for': CLIENT }, CLIENT, { peer: `::ffff:${PROXY}` }],
    ['of a peer with a zone', { 'x-forwarded-for': CLIENT }, CLIENT, { peer: 'fe80::1%eth0', trust: 'linklocal' }],
    ['of a peer that is gone', { 'x-forwarded-for': CLIENT }, '', { peer: '', trust: '5' }],
  ])('%s', (...[, headers, address, given]) => {
    expect(read(headers, given).address).toBe(address);
  });
});

describe('scheme, host and prefix', () => {
  it.each<[name: string, headers: IncomingHttpHeaders, expected: object, given?: Given]>([
    [
      'of a stranger',
      { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'evil', 'x-forwarded-prefix': '/x' },
      DIRECT,
      { peer: CLIENT },
    ],
    [
      'that a proxy tells',
      { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'x.example:8443', 'x-forwarded-prefix': '/notify/' },
      { scheme: 'https', host: 'x.example:8443', prefix: '/notify' },
    ],
    ['of a WebSocket', { 'x-forwarded-proto': 'wss' }, { ...DIRECT, scheme: 'https' }],
    [
      'in Forwarded',
      { forwarded: `for=${CLIENT};host="x.example:8443";proto=https` },
      { ...DIRECT, scheme: 'https', host: 'x.example:8443' },
    ],
    [
      'that a client has made up before the proxy added its own',
      {
        'x-forwarded-for': `198.51.100.1, ${CLIENT}`,
        'x-forwarded-proto': 'http, https',
        'x-forwarded-host': 'evil, x.example',
      },
      { ...DIRECT, scheme: 'https', host: 'x.example' },
    ],
    [
      'of the outermost of two proxies',
      { 'x-forwarded-for': `${CLIENT}, 10.0.0.2`, 'x-forwarded-proto': 'https, http' },
      { ...DIRECT, scheme: 'https' },
    ],
    [
      'that are none',
      { 'x-forwarded-proto': 'gopher', 'x-forwarded-host': 'a/b', 'x-forwarded-prefix': 'notify' },
      DIRECT,
    ],
    ['that contradict', { forwarded: 'for=198.51.100.1;proto=https', 'x-forwarded-for': CLIENT }, DIRECT],
  ])('%s', (...[, headers, expected, given]) => {
    expect(read(headers, given)).toMatchObject(expected);
  });

  it.each(['//evil.example', '/a//b', '/../x', '/./', '/a?b', '/a b', '/"', 'https://evil.example'])(
    'the prefix %j is ignored',
    (prefix) => expect(read({ 'x-forwarded-prefix': prefix }).prefix).toBe(''),
  );

  it('long headers are read in no time', () => {
    const long = [`"${'"x'.repeat(8_000)}`, `${'a'.repeat(16_000)}`, `${'a=;'.repeat(5_000)}`, ','.repeat(16_000)];
    const readAll = () => {
      const startedAt = performance.now();
      for (const text of long) {
        read({ forwarded: text });
        read({ 'x-forwarded-for': text, 'x-forwarded-host': text, 'x-forwarded-prefix': `/${text}` });
      }
      return performance.now() - startedAt;
    };
    // The shortest of a few: what it costs, not what else the machine did meanwhile.
    expect(Math.min(...[1, 2, 3, 4, 5].map(readAll))).toBeLessThan(200);
  });
});

it('a contradiction is reported once', () => {
  const told = jest.fn();
  const clients = createClients({ TRUST_PROXY: '1' }, told);
  const headers = { forwarded: 'for=198.51.100.1', 'x-forwarded-for': CLIENT };
  for (const _each of [1, 2]) clients.read({ headers, socket: { remoteAddress: PROXY } });
  expect(told).toHaveBeenCalledTimes(1);
});

describe('links', () => {
  const request = (headers: IncomingHttpHeaders) => ({ headers, socket: { remoteAddress: PROXY } });

  it('begin as the client has reached the service', () => {
    const clients = createClients({ TRUST_PROXY: PROXY });
    expect(clients.linkBase(request({ host: 'x:8090' }))).toBe('http://x:8090');
    const headers = {
      host: 'x:8090',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'y',
      'x-forwarded-prefix': '/z',
    };
    expect(clients.linkBase(request(headers))).toBe('https://y/z');
    expect(clients.linkBase(request({}))).toBe('');
    expect(clients.linkBase(request({ host: 'x"><script>' }))).toBe('');
  });

  it('begin with PUBLIC_URL where it is set', () => {
    const clients = createClients({ PUBLIC_URL: 'https://x.example/notify' });
    expect(clients.linkBase(request({ host: 'y' }))).toBe('https://x.example/notify');
    expect(clients.isOwnOrigin(request({ host: 'inside:8090' }), 'https://x.example')).toBe(true);
    expect(clients.isOwnOrigin(request({ host: 'inside:8090' }), 'http://inside:8090')).toBe(true);
    expect(clients.isOwnOrigin(request({ host: 'inside:8090' }), 'https://y.example')).toBe(false);
  });
});

describe('TRUST_PROXY', () => {
  it.each([
    '0',
    '1',
    '32',
    '10.0.0.1',
    '10.0.0.0/8',
    '10.0.0.0/255.0.0.0',
    'fd00::/8',
    '::1',
    'loopback, uniquelocal',
    '10.0.0.1, 10.0.0.2',
  ])('may be %s', (text) => expect(typeof parseTrust(text)).toBe('function'));

  it.each([
    'true',
    'false',
    '*',
    '33',
    '-1',
    '1.5',
    '',
    ',',
    '10.0.0.1,',
    'proxy.example',
    '10.0.0.0/33',
    '10.0.0.0/8/8',
    '10.0.0.0/x',
    '10.0.0.0/255.0.255.0',
    'fd00::/129',
    'fd00::/255.0.0.0',
    'all',
  ])('may not be %j', (text) => expect(parseTrust(text)).toContain('must'));

  it.each(['0.0.0.0/0', '::/0', '128.0.0.0/1', '2000::/3', 'loopback,0.0.0.0/0', '0.0.0.0/0.0.0.0'])(
    '%s would trust everybody',
    (text) => expect(parseTrust(text)).toContain('everybody'),
  );
});
