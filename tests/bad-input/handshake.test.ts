/** Bad input on connect: handshakes, tokens, limits. A refused client is told why, and is never listed. */
import { connect as connectTcp } from 'node:net';
import { promisify } from 'node:util';
import type { Message } from '../../utils/protocol';
import { captureLog } from '../support/captured-log';
import { openClient } from '../support/client';
import { clockAt } from '../support/clock';
import { eventually } from '../support/eventually';
import { forgeClaims } from '../support/forged-tokens';
import { type Answer, exchange, exchangeBytes } from '../support/http';
import { expectProblem, type Refusal } from '../support/problems';
import { openRawSocket, type RawOptions, RawSocket, refusalOf, UpgradeRefused } from '../support/raw-socket';
import { range, startService, type TestService, testToken } from '../support/service';
import { countRefusals, MARKER, type SharedService, shareService } from '../support/shared-service';
import { collectUncaught } from '../support/uncaught';

const json = JSON.stringify;
const POLLING = 'EIO=4&transport=polling';
const unauthorized: Refusal = { status: 401, code: 'unauthorized' };

function itLeftNothingBehind(service: SharedService): void {
  it('leaves a connected client alone', () => service.expectBystanderUnharmed());

  it('leaves no token and no payload in the log', () => service.expectSecretsUnlogged());
}

/** Nobody except the bystander is listed, counted or known as connected. */
async function expectNobodyElseListed(service: SharedService): Promise<void> {
  const { text } = await service.exchange({ path: '/websocket/users/connected' });
  expect(JSON.parse(text)).toMatchObject({ users: ['bystander'], count: 1 });
  const metrics = await service.exchange({ path: '/metrics' });
  expect(metrics.text).toContain('\ntidings_connections{transport="socketio"} 1\n');
  expect(metrics.text).toContain('\ntidings_connections{transport="plain"} 0\n');
}

/** One polling session, request by request. */
class Polling {
  private constructor(
    private readonly url: string,
    private readonly sid: string,
  ) {}

  static async open(url: string): Promise<Polling> {
    const { text } = await exchange(url, { path: `/socket.io/?${POLLING}` });
    const { sid } = JSON.parse(text.slice(1)) as { sid: string };
    return new Polling(url, sid);
  }

  post(...packets: string[]): Promise<Answer> {
    const headers = { 'Content-Type': 'text/plain;charset=UTF-8' };
    return exchange(this.url, { method: 'POST', path: this.#path, headers, body: packets.join('\u001e') });
  }

  get(): Promise<Answer> {
    return exchange(this.url, { path: this.#path });
  }

  get #path(): string {
    return `/socket.io/?${POLLING}&sid=${this.sid}`;
  }
}

describe('an invalid handshake', () => {
  const service = shareService();
  const rows: [name: string, query: string, code: number][] = [
    ['EIO=3', 'EIO=3&transport=', 5],
    ['EIO missing', 'transport=', 5],
    ['EIO=constructor', 'EIO=constructor&transport=', 5],
    ['sid constructor', 'EIO=4&sid=constructor&transport=', 1],
    ['sid __proto__', 'EIO=4&sid=__proto__&transport=', 1],
    ['sid toString', 'EIO=4&sid=toString&transport=', 1],
    ['sid unknown', 'EIO=4&sid=AAAAAAAAAAAAAAAAAAAA&transport=', 1],
    ['sid of 10 KB', `EIO=4&sid=${'a'.repeat(10_240)}&transport=`, 1],
    ['sid with control characters', 'EIO=4&sid=%00%0d%0a&transport=', 1],
    ['unknown transport', 'EIO=4&transport=flash&transport=x', 0],
    ['transport webtransport', 'EIO=4&transport=webtransport&transport=webtransport&x=', 0],
    ['transport constructor', 'EIO=4&transport=constructor&x=', 0],
    ['transport __proto__', 'EIO=4&transport=__proto__&x=', 0],
    ['transport missing', 'EIO=4&x=', 0],
  ];

  it.each(rows)('over polling: %s', async (_name, query, code) => {
    const answer = await exchange(service.url, { path: `/socket.io/?${query}polling` });
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text)).toEqual({ code, message: expect.stringMatching(/\S/) });
  });

  it.each(rows.filter(([, , code]) => code !== 5))('over WebSocket: %s', async (_name, query) => {
    const refusal = await refusalOf(service.url, { query: `${query}websocket` });
    expect(refusal).toMatchObject({ status: 400, text: expect.stringMatching(/\S/) });
  });

  it.each(rows.filter(([, , code]) => code === 5))('over WebSocket: %s is closed at once', async (_name, query) => {
    const options = { query: `${query}websocket` };
    const raw = await openRawSocket(service.url, options).catch((error: unknown) => error);
    if (raw instanceof UpgradeRefused) return;
    expect(raw).toBeInstanceOf(RawSocket);
    await (raw as RawSocket).closed();
    expect((raw as RawSocket).frames).toEqual([]);
  });

  it.each(['POST', 'PUT', 'DELETE', 'PATCH'])('by %s', async (method) => {
    const answer = await exchange(service.url, { method, path: `/socket.io/?${POLLING}` });
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text)).toEqual({ code: 2, message: expect.stringMatching(/\S/) });
  });

  it.each(['POST', 'PUT'])('as an upgrade by %s', async (method) => {
    const head = [
      `${method} /socket.io/?EIO=4&transport=websocket HTTP/1.1`,
      `Host: ${new URL(service.url).host}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ];
    const uncaught = collectUncaught();
    expect((await exchangeBytes(service.url, `${head.join('\r\n')}\r\n\r\n`)).status).toBe(400);
    expect(uncaught).toEqual([]);
  });

  it('as WebSocket without an upgrade', async () => {
    const answer = await exchange(service.url, { path: '/socket.io/?EIO=4&transport=websocket' });
    expect(answer.status).toBe(400);
  });

  it('is counted like every other refusal', async () => {
    const before = await service.allRefusals();
    await exchange(service.url, { path: '/socket.io/?EIO=3&transport=polling' });
    await exchange(service.url, { path: `/socket.io/?${POLLING}&sid=constructor` });
    await refusalOf(service.url, { query: 'EIO=4&transport=flash' });
    expect(await service.allRefusals()).toBe(before + 3);
  });

  it('lists nobody', () => expectNobodyElseListed(service));

  itLeftNothingBehind(service);
});

describe('an upgrade to a path that has no socket', () => {
  const service = shareService();
  const upgrade = (path: string) =>
    [
      `GET ${path} HTTP/1.1`,
      `Host: ${new URL(service.url).host}`,
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ].join('\r\n');
  const paths = [
    '/websocket/me/status',
    '/websocket/message/user',
    '/socket.iox/?EIO=4&transport=websocket',
    '/api/socket.io/?EIO=4&transport=websocket',
    '/a/b/c',
    '/%/%00/x',
  ];

  it.each(paths)('%s is answered and closed', async (path) => {
    const answer = await exchangeBytes(service.url, `${upgrade(path)}\r\n\r\n`);
    expect(answer.status).toBe(404);
  });

  it.each([...paths, '/socket.io/?EIO=4&transport=websocket', '/socket.io/?EIO=3&transport=websocket', '/', '/ws'])(
    '%s may end in a reset at once',
    async (path) => {
      const uncaught = collectUncaught();
      const connections = promisify(service.httpServer.getConnections.bind(service.httpServer));
      const before = await connections();
      for (let round = 0; round < 10; round += 1) {
        await Promise.all([1, 2, 3].map(() => reset(service.url, upgrade(path))));
      }
      // Connections are accepted in order: when this one has been answered, those before it have arrived.
      const { host } = new URL(service.url);
      const live = await exchangeBytes(
        service.url,
        `GET /livez HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      );
      expect(live.status).toBe(200);
      await eventually(connections, (count) => count <= before);
      expect(uncaught).toEqual([]);
    },
  );

  itLeftNothingBehind(service);
});

/** Writes the head of a request and cuts the connection in the same moment. */
function reset(url: string, head: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connectTcp(Number(new URL(url).port), '127.0.0.1', () => {
      socket.write(`${head}\r\n\r\n`);
      socket.resetAndDestroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve());
  });
}

describe('the origin of a page', () => {
  const service = shareService({ CORS_ORIGIN: 'https://app.example, https://other.example:8443' });
  const handshakes: [string, (origin: string | undefined) => Promise<{ isAccepted: boolean; text: string }>][] = [
    ['polling', (origin) => openByPolling(service.url, origin)],
    ['websocket', (origin) => openByWebSocket(service.url, origin)],
  ];

  describe.each(handshakes)('over %s', (_transport, open) => {
    it.each([
      'https://evil.example',
      'https://app.example.evil.example',
      'http://app.example',
      'https://app.example:444',
      'https://other.example',
      'https://app.example/',
      'https://app.example https://evil.example',
      'null',
      'http://127.0.0.1',
      'file://',
      'constructor',
    ])('%s is refused', async (origin) => {
      const before = await service.refusals('origin_not_allowed');
      expect(await open(origin)).toMatchObject({
        isAccepted: false,
        text: expect.stringContaining('origin_not_allowed'),
      });
      expect(await service.refusals('origin_not_allowed')).toBe(before + 1);
    });

    it.each(['https://app.example', 'https://other.example:8443', undefined])('%s passes', async (origin) => {
      expect(await open(origin)).toMatchObject({ isAccepted: true });
    });

    it('the service’s own origin passes', async () => {
      expect(await open(service.url)).toMatchObject({ isAccepted: true });
      expect(await open(service.url.replace('http:', 'https:'))).toMatchObject({ isAccepted: true });
    });
  });

  itLeftNothingBehind(service);

  it('any origin passes with *, even where a page has none', async () => {
    const open = await startService({ env: { CORS_ORIGIN: '*' } });
    for (const origin of ['null', 'https://evil.example', undefined]) {
      expect(await openByPolling(open.url, origin)).toMatchObject({ isAccepted: true });
      expect(await openByWebSocket(open.url, origin)).toMatchObject({ isAccepted: true });
    }
  });

  it('only the service’s own passes in production when nothing is set', async () => {
    const { url } = await startService({ env: { NODE_ENV: 'production' } });
    expect(await openByPolling(url, url)).toMatchObject({ isAccepted: true });
    expect(await openByWebSocket(url, url)).toMatchObject({ isAccepted: true });
    for (const origin of ['null', 'https://evil.example']) {
      expect(await openByPolling(url, origin)).toMatchObject({ isAccepted: false });
      expect(await openByWebSocket(url, origin)).toMatchObject({ isAccepted: false });
    }
  });
});

async function openByPolling(url: string, origin: string | undefined): Promise<{ isAccepted: boolean; text: string }> {
  const headers = origin === undefined ? {} : { Origin: origin };
  const { status, text } = await exchange(url, { path: `/socket.io/?${POLLING}`, headers });
  expect([200, 403]).toContain(status);
  return { isAccepted: status === 200, text };
}

async function openByWebSocket(
  url: string,
  origin: string | undefined,
): Promise<{ isAccepted: boolean; text: string }> {
  const options: RawOptions = origin === undefined ? {} : { headers: { Origin: origin } };
  const outcome = await refusalOf(url, options).catch(() => undefined);
  return { isAccepted: outcome === undefined, text: outcome?.text ?? '' };
}

/** The answer to CONNECT, which must be a refusal. */
async function connectErrorOf(raw: RawSocket): Promise<{ message: string; data: unknown }> {
  const frame = await raw.next('4');
  expect(frame).toMatch(/^44\{/);
  return JSON.parse(frame.slice(2)) as { message: string; data: unknown };
}

describe('what CONNECT carries', () => {
  const service = shareService();
  const valid = testToken('anna');
  const device: Refusal = { status: 400, code: 'bad_request', path: 'device' };
  const withDevice = (name: string) => `{"token":"${valid}","device":${name}}`;

  it.each<[string, string, Refusal]>([
    ['nothing', '', unauthorized],
    ['an empty object', '{}', unauthorized],
    ['other fields', json({ tokens: valid, Token: valid, note: MARKER }), unauthorized],
    ['token null', '{"token":null}', unauthorized],
    ['token empty', '{"token":""}', unauthorized],
    ['token as a number', '{"token":123}', unauthorized],
    ['token true', '{"token":true}', unauthorized],
    ['token as an object', '{"token":{}}', unauthorized],
    ['token as an operator', '{"token":{"$ne":null}}', unauthorized],
    ['token as a list', json({ token: [valid] }), unauthorized],
    ['token inside an own __proto__', `{"__proto__":{"token":"${valid}"}}`, unauthorized],
    ['Bearer without a token', '{"token":"Bearer "}', unauthorized],
    ['Bearer twice', json({ token: `Bearer Bearer ${valid}` }), unauthorized],
    ['a token of 9 KB', json({ token: forgeClaims({ sub: 'anna', padding: 'a'.repeat(9_000) }) }), unauthorized],
    ['a token of 15 KB', json({ token: 'a'.repeat(15_000) }), unauthorized],
    ['a token with a control character', json({ token: `${valid}\u0000` }), unauthorized],
    [
      'a token that has expired',
      json({ token: forgeClaims({ sub: 'anna', exp: 1 }) }),
      { status: 401, code: 'token_expired' },
    ],
    ['device empty', withDevice('""'), device],
    ['device null', withDevice('null'), device],
    ['device as a number', withDevice('1'), device],
    ['device true', withDevice('true'), device],
    ['device as an object', withDevice('{"$ne":null}'), device],
    ['device as a list', withDevice('["phone"]'), device],
    ['device of 129 characters', withDevice(json('a'.repeat(129))), device],
    ['device with a line end', withDevice('"a\\nb"'), device],
    ['device with NUL', withDevice('"a\\u0000"'), device],
    ['device with a lone surrogate', withDevice('"\\ud800"'), device],
  ])('is refused when it is %s', async (_name, payload, refusal) => {
    service.keepSecret(valid);
    const before = await service.refusals(refusal.code);
    const raw = await openRawSocket(service.url);
    raw.send(`40${payload}`);
    const { message, data } = await connectErrorOf(raw);
    expectProblem(data, refusal);
    expect(data).toMatchObject({ detail: message });
    expect(await service.refusals(refusal.code)).toBe(before + 1);
    await expectNobodyElseListed(service);
    expect(raw.frames.filter((frame) => !frame.startsWith('0') && !frame.startsWith('44'))).toEqual([]);
  });

  it.each([
    ['null', '40null'],
    ['a list', '40[]'],
    ['a list with a token', `40["${valid}"]`],
    ['a text', `40"${valid}"`],
    ['true', '40true'],
    ['a text that is cut', '40{"token":'],
    ['more than one value', '40{}{}'],
    ['more than MAX_BODY_BYTES', `40{"token":"${'a'.repeat(1_048_576)}"}`],
  ])('ends the connection when it is %s', async (_name, frame) => {
    const raw = await openRawSocket(service.url);
    raw.send(frame);
    await raw.closed();
    await expectNobodyElseListed(service);
    expect(raw.frames.filter((text) => !text.startsWith('0'))).toEqual([]);
  });

  it.each([
    ['empty', 'device='],
    ['too long', `device=${'a'.repeat(129)}`],
    ['with a control character', 'device=a%00b'],
  ])('may not name a device in the address that is %s', async (_name, parameter) => {
    const raw = await openRawSocket(service.url, { query: `EIO=4&transport=websocket&token=${valid}&${parameter}` });
    raw.send('40');
    expectProblem((await connectErrorOf(raw)).data, device);
    await expectNobodyElseListed(service);
  });

  it.each(['/admin', '/__proto__', '/constructor', '/*', '/@anna'])(
    'is not for another namespace: %s',
    async (name) => {
      const raw = await openRawSocket(service.url);
      raw.send(`40${name},${json({ token: valid })}`);
      await raw.next(`44${name},`);
      await expectNobodyElseListed(service);
    },
  );

  it('reaches a client library as connect_error with a problem', async () => {
    for (const transport of ['polling', 'websocket']) {
      const client = openClient(service.url, { transports: [transport], auth: { token: 'x' } });
      const error = await client.next<Error & { data: unknown }>('connect_error');
      expectProblem(error.data, unauthorized);
      expect(client.socket.connected).toBe(false);
    }
  });

  itLeftNothingBehind(service);
});

describe('a token', () => {
  const service = shareService();
  const token = testToken('anna');

  it.each([
    ['in auth.token', {}, json({ token })],
    ['in auth.token behind Bearer', {}, json({ token: `Bearer ${token}` })],
    ['in the Authorization header', { headers: { Authorization: `Bearer ${token}` } }, ''],
    ['in the address', { parameters: { token } }, ''],
    ['of a device in the address', { parameters: { token, device: 'phone' } }, ''],
  ])('is accepted %s', async (_name, options: RawOptions, payload) => {
    service.keepSecret(token);
    const raw = await openRawSocket(service.url, options);
    raw.send(`40${payload}`);
    expect(await raw.next('42["authenticated"')).toContain('"userId":"anna"');
  });

  it.each([
    ['in the Authorization header', { headers: { Authorization: 'Bearer a.b.c' } }],
    ['as Basic', { headers: { Authorization: `Basic ${Buffer.from(`anna:${MARKER}`).toString('base64')}` } }],
    ['in the address', { parameters: { token: forgeClaims({ sub: 'anna', exp: 'never' }) } }],
    ['empty in the address', { parameters: { token: '' } }],
  ])('that is bad is refused %s', async (_name, options: RawOptions) => {
    service.keepSecret(options.parameters?.['token'] ?? '');
    const raw = await openRawSocket(service.url, options);
    raw.send('40');
    expectProblem((await connectErrorOf(raw)).data, unauthorized);
  });

  it('may not come in two headers: which of them counts would be arbitrary', async () => {
    const headers = { Authorization: [`Bearer ${token}`, 'Bearer a.b.c'] };
    const raw = await openRawSocket(service.url, { headers });
    raw.send('40');
    expectProblem((await connectErrorOf(raw)).data, unauthorized);
  });

  itLeftNothingBehind(service);
});

describe('many CONNECT packets in one burst', () => {
  const statusOf = async (service: TestService) => {
    const { body } = await service.api.get('/websocket/users/anna/status').expect(200);
    return body as { sockets: number };
  };

  it.each([2, 3, 200])('%i over WebSocket give at most one socket and one copy', async (count) => {
    const service = await startService();
    const ben = await service.connect('ben');
    await ben.next('sync:done');
    const raw = await openRawSocket(service.url, { parameters: { token: service.token('anna') } });
    raw.send(...Array.from({ length: count }, () => '40'));
    if (count > 3) await raw.closed();
    else await raw.next('42["sync:done"');
    expect((await statusOf(service)).sockets).toBe(count > 3 ? 0 : 1);
    await service.send('anna', [1]);
    await service.api.post('/websocket/message/broadcast').send({ type: 'news', data: 2 }).expect(200);
    await ben.messages(1);
    if (!raw.isClosed) await raw.reply(9, '429["ping"]');
    const copies = raw.frames.filter((frame) => frame.startsWith('42["message"'));
    expect(copies).toHaveLength(count > 3 ? 0 : 2);
    expect(raw.frames.filter((frame) => frame.startsWith('42["connected"')).length).toBeLessThanOrEqual(1);
    await ben.settle();
    expect(ben.allMessages).toHaveLength(1);
  });

  it('that are cut cost nobody a place', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '1', TOO_MANY: 'close-oldest' } });
    const anna = await service.connect('anna');
    const raw = await openRawSocket(service.url, { parameters: { token: service.token('anna') } });
    raw.send(...Array.from({ length: 200 }, () => '40'));
    await raw.closed();
    await anna.settle();
    expect(anna.received.filter(({ event }) => event === 'closing')).toEqual([]);
    expect(await statusOf(service)).toMatchObject({ sockets: 1 });
  });

  it('50 over polling give no socket', async () => {
    const service = await startService();
    const polling = await Polling.open(service.url);
    await polling.post(...Array.from({ length: 50 }, () => `40${json({ token: service.token('anna') })}`));
    expect((await polling.get()).status).toBe(400);
    expect((await statusOf(service)).sockets).toBe(0);
  });

  it('a second one on a connection that has its socket ends it', async () => {
    const service = await startService();
    const raw = await openRawSocket(service.url);
    await raw.join(service.token('anna'));
    raw.send(`40${json({ token: service.token('ben') })}`);
    await raw.closed();
    await eventually(
      () => statusOf(service),
      ({ sockets }) => sockets === 0,
    );
    expect(raw.frames.filter((frame) => frame.includes('ben'))).toEqual([]);
  });
});

const BROKEN_FRAMES: [string, ...(string | Buffer)[]][] = [
  ['an unknown packet', '48'],
  ['a packet that is no number', '4x'],
  ['an empty packet', '4'],
  ['an empty frame', ''],
  ['an unknown Engine.IO packet', '9'],
  ['a heartbeat in the wrong direction', '2'],
  ['a probe without an upgrade', '2probe'],
  ['an event that is cut', '42["ping"'],
  ['an event that is no list', '42{"0":"ping"}'],
  ['an event without a name', '42[]'],
  ['an event named null', '42[null]'],
  ['an event named by a list', '42[["ping"]]'],
  ['an event named by an object', '42[{"toString":"ping"}]'],
  ['a negative id', '42-1["ping"]'],
  ['an event of another namespace', '42/admin,["ping"]'],
  ['a CONNECT_ERROR', '44{"message":"no"}'],
  ['a binary event without its binary', '451-["message",{"_placeholder":true,"num":0}]', '42["ping"]'],
  ['a binary event of no parts', '450-["ping"]'],
  ['a binary event of too many parts', '4511-["ping"]'],
  ['a binary event of NaN parts', '45x-["ping"]'],
  ['a binary event that names a wrong part', '451-["ping",{"_placeholder":true,"num":7}]', Buffer.from('x')],
  ['a binary event that names no part', '451-["ping",{"_placeholder":true,"num":"constructor"}]', Buffer.from('x')],
  ['binary that nothing announced', Buffer.from('40{}')],
  ['base64 that nothing announced', 'bNDB7fQ=='],
  ['binary data 100,000 deep', `451-["message",${'['.repeat(100_000)}${']'.repeat(100_000)}]`, Buffer.from('x')],
];

describe('packets in the wrong place', () => {
  const service = shareService();

  it.each<[string, ...(string | Buffer)[]]>([
    ['DISCONNECT', '41'],
    ['an event', '42["message",{"to":"victim","type":"t","data":1}]'],
    ['an event with an id', '421["ping"]'],
    ['an acknowledgement', '430[]'],
    ['events and a token too late', '42["ping"]', `40{"token":"${testToken('anna')}"}`],
    ...BROKEN_FRAMES,
  ])('before CONNECT: %s ends the connection', async (_name, ...frames) => {
    const before = await service.allRefusals();
    const raw = await openRawSocket(service.url);
    raw.send(...frames);
    await raw.closed();
    await eventually(
      () => service.allRefusals(),
      (count) => count === before + 1,
    );
    expect(raw.frames.filter((frame) => !frame.startsWith('0'))).toEqual([]);
    await expectNobodyElseListed(service);
    expect(await service.stored('@victim')).toEqual([]);
  });

  it.each(BROKEN_FRAMES)('after CONNECT: %s ends the connection, no other', async (_name, ...frames) => {
    const other = await openRawSocket(service.url);
    await other.join(service.token('anna'));
    const raw = await openRawSocket(service.url);
    await raw.join(service.token('anna'));
    const before = await service.allRefusals();
    raw.send(...frames);
    await raw.closed();
    await eventually(
      () => service.allRefusals(),
      (count) => count === before + 1,
    );
    expect(await other.reply(1, '421["ping"]')).toMatchObject({ ok: true });
    const left = async () => JSON.parse((await service.exchange({ path: '/websocket/users/anna/status' })).text);
    await eventually(left, ({ sockets }: { sockets: number }) => sockets === 1);
  });

  it.each(['430[]', '43[]', '431', '43999999999999[1]', '461-1[{"_placeholder":true,"num":0}]'])(
    'after CONNECT: an acknowledgement of nothing is ignored: %s',
    async (frame) => {
      const raw = await openRawSocket(service.url);
      await raw.join(service.token('anna'));
      const isBinary = frame.startsWith('46');
      expect(await raw.reply(1, frame, ...(isBinary ? [Buffer.from('x')] : []), '421["ping"]')).toMatchObject({
        ok: true,
      });
    },
  );

  itLeftNothingBehind(service);
});

it('closes a connection without a valid CONNECT after 10 s', async () => {
  const service = await startService();
  const startedAt = performance.now();
  const polling = await Polling.open(service.url);
  const silent = await openRawSocket(service.url);
  const refused = await openRawSocket(service.url);
  refused.send('40{"token":"x"}');
  await refused.next('44');
  const elsewhere = await openRawSocket(service.url);
  elsewhere.send(`40/admin,${json({ token: service.token('anna') })}`);
  await elsewhere.next('44/admin,');
  const left = await openRawSocket(service.url);
  await left.join(service.token('anna'));
  left.send('41');
  const outcomeOf = async (ended: Promise<unknown>) => {
    const isEnded = await ended.then(
      () => true,
      () => false,
    );
    const seconds = (performance.now() - startedAt) / 1000;
    return isEnded && seconds < 12.5 ? 'closed' : `open after ${seconds.toFixed(1)} s`;
  };
  const patienceMs = 13_000;
  const [overPolling, ...others] = await Promise.all([
    outcomeOf(
      polling
        .get()
        .then(() => polling.get())
        .then(({ status }) => expect(status).toBe(400)),
    ),
    outcomeOf(silent.closed(patienceMs)),
    outcomeOf(refused.closed(patienceMs)),
    outcomeOf(elsewhere.closed(patienceMs)),
    outcomeOf(left.closed(patienceMs)),
  ]);
  const [withoutConnect, withRefusedConnect, inAnotherNamespace, afterDisconnect] = others;
  expect({ overPolling, withoutConnect, withRefusedConnect, inAnotherNamespace, afterDisconnect }).toEqual({
    overPolling: 'closed',
    withoutConnect: 'closed',
    withRefusedConnect: 'closed',
    inAnotherNamespace: 'closed',
    afterDisconnect: 'closed',
  });
  // The token that was refused, and two that never came; an unknown namespace and a DISCONNECT count as none.
  expect(await countRefusals(service.url, 'unauthorized')).toBe(3);
});

it('admits HANDSHAKES_PER_SECOND, before any token is examined, and continues in the next second', async () => {
  let now = Date.now();
  const service = await startService({
    env: { HANDSHAKES_PER_SECOND: '5' },
    overrides: { clock: clockAt(() => now) },
  });
  const anna = await service.connect('anna');
  await anna.next('sync:done');
  now += 1_000;
  const path = `/socket.io/?${POLLING}&token=x`;
  const answers = await Promise.all(range(1, 200).map(() => exchange(service.url, { path })));
  const accepted = answers.filter(({ status }) => status === 200);
  const refused = answers.filter(({ status }) => status === 403);
  expect([accepted.length, refused.length]).toEqual([5, 195]);
  for (const { text } of refused) expect(JSON.parse(text)).toMatchObject({ message: 'rate_limited' });
  for (const { text } of await Promise.all(range(1, 20).map(() => refusalOf(service.url, {})))) {
    expect(text).toBe('rate_limited');
  }
  const { text: metrics } = await exchange(service.url, { path: '/metrics' });
  expect(metrics).toContain('tidings_refusals_total{code="rate_limited"} 215\n');
  expect(metrics).toContain('tidings_refusals_total{code="unauthorized"} 0\n');
  await service.send('anna', [1]);
  expect(await anna.next<Message>('message')).toMatchObject({ data: { n: 1 } });
  now += 1_000;
  const ben = await service.connect('ben');
  await ben.next('sync:done');
});

describe.each([
  ['MAX_CONNECTIONS', false],
  ['MAX_CONNECTIONS_PER_ADDRESS', true],
])('%s', (variable, isPerAddress) => {
  it('refuses further ones, and admits again when one has left', async () => {
    const service = await startService({ env: { [variable]: '3' } });
    const anna = await service.connect('anna');
    await anna.next('sync:done');
    // A connection without authentication takes a place, too.
    const silent = await openRawSocket(service.url);
    await Polling.open(service.url);
    const refusal = await refusalOf(service.url, {});
    expect(refusal).toMatchObject({ status: 400, text: 'too_many_connections' });
    const overPolling = await exchange(service.url, { path: `/socket.io/?${POLLING}` });
    expect(overPolling.status).toBe(403);
    expect(JSON.parse(overPolling.text)).toMatchObject({ message: 'too_many_connections' });
    const fromElsewhere = refusalOf(service.url, { localAddress: '127.0.0.2' });
    if (isPerAddress) await expect(fromElsewhere).rejects.toThrow('the upgrade was accepted');
    else expect(await fromElsewhere).toMatchObject({ text: 'too_many_connections' });
    await service.send('anna', [1]);
    expect(await anna.next<Message>('message')).toMatchObject({ data: { n: 1 } });
    silent.send('41');
    await silent.closed();
    const handshake = () => exchange(service.url, { path: `/socket.io/?${POLLING}` });
    await eventually(handshake, ({ status }) => status === 200);
    expect((await handshake()).status).toBe(403);
  });
});

describe('MAX_CONNECTIONS_PER_USER', () => {
  const sockets = async (service: TestService, userId: string) => {
    const { body } = await service.api.get(`/websocket/users/${userId}/status`).expect(200);
    return (body as { sockets: number }).sockets;
  };

  it.each([['websocket'], ['polling']])('refuses a further connection over %s', async (transport) => {
    const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '2' } });
    const clients = [await service.connect('anna'), await service.connect('anna', { device: 'phone' })];
    for (const client of clients) await client.next('sync:done');
    const third = openClient(service.url, { transports: [transport], auth: { token: service.token('anna') } });
    const error = await third.next<Error & { data: unknown }>('connect_error');
    expectProblem(error.data, { status: 429, code: 'too_many_connections' });
    expect(await sockets(service, 'anna')).toBe(2);
    await service.connect('ben');
    await service.send('anna', [1]);
    for (const client of clients) expect(await client.messages(1)).toHaveLength(1);
    expect(third.allMessages).toEqual([]);
    clients[0]?.close();
    await eventually(
      () => sockets(service, 'anna'),
      (count) => count === 1,
    );
    await service.connect('anna');
    expect(await sockets(service, 'anna')).toBe(2);
  });

  it('closes the oldest when TOO_MANY says so, with the reason', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '2', TOO_MANY: 'close-oldest' } });
    const clients = [await service.connect('anna'), await service.connect('anna'), await service.connect('anna')];
    const [oldest, ...others] = clients;
    expect(await oldest?.next('closing')).toEqual({
      code: 'too_many_connections',
      reason: expect.stringMatching(/\S/),
      retryInMs: null,
    });
    expect(await oldest?.next('disconnect')).toBe('io server disconnect');
    expect(await sockets(service, 'anna')).toBe(2);
    for (const client of others) await client.next('sync:done');
    await service.send('anna', [1]);
    for (const client of others) expect(await client.messages(1)).toHaveLength(1);
    expect(oldest?.allMessages).toEqual([]);
  });

  it.each(['refuse', 'close-oldest'])('holds when all come at the same moment (%s)', async (tooMany) => {
    const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '3', TOO_MANY: tooMany } });
    const raws = await Promise.all(range(1, 12).map(() => openRawSocket(service.url)));
    for (const raw of raws) raw.send(`40${json({ token: service.token('anna') })}`);
    const isIn = async (raw: (typeof raws)[number]) => {
      const frame = await raw.next('4');
      return frame.startsWith('40') ? raw : undefined;
    };
    await Promise.all(raws.map(isIn));
    await eventually(
      () => sockets(service, 'anna'),
      (count) => count === 3,
    );
    await service.send('anna', [1]);
    const members = raws.filter(
      (raw) => raw.frames.some((frame) => frame.startsWith('42["connected"')) && !raw.isClosed,
    );
    for (const raw of members) raw.send('421["ping"]');
    await Promise.all(
      members.map((raw) => (raw.frames.some((frame) => frame.includes('closing')) ? raw.closed() : raw.next('431['))),
    );
    const copies = raws.map((raw) => raw.frames.filter((frame) => frame.startsWith('42["message"')).length);
    expect(copies.filter((count) => count > 0)).toEqual([1, 1, 1]);
  });
});

describe('AUTH_ERROR_EVENT', () => {
  const service = shareService({ AUTH_ERROR_EVENT: 'true' });

  it.each([
    ['no token', ''],
    ['a bad token', '{"token":"x"}'],
    ['a token of a wrong kind', '{"token":{}}'],
    ['an expired token', json({ token: forgeClaims({ sub: 'anna', exp: 1 }) })],
  ])('emits the event error, then closes: %s', async (_name, payload) => {
    const before = await service.allRefusals();
    const raw = await openRawSocket(service.url);
    raw.send(`40${payload}`);
    await raw.closed();
    const [, connected, ...rest] = raw.frames;
    expect(connected).toMatch(/^40\{"sid":/);
    expect(rest).toEqual(['42["error",{"message":"Authentication failed"}]', '41']);
    expect(await service.allRefusals()).toBe(before + 1);
    await expectNobodyElseListed(service);
  });

  it('reaches a client library as the event error, over both transports', async () => {
    for (const transport of ['polling', 'websocket']) {
      const client = openClient(service.url, { transports: [transport], auth: { token: 'x' } });
      expect(await client.next('error')).toEqual({ message: 'Authentication failed' });
      await client.next('disconnect');
      expect(client.received.map(({ event }) => event)).toEqual(['error', 'disconnect']);
    }
  });

  it('gives a refused client nothing else, whatever is sent meanwhile', async () => {
    const raws = await Promise.all(range(1, 20).map(() => openRawSocket(service.url)));
    const events = Array.from({ length: 5 }, () => '42["message",{"to":"victim","type":"t","data":1}]');
    for (const raw of raws) raw.send('40', ...events);
    const persist = { type: 'news', data: MARKER, persist: false };
    const broadcasts = range(1, 20).map(() => service.post('/websocket/message/broadcast', json(persist)));
    await Promise.all([...broadcasts, ...raws.map((raw) => raw.closed())]);
    for (const raw of raws) {
      const told = raw.frames.filter((frame) => !/^(0|40|41)/.test(frame));
      expect(told.filter((frame) => frame !== '42["error",{"message":"Authentication failed"}]')).toEqual([]);
    }
    expect(await service.stored('@victim')).toEqual([]);
    await expectNobodyElseListed(service);
  });

  it('leaves other refusals to connect_error', async () => {
    const client = openClient(service.url, { auth: { token: service.token('anna'), device: '' } });
    const error = await client.next<Error & { data: unknown }>('connect_error');
    expectProblem(error.data, { status: 400, code: 'bad_request', path: 'device' });
  });

  it('brings no token into the log', () => service.expectSecretsUnlogged());
});

it('logs no token of a handshake, wherever it was', async () => {
  const log = captureLog();
  const service = await startService({ overrides: { logger: log.logger } });
  const tokens = range(1, 4).map((n) => testToken(`anna${n}`));
  const bad = tokens.map((token) => `${token.slice(0, -4)}AAAA`);
  for (const [one = '', two = '', three = '', four = ''] of [tokens, bad]) {
    const handshakes: [RawOptions, string][] = [
      [{ parameters: { token: one } }, '40'],
      [{ headers: { Authorization: `Bearer ${two}` } }, '40'],
      [{}, `40${json({ token: three })}`],
      [{ parameters: { token: four }, headers: { Referer: `http://x/?token=${four}` } }, '40'],
    ];
    for (const [options, connect] of handshakes) {
      const raw = await openRawSocket(service.url, options);
      raw.send(connect);
      await raw.next('4');
      raw.send('4');
      await raw.closed();
    }
    const polling = await exchange(service.url, { path: `/socket.io/?${POLLING}&token=${one}` });
    expect(polling.status).toBe(200);
    await exchange(service.url, { path: `/socket.io/?EIO=3&transport=polling&token=${one}` });
    await exchange(service.url, { path: `/socket.io?${POLLING}&token=${one}` });
    await refusalOf(service.url, { query: `EIO=4&transport=flash&token=${one}` });
  }
  const text = log.lines.join('\n');
  expect(text).toContain('[redacted]');
  expect([...tokens, ...bad].filter((token) => text.includes(token))).toEqual([]);
});
