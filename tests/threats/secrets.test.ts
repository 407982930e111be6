/** What a user without a scope must not learn: private topics, messages, who is online. */
import { get, type IncomingMessage } from 'node:http';
import { as, createTopic, sendTo, visit } from '../features/callers';
import { connectPlain } from '../support/plain-client';
import { startService, type TestService, testToken } from '../support/service';
import { type AnyClient, framesOf, TRANSPORTS } from '../support/transports';
import { PERSON_DOORS, TOPIC_DOORS } from './doors';

/** A private topic of anna and ben, with something in it. */
async function startWithSecret(): Promise<{ service: TestService; messageId: string }> {
  const service = await startService();
  const anna = as(service, 'anna');
  await anna.post('/topics').send({ name: 'secret', isPrivate: true }).expect(201);
  await anna.post('/topics/secret/members').send({ userId: 'ben' }).expect(200);
  const { body } = await anna.post('/topics/secret/messages').send({ type: 'chat', data: 'hidden' }).expect(200);
  return { service, messageId: body.id };
}

/** The same refusal for two names, but for the name. */
function withoutName(answer: object, name: string): string {
  return JSON.stringify(answer)
    .replaceAll(name, '…')
    .replace(/"requestId":"[^"]*"/, '');
}

describe('a private topic', () => {
  const requests: [
    what: string,
    method: 'get' | 'post' | 'delete',
    path: (name: string) => string,
    body: object | undefined,
  ][] = [
    ['to see', 'get', (name) => `/topics/${name}`, undefined],
    ['to delete', 'delete', (name) => `/topics/${name}`, undefined],
    ['the members', 'get', (name) => `/topics/${name}/members`, undefined],
    ['to join', 'post', (name) => `/topics/${name}/members`, undefined],
    ['to invite', 'post', (name) => `/topics/${name}/members`, { userId: 'carl' }],
    ['to leave', 'delete', (name) => `/topics/${name}/members/mallory`, undefined],
    ['to remove', 'delete', (name) => `/topics/${name}/members/ben`, undefined],
    ['to speak', 'post', (name) => `/topics/${name}/messages`, { type: 'chat', data: 1 }],
    ['to speak as the service', 'post', (name) => `/topics/${name}/messages`, { type: 'system', data: 1 }],
    ['to speak later', 'post', (name) => `/topics/${name}/messages`, { type: 'chat', data: 1, delay: 60 }],
    ['the history', 'get', (name) => `/topics/${name}/messages`, undefined],
    ['the inbox', 'get', (name) => `/inbox?topic=${name}`, undefined],
  ];

  it.each(requests)(
    'is distinguished from a missing one over HTTP by %s: not at all',
    async (_what, method, path, body) => {
      const { service } = await startWithSecret();
      const ask = async (name: string) => {
        const { status, body: answer } = await as(service, 'mallory')[method](path(name)).send(body);
        return { status, answer: withoutName(answer, name) };
      };
      expect(await ask('secret')).toEqual(await ask('nobody'));
    },
  );

  const ofBoth: [action: string, fields: (name: string) => object][] = [
    ['history', (topic) => ({ topic })],
    ['typing', (topic) => ({ topic, typing: true })],
    ['ack', (topic) => ({ topic, seq: 1 })],
    ['state', (topic) => ({ state: 'read', topic })],
    ['state', (topic) => ({ state: 'read', topic, upTo: 1 })],
    ['state', (topic) => ({ state: 'read', topic, upTo: 99 })],
  ];
  const ofSocketIo: typeof ofBoth = [
    ['message', (topic) => ({ topic, type: 'chat', data: 1 })],
    ['topic:join', (name) => ({ name })],
    ['topic:leave', (name) => ({ name })],
    ['topic:invite', (name) => ({ name, userId: 'carl' })],
  ];
  const ofPlain: typeof ofBoth = [
    ['message', (name) => ({ topic_name: `#${name}`, content: 'x' })],
    ['subscribe', (topic_name) => ({ topic_name })],
    ['unsubscribe', (topic_name) => ({ topic_name })],
    ['invite', (topic_name) => ({ topic_name, username: 'carl' })],
  ];

  it.each(TRANSPORTS)('is distinguished from a missing one over %s: not at all', async (name, connect) => {
    const { service } = await startWithSecret();
    const mallory = await connect(service, 'mallory');
    await mallory.next('sync:done');
    for (const [action, fields] of [...ofBoth, ...(name === 'Socket.IO' ? ofSocketIo : ofPlain)]) {
      const [there, nowhere] = [
        await mallory.call(action, fields('secret')),
        await mallory.call(action, fields('nobody')),
      ];
      expect({ action, answer: withoutName(there, 'secret') }).toEqual({
        action,
        answer: withoutName(nowhere, 'nobody'),
      });
      expect(there.ok).toBe(false);
      await mallory.settle();
    }
    if (name !== 'Socket.IO') return;
    expect(await mallory.call('topic:list')).toMatchObject({ ok: true, topics: [] });
  });

  it('is distinguished from a missing one by a bare name: both are people', async () => {
    const { service } = await startWithSecret();
    const mallory = await connectPlain(service.url, 'mallory');
    for (const name of ['secret', 'nobody']) {
      expect(await mallory.call('message', { topic_name: name, content: 'x' })).toMatchObject({ topic: `@${name}` });
    }
  });

  it('is read by a removed user: nothing of it, through any door', async () => {
    const { service, messageId } = await startWithSecret();
    const ben = await service.connect('ben', { device: 'phone' });
    await ben.next('sync:done');
    const { body } = await as(service, 'ben')
      .post('/topics/secret/messages')
      .send({ type: 'chat', data: 1 })
      .expect(200);
    await as(service, 'anna').delete('/topics/secret/members/ben').expect(200);
    await as(service, 'anna').post('/topics/secret/messages').send({ type: 'chat', data: 'after' }).expect(200);
    await ben.settle();
    expect(ben.allMessages.map(({ data }) => data)).not.toContain('after');
    const again = await service.connect('ben', { device: 'phone' });
    await again.next('sync:done');
    expect(again.allMessages.map(({ data }) => data)).not.toContain('after');
    const api = as(service, 'ben');
    await api.get('/topics/secret/messages').expect(404);
    expect((await api.get('/inbox').expect(200)).body.items).toEqual([]);
    await api.patch(`/messages/${messageId}`).send({ data: 'x' }).expect(404);
    await api.patch(`/messages/${body.id}`).send({ data: 'I am still here' }).expect(404);
    await api.get(`/messages/${body.id}/receipts`).expect(404);
    // The user's own messages may be retracted.
    await api.delete(`/messages/${body.id}`).expect(200);
  });

  it('is changed by a user who left a public one: not_a_member', async () => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'anna', members: ['ben'] });
    const ben = as(service, 'ben');
    const { body } = await ben.post('/topics/news/messages').send({ type: 'chat', data: 1 }).expect(200);
    await ben.delete('/topics/news/members/ben').expect(200);
    expect((await ben.patch(`/messages/${body.id}`).send({ data: 2 }).expect(403)).body.code).toBe('not_a_member');
    expect((await ben.get(`/messages/${body.id}/receipts`).expect(403)).body.code).toBe('not_a_member');
    await as(service, 'ben', 'send').patch(`/messages/${body.id}`).send({ data: 2 }).expect(200);
  });
});

it('the id of a message is distinguished from an unused one: not at all', async () => {
  const { service, messageId } = await startWithSecret();
  const { id } = await sendTo(service.api, 'anna', 'private', { id: 'order-1' });
  await service.api
    .post('/websocket/message/user')
    .send({ userId: 'anna', type: 't', data: 1, id: 'later', delay: 99 });
  const mallory = as(service, 'mallory');
  const ask = async (used: string) => {
    const answers = [
      await mallory.patch(`/messages/${used}`).send({ data: 1 }),
      await mallory.delete(`/messages/${used}`),
      await mallory.get(`/messages/${used}/receipts`),
      await mallory.patch(`/inbox/${used}`).send({ state: 'read' }),
      await mallory.patch('/inbox').send({ state: 'read', ids: [used] }),
      await mallory.delete(`/scheduled/${used}`),
      await mallory.delete(`/scheduled/${used}?from=service`),
    ];
    return answers.map(({ status, body }) => ({ status, body: withoutName(body, used) }));
  };
  const unknown = await ask('unused-1');
  expect(new Set(unknown.map(({ status }) => status))).toEqual(new Set([404]));
  for (const used of [id, messageId, 'later']) expect(await ask(used)).toEqual(unknown);
});

it('messages of others are listed, exported or tracked: 403 and 404', async () => {
  const { service } = await startWithSecret();
  const mallory = as(service, 'mallory');
  await mallory.get('/users/anna/export').expect(403);
  await mallory.get('/audit').expect(403);
  await mallory.delete('/users/anna/data').expect(403);
  await mallory.post('/users/anna/revoke').expect(403);
  await mallory.delete('/websocket/users/anna/disconnect').expect(403);
  const socket = await service.connect('mallory');
  for (const topic of ['@anna', '~anna', 'secret']) {
    expect(await socket.call('history', { topic })).toMatchObject({ error: { code: 'not_found' } });
  }
});

describe('who is online, with PRESENCE_PUBLIC=false,', () => {
  const env = { PRESENCE_PUBLIC: 'false' };

  it.each([
    ...PERSON_DOORS.map(([name, say]) => [name, say, '@anna'] as const),
    ...TOPIC_DOORS.map(([name, say]) => [name, say, 'news'] as const),
  ])('is revealed to senders: not over %s', async (_name, say, target) => {
    const service = await startService({ env });
    await createTopic(service, 'news', { owner: 'mallory', members: ['anna'] });
    const before = await say(service, 'mallory', target, { type: 'chat', data: 1 });
    await service.connect('anna');
    const after = await say(service, 'mallory', target, { type: 'chat', data: 1 });
    for (const { code, answer } of [before, after]) {
      expect(code).toBe('accepted');
      expect(Object.keys(answer)).not.toContain('connected');
    }
    for (const scope of ['send', 'presence']) {
      const client = await service.connect('friend', { scope });
      expect(await client.call('message', { to: 'anna', type: 'chat', data: 1 })).toMatchObject({ connected: true });
    }
  });

  it('is revealed over HTTP and by presence: 403', async () => {
    const service = await startService({ env });
    await service.connect('anna');
    const paths = ['/websocket/users/connected', '/websocket/users/anna/status'];
    const ofGateway = ['/api/gateway/status/anna', '/api/gateway/connected', '/api/gateway/stats'];
    for (const path of [...paths, ...ofGateway]) await as(service, 'mallory').get(path).expect(403);
    await as(service, 'anna').get('/websocket/users/anna/status').expect(200);
  });

  it.each(TRANSPORTS)('continues to be revealed after the scope is gone: not over %s', async (name, connect) => {
    const service = await startService({ env });
    const watcher: AnyClient = await connect(service, 'watcher', { scope: 'presence' });
    const [watch, renew] = name === 'Socket.IO' ? ['presence:subscribe', 'auth:refresh'] : ['presence', 'auth'];
    expect(await watcher.call(watch)).toMatchObject({ ok: true });
    await watcher.next('presence');
    expect(await watcher.call(renew, { token: testToken('watcher') })).toMatchObject({ ok: true });
    const other = await connect(service, 'other', { scope: 'presence' });
    await other.call(watch);
    await other.next('presence');
    await visit(service, 'anna');
    await other.next('presence:join');
    await watcher.settle();
    expect(framesOf(watcher).map(({ event }) => event)).not.toContain('presence:join');
    expect(await watcher.call(watch)).toMatchObject({ error: { code: 'insufficient_scope' } });
  });
});

it('an export continues after the token was revoked: it breaks off', async () => {
  const service = await startService();
  const messages = Array.from({ length: 200 }, () => ({ userId: 'anna', type: 't', data: 'x'.repeat(60_000) }));
  for (let n = 0; n < 200; n += 10) {
    await service.api
      .post('/messages/batch')
      .send({ messages: messages.slice(n, n + 10) })
      .expect(200);
  }
  const headers = { Authorization: `Bearer ${testToken('anna')}` };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get(`${service.url}/users/anna/export`, { headers, agent: false }, resolve).on('error', reject);
  });
  response.pause();
  await service.api
    .post('/users/anna/revoke')
    .send({ issuedBefore: Math.floor(Date.now() / 1000) + 30 })
    .expect(200);
  const isWhole = await new Promise<boolean>((resolve) => {
    response.on('end', () => resolve(response.complete)).on('error', () => resolve(false));
    response.resume();
  });
  expect(isWhole).toBe(false);
});
