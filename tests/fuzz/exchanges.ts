/** What is written to a connection: valid exchanges, as clients write them, and damaged ones. */
import { createHash } from 'node:crypto';
import type { Random } from '../support/random';
import { encodeRawFrame, OPCODES } from '../support/raw-plain';
import { upgradeHead, WEBSOCKET_HEADERS } from '../support/raw-upgrade';

export interface Exchange {
  readonly name: string;
  readonly target: string;
  /** Request line and headers, with the empty line after them. */
  readonly head: string;
  /** Body, frames, or further requests. */
  readonly rest: Buffer;
}

export interface Callers {
  /** A valid token of this user. */
  token(userId: string): string;
  /** A session by polling that is open. */
  readonly sid: string;
}

const ENGINE = '/socket.io/?EIO=4&transport=';
const text = (payload: string) => encodeRawFrame({ opcode: OPCODES.text, payload });
const json = (value: object) => text(JSON.stringify(value));

function upgrade(name: string, target: string, frames: readonly Buffer[], headers: readonly string[] = []): Exchange {
  const head = upgradeHead(target, { headers: [...WEBSOCKET_HEADERS, ...headers] });
  return { name, target, head, rest: Buffer.concat(frames) };
}

function request(method: string, target: string, headers: readonly string[], body = ''): Exchange {
  const head = upgradeHead(target, { method, headers: [...headers, ...lengthOf(body, headers)] });
  return { name: `${method} ${target.split('?')[0]}`, target, head, rest: Buffer.from(body) };
}

function lengthOf(body: string, headers: readonly string[]): string[] {
  return body === '' || headers.some((header) => header.startsWith('Transfer-'))
    ? []
    : [`Content-Length: ${body.length}`];
}

/** Every kind of connection that the service knows, and some that it does not. */
export function validExchanges({ token, sid }: Callers): readonly Exchange[] {
  const anna = token('anna');
  const bearer = `Authorization: Bearer ${token('ben')}`;
  const connect = text(`40${JSON.stringify({ token: anna })}`);
  const send = JSON.stringify({ userId: 'ben', type: 'fuzz', data: { n: 1 } });
  const pipelined = upgradeHead('/livez', { headers: [] }) + upgradeHead('/inbox', { headers: [bearer] });
  const fragments = ['{"action"', ':"pi', 'ng"}'].map((payload, index) =>
    encodeRawFrame({ opcode: index === 0 ? OPCODES.text : OPCODES.continuation, payload, isFinal: index === 2 }),
  );
  const plain = [
    json({ action: 'ping', ref: 1 }),
    encodeRawFrame({ opcode: OPCODES.ping, payload: 'x' }),
    ...fragments,
  ];
  const close = encodeRawFrame({ opcode: OPCODES.close, payload: Buffer.from([3, 232]) });
  return [
    request('GET', `${ENGINE}polling`, ['Origin: http://localhost']),
    request('POST', `${ENGINE}polling&sid=${sid}`, ['Content-Type: text/plain'], `40{"token":"${anna}"}`),
    request('GET', `${ENGINE}polling&sid=${sid}`, []),
    upgrade('Socket.IO', `${ENGINE}websocket`, [
      connect,
      text('421["ping"]'),
      text('42["ack",{"topic":"@anna","seq":1}]'),
    ]),
    upgrade('change of transport', `${ENGINE}websocket&sid=${sid}`, [text('2probe'), text('5'), connect]),
    upgrade('plain with a header', '/ws?device=fuzz', [...plain, close], [bearer]),
    upgrade('plain with a frame', '/ws', [json({ action: 'auth', token: anna }), ...plain]),
    upgrade('plain by path', `/${anna}`, [...plain, json({ action: 'message', topic_name: 'ben', content: 'x' })]),
    upgrade('plain at the root', `/?token=${anna}`, [...plain, json({ action: 'disconnect' })]),
    request(
      'POST',
      '/websocket/message/user',
      [`Authorization: Bearer ${token('shop')}`, 'Content-Type: application/json'],
      send,
    ),
    request(
      'PATCH',
      '/inbox',
      [bearer, 'Content-Type: application/json', 'Transfer-Encoding: chunked'],
      '18\r\n{"state":"read","all":true\r\n1\r\n}\r\n0\r\n\r\n',
    ),
    {
      ...request('GET', '/inbox/counts', [bearer]),
      name: 'pipelined',
      rest: Buffer.from(`${pipelined}${upgradeHead('/ws')}`),
    },
    request('GET', '/livez', ['Connection: Upgrade', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA']),
    request('CONNECT', 'localhost:80', []),
    upgrade('nobody', '/nowhere', [json({ action: 'ping' })]),
  ];
}

/** How a path may be disguised; `@` stands for it. */
const DRESSES = [
  ...['/.@', '/@', '/x/..@', '/%2e@', '/socket.io/..@', 'http://localhost/.@', '@/..', '@#', 'http://localhost@'],
  ...['https://u:p@x:1@', '@;x', '@%00', '\\@', '*', '@?x', '@&sid=x', '@&token=x'],
];
const HEADERS = [
  ...[
    'Content-Length: 5',
    'Transfer-Encoding: chunked',
    'Connection: close',
    'Upgrade: h2c',
    'Upgrade: websocket',
    'Expect: 100-continue',
  ],
  ...['Host: a', 'Origin: null', 'Origin: http://evil.example', 'Sec-WebSocket-Key: x', 'Sec-WebSocket-Version: 8'],
  ...['Sec-WebSocket-Protocol: a, b', 'Sec-WebSocket-Protocol: ,', 'Sec-WebSocket-Extensions: permessage-deflate'],
  ...[
    'Authorization: Basic x',
    'Authorization: Bearer a.b.c',
    'Idempotency-Key: 1',
    `X: ${'x'.repeat(20_000)}`,
    'X',
    ': x',
    'X: \u0001',
  ],
];

type Mutation = (exchange: Exchange, random: Random) => Exchange;

function pick<Item>(list: readonly Item[], random: Random): Item {
  return list[random.integer(0, list.length - 1)] as Item;
}

function dress(exchange: Exchange, how: string): Exchange {
  const target = how.replace('@', () => exchange.target);
  return { ...exchange, head: exchange.head.replace(exchange.target, () => target) };
}

const dressed: Mutation = (exchange, random) => dress(exchange, pick(DRESSES, random));

/** Each exchange in each disguise, one after the other. */
export function dressInTurn(exchanges: readonly Exchange[], index: number): Exchange {
  const exchange = exchanges[index % exchanges.length] as Exchange;
  return dress(exchange, DRESSES[Math.floor(index / exchanges.length) % DRESSES.length] as string);
}

const withOtherHeaders: Mutation = (exchange, random) => {
  const [line = '', ...headers] = exchange.head.slice(0, -4).split('\r\n');
  const at = random.integer(0, headers.length - 1);
  const what = random.integer(0, 2);
  if (what === 0) headers.splice(at, 1);
  else
    headers.splice(
      at,
      what === 1 ? 0 : 1,
      what === 1 && random.integer(0, 1) === 0 ? (headers[at] ?? '') : pick(HEADERS, random),
    );
  return { ...exchange, head: `${[line, ...headers].join('\r\n')}\r\n\r\n` };
};

/** A frame that no library would write. */
const oddFrame: Mutation = (exchange, random) => {
  const frames = [
    () => encodeRawFrame({ opcode: random.integer(0, 15), payload: 'x', reserved: random.integer(0, 7) }),
    () =>
      encodeRawFrame({
        opcode: pick([0, 1, 2, 8, 9, 10], random),
        payload: 'x'.repeat(random.integer(0, 300)),
        isFinal: false,
      }),
    () => encodeRawFrame({ opcode: OPCODES.text, payload: '{}', isMasked: false }),
    () =>
      encodeRawFrame({ opcode: OPCODES.close, payload: Buffer.from([random.integer(0, 19), random.integer(0, 255)]) }),
    () => Buffer.from([0x81, 0xfe, random.integer(0, 255), random.integer(0, 255)]),
    () => Buffer.from([0x81, 0xff, ...Array.from({ length: 8 }, () => random.integer(0, 255))]),
    () => Buffer.concat(Array.from({ length: 100 }, () => encodeRawFrame({ opcode: OPCODES.ping }))),
    () =>
      text(
        pick(
          [
            '2',
            '2probe',
            '3',
            '5',
            '6',
            '1',
            '40',
            '41',
            '4',
            '',
            '42[]',
            '451-["x",{"_placeholder":true,"num":0}]',
            'bAA==',
          ],
          random,
        ),
      ),
    () => encodeRawFrame({ opcode: OPCODES.text, payload: Buffer.from([0xff, 0xfe, 0xc0]) }),
  ];
  const frame = pick(frames, random)();
  const rest = random.integer(0, 1) === 0 ? [frame, exchange.rest] : [exchange.rest, frame];
  return { ...exchange, rest: Buffer.concat(rest) };
};

const flipped: Mutation = (exchange, random) => {
  const bytes = bytesOf(exchange);
  for (let count = random.integer(1, 4); count > 0; count -= 1) {
    const at = random.integer(0, bytes.length - 1);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.integer(0, 7));
  }
  return { ...exchange, head: '', rest: bytes };
};

const spliced: Mutation = (exchange, random) => {
  const bytes = bytesOf(exchange);
  const [from, to] = [random.integer(0, bytes.length), random.integer(0, bytes.length)];
  return { ...exchange, head: '', rest: Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]) };
};

const MUTATIONS = [dressed, dressed, dressed, withOtherHeaders, withOtherHeaders, oddFrame, oddFrame, flipped, spliced];

export function bytesOf({ head, rest }: Exchange): Buffer {
  return Buffer.concat([Buffer.from(head, 'latin1'), rest]);
}

/** The same exchange, damaged once or twice. */
export function damage(exchange: Exchange, random: Random): Exchange {
  const once = pick(MUTATIONS, random)(exchange, random);
  return random.integer(0, 2) === 0 && once.head !== '' ? pick(MUTATIONS, random)(once, random) : once;
}

/** A separate seed for each case: one is replayed without those before it. */
export function seedOf(seed: number, index: number): number {
  return createHash('sha256').update(`${seed}/${index}`).digest().readUInt32BE();
}
