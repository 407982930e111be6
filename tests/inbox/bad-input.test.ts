/** Bad input to inbox, messages, schedule and user data: a clear refusal, and nothing has changed for anybody. */
import type { OutgoingHttpHeaders } from 'node:http';
import { writePageToken } from '../../utils/page-token';
import type { Answer, Exchange } from '../support/http';
import type { Refusal } from '../support/problems';
import { itLeftNothingBehind, MARKER, type SharedService, shareService } from '../support/shared-service';

/**
 * Ids of existing messages: one to the victim, one in a topic of which the victim is no member, and a scheduled one.
 */
const KNOWN = 'known';
const FOREIGN = 'foreign';
const WAITING = 'waiting';

const json = JSON.stringify;
const marked = json(MARKER);
const badRequest = (path: string): Refusal => ({ status: 400, code: 'bad_request', path });
const notFound: Refusal = { status: 404, code: 'not_found' };

/** Starts a service with something to lose before the tests of this `describe`. */
function shareFilledService(): SharedService {
  const service = shareService();
  const post = async (path: string, body: object, sub?: string) => {
    const headers = sub === undefined ? {} : authorization(service, sub);
    const { status } = await service.post(path, json(body), headers);
    expect({ path, isDone: status < 300 }).toEqual({ path, isDone: true });
  };
  beforeAll(async () => {
    await post('/websocket/message/user', { userId: 'victim', type: 'known', data: 1, id: KNOWN });
    await post('/topics', { name: 'club' }, 'other');
    await post('/topics/club/messages', { type: 'foreign', data: 1, id: FOREIGN }, 'other');
    await post('/websocket/message/user', { userId: 'other', type: 'foreign', data: 1 });
    await post('/websocket/message/user', { userId: 'victim', type: 'later', data: 1, id: WAITING, delay: 3_600 });
  });
  return service;
}

function authorization(service: SharedService, userId: string): OutgoingHttpHeaders {
  return { Authorization: `Bearer ${service.token(userId)}` };
}

/** Everything that a request of this file could change. */
async function snapshot(service: SharedService): Promise<unknown> {
  const asVictim = { headers: authorization(service, 'victim') };
  const answers = await Promise.all([
    service.exchange({ path: '/inbox', ...asVictim }),
    service.exchange({ path: '/inbox?state=archived', ...asVictim }),
    service.exchange({ path: `/messages/${KNOWN}/receipts` }),
    service.exchange({ path: `/messages/${FOREIGN}/receipts` }),
    service.exchange({ path: '/scheduled' }),
  ]);
  return answers.map(({ status, text }) => [status, text]);
}

/** A row of any table: refused as the contract says, quickly, counted, and nothing has changed. */
async function expectRefused(service: SharedService, send: () => Promise<Answer>, refusal: Refusal): Promise<void> {
  const answer = await service.expectRefused(send, refusal, () => snapshot(service));
  expect(answer.text).not.toContain(MARKER);
}

/** Sends a body, as the victim unless the headers say otherwise. */
function send(service: SharedService, method: string, path: string, body: string): Promise<Answer> {
  const headers = { 'Content-Type': 'application/json', ...authorization(service, 'victim') };
  return service.exchange({ method, path, body, headers });
}

const BAD_BODIES: [name: string, options: Partial<Exchange>, refusal: Refusal][] = [
  ['nothing', {}, { status: 400, code: 'invalid_json', path: '' }],
  ['cut JSON', { body: `{"state":"read","all":true,"x":${marked}` }, { status: 400, code: 'invalid_json', path: '' }],
  [
    'another type',
    { body: '{}', headers: { 'Content-Type': 'text/plain' } },
    { status: 415, code: 'unsupported_media_type' },
  ],
  ['a list', { body: `[${marked}]` }, badRequest('')],
  ['a text', { body: marked }, badRequest('')],
  ['null', { body: 'null' }, badRequest('')],
  ['a number', { body: '1' }, badRequest('')],
];

describe.each([
  ['PATCH', '/inbox'],
  ['PATCH', `/inbox/${KNOWN}`],
  ['PATCH', `/messages/${KNOWN}`],
  ['POST', '/messages/batch'],
])('%s %s', (method, path) => {
  const service = shareFilledService();

  it.each(BAD_BODIES)('refuses as a body %s', async (_name, { headers, ...options }, refusal) => {
    const request = { method, path, ...options, headers: { 'Content-Type': 'application/json', ...headers } };
    await expectRefused(service, () => service.exchange(request), refusal);
  });

  itLeftNothingBehind(service);
});

const NOT_A_STATE = [
  ...['null', '1', 'true', '""', '"READ"', '"read "', '"unseen"', '"deleted"', '"__proto__"', '"constructor"'],
  ...[marked, '["read"]', '{"$ne":null}', '{"__proto__":{"state":"read"}}'],
];
const NOT_AN_ID = [
  '""',
  json('a'.repeat(65)),
  '"a\\nb"',
  '"a\\u0000"',
  '"\\ud800"',
  'null',
  '1',
  '["known"]',
  '{"$ne":null}',
];

describe('fields of PATCH /inbox', () => {
  const service = shareFilledService();
  const refuses = (body: string, path: string) =>
    expectRefused(service, () => send(service, 'PATCH', '/inbox', body), badRequest(path));

  it.each(NOT_A_STATE)('refuses the state %s', async (state) => {
    await refuses(`{"state":${state},"all":true}`, 'state');
    await refuses(`{"state":${state},"ids":["${KNOWN}"]}`, 'state');
  });

  it.each([
    ['no state', '{"all":true}', 'state'],
    ['nothing', '{}', 'state'],
    ['no selection', '{"state":"read"}', 'ids'],
    ['a selection by an unknown field', '{"state":"read","type":"known"}', 'ids'],
    ['a selection in the prototype', '{"state":"read","__proto__":{"all":true}}', 'ids'],
    ['ids and topic', `{"state":"read","ids":["${KNOWN}"],"topic":"@victim"}`, 'ids'],
    ['ids and all', `{"state":"read","ids":["${KNOWN}"],"all":true}`, 'ids'],
    ['topic and all', '{"state":"read","topic":"@victim","all":true}', 'ids'],
    ['upTo alone', '{"state":"read","upTo":1}', 'upTo'],
    ['upTo with ids', `{"state":"read","ids":["${KNOWN}"],"upTo":1}`, 'upTo'],
    ['upTo with all', '{"state":"read","all":true,"upTo":1}', 'upTo'],
    ['upTo ahead', '{"state":"read","topic":"@victim","upTo":1000000}', 'upTo'],
    ['upTo beyond whole numbers', '{"state":"read","topic":"@victim","upTo":9007199254740993}', 'upTo'],
    ['no ids', '{"state":"read","ids":[]}', 'ids'],
    ['more than 1,000 ids', json({ state: 'read', ids: Array.from({ length: 1_001 }, () => KNOWN) }), 'ids'],
    ['an id for ids', `{"state":"read","ids":"${KNOWN}"}`, 'ids'],
    ['what looks like ids', `{"state":"read","ids":{"0":"${KNOWN}","length":1}}`, 'ids'],
    ['ids null', '{"state":"read","ids":null}', 'ids'],
  ])('refuses %s', async (_name, body, path) => {
    await refuses(body, path);
  });

  it.each(NOT_AN_ID)('refuses %s among ids', async (id) => {
    await refuses(`{"state":"read","ids":["${KNOWN}",${id}]}`, 'ids.1');
  });

  it.each(['""', json('a'.repeat(130)), 'null', '1', '["@victim"]', '{"$ne":null}'])(
    'refuses the topic %s',
    async (topic) => {
      await refuses(`{"state":"read","topic":${topic}}`, 'topic');
    },
  );

  it.each(['0', '-1', '1.5', '1e308', '"1"', 'null', 'true', '[1]', '{"$gt":0}'])('refuses upTo %s', async (upTo) => {
    await refuses(`{"state":"read","topic":"@victim","upTo":${upTo}}`, 'upTo');
  });

  it.each(['false', 'null', '1', '"true"', '[]', '{}'])('refuses all: %s', async (all) => {
    await refuses(`{"state":"read","all":${all}}`, 'all');
  });

  it.each([
    ['an unknown id', `{"state":"read","ids":["${KNOWN}","unknown"]}`, 'ids.1'],
    ['an id of a prototype', `{"state":"read","ids":["__proto__"]}`, 'ids.0'],
    ['somebody else’s id', `{"state":"read","ids":["${KNOWN}","${FOREIGN}"]}`, 'ids.1'],
    ['an id that waits', `{"state":"read","ids":["${KNOWN}","${WAITING}"]}`, 'ids.1'],
    ['somebody else’s inbox', '{"state":"read","topic":"@other"}', 'topic'],
    ['a topic that one is not in', '{"state":"read","topic":"club"}', 'topic'],
    ['an unknown topic', '{"state":"read","topic":"unknown"}', 'topic'],
    ['a log of the store', '{"state":"read","topic":"~victim"}', 'topic'],
    ['a topic of control characters', '{"state":"read","topic":"a\\u0000\\ud800"}', 'topic'],
  ])('finds nothing under %s', async (_name, body, path) => {
    await expectRefused(service, () => send(service, 'PATCH', '/inbox', body), { ...notFound, path });
  });

  itLeftNothingBehind(service);
});

/** Ids in a path that are none, and what is said of them. */
const BAD_PATH_IDS: [id: string, path: string][] = [
  ['a'.repeat(65), 'id'],
  ['a'.repeat(8_192), 'id'],
  ['%00', 'id'],
  ['a%0ab', 'id'],
  ['%c2%85', 'id'],
  ['%', ''],
  ['%ff', ''],
];

describe.each([
  ['PATCH', '/inbox/:id', '{"state":"read"}'],
  ['PATCH', '/messages/:id', '{"data":1}'],
  ['DELETE', '/messages/:id', undefined],
  ['GET', '/messages/:id/receipts', undefined],
  ['DELETE', '/scheduled/:id', undefined],
])('the id in %s %s', (method, pattern, body) => {
  const service = shareFilledService();
  const request = (id: string): Exchange => ({
    method,
    path: pattern.replace(':id', id),
    headers: { 'Content-Type': 'application/json' },
    ...(body === undefined ? {} : { body }),
  });

  it.each(BAD_PATH_IDS)('refuses %s', async (id, path) => {
    await expectRefused(service, () => service.exchange(request(id)), badRequest(path));
  });

  it.each(['unknown', '__proto__', 'constructor', 'a%2Fb', '%F0%9F%98%80'])('finds nothing under %s', async (id) => {
    await expectRefused(service, () => service.exchange(request(id)), notFound);
  });

  itLeftNothingBehind(service);
});

describe('fields of PATCH /inbox/:id', () => {
  const service = shareFilledService();

  it.each([...NOT_A_STATE, undefined])('refuses the state %s', async (state) => {
    const body = state === undefined ? '{}' : `{"state":${state}}`;
    await expectRefused(service, () => send(service, 'PATCH', `/inbox/${KNOWN}`, body), badRequest('state'));
  });

  it.each([FOREIGN, WAITING])('finds nothing under %s', async (id) => {
    const change = () => send(service, 'PATCH', `/inbox/${id}`, '{"state":"read"}');
    await expectRefused(service, change, { ...notFound, path: 'id' });
  });

  itLeftNothingBehind(service);
});

const LIMITS = ['-1', '0', '1e9', '1001', '1000000000', 'abc', '', '1.5', '%00', '0x10', '+1', '%201', '1&limit=2'];

const CURSORS = {
  inbox: writePageToken('inbox', { order: 1, topic: '@victim', seq: 1 }),
  scheduled: writePageToken('scheduled', { sendAt: 1, id: 'a', from: 'service' }),
  receipts: writePageToken('receipts', 'victim'),
  users: writePageToken('users', 'victim'),
};

const LISTS = [
  {
    list: 'inbox',
    path: '/inbox',
    positions: [
      null,
      'victim',
      [],
      {},
      { order: '1', topic: '@victim', seq: 1 },
      { order: 1, topic: 1, seq: 1 },
      { order: 1, topic: '@victim', seq: 1.5 },
      { order: 1, topic: '@victim', seq: 1e300 },
      { order: null, topic: '@victim', seq: 1 },
      { order: 1, topic: '@victim' },
    ],
  },
  {
    list: 'scheduled',
    path: '/scheduled',
    positions: [
      null,
      1,
      {},
      { sendAt: '1', id: 'a', from: 'b' },
      { sendAt: 1, id: null, from: 'b' },
      { sendAt: 1, id: 'a' },
    ],
  },
  { list: 'receipts', path: `/messages/${KNOWN}/receipts`, positions: [null, 1, {}, ['victim']] },
  { list: 'users', path: '/websocket/users/connected', positions: [null, 1, {}, ['victim'], '', 'a'.repeat(129)] },
] as const;

describe.each(LISTS)('the query of GET $path', ({ list, path, positions }) => {
  const service = shareFilledService();
  const own = CURSORS[list];
  const refuses = (query: string, field: string) =>
    expectRefused(service, () => service.exchange({ path: `${path}?${query}` }), badRequest(field));

  it.each(LIMITS)('limit=%s is refused', async (limit) => {
    await refuses(`limit=${limit}`, 'limit');
  });

  it.each([
    ['nothing', ''],
    ['garbage', 'garbage'],
    ['JSON', '%5B%22inbox%22%5D'],
    ['an emoji', '%F0%9F%92%A5'],
    ['NUL', '%00'],
    ['two', `${own}&cursor=${own}`],
    ['too long a one', 'a'.repeat(1_025)],
    ['a long one', writePageToken(list, 'a'.repeat(5_000))],
    ['one with padding', `${own}=`],
    ['one that was cut', own.slice(0, -2)],
    ['one with a letter more', `${own}A`],
    ['invalid UTF-8', Buffer.from([0x5b, 0x22, 0xff]).toString('base64url')],
    ['a number', Buffer.from('1').toString('base64url')],
    ['null', Buffer.from('null').toString('base64url')],
    ['an empty list', Buffer.from('[]').toString('base64url')],
    ['one with spaces', Buffer.from(` ${Buffer.from(own, 'base64url').toString()}`).toString('base64url')],
    ['one of no list', writePageToken('__proto__', 'victim')],
    ...positions.map((position): [string, string] => [`one at ${json(position)}`, writePageToken(list, position)]),
    ...Object.entries(CURSORS)
      .filter(([other]) => other !== list)
      .map(([other, cursor]): [string, string] => [`one of ${other}`, cursor]),
  ])('as a cursor %s is refused', async (_name, cursor) => {
    await refuses(`cursor=${cursor}`, 'cursor');
  });

  it('takes its own', async () => {
    expect((await service.exchange({ path: `${path}?cursor=${own}` })).status).toBe(200);
  });

  it.each(['__proto__=1', 'limit[]=0', 'limit[$ne]=1', 'constructor=1&toString=2', '%', '&&&=='])(
    'the unknown parameter %s is ignored',
    async (query) => {
      const [plain, odd] = [await service.exchange({ path }), await service.exchange({ path: `${path}?${query}` })];
      expect({ status: odd.status, text: odd.text }).toEqual({ status: 200, text: plain.text });
    },
  );

  itLeftNothingBehind(service);
});

describe('filters of GET /inbox', () => {
  const service = shareFilledService();

  it.each([
    ['limit', '201'],
    ...[
      '',
      'bogus',
      'seen',
      'unseen',
      'any',
      'open',
      'UNREAD',
      'read,unread',
      'read&state=unread',
      '__proto__',
      '%00',
    ].map((state): [string, string] => ['state', state]),
    ['type', ''],
    ['type', 'a'.repeat(129)],
    ['type', '%00'],
    ['type', 'a&type=b'],
    ['topic', ''],
    ['topic', 'a'.repeat(130)],
    ['topic', '@victim&topic=*'],
  ])('%s=%s is refused', async (name, value) => {
    const headers = authorization(service, 'victim');
    await expectRefused(
      service,
      () => service.exchange({ path: `/inbox?${name}=${value}`, headers }),
      badRequest(name),
    );
  });

  it.each(['%40other', 'club', '~victim', '~other', 'unknown', '__proto__', '%00', '%F0%9F%98%80'])(
    'topic=%s shows nothing',
    async (topic) => {
      const headers = authorization(service, 'victim');
      const { status, text } = await service.exchange({ path: `/inbox?topic=${topic}`, headers });
      expect({ status, answer: JSON.parse(text) }).toMatchObject({
        status: 200,
        answer: { items: [], nextCursor: null },
      });
    },
  );

  itLeftNothingBehind(service);
});

/** Made-up positions in the form of a page token: they must lead nowhere. */
describe('a made-up page token', () => {
  const service = shareFilledService();
  const texts = ['', '@victim', '@other', '*', 'club', '~victim', '\u0000', '\u0001', '\uffff', 'x'.repeat(600)];
  const numbers = [0, -1, -5, 1, 2, 1_023, 1_024, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
  const orders = [...numbers, -1e300, 1e308, 0.5, Date.now() + 1e10];

  it('shows no more than the caller’s inbox', async () => {
    const headers = authorization(service, 'victim');
    for (const topic of texts) {
      for (const seq of numbers) {
        for (const order of orders) {
          const cursor = writePageToken('inbox', { order, topic, seq });
          const { status, text } = await service.exchange({ path: `/inbox?cursor=${cursor}`, headers });
          expect({ topic, seq, order, status }).toEqual({ topic, seq, order, status: 200 });
          const { items } = JSON.parse(text) as { items: { type: string }[] };
          expect(items.filter(({ type }) => type !== 'known')).toEqual([]);
        }
      }
    }
  });

  it('shows no more than the caller’s scheduled messages', async () => {
    const headers = { Authorization: `Bearer ${service.token('other', 'send')}` };
    for (const id of texts) {
      for (const from of texts.filter((text) => text.length < 600)) {
        for (const sendAt of orders) {
          const cursor = writePageToken('scheduled', { sendAt, id, from });
          const { status, text } = await service.exchange({ path: `/scheduled?cursor=${cursor}`, headers });
          expect({ id, from, sendAt, status }).toEqual({ id, from, sendAt, status: 200 });
          expect(JSON.parse(text)).toEqual({ items: [], nextCursor: null });
        }
      }
    }
  });

  itLeftNothingBehind(service);
});

describe('fields of PATCH /messages/:id', () => {
  const service = shareFilledService();
  const path = `/messages/${KNOWN}`;
  const patch = (target: string, body: string) =>
    service.exchange({ method: 'PATCH', path: target, body, headers: { 'Content-Type': 'application/json' } });

  it.each([
    ['no data', '{}'],
    ['data under another name', `{"message":${marked}}`],
    ['data in the prototype', `{"__proto__":{"data":${marked}}}`],
    ['data that is too deep', `{"data":${'['.repeat(65)}${']'.repeat(65)}}`],
    ['data that is deep enough to end a parser', `{"data":${'['.repeat(10_000)}${']'.repeat(10_000)}}`],
  ])('refuses %s', async (_name, body) => {
    await expectRefused(service, () => patch(path, body), badRequest('data'));
  });

  it('refuses data that is too large', async () => {
    const body = `{"data":"${MARKER.padEnd(64 * 1024, 'x')}"}`;
    await expectRefused(service, () => patch(path, body), { status: 413, code: 'message_too_large', path: 'data' });
  });

  it.each(['', 'a'.repeat(129), '%00', 'service&from=service'])('refuses ?from=%s', async (from) => {
    await expectRefused(service, () => patch(`${path}?from=${from}`, '{"data":2}'), badRequest('from'));
    const remove = () => service.exchange({ method: 'DELETE', path: `${path}?from=${from}` });
    await expectRefused(service, remove, badRequest('from'));
    const look = () => service.exchange({ path: `${path}/receipts?from=${from}` });
    await expectRefused(service, look, badRequest('from'));
  });

  it.each([
    ['PATCH', path, '{"data":2}', 'victim', { status: 403, code: 'forbidden' }],
    ['DELETE', path, undefined, 'victim', { status: 403, code: 'forbidden' }],
    ['PATCH', path, '{"data":2}', 'other', notFound],
    ['DELETE', path, undefined, 'other', notFound],
    ['PATCH', `/messages/${FOREIGN}`, '{"data":2}', 'victim', notFound],
    ['DELETE', `/messages/${FOREIGN}`, undefined, 'victim', notFound],
  ] as const)('refuses %s %s (%s) by %s', async (method, target, body, userId, refusal) => {
    const headers = { 'Content-Type': 'application/json', ...authorization(service, userId) };
    const request = { method, path: target, headers, ...(body === undefined ? {} : { body }) };
    await expectRefused(service, () => service.exchange(request), refusal);
  });

  itLeftNothingBehind(service);
});

describe('items of POST /messages/batch', () => {
  const service = shareFilledService();
  const item = `{"userId":"victim","type":${marked},"data":${marked}}`;
  const post = (body: string) => service.post('/messages/batch', body);

  it.each([
    ['no messages', '{}'],
    ['null', '{"messages":null}'],
    ['an empty list', '{"messages":[]}'],
    ['one message without a list', `{"messages":${item}}`],
    ['what looks like a list', `{"messages":{"0":${item},"length":1}}`],
    ['a text', `{"messages":${marked}}`],
    ['a number', '{"messages":1}'],
    ['messages in the prototype', `{"__proto__":{"messages":[${item}]}}`],
    ['messages under another name', `{"items":[${item}]}`],
  ])('refuses %s', async (_name, body) => {
    await expectRefused(service, () => post(body), badRequest('messages'));
  });

  it.each([
    ['messages', item],
    ['nulls', 'null'],
  ])('refuses more than 1,000 %s, and stores none', async (_name, text) => {
    const body = `{"messages":[${Array.from({ length: 1_001 }, () => text).join()}]}`;
    await expectRefused(service, () => post(body), { status: 413, code: 'batch_too_large', path: 'messages' });
  });

  it('says what is wrong with each item, and stores none', async () => {
    const before = await snapshot(service);
    const bad = [
      ...['null', '1', '""', marked, 'true', '[]', '{}', `[${item}]`, '{"userId":"victim"}', '{"__proto__":{}}'],
      `{"__proto__":${item}}`,
      `{"userId":["victim"],"type":${marked},"data":1}`,
      `{"userId":{"$ne":null},"type":${marked},"data":1}`,
      `{"userId":"victim","broadcast":"true","type":${marked},"data":1}`,
      `{"userId":"victim","type":{"$ne":null},"data":1}`,
      `{"userId":"victim","type":${marked},"data":1,"id":null}`,
      `{"userId":"victim","type":${marked},"data":1,"delay":"1"}`,
      `{"userId":"victim","type":${marked},"data":${'['.repeat(100)}${']'.repeat(100)}}`,
      `{"topic":"~victim","type":${marked},"data":1}`,
      `{"topic":"@victim","type":${marked},"data":1}`,
    ];
    const { status, text } = await post(`{"messages":[${bad.join()}]}`);
    expect(status).toBe(200);
    expect(text).not.toContain(MARKER);
    const { results } = JSON.parse(text) as { results: unknown[] };
    expect(results).toMatchObject(bad.map(() => ({ error: { status: 400, code: 'bad_request' } })));
    expect(await snapshot(service)).toEqual(before);
  });

  itLeftNothingBehind(service);
});

describe('/users/:userId', () => {
  const service = shareFilledService();

  it.each([
    ['%00', 'userId'],
    ['a%0ab', 'userId'],
    ['a'.repeat(129), 'userId'],
    ['a'.repeat(8_192), 'userId'],
    ['%', ''],
    ['%ff', ''],
  ])('%s is refused', async (userId, path) => {
    const erase = () => service.exchange({ method: 'DELETE', path: `/users/${userId}/data` });
    await expectRefused(service, erase, badRequest(path));
    await expectRefused(service, () => service.exchange({ path: `/users/${userId}/export` }), badRequest(path));
  });

  it.each([
    ['DELETE', '/users/victim/data', 'victim'],
    ['DELETE', '/users/victim/data', 'mallory'],
    ['GET', '/users/victim/export', 'mallory'],
    ['GET', '/users/victim/export', 'Victim'],
    ['GET', '/users/%20victim/export', 'victim'],
  ])('%s %s is not for %s', async (method, path, userId) => {
    const request = { method, path, headers: authorization(service, userId) };
    await expectRefused(service, () => service.exchange(request), { status: 403, code: 'insufficient_scope' });
  });

  it.each(['/users', '/users/victim', '/users//data', '/users/victim/', '/users/victim/data/more'])(
    '%s is no path',
    async (path) => {
      await expectRefused(service, () => service.exchange({ method: 'DELETE', path }), notFound);
    },
  );

  itLeftNothingBehind(service);
});
