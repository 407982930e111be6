/** Names that no URL can carry: refused through every door; and whatever is accepted comes back out of a URL. */
import { deviceSchema, messageIdSchema, topicNameSchema, userIdSchema } from '../../utils/schemas';
import { openClient } from '../support/client';
import { DOORS } from '../support/doors';
import { exchange } from '../support/http';
import { openPlain } from '../support/plain-client';
import { expectProblem } from '../support/problems';
import { seededRandom } from '../support/random';
import { startService, type TestService, testToken } from '../support/service';
import { itLeftNothingBehind, shareService } from '../support/shared-service';
import { TRANSPORTS } from '../support/transports';

const json = JSON.stringify;
const DOTS = ['.', '..'];
const badRequest = (path: string) => ({ status: 400, code: 'bad_request', path }) as const;

const ODD = [
  ...DOTS,
  ...[
    '%2e',
    '%2E%2e',
    '.%2e',
    '...',
    '. ',
    ' .',
    '..\u3000',
    '\uff0e',
    '\u2024',
    '.\ufeff',
    '..;',
    '../x',
    'x/..',
    '..\\',
  ],
  ...[
    '',
    ' ',
    '\t',
    '#',
    '?',
    '#..',
    '?.',
    '%',
    '%00',
    '%zz',
    '/',
    '//',
    '\\',
    'a b',
    '@',
    '@.',
    '*',
    '~',
    '__proto__',
  ],
  ...['\ud800', '\udfff', '\u2028', 'ä', 'a\u0308', '\u{1f600}', 'http://x', ':', '-', '_', 'a.', '.a', 'a..b', '1'],
];

describe.each([
  ['a user id', userIdSchema],
  ['a device', deviceSchema],
  ['a message id', messageIdSchema],
  ['a topic', topicNameSchema],
])('%s', (what, schema) => {
  /** The segment that a server receives from a client that encodes it, or encodes no more than necessary. */
  const arrives = (name: string) => {
    const { pathname } = new URL(`/a/${encodeURIComponent(name)}`, 'http://x');
    return pathname.startsWith('/a/') ? decodeURIComponent(pathname.slice('/a/'.length)) : undefined;
  };

  it('that is accepted arrives unchanged in the path of a URL', () => {
    const random = seededRandom(`names of ${what}`);
    const alphabet = ['.', '.', '%', '2', 'e', 'E', '/', '\\', ' ', 'a', '\uff0e', '#', '?', ':', '@'];
    const letter = () => alphabet[random.integer(0, alphabet.length - 1)] ?? '';
    const made = Array.from({ length: 2_000 }, () => Array.from({ length: random.integer(1, 4) }, letter).join(''));
    const accepted = [...ODD, ...made].filter((name) => schema.safeParse(name).success);
    expect(accepted.filter((name) => arrives(name) !== name)).toEqual([]);
    expect(accepted.length).toBeGreaterThan(0);
  });

  it.each(DOTS)('that is %s is refused', (name) => {
    expect(schema.safeParse(name).success).toBe(false);
  });
});

describe.each(DOTS)('%s', (dots) => {
  const service = shareService();
  const content = { type: 'test', data: 1 };

  it.each([
    ['/websocket/message/user', { userId: dots, ...content }, 'userId'],
    ['/websocket/message/user', { userId: 'anna', id: dots, ...content }, 'id'],
    ['/websocket/message/users', { userIds: ['anna', dots], ...content }, 'userIds.1'],
    ['/websocket/message/broadcast', { exceptUserId: dots, ...content }, 'exceptUserId'],
    ['/websocket/message/broadcast', { id: dots, ...content }, 'id'],
    ['/websocket/notification', { userId: dots, title: 't', body: 'b' }, 'userId'],
    ['/api/gateway/send', { userId: dots, event: 'offer', message: 1 }, 'userId'],
    ['/api/gateway/send-many', { userIds: [dots], event: 'offer', message: 1 }, 'userIds.0'],
    ['/topics', { name: dots }, 'name'],
    ['/topics/%2e%2e/members', { userId: 'anna' }, 'name'],
    ['/topics/board/members', { userId: dots }, 'userId'],
  ])('is refused by POST %s', async (path, body, field) => {
    const answer = await service.post(path, json(body));
    expect(answer.status).toBe(400);
    expectProblem(JSON.parse(answer.text), badRequest(field));
  });

  it.each([
    { userId: dots, ...content },
    { topic: dots, ...content },
    { userId: 'anna', id: dots, ...content },
  ])('is refused in a batch: %j', async (item) => {
    const { status, text } = await service.post('/messages/batch', json({ messages: [item] }));
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ results: [{ error: { code: 'bad_request' } }] });
  });

  it.each(['/inbox', '/topics/board/messages', '/websocket/users/connected'])('does not arrive: %s', async (path) => {
    // Every URL parser makes another path of it; only a hand-written request gets here.
    expect(new URL(`${path}/${encodeURIComponent(dots)}`, service.url).pathname).not.toContain(dots);
  });

  it.each([
    ['GET', '/websocket/users/:/status'],
    ['DELETE', '/websocket/users/:/disconnect'],
    ['GET', '/api/gateway/status/:'],
    ['PATCH', '/messages/:'],
    ['DELETE', '/messages/:'],
    ['GET', '/messages/:/receipts'],
    ['DELETE', '/scheduled/:'],
    ['PATCH', '/inbox/:'],
    ['POST', '/users/:/revoke'],
    ['DELETE', '/users/:/data'],
    ['GET', '/users/:/export'],
    ['GET', '/topics/:'],
    ['DELETE', '/topics/:'],
    ['GET', '/topics/:/members'],
    ['GET', '/topics/:/messages'],
    ['DELETE', '/topics/board/members/:'],
    ['GET', '/messages/m1/receipts?from=:'],
    ['GET', '/inbox?topic=:'],
    ['GET', '/inbox?topic=@:'],
    ['GET', '/audit?actor=:'],
  ])('is refused by %s %s, plain and encoded', async (method, path) => {
    const body = json({ data: 1, state: 'read' });
    for (const text of [dots, dots.replaceAll('.', '%2e'), dots.replaceAll('.', '%2E')]) {
      const headers = { 'Content-Type': 'application/json' };
      const sending = method === 'PATCH' || method === 'POST' ? { body, headers } : {};
      const answer = await service.exchange({ method, path: path.replace(':', text), ...sending });
      expect(answer.status).toBe(400);
      expect(JSON.parse(answer.text)).toMatchObject({ code: 'bad_request' });
    }
  });

  it.each(DOORS)('as the user of a token is refused: %s', async (_name, enter) => {
    const { url } = service;
    const anonymous = (await import('supertest')).default.agent(url);
    expect(await enter({ url, anonymous }, service.token(dots, 'send admin'))).toBe('unauthorized');
  });

  it('as a device is refused on both endpoints', async () => {
    const client = openClient(service.url, { auth: { token: service.token('anna'), device: dots } });
    const refused = await new Promise<{ data?: unknown }>((resolve) => client.socket.once('connect_error', resolve));
    expectProblem(refused.data, { status: 400, code: 'bad_request', path: 'device' });
    const headers = { Authorization: `Bearer ${service.token('anna')}` };
    const plain = openPlain(service.url, { path: `/ws?device=${encodeURIComponent(dots)}`, headers });
    expectProblem(await plain.next('error'), { status: 400, code: 'bad_request', path: 'device' });
    expect((await plain.closed).code).toBe(4400);
    const first = openPlain(service.url);
    first.socket.once('open', () => first.send({ action: 'auth', token: service.token('anna'), device: dots }));
    expect((await first.closed).code).toBe(4400);
  });

  itLeftNothingBehind(service);
});

describe.each(TRANSPORTS)('over %s', (name, connect) => {
  const fields: [action: string, payload: (dots: string) => object, path: string][] = [
    ['ack', (topic) => ({ topic, seq: 1 }), 'topic'],
    ['ack', (topic) => ({ topic: `@${topic}`, seq: 1 }), 'topic'],
    ['history', (topic) => ({ topic }), 'topic'],
    ['history', (topic) => ({ topic: `@${topic}` }), 'topic'],
    ['typing', (topic) => ({ topic, typing: true }), 'topic'],
    ['typing', (topic) => ({ topic: `@${topic}`, typing: true }), 'topic'],
    ['state', (topic) => ({ state: 'read', topic }), 'topic'],
    ['state', (topic) => ({ state: 'read', topic: `@${topic}` }), 'topic'],
    ['state', (id) => ({ state: 'read', ids: [id] }), 'ids.0'],
  ];
  const ofSocketIo: typeof fields = [
    ['message', (to) => ({ to, type: 'test', data: 1 }), 'to'],
    ['message', (topic) => ({ topic, type: 'test', data: 1 }), 'topic'],
    ['message', (topic) => ({ topic: `@${topic}`, type: 'test', data: 1 }), 'topic'],
    ['message', (id) => ({ to: 'ben', type: 'test', data: 1, id }), 'id'],
    ['topic:create', (topic) => ({ name: topic }), 'name'],
    ['topic:join', (topic) => ({ name: topic }), 'name'],
    ['topic:leave', (topic) => ({ name: topic }), 'name'],
    ['topic:invite', (userId) => ({ name: 'board', userId }), 'userId'],
  ];
  const ofPlain: typeof fields = [
    ['message', (target) => ({ topic_name: target, content: 'x' }), 'topic_name'],
    ['message', (target) => ({ topic_name: `@${target}`, content: 'x' }), 'topic_name'],
    ['message', (target) => ({ topic_name: `#${target}`, content: 'x' }), 'topic_name'],
    ['message', (id) => ({ topic_name: 'ben', content: 'x', id }), 'id'],
    ['create', (topic) => ({ topic_name: topic }), 'topic_name'],
    ['subscribe', (topic) => ({ topic_name: topic }), 'topic_name'],
    ['unsubscribe', (topic) => ({ topic_name: topic }), 'topic_name'],
    ['invite', (username) => ({ topic_name: 'board', username }), 'username'],
  ];
  const rows = [...fields, ...(name === 'Socket.IO' ? ofSocketIo : ofPlain)];

  it('every field refuses them', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    for (const [action, payload, path] of rows) {
      for (const dots of DOTS) {
        const reply = await anna.call(action, payload(dots));
        expect({ action, payload: payload(dots), reply }).toMatchObject({ reply: { ok: false } });
        if (!reply.ok) expectProblem(reply.error, badRequest(path));
        // Ten in a row would close the plain connection.
        await anna.settle();
      }
    }
  });
});

it('removing a member whose name a URL parser takes out leaves the topic alone', async () => {
  const service: TestService = await startService();
  await service.api.post('/topics').send({ name: 'board' }).expect(201);
  await service.api.post('/topics/board/members').send({ userId: '..' }).expect(400);
  const Authorization = `Bearer ${testToken('service', { scope: 'admin' })}`;
  const { status } = await exchange(service.url, {
    method: 'DELETE',
    path: '/topics/board/members/..',
    headers: { Authorization },
  });
  expect(status).toBe(400);
  await service.api.get('/topics/board').expect(200);
});
