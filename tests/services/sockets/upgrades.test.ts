/** Who takes an upgrade: exactly one, or nobody; and what is left of those that fail. */
import { StillClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { exchange, exchangeBytes } from '../../support/http';
import { scrape } from '../../support/metrics';
import { connectPlain } from '../../support/plain-client';
import { encodeRawFrame, OPCODES } from '../../support/raw-plain';
import { openRawSocket } from '../../support/raw-socket';
import { countConnections, openPolling, upgradeHead, WEBSOCKET_HEADERS, Wire } from '../../support/raw-upgrade';
import { range, startService, type TestService } from '../../support/service';
import { shareService } from '../../support/shared-service';
import { collectUncaught } from '../../support/uncaught';

const ENGINE = 'EIO=4&transport=websocket';
const placesOf = async ({ url }: { url: string }) => (await scrape(url)).value('tidings_places_taken');
const nothingTaken = (service: { url: string }) =>
  eventually(
    () => placesOf(service),
    (count) => count === 0,
  );

/** Requests of tests are kept alive: those are no leftovers. */
function connectionsOf({ httpServer }: Pick<TestService, 'httpServer'>): Promise<number> {
  httpServer.closeIdleConnections();
  return countConnections(httpServer);
}

const without = (name: string) => WEBSOCKET_HEADERS.filter((header) => !header.startsWith(`${name}:`));
const instead = (header: string) => [...without(header.split(':')[0] ?? ''), header];

describe('a target', () => {
  const service = shareService({ PING_INTERVAL_MS: '500', PING_TIMEOUT_MS: '500' });

  it.each([
    ...['/./socket.io/', '//socket.io/', '/socket.io', '/socket.io/../ws', '/ws/../socket.io/', '/%73ocket.io/'],
    ...['/SOCKET.IO/', '/socket.io/x', '/socket.io/./', '/socket.io//', '/socket.io%2f', '/socket.io/%2e%2e/ws'],
    ...['\\socket.io/', '/;/socket.io/', '/socket.io;/', '/socket.io/#', 'http://localhost/./socket.io/'],
    ...['/%2e/socket.io/', 'http://localhost//socket.io/', 'socket.io/', '*', '/socket.iox/'],
  ])('%s?… belongs to nobody', async (path) => {
    const wire = await Wire.open(service.url, upgradeHead(`${path}?${ENGINE}`));
    expect([400, 404]).toContain(await wire.status());
    await wire.ended();
    expect(wire.received).not.toContain('101');
  });

  it.each([
    ...[
      '/./ws',
      '//ws',
      '/ws/',
      '/WS',
      '/ws/..',
      '/%77s',
      '/ws%20',
      '/socket.io/../ws',
      '/.',
      '/..',
      '//',
      '*',
      '/ws;x',
    ],
    ...['/ws#', 'http://localhost/x/../ws', '/a/b', '/token', '/a.b/c', '/%61.b.c', 'http://localhost/ws/'],
  ])('%s belongs to nobody either', async (target) => {
    const wire = await Wire.open(service.url, upgradeHead(target));
    expect([400, 404]).toContain(await wire.status());
    await wire.ended();
    expect(wire.received).not.toContain('101');
  });

  it.each([
    ['/ws', '{"event"'],
    ['/', '{"event"'],
    ['/a.b.c', '{"event"'],
    ['http://localhost/ws', '{"event"'],
    ['HTTP://localhost', '{"event"'],
    [`/socket.io/?${ENGINE}`, '0{"sid"'],
    [`http://localhost/socket.io/?${ENGINE}`, '0{"sid"'],
    [`https://elsewhere:1/socket.io/?${ENGINE}`, '0{"sid"'],
  ])('%s has one taker, which speaks first or to a token', async (target, first) => {
    const isPlain = first.startsWith('{');
    const url = isPlain ? `${target}${target.endsWith('.c') ? '' : '?token=none'}` : target;
    const wire = await Wire.open(service.url, upgradeHead(url));
    expect(await wire.status()).toBe(101);
    await wire.until(() => wire.received.includes(first) || wire.isEnded);
    expect(wire.received.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(wire.received).toContain(first);
    expect(wire.received).not.toContain(isPlain ? '0{"sid"' : '{"event"');
  });

  it.each(['localhost:80', '/socket.io/', '*', 'x'])('CONNECT %s is answered and closed', async (target) => {
    const wire = await Wire.open(service.url, upgradeHead(target, { method: 'CONNECT' }));
    expect([400, 404]).toContain(await wire.status());
    await wire.ended();
  });

  it.each([
    ['/./socket.io/', 404],
    ['//socket.io/', 404],
    ['/socket.io', 404],
    ['/socket.io/x', 404],
    ['/socket.io/../ws', 404],
    ['/SOCKET.IO/', 404],
    ['http://localhost/./socket.io/', 404],
    ['/socket.io/', 200],
    ['http://localhost/socket.io/', 200],
  ])('%s by polling is answered once: %i', async (path, status) => {
    const head = `GET ${path}?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
    const wire = await Wire.open(service.url, head);
    expect(await wire.status()).toBe(status);
    await wire.ended();
    expect(wire.received.match(/HTTP\/1\.1/g)).toHaveLength(1);
  });

  it.each(['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js.map'])('/socket.io/%s is a file', async (name) => {
    for (const host of ['', 'http://localhost']) {
      const head = `GET ${host}/socket.io/${name}?v=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
      expect(await exchangeBytes(service.url, head)).toMatchObject({ status: 200 });
    }
  });

  it('leaves nothing behind', () =>
    eventually(
      () => placesOf(service),
      // The client that watches.
      (count) => count === 1,
    ));

  it('leaves a connected client alone', () => service.expectBystanderUnharmed());
});

describe('a parameter that comes twice counts for neither of its values:', () => {
  const service = shareService();

  it.each([
    ['token', (first: string, second: string) => `token=${first}&token=${second}`],
    ['token, one of them empty', (first: string, second: string) => `token=${first}&x&token=${second}&token=`],
  ])('%s', async (_name, query) => {
    const [good, bad] = [service.token('anna'), 'a.b.c'];
    for (const [first, second] of [
      [good, bad],
      [bad, good],
      [good, good],
    ] as const) {
      const raw = await openRawSocket(service.url, { query: `${ENGINE}&${query(first, second)}` });
      raw.send('40');
      expect(await raw.next('44')).toContain('"unauthorized"');
      const wire = await Wire.open(service.url, upgradeHead(`/ws?${query(first, second)}`));
      await wire.until(() => wire.received.includes('"event"'));
      expect(wire.received).toContain('"unauthorized"');
    }
  });

  it('device', async () => {
    const query = `token=${service.token('anna')}&device=phone&device=laptop`;
    const raw = await openRawSocket(service.url, { query: `${ENGINE}&${query}` });
    raw.send('40');
    expect(await raw.next('44')).toContain('"path":"device"');
    const wire = await Wire.open(service.url, upgradeHead(`/ws?${query}`));
    await wire.until(() => wire.received.includes('"event"'));
    expect(wire.received).toContain('"path":"device"');
  });

  it('sid', async () => {
    const sid = await openPolling(service.url);
    const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}&sid=${sid}`;
    const answer = await exchange(service.url, { path });
    expect(answer).toMatchObject({ status: 400, text: expect.stringContaining('Session ID unknown') });
    const wire = await Wire.open(service.url, upgradeHead(`/socket.io/?${ENGINE}&sid=${sid}&sid=${sid}`));
    expect(await wire.status()).toBe(400);
  });

  it('EIO and transport', async () => {
    for (const query of ['EIO=4&EIO=4&transport=polling', 'EIO=4&transport=polling&transport=polling']) {
      expect((await exchange(service.url, { path: `/socket.io/?${query}` })).status).toBe(400);
    }
  });
});

/** Upgrades that fail, by what they lack. */
const BROKEN: [name: string, headers: readonly string[]][] = [
  ['no key', without('Sec-WebSocket-Key')],
  ['a key that is none', instead('Sec-WebSocket-Key: x')],
  ['two keys', [...WEBSOCKET_HEADERS, 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']],
  ['no version', without('Sec-WebSocket-Version')],
  ['another version', instead('Sec-WebSocket-Version: 12')],
  ['a protocol that is none', [...WEBSOCKET_HEADERS, 'Sec-WebSocket-Protocol: a,,b']],
];

describe.each(['/ws', '/', '/a.b.c', `/socket.io/?${ENGINE}`])('an upgrade to %s', (target) => {
  it.each(BROKEN)('with %s costs no place', async (_name, headers) => {
    const service = await startService({ env: { MAX_CONNECTIONS: '5' } });
    const wires = await Promise.all(range(1, 5).map(() => Wire.open(service.url, upgradeHead(target, { headers }))));
    for (const wire of wires) {
      expect(await wire.status()).toBe(400);
      await wire.ended();
    }
    await nothingTaken(service);
    await eventually(
      () => connectionsOf(service),
      (count) => count === 0,
    );
    await (await service.connect('anna')).next('sync:done');
    await connectPlain(service.url, 'anna');
  });

  it('that is reset while it waits for its turn costs no place', async () => {
    const uncaught = collectUncaught();
    const service = await startService({ env: { MAX_CONNECTIONS: '20' } });
    for (const _round of range(1, 5)) {
      const wires = await Promise.all(range(1, 20).map(() => Wire.open(service.url)));
      for (const { socket } of wires) {
        socket.write(upgradeHead(target));
        socket.resetAndDestroy();
      }
      await eventually(
        () => connectionsOf(service),
        (count) => count === 0,
      );
    }
    await nothingTaken(service);
    await (await service.connect('anna')).next('sync:done');
    expect(uncaught).toEqual([]);
  });

  it('after a request that is not answered yet is cut: its frames would come in between', async () => {
    const service = await startService();
    const sid = await openPolling(service.url);
    const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    const poll = `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
    const wire = await Wire.open(service.url, `${poll}${upgradeHead(target)}`);
    await wire.ended();
    expect(wire.received).not.toContain('101');
  });
});

it('an upgrade that nobody takes may be reset, and holds no connection', async () => {
  const uncaught = collectUncaught();
  const service = await startService({ env: { MAX_CONNECTIONS: '5' } });
  for (const target of [`/./socket.io/?${ENGINE}`, '//socket.io/', '/socket.io/../ws', '/nowhere', '*']) {
    const wires = await Promise.all(range(1, 30).map(() => Wire.open(service.url, upgradeHead(target))));
    for (const [n, { socket }] of wires.entries()) {
      if (n % 3 === 0) socket.resetAndDestroy();
      if (n % 3 === 1) socket.end();
      // The others say nothing more, and stay.
    }
    await eventually(
      () => connectionsOf(service),
      (count) => count === 0,
    );
  }
  expect(uncaught).toEqual([]);
});

describe('a place of a polling session', () => {
  it('ends with it, also when it never begins', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS: '3' } });
    for (const _n of range(1, 5)) {
      const answer = await exchange(service.url, { path: '/socket.io/?EIO=3&transport=polling' });
      expect(answer.status).toBe(400);
    }
    await nothingTaken(service);
    const sids = await Promise.all(range(1, 3).map(() => openPolling(service.url)));
    expect(await placesOf(service)).toBe(3);
    for (const sid of sids) {
      const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
      await exchange(service.url, { method: 'POST', path, body: '1', headers: { 'Content-Type': 'text/plain' } });
    }
    await nothingTaken(service);
  });

  it('ends although its client has gone before it was answered', async () => {
    const service = await startService({
      env: { MAX_CONNECTIONS: '20', PING_INTERVAL_MS: '100', PING_TIMEOUT_MS: '100' },
    });
    const wires = await Promise.all(range(1, 20).map(() => Wire.open(service.url)));
    for (const { socket } of wires) {
      socket.write('GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n');
      socket.resetAndDestroy();
    }
    await nothingTaken(service);
  });
});

describe('another transport for a polling session', () => {
  const upgradeOf = (sid: string, headers: readonly string[] = []) =>
    upgradeHead(`/socket.io/?${ENGINE}&sid=${sid}`, { headers: [...WEBSOCKET_HEADERS, ...headers] });

  it('is refused to a page of another origin', async () => {
    const service = await startService({ env: { CORS_ORIGIN: 'https://app.example' } });
    const sid = await openPolling(service.url);
    const foreign = await Wire.open(service.url, upgradeOf(sid, ['Origin: https://evil.example']));
    expect(await foreign.status()).toBe(400);
    expect(foreign.received).toContain('origin_not_allowed');
    await foreign.ended();
    const own = await Wire.open(service.url, upgradeOf(sid, ['Origin: https://app.example']));
    expect(await own.status()).toBe(101);
  });

  it('is tried once at a time', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS: '5', MAX_CONNECTIONS_PER_ADDRESS: '5' } });
    const sid = await openPolling(service.url);
    const before = await connectionsOf(service);
    const wires = await Promise.all(range(1, 300).map(() => Wire.open(service.url, upgradeOf(sid))));
    const statuses = await Promise.all(wires.map((wire) => wire.status()));
    expect(statuses.filter((status) => status === 101)).toHaveLength(1);
    expect(statuses.filter((status) => status === 400)).toHaveLength(299);
    await eventually(
      () => connectionsOf(service),
      (count) => count <= before + 1,
    );
    expect(await placesOf(service)).toBe(1);
  });

  it.each([
    ['is not probed', ''],
    ['says something else', '4'],
    ['is probed, and not taken', '2probe'],
  ])('is cut within seconds when it %s, and may be tried again', async (_name, packet) => {
    const service = await startService();
    const sid = await openPolling(service.url);
    const startedAt = performance.now();
    const wire = await Wire.open(service.url, upgradeOf(sid));
    expect(await wire.status()).toBe(101);
    if (packet !== '') wire.socket.write(textFrame(packet));
    await wire.ended();
    expect(performance.now() - startedAt).toBeLessThan(7_000);
    const again = await Wire.open(service.url, upgradeOf(sid));
    expect(await again.status()).toBe(101);
  });

  it('is refused to a session that has it already', async () => {
    const service = await startService();
    const born = await openRawSocket(service.url);
    const { sid } = JSON.parse((await born.next('0')).slice(1)) as { sid: string };
    expect(await (await Wire.open(service.url, upgradeOf(sid))).status()).toBe(400);
    const changed = await openPolling(service.url);
    const wire = await Wire.open(service.url, upgradeOf(changed));
    expect(await wire.status()).toBe(101);
    wire.socket.write(Buffer.concat([textFrame('2probe'), textFrame('5')]));
    await wire.until(() => wire.received.includes('3probe'));
    expect(await (await Wire.open(service.url, upgradeOf(changed))).status()).toBe(400);
    wire.socket.write(textFrame('40{"token":"x"}'));
    await wire.until(() => wire.received.includes('44{'));
  });

  it('is cut with its session', async () => {
    const service = await startService();
    const sid = await openPolling(service.url);
    const wire = await Wire.open(service.url, upgradeOf(sid));
    expect(await wire.status()).toBe(101);
    const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    await exchange(service.url, { method: 'POST', path, body: '1', headers: { 'Content-Type': 'text/plain' } });
    await wire.ended();
    await nothingTaken(service);
  });

  it('keeps the place of the session to the end of its connection', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS: '1' } });
    const client = await service.connect('anna', { transports: ['polling', 'websocket'] });
    await client.next('sync:done');
    if (client.socket.io.engine.transport.name !== 'websocket') {
      await new Promise((resolve) => client.socket.io.engine.once('upgrade', resolve));
    }
    expect(await placesOf(service)).toBe(1);
    client.close();
    await nothingTaken(service);
  });

  it('counts beyond HANDSHAKES_PER_SECOND, on its own account', async () => {
    const clock = new StillClock();
    const service = await startService({ env: { HANDSHAKES_PER_SECOND: '2' }, overrides: { clock } });
    const sids = await Promise.all(range(1, 2).map(() => openPolling(service.url)));
    const statuses: number[] = [];
    for (const sid of [...sids, 'unknown']) {
      const wire = await Wire.open(service.url, upgradeOf(sid));
      statuses.push(await wire.status());
      if (sid === 'unknown') expect(wire.received).toContain('rate_limited');
    }
    expect(statuses).toEqual([101, 101, 400]);
  });
});

describe('pings whose answers are not read', () => {
  it.each(['/ws', `/socket.io/?${ENGINE}`])('end a connection to %s that is not authenticated', async (target) => {
    const service = await startService({ env: { MAX_BUFFERED_BYTES: '20000', SOCKET_EVENTS_PER_SECOND: '1000000' } });
    const wire = await Wire.open(service.url, upgradeHead(target));
    expect(await wire.status()).toBe(101);
    wire.socket.pause();
    const pings = Buffer.concat(
      range(1, 1_000).map(() => encodeRawFrame({ opcode: OPCODES.ping, payload: 'x'.repeat(125) })),
    );
    const closed = new Promise<boolean>((resolve) => wire.socket.once('close', () => resolve(false)));
    const written = () =>
      new Promise<boolean>((resolve) => wire.socket.write(pings, (fault) => resolve((fault ?? null) === null)));
    let megabytes = 0;
    while (megabytes < 20 && (await Promise.race([written(), closed]))) megabytes += pings.length / 2 ** 20;
    // First, what the operating system holds in both directions.
    expect(megabytes).toBeLessThan(20);
    await nothingTaken(service);
  });
});

it.each(['/ws', `/socket.io/?${ENGINE}`])('what makes no WebSocket is counted, at %s', async (target) => {
  const service = await startService();
  const counted = async () => (await scrape(service.url)).value('tidings_refusals_total{code="bad_request"}');
  const wire = await Wire.open(service.url, upgradeHead(target, { headers: without('Sec-WebSocket-Key') }));
  expect(await wire.status()).toBe(400);
  expect(await counted()).toBe(1);
  await (await Wire.open(service.url, upgradeHead('/nowhere'))).ended();
  expect((await scrape(service.url)).value('tidings_refusals_total{code="not_found"}')).toBe(1);
});

describe('what is not a request', () => {
  it.each([
    ['no HTTP', 'x\r\n\r\n', 400],
    ['too many headers', `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`, 431],
    ['an upgrade without an end', upgradeHead('/ws').replace('Upgrade: websocket', 'Upgrade websocket'), 400],
  ])(
    '%s: is answered, and its connection closed although the peer keeps its side open',
    async (_name, text, status) => {
      const service = await startService();
      const wires = await Promise.all(range(1, 5).map(() => Wire.open(service.url, text)));
      for (const wire of wires) expect(await wire.status()).toBe(status);
      const startedAt = performance.now();
      await eventually(
        () => connectionsOf(service),
        (count) => count === 0,
      );
      expect(performance.now() - startedAt).toBeLessThan(6_000);
    },
  );
});

it('what is not a request is not answered in the middle of an answer', async () => {
  const service = await startService();
  const sid = await openPolling(service.url);
  const poll = `GET /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  const wire = await Wire.open(service.url, `${poll}x\r\n\r\n`);
  await wire.ended();
  expect(wire.received).toBe('');
});

it('a service stops although sockets are half-way in', async () => {
  const service = await startService({ env: { SHUTDOWN_TIMEOUT_MS: '1000' } });
  const sid = await openPolling(service.url);
  const heads = [
    upgradeHead(`/socket.io/?${ENGINE}&sid=${sid}`),
    upgradeHead(`/socket.io/?${ENGINE}`),
    upgradeHead('/ws'),
    upgradeHead('/nowhere'),
    upgradeHead(`/./socket.io/?${ENGINE}`),
    upgradeHead(`/socket.io/?EIO=4&transport=polling`),
    upgradeHead('/ws').slice(0, -4),
    'GET /livez HT',
    '',
  ];
  const wires = await Promise.all([...heads, ...heads].map((head) => Wire.open(service.url, head)));
  await wires[0]?.status();
  for (const wire of wires.slice(heads.length)) wire.socket.end();
  const startedAt = performance.now();
  await service.stop();
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});

/** A masked text frame of a short text. */
function textFrame(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
}
