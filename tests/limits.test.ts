/**
 * Every limit of docs/operations/limits.md: up to it all goes well and nothing is counted; one step further its code
 * comes, and is counted once. The page and these rows are the same list.
 */
import { readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describeVariables } from '../utils/config';
import { ERROR_KINDS, type Problem } from '../utils/errors';
import { CLOSING_CODES, type Reply } from '../utils/protocol';
import { openClient, TestClient } from './support/client';
import { StillClock } from './support/clock';
import { eventually } from './support/eventually';
import { forgeClaims } from './support/forged-tokens';
import { exchange } from './support/http';
import { idleMetrics, scrape } from './support/metrics';
import { connectPlain, openPlain, type PlainClient } from './support/plain-client';
import { encodeRawFrame, OPCODES, openRawPlain } from './support/raw-plain';
import { openRawSocket, refusalOf } from './support/raw-socket';
import { openPolling } from './support/raw-upgrade';
import { range, type ServiceOptions, startService, type TestService } from './support/service';
import { TRANSPORTS } from './support/transports';

const json = JSON.stringify;
/** A refusal names the limit, and its value. */
const NAMES_LIMIT = /(MAX_CONNECTIONS|HANDSHAKES_PER_SECOND).* \d+\b/;
const POLLING = '/socket.io/?EIO=4&transport=polling';

interface Stage {
  readonly service: TestService;
  readonly clock: StillClock;
}

interface Row {
  /** As the page calls it. */
  readonly limit: string;
  /** Who or what meets it, where several do. */
  readonly over?: string;
  readonly env?: ServiceOptions['env'];
  /**
   * Goes as far as the limit allows. @returns the step that is too far, and resolves to what the client receives then.
   */
  readonly upTo: (stage: Stage) => Promise<() => Promise<unknown>>;
  readonly told: unknown;
  /** What may be counted on the way. */
  readonly before?: Readonly<Record<string, number>>;
  /** By how much series of `COUNTED` grow with the last step; no others may. */
  readonly moves: Readonly<Record<string, number>>;
}

/** Everything that reports a limit. */
const COUNTED = [
  'tidings_refusals_total',
  'tidings_rate_limited_total',
  'tidings_connections_refused_total',
  'tidings_closings_total',
];

type Counts = Readonly<Record<string, number>>;

/** The series that are not 0. */
async function countsOf({ url }: TestService): Promise<Counts> {
  const { families } = await scrape(url);
  const samples = families.filter(({ name }) => COUNTED.includes(name)).flatMap((family) => family.samples);
  const moved = samples.filter(({ value }) => value !== 0);
  return Object.fromEntries(
    moved.map(({ name, labels, value }) => [
      `${name}{${Object.entries(labels).map(([k, v]) => `${k}="${v}"`)}}`,
      value,
    ]),
  );
}

function sum(one: Counts, other: Counts): Counts {
  const names = [...Object.keys(one), ...Object.keys(other)].sort();
  return Object.fromEntries(names.map((name) => [name, (one[name] ?? 0) + (other[name] ?? 0)]));
}

const refusal = (code: keyof typeof ERROR_KINDS) => ({ [`tidings_refusals_total{code="${code}"}`]: 1 });
const closing = (code: (typeof CLOSING_CODES)[number]) => ({ [`tidings_closings_total{code="${code}"}`]: 1 });
const beyondRate = (limit: string) => ({
  ...refusal('rate_limited'),
  [`tidings_rate_limited_total{limit="${limit}"}`]: 1,
});
const beyondPlaces = (limit: string) => ({
  ...refusal('too_many_connections'),
  [`tidings_connections_refused_total{limit="${limit}"}`]: 1,
});

/** The answer to a handshake; the connection stays open if it is admitted. */
interface Told {
  readonly code: string;
  readonly retryInMs?: number | undefined;
}

const LET_IN: Told = { code: 'let in' };
type Knock = (service: TestService, localAddress?: string) => Promise<Told>;

const retryOf = (header: string | undefined) => (header === undefined ? undefined : Number(header) * 1_000);

const knockByUpgrade: Knock = async ({ url }, localAddress = '127.0.0.1') => {
  const refused = await refusalOf(url, { localAddress }).catch((error: Error) => error.message);
  if (typeof refused === 'string')
    return { ...LET_IN, code: refused === 'the upgrade was accepted' ? 'let in' : refused };
  return { code: refused.text, retryInMs: retryOf(refused.headers['retry-after']) };
};

const knockByPolling: Knock = async ({ url }) => {
  const { status, text, headers } = await exchange(url, { path: POLLING });
  if (status === 200) return LET_IN;
  const { code, message, detail } = JSON.parse(text) as { code: number; message: string; detail: string };
  expect({ status, code, detail }).toEqual({ status: 403, code: 4, detail: expect.stringMatching(NAMES_LIMIT) });
  return { code: message, retryInMs: retryOf(headers['retry-after']) };
};

const CLOSE_CODES: Readonly<Record<string, number>> = { too_many_connections: 4409, rate_limited: 4429 };

const knockByPlain: Knock = async ({ url, token }, localAddress = '127.0.0.1') => {
  const client = openPlain(url, { path: `/${token('anna')}`, localAddress });
  const first = await Promise.race([client.next('connected'), client.next<Problem & Told>('error')]);
  if (!('code' in first)) return LET_IN;
  const { code, detail, retryInMs } = first as Problem;
  expect(detail).toMatch(NAMES_LIMIT);
  expect(await client.closed).toEqual({ code: CLOSE_CODES[code], reason: code });
  return { code, retryInMs };
};

const KNOCKS: [door: string, knock: Knock][] = [
  ['Socket.IO, by polling', knockByPolling],
  ['Socket.IO, by an upgrade', knockByUpgrade],
  ['plain WebSocket', knockByPlain],
];

const handshakes: Row[] = KNOCKS.flatMap(([over, knock]) => {
  const times = (count: number) => async (stage: Stage) => {
    for (const _handshake of range(1, count)) expect(await knock(stage.service)).toEqual(LET_IN);
    return () => knock(stage.service);
  };
  const full = { code: 'too_many_connections', retryInMs: 5_000 };
  const tooFast = { code: 'rate_limited', retryInMs: 1_000 };
  return [
    {
      limit: 'connections in all',
      over,
      env: { MAX_CONNECTIONS: '3' },
      upTo: times(3),
      told: full,
      moves: beyondPlaces('all'),
    },
    {
      ...{ limit: 'connections of one address', over, env: { MAX_CONNECTIONS_PER_ADDRESS: '3' } },
      ...{ upTo: times(3), told: full, moves: beyondPlaces('address') },
    },
    {
      ...{ limit: 'new connections', over, env: { HANDSHAKES_PER_SECOND: '3' } },
      ...{ upTo: times(3), told: tooFast, moves: beyondRate('handshakes') },
    },
    ...(knock === knockByPolling ? [] : [sharedRate(over, knock, tooFast)]),
  ];
});

function sharedRate(over: string, knock: Knock, told: Told): Row {
  return {
    ...{ limit: 'new connections of one address', over, env: { HANDSHAKES_PER_SECOND: '6' } },
    upTo: async ({ service }) => {
      expect(await knock(service, '127.0.0.2')).toEqual(LET_IN);
      for (const _handshake of range(1, 3)) expect(await knock(service)).toEqual(LET_IN);
      return () => knock(service);
    },
    ...{ told, moves: beyondRate('handshakes_per_address') },
  };
}

/** Why a connection of this user is refused, over either transport. */
async function refusedConnection(service: TestService, over: string): Promise<string> {
  if (over !== 'Socket.IO') {
    const { code } = await openPlain(service.url, { path: `/${service.token('anna')}` }).next<Problem>('error');
    return code;
  }
  const client = openClient(service.url, { auth: { token: service.token('anna') } });
  return (await client.next<Error & { data: Problem }>('connect_error')).data.code;
}

/** Sends an event that wants no answer. */
function ping(client: TestClient | PlainClient): void {
  if (client instanceof TestClient) client.socket.emit('ping');
  else client.send({ action: 'ping' });
}

const codeOf = (reply: Reply) => (reply.ok ? 'ok' : reply.error.code);

const connections: Row[] = TRANSPORTS.flatMap(([over, connect]): Row[] => {
  const enter = (service: TestService) => connect(service, 'anna') as Promise<TestClient | PlainClient>;
  const atBurst = async ({ service }: Stage) => {
    const client = await enter(service);
    for (const _event of range(1, 4)) expect(await client.call('ping')).toMatchObject({ ok: true });
    return client;
  };
  return [
    {
      ...{ limit: 'connections of one user', over: `${over}, refused`, env: { MAX_CONNECTIONS_PER_USER: '2' } },
      upTo: async ({ service }) => {
        for (const _connection of range(1, 2)) await enter(service);
        return () => refusedConnection(service, over);
      },
      ...{ told: 'too_many_connections', moves: beyondPlaces('user') },
    },
    {
      ...{ limit: 'connections of one user', over: `${over}, the oldest closed` },
      env: { MAX_CONNECTIONS_PER_USER: '2', TOO_MANY: 'close-oldest' },
      upTo: async ({ service }) => {
        const oldest = await enter(service);
        await enter(service);
        return async () => {
          await enter(service);
          return (await oldest.next('closing'))['code'];
        };
      },
      ...{ told: 'too_many_connections', moves: closing('too_many_connections') },
    },
    {
      ...{ limit: 'events of one connection', over, env: { SOCKET_EVENTS_PER_SECOND: '1' } },
      upTo: async (stage) => {
        const client = await atBurst(stage);
        return async () => {
          const reply = await client.call('ping');
          return reply.ok ? reply : { code: reply.error.code, retryInMs: reply.error.retryInMs };
        };
      },
      ...{ told: { code: 'rate_limited', retryInMs: 1_000 }, moves: beyondRate('events') },
    },
    {
      ...{ limit: 'events of one connection', over: `${over}, acknowledgements of nothing` },
      env: { SOCKET_EVENTS_PER_SECOND: '1' },
      upTo: async ({ service }) => {
        const client = await enter(service);
        for (const _ack of range(1, 4)) {
          expect(codeOf(await client.call('ack', { topic: '@anna', seq: 99 }))).toBe('bad_request');
        }
        return async () => codeOf(await client.call('ping'));
      },
      before: { 'tidings_refusals_total{code="bad_request"}': 4 },
      ...{ told: 'rate_limited', moves: beyondRate('events') },
    },
    {
      ...{ limit: 'a flood of events', over, env: { SOCKET_EVENTS_PER_SECOND: '1' } },
      upTo: async (stage) => {
        const client = await atBurst(stage);
        // What a pause has earned is spent first, so that an event is refused at each step.
        for (const step of range(1, 10)) {
          if (step > 1) stage.clock.shift(550);
          while (codeOf(await client.call('ping')) === 'ok');
        }
        return async () => {
          stage.clock.shift(50);
          for (const _event of range(1, 2)) ping(client);
          return (await client.next('closing'))['code'];
        };
      },
      before: {
        'tidings_refusals_total{code="rate_limited"}': 10,
        'tidings_rate_limited_total{limit="events"}': 10,
      },
      ...{ told: 'rate_limited', moves: { ...beyondRate('events'), ...closing('rate_limited') } },
    },
  ];
});

const frames: Row[] = [
  {
    limit: 'packets in one request of a polling client',
    upTo: async ({ service }) => {
      const sid = await openPolling(service.url);
      const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
      // Pings from the client are no event, and nobody answers them.
      const post = (packets: number) =>
        exchange(service.url, { method: 'POST', path, body: Array(packets).fill('3').join('\u001e') });
      expect((await post(1_000)).status).toBe(200);
      return async () => {
        await post(1_002);
        return (await exchange(service.url, { path })).status === 400;
      };
    },
    told: true,
    // And that the session is gone.
    moves: { 'tidings_refusals_total{code="bad_request"}': 2 },
  },
  {
    limit: 'CONNECT packets',
    upTo: async ({ service }) => {
      const raw = await openRawSocket(service.url);
      for (const _packet of range(1, 3)) {
        raw.send('40{"token":"x"}');
        expect(await raw.next('44')).toContain('unauthorized');
      }
      return async () => {
        raw.send('40{"token":"x"}');
        return (await raw.closed()) > 0;
      };
    },
    told: true,
    before: { 'tidings_refusals_total{code="unauthorized"}': 3 },
    moves: refusal('bad_request'),
  },
  {
    limit: 'arguments of an event',
    upTo: async ({ service }) => {
      const raw = await openRawSocket(service.url);
      await raw.join(service.token('anna'));
      const event = (count: number) => `421${json(['ping', ...range(2, count)])}`;
      expect(await raw.reply(1, event(64))).toMatchObject({ ok: true });
      return async () => {
        raw.send(event(65));
        return (await raw.closed()) > 0;
      };
    },
    ...{ told: true, moves: refusal('bad_request') },
  },
  {
    limit: 'bad frames in a row',
    upTo: async ({ service }) => {
      const client = await connectPlain(service.url, 'anna');
      for (const _frame of range(1, 9)) expect(await client.reply('not json')).toMatchObject({ ok: false });
      return async () => {
        client.send('not json');
        return [(await client.next('closing'))['code'], (await client.closed).code];
      };
    },
    before: { 'tidings_refusals_total{code="invalid_json"}': 9 },
    told: ['bad_frames', 4400],
    moves: { ...refusal('invalid_json'), ...closing('bad_frames') },
  },
  {
    ...{ limit: 'bytes of a frame', over: 'Socket.IO', env: { MAX_BODY_BYTES: '1024' } },
    upTo: async ({ service }) => {
      const raw = await openRawSocket(service.url);
      await raw.join(service.token('anna'));
      const frame = (bytes: number) => `421["ping","${'x'.repeat(bytes - '421["ping",""]'.length)}"]`;
      expect(await raw.reply(1, frame(1_024))).toMatchObject({ ok: true });
      return () => {
        raw.send(frame(1_025));
        return raw.closed();
      };
    },
    ...{ told: 1009, moves: refusal('body_too_large') },
  },
  {
    ...{ limit: 'bytes of a frame', over: 'Socket.IO, by polling', env: { MAX_BODY_BYTES: '1024' } },
    upTo: async ({ service }) => {
      const { text } = await exchange(service.url, { path: POLLING });
      const path = `${POLLING}&sid=${(JSON.parse(text.slice(1)) as { sid: string }).sid}`;
      const post = (bytes: number) =>
        exchange(service.url, {
          ...{ method: 'POST', path, headers: { 'Content-Type': 'text/plain;charset=UTF-8' } },
          body: `40{"token":"${'x'.repeat(bytes - '40{"token":""}'.length)}"}`,
        });
      expect((await post(1_024)).status).toBe(200);
      expect((await exchange(service.url, { path })).text).toContain('unauthorized');
      return async () => (await post(1_025)).status;
    },
    before: { 'tidings_refusals_total{code="unauthorized"}': 1 },
    ...{ told: 413, moves: refusal('body_too_large') },
  },
  {
    ...{ limit: 'bytes of a frame', over: 'plain WebSocket', env: { MAX_BODY_BYTES: '1024' } },
    upTo: async ({ service }) => {
      const client = await connectPlain(service.url, 'anna');
      const frame = (bytes: number) =>
        json({ action: 'presence', on: false, x: '' }).replace('""', `"${'x'.repeat(bytes - 39)}"`);
      expect(frame(1_024)).toHaveLength(1_024);
      expect(await client.reply(frame(1_024))).toMatchObject({ ok: true });
      return async () => {
        client.send(frame(1_025));
        return (await client.closed).code;
      };
    },
    ...{ told: 1009, moves: refusal('body_too_large') },
  },
  {
    ...{ limit: 'fragments of a frame', over: 'Socket.IO' },
    upTo: async ({ service }) => {
      const raw = await openRawPlain(service.url, { path: '/socket.io/?EIO=4&transport=websocket' });
      raw.write(encodeRawFrame({ opcode: OPCODES.text, payload: `40${json({ token: service.token('anna') })}` }));
      raw.write(fragments('421["ping"]', 16_384));
      await raw.until(() => (raw.texts.some((text) => text.startsWith('431[')) ? true : undefined), 'reply');
      return () => {
        raw.write(fragments('422["ping"]', 16_385));
        return raw.closed();
      };
    },
    ...{ told: 1008, moves: refusal('bad_request') },
  },
  {
    ...{ limit: 'fragments of a frame', over: 'plain WebSocket' },
    upTo: async ({ service }) => {
      const raw = await openRawPlain(service.url, { path: `/${service.token('anna')}` });
      raw.write(fragments(json({ action: 'ping', ref: 1 }), 16_384));
      expect(await raw.next('reply')).toMatchObject({ ok: true });
      return () => {
        raw.write(fragments(json({ action: 'ping', ref: 2 }), 16_385));
        return raw.closed();
      };
    },
    ...{ told: 1008, moves: refusal('bad_request') },
  },
  {
    ...{ limit: 'bytes of a message', over: 'Socket.IO', env: { MAX_MESSAGE_BYTES: '100' } },
    upTo: async ({ service }) => {
      const client = await service.connect('anna');
      const send = (bytes: number) => client.call('message', { to: 'ben', type: 't', data: 'x'.repeat(bytes - 2) });
      expect(await send(100)).toMatchObject({ ok: true });
      return async () => codeOf(await send(101));
    },
    ...{ told: 'message_too_large', moves: refusal('message_too_large') },
  },
];

/** A text frame in this many fragments, most of them empty. */
function fragments(text: string, count: number): Buffer {
  const { text: opcode, continuation } = OPCODES;
  const between = encodeRawFrame({ opcode: continuation, isFinal: false });
  return Buffer.concat([
    encodeRawFrame({ opcode, isFinal: false, payload: text }),
    ...Array.from({ length: count - 2 }, () => between),
    encodeRawFrame({ opcode: continuation }),
  ]);
}

/** What a request is answered: the status, and the code of a problem. */
async function ask(
  { url }: TestService,
  token: string,
  { path, method = 'GET', body, headers = {} }: Asked,
): Promise<Told> {
  const answer = await exchange(url, {
    ...{ method, path, headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers } },
    ...(body === undefined ? {} : { body }),
  });
  if (answer.status < 300) return LET_IN;
  return { code: (JSON.parse(answer.text) as Problem).code };
}

interface Asked {
  readonly path: string;
  readonly method?: string;
  readonly body?: string;
  readonly headers?: Record<string, string>;
}

/** A request that just fits, and one that does not. */
function request(
  row: Pick<Row, 'limit' | 'env'> & { over?: string; code: keyof typeof ERROR_KINDS },
  make: (isTooFar: boolean) => Asked,
): Row {
  const { code, ...rest } = row;
  return {
    ...rest,
    upTo: async ({ service }) => {
      const token = service.token('service', 'send broadcast presence admin');
      expect(await ask(service, token, make(false))).toEqual(LET_IN);
      return () => ask(service, token, make(true));
    },
    ...{ told: { code }, moves: refusal(code) },
  };
}

/** So many requests of this token within a minute. */
function rate(
  over: string,
  limit: string,
  env: Record<string, string>,
  tokenOf: (service: TestService) => string,
): Row {
  const isRefused = limit === 'refused tokens of one address';
  return {
    ...{ limit, over, env },
    upTo: async ({ service }) => {
      const get = () =>
        exchange(service.url, { path: '/inbox/counts', headers: { Authorization: `Bearer ${tokenOf(service)}` } });
      for (const _request of range(1, 2)) expect((await get()).status).toBe(isRefused ? 401 : 200);
      return async () => {
        const { text, headers } = await get();
        const { code, detail, retryInMs } = JSON.parse(text) as Problem;
        for (const [name, value] of Object.entries(env)) expect(detail).toContain(`${name} allows ${value}.`);
        expect(retryInMs).toBe(retryOf(headers['retry-after']));
        return code;
      };
    },
    ...(isRefused ? { before: { 'tidings_refusals_total{code="unauthorized"}': 2 } } : {}),
    ...{ told: 'rate_limited', moves: beyondRate('requests') },
  };
}

const send = (content: object, path = '/websocket/message/user'): Asked => ({
  ...{ method: 'POST', path, body: json({ userId: 'anna', type: 't', data: 1, ...content }) },
});

const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);

/** The longest token of at most 8 KiB, or one that is longer by a byte of its claims. */
function longToken(isTooLong: boolean): string {
  const tokenOf = (padding: number) => forgeClaims({ sub: 'anna', padding: 'a'.repeat(padding) });
  let padding = 6_000;
  while (tokenOf(padding + 1).length <= 8_192) padding += 1;
  return tokenOf(isTooLong ? padding + 1 : padding);
}

const recipients = (count: number) =>
  send({ userIds: range(1, count).map((n) => `user${n}`), persist: false }, '/websocket/message/users');

const requests: Row[] = [
  rate('', 'requests of one caller', { RATE_LIMIT_PER_MINUTE: '2' }, ({ token }) => token('anna')),
  rate('', 'requests of one service', { RATE_LIMIT_SERVICE_PER_MINUTE: '2' }, ({ token }) => token('backend', 'send')),
  rate('', 'refused tokens of one address', { RATE_LIMIT_PER_MINUTE: '2' }, () => 'guess'),
  request({ limit: 'bytes of a request', env: { MAX_BODY_BYTES: '1024' }, code: 'body_too_large' }, (isTooFar) => ({
    ...send({}),
    body: String(send({}).body).padEnd(isTooFar ? 1_025 : 1_024),
  })),
  request(
    { limit: 'bytes of a message', over: 'HTTP', env: { MAX_MESSAGE_BYTES: '100' }, code: 'message_too_large' },
    (isTooFar) => send({ data: 'x'.repeat(isTooFar ? 99 : 98) }),
  ),
  request({ limit: 'bytes of the headers', code: 'headers_too_large' }, (isTooFar) => ({
    ...{ path: '/inbox/counts', headers: { 'X-Long': 'x'.repeat(isTooFar ? 16_384 : 15_360) } },
  })),
  request({ limit: 'bytes of a token', code: 'unauthorized' }, (isTooFar) => ({
    ...{ path: '/inbox/counts', headers: { Authorization: `Bearer ${longToken(isTooFar)}` } },
  })),
  request({ limit: 'recipients of a send', code: 'bad_request' }, (isTooFar) => recipients(isTooFar ? 10_001 : 10_000)),
  request({ limit: 'items of a batch', code: 'batch_too_large' }, (isTooFar) => ({
    ...{ method: 'POST', path: '/messages/batch' },
    body: json({
      messages: range(1, isTooFar ? 1_001 : 1_000).map((n) => ({ userId: `user${n}`, type: 't', data: n })),
    }),
  })),
  request({ limit: 'depth of `data`', code: 'bad_request' }, (isTooFar) => send({ data: nested(isTooFar ? 65 : 64) })),
  request({ limit: 'times ahead', code: 'bad_request' }, (isTooFar) =>
    send({ delay: isTooFar ? 31_536_001 : 31_536_000 }),
  ),
  request({ limit: 'items of a page', over: 'the inbox', code: 'bad_request' }, (isTooFar) => ({
    path: `/inbox?limit=${isTooFar ? 201 : 200}`,
  })),
  request({ limit: 'items of a page', over: 'lists', code: 'bad_request' }, (isTooFar) => ({
    path: `/websocket/users/connected?limit=${isTooFar ? 1_001 : 1_000}`,
  })),
  {
    ...{ limit: 'items of a page', over: "the gateway's lists" },
    upTo: async ({ service }) => {
      const token = service.token('backend', 'presence');
      const list = (limit: number) => ask(service, token, { path: `/api/gateway/connected?limit=${limit}` });
      expect(await list(10_000)).toEqual(LET_IN);
      return () => list(10_001);
    },
    ...{ told: { code: 'bad_request' }, moves: refusal('bad_request') },
  },
  request({ limit: 'length of names and keys', over: 'keys', code: 'bad_request' }, (isTooFar) => ({
    ...send({}),
    headers: { 'Idempotency-Key': 'x'.repeat(isTooFar ? 256 : 255) },
  })),
  request({ limit: 'length of names and keys', over: 'users', code: 'bad_request' }, (isTooFar) =>
    send({ userId: 'x'.repeat(isTooFar ? 129 : 128) }),
  ),
  request({ limit: 'length of names and keys', over: 'ids', code: 'bad_request' }, (isTooFar) =>
    send({ id: 'x'.repeat(isTooFar ? 65 : 64) }),
  ),
  {
    ...{ limit: 'scheduled messages of one user', env: { MAX_SCHEDULED_PER_USER: '2' } },
    upTo: async ({ service }) => {
      const socket = await service.connect('anna');
      const later = () => socket.call('message', { to: 'ben', type: 'chat', data: 1, delay: 60 });
      for (let n = 0; n < 2; n += 1) expect(codeOf(await later())).toBe('ok');
      return async () => ({ code: codeOf(await later()) });
    },
    ...{ told: { code: 'too_many_scheduled' }, moves: refusal('too_many_scheduled') },
  },
  {
    ...{ limit: 'topics of one user', env: { MAX_TOPICS_PER_USER: '2' } },
    upTo: async ({ service }) => {
      const create = (name: string) =>
        ask(service, service.token('anna'), { method: 'POST', path: '/topics', body: json({ name }) });
      for (const name of ['one', 'two']) expect(await create(name)).toEqual(LET_IN);
      return () => create('three');
    },
    ...{ told: { code: 'too_many_topics' }, moves: refusal('too_many_topics') },
  },
  {
    ...{ limit: 'topics to which others add one user', env: { MAX_INVITED_TOPICS_PER_USER: '2' } },
    upTo: async ({ service }) => {
      const token = service.token('anna');
      const post = (path: string, body: object) => ask(service, token, { method: 'POST', path, body: json(body) });
      const add = (name: string) => post(`/topics/${name}/members`, { userId: 'ben' });
      for (const name of ['one', 'two', 'three']) expect(await post('/topics', { name })).toEqual(LET_IN);
      for (const name of ['one', 'two']) expect(await add(name)).toEqual(LET_IN);
      return () => add('three');
    },
    ...{ told: { code: 'invitee_full' }, moves: refusal('invitee_full') },
  },
  {
    limit: 'users of one invitation',
    upTo: async ({ service }) => {
      // Each counts against the rate, and services have a higher one.
      const token = service.token('anna', 'send');
      const post = (path: string, body: object) => ask(service, token, { method: 'POST', path, body: json(body) });
      const add = (count: number) => post('/topics/news/members', { userIds: range(1, count).map((n) => `user${n}`) });
      expect(await post('/topics', { name: 'news' })).toEqual(LET_IN);
      expect(await add(1_000)).toEqual(LET_IN);
      return () => add(1_001);
    },
    ...{ told: { code: 'bad_request' }, moves: refusal('bad_request') },
  },
];

const ROWS: Row[] = [...handshakes, ...connections, ...frames, ...requests];

/** Limits that take long to reach, or more than a row: the test that reaches them. */
const ELSEWHERE: Readonly<Record<string, { file: string; test: string; codes: string[]; metrics: string[] }>> = {
  'time until a token comes': {
    ...{ file: 'bad-input/handshake.test.ts', test: 'closes a connection without a valid CONNECT after 10 s' },
    ...{ codes: ['unauthorized'], metrics: ['tidings_refusals_total'] },
  },
  'a session’s change to WebSocket': {
    ...{ file: 'services/sockets/upgrades.test.ts', test: 'is tried once at a time' },
    ...{ codes: [], metrics: ['tidings_refusals_total'] },
  },
  'unsent bytes of one connection': {
    ...{ file: 'features/metrics.test.ts', test: 'a reader that does not read' },
    ...{ codes: ['slow_consumer'], metrics: ['tidings_slow_consumers_total', 'tidings_closings_total'] },
  },
  'unsent bytes of one user': {
    file: 'unread-answers.test.ts',
    test: '%s that nobody reads: the caller is refused, and only that one, until the answers are cut',
    ...{ codes: ['slow_consumer', 'rate_limited'], metrics: ['tidings_refusals_total'] },
  },
  'unsent bytes of callers without a token': {
    file: 'unread-answers.test.ts',
    test: 'unread answers of unauthenticated callers: together no more than one user has',
    ...{ codes: [], metrics: ['tidings_answers_cut_total'] },
  },
  'time for an HTTP answer': {
    file: 'unread-answers.test.ts',
    test: '%s that nobody reads: the caller is refused, and only that one, until the answers are cut',
    ...{ codes: [], metrics: ['tidings_answers_cut_total'] },
  },
  'events of one connection that wait': {
    ...{ file: 'services/admission/incoming.test.ts', test: 'are limited in number' },
    ...{ codes: ['rate_limited'], metrics: [] },
  },
  'bytes of a frame before authentication': {
    file: 'incoming.test.ts',
    test: 'a frame of the plain endpoint may be as long as a token needs, and no longer',
    ...{ codes: [], metrics: ['tidings_refusals_total'] },
  },
  'bytes of one user per second': {
    file: 'incoming.test.ts',
    test: 'a frame of the plain endpoint is refused unread, whatever connection it comes by',
    ...{ codes: ['rate_limited'], metrics: [] },
  },
  'bytes of one user that wait or are arriving': {
    file: 'incoming.test.ts',
    test: 'are counted from their headers: of one user only a few, and nothing of them is left',
    ...{ codes: ['rate_limited'], metrics: [] },
  },
  'bytes of all bodies that are arriving': {
    file: 'services/admission/incoming.test.ts',
    test: 'have a share of memory for all, and small ones always have room',
    ...{ codes: ['overloaded'], metrics: ['tidings_refusals_total'] },
  },
  'expensive reads of one caller': {
    file: 'unread-answers.test.ts',
    test: 'take turns over all doors: beyond four they wait, beyond sixteen they are refused, and no turn is lost',
    ...{ codes: ['rate_limited'], metrics: ['tidings_reads_waiting'] },
  },
  'pipelined requests': {
    ...{ file: 'unread-answers.test.ts', test: 'more than a hundred pipelined requests: cut' },
    ...{ codes: [], metrics: ['tidings_answers_cut_total'] },
  },
  'messages in flight to a device': {
    ...{ file: 'features/metrics.test.ts', test: 'a catch-up is running as long as its pages are not acknowledged' },
    ...{ codes: [], metrics: ['tidings_catch_ups_running'] },
  },
  'devices of one user': {
    ...{
      file: 'devices.test.ts',
      test: 'forget the one that acknowledged least recently, which receives sync:reset when it comes back',
    },
    ...{ codes: [], metrics: [] },
  },
  'names of forgotten devices of one user': {
    file: 'contracts/devices.contract.ts',
    test: 'gets every new name reported as forgotten, when more were forgotten than are remembered',
    ...{ codes: [], metrics: [] },
  },
  memory: {
    ...{ file: 'services/admission/heap-guard.test.ts', test: 'is asked at every door, and connected clients stay' },
    ...{ codes: ['overloaded'], metrics: ['tidings_refusals_total'] },
  },
};

it.each(ROWS.map((row): [string, Row] => [[row.limit, row.over].filter(Boolean).join(': '), row]))(
  '%s',
  async (_name, { env = {}, upTo, told, before = {}, moves }) => {
    const clock = new StillClock();
    const service = await startService({ env: { SHUTDOWN_TIMEOUT_MS: '100', ...env }, overrides: { clock } });
    const goFurther = await upTo({ service, clock });
    expect(await countsOf(service)).toEqual(before);
    expect(await goFurther()).toEqual(told);
    const expected = sum(before, moves);
    // What a client sees may come before it is counted.
    await eventually(
      () => countsOf(service),
      (now) => json(sum(now, {})) === json(expected),
    );
  },
);

/** So many handshakes in one piece, on one connection: they are judged before any of them has been answered. */
function pipelined({ url }: TestService, count: number, path = POLLING): Promise<number[]> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connectTcp(Number(new URL(url).port), '127.0.0.1', () => {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(count));
    });
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      const statuses = Array.from(text.matchAll(/HTTP\/1\.1 (\d+)/g), ([, status]) => Number(status));
      if (statuses.length < count) return;
      socket.destroy();
      resolve(statuses);
    });
  });
}

describe('a place', () => {
  it.each(['MAX_CONNECTIONS', 'MAX_CONNECTIONS_PER_ADDRESS'])('is taken when a handshake passes: %s', async (name) => {
    const service = await startService({ env: { [name]: '3' } });
    const statuses = await pipelined(service, 40);
    expect(statuses.filter((status) => status === 200)).toHaveLength(3);
    expect(statuses.filter((status) => status === 403)).toHaveLength(37);
  });

  it('is released by an unfinished handshake', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS: '1' } });
    const statuses = await pipelined(service, 5, POLLING.replace('EIO=4', 'EIO=3'));
    expect(statuses[0]).toBe(400);
    const bare = await openRawSocket(service.url, { query: 'EIO=4&transport=polling' });
    await bare.closed();
    expect(
      await eventually(
        () => knockByUpgrade(service),
        ({ code }) => code === 'let in',
      ),
    ).toEqual(LET_IN);
  });

  it('is not kept for a refused client, whatever it does with its side', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS: '1' } });
    await service.connect('anna');
    const refused = await Promise.all(range(1, 20).map(() => openRawPlain(service.url)));
    for (const raw of refused) {
      expect(await raw.closed()).toBe(4409);
      expect(raw.received).toMatchObject([{ event: 'error', code: 'too_many_connections' }]);
    }
    // These clients leave their side open; the server has nothing left of them but the one that is in.
    const open = promisify(service.httpServer.getConnections.bind(service.httpServer));
    await eventually(open, (count) => count === 1);
  });
});

describe('a flood of handshakes from one address', () => {
  it.each(KNOCKS.filter(([, knock]) => knock !== knockByPolling))('leaves the others in: %s', async (_door, knock) => {
    const clock = new StillClock();
    const service = await startService({ env: { HANDSHAKES_PER_SECOND: '4' }, overrides: { clock } });
    const flood = async () => {
      const told = await Promise.all(range(1, 12).map(() => knock(service)));
      return told.filter(({ code }) => code === 'let in').length;
    };
    // As long as nobody else connects, it may have all.
    expect(await flood()).toBe(4);
    expect(await knock(service, '127.0.0.2')).toMatchObject({ code: 'rate_limited' });
    for (const _second of range(1, 3)) {
      clock.shift(1_000);
      expect(await flood()).toBe(2);
      expect(await knock(service, '127.0.0.2')).toEqual(LET_IN);
      expect(await knock(service, '127.0.0.2')).toEqual(LET_IN);
      expect(await knock(service, '127.0.0.2')).toMatchObject({ code: 'rate_limited' });
    }
    // The others are gone for longer than a minute.
    clock.shift(61_000);
    expect(await flood()).toBe(4);
  });
});

describe('docs/operations/limits.md', () => {
  const page = readFileSync(join(__dirname, '../docs/operations/limits.md'), 'utf8');
  const [, table = ''] = page.split('| --- | --- | --- | --- | --- |\n');
  const lines = (table.split('\n\n')[0] ?? '').split('\n').map((line) => line.slice(2, -2).split(' | '));
  const cells = new Map(lines.map(([limit = '', ...rest]) => [limit, rest]));
  const names = [...new Set([...ROWS.map(({ limit }) => limit), ...Object.keys(ELSEWHERE)])];
  const variables = describeVariables().filter(({ name }) => /^(MAX_|RATE_LIMIT_|TOO_MANY$)|_PER_SECOND$/.test(name));

  it('has each limit that is tested, and no other', () => {
    expect(lines.filter((row) => row.length !== 5)).toEqual([]);
    expect([...cells.keys()].sort()).toEqual([...names].sort());
  });

  it.each(variables)('has $name, with its default', ({ name, standard }) => {
    const set = [...cells.values()].map(([by = '']) => by);
    expect(set.filter((by) => by.includes(`\`${name}\`, ${standard}`))).not.toEqual([]);
  });

  it('names the variable that sets a limit where it is tested', () => {
    for (const { limit, env = {} } of ROWS) {
      for (const name of Object.keys(env))
        expect({ limit, by: cells.get(limit)?.[0] }).toEqual({ limit, by: expect.stringContaining(`\`${name}\``) });
    }
  });

  it('names the codes that are sent, and the metrics that count', () => {
    const known = new Set([...Object.keys(ERROR_KINDS), ...CLOSING_CODES]);
    for (const { limit, told, moves } of ROWS) {
      const [, , beyond = '', counted = ''] = cells.get(limit) ?? [];
      const texts = json(told).match(/[a-z_]+/g) ?? [];
      for (const code of texts.filter((text) => known.has(text)))
        expect({ limit, beyond }).toEqual({ limit, beyond: expect.stringContaining(`[\`${code}\`]`) });
      const metrics = Object.keys(moves).filter((series) => counted.includes(series.split('{')[0] ?? series));
      expect({ limit, metrics: metrics.length > 0 }).toEqual({ limit, metrics: true });
    }
    for (const [limit, { codes, metrics }] of Object.entries(ELSEWHERE)) {
      const [, , beyond = '', counted = ''] = cells.get(limit) ?? [];
      for (const code of codes)
        expect({ limit, beyond }).toEqual({ limit, beyond: expect.stringContaining(`[\`${code}\`]`) });
      for (const name of metrics)
        expect({ limit, counted }).toEqual({ limit, counted: expect.stringContaining(`\`${name}\``) });
    }
  });

  it('names series that exist', async () => {
    const text = await idleMetrics().registry.metrics();
    const series = [...cells.values()].flatMap(([, , , counted = '']) => counted.match(/tidings_[^`]+/g) ?? []);
    expect(series.filter((name) => !text.includes(`\n${name}${name.endsWith('}') ? ' ' : ''}`))).toEqual([]);
  });

  it.each(Object.entries(ELSEWHERE))('%s is tested where it is said', (_limit, { file, test }) => {
    expect(readFileSync(join(__dirname, file), 'utf8')).toContain(`'${test}'`);
  });
});
