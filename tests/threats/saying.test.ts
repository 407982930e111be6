/** What a user without a scope cannot say, as whom, and to whom. */
import { SERVICE_TYPES } from '../../utils/protocol';
import { as, createTopic, inboxOf, sendTo, startWithClock } from '../features/callers';
import { startService } from '../support/service';
import { TRANSPORTS } from '../support/transports';
import { PERSON_DOORS, type Say, TOPIC_DOORS } from './doors';

const ALL_DOORS: [name: string, target: string, say: Say][] = [
  ...TOPIC_DOORS.map(([name, say]): [string, string, Say] => [`${name} in a topic`, 'news', say]),
  ...PERSON_DOORS.map(([name, say]): [string, string, Say] => [`${name} to a person`, '@anna', say]),
];

describe.each(ALL_DOORS)('over %s', (_name, target, say) => {
  it('speaks as the service: a reserved type is refused', async () => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'mallory', members: ['anna'] });
    for (const type of [...SERVICE_TYPES, 'SYSTEM', ' system ', 'ｓｙｓｔｅｍ', 'sys\u200btem', 'Notification']) {
      const { code } = await say(service, 'mallory', target, { type, data: { title: 'Your order' } });
      expect({ type, code }).toEqual({ type, code: 'insufficient_scope' });
    }
    expect((await inboxOf(as(service, 'anna'))).items).toEqual([]);
    for (const type of ['chat', 'poke']) {
      expect(await say(service, 'mallory', target, { type, data: 1 })).toMatchObject({ code: 'accepted' });
    }
  });

  it('uses the name of an event: the option is refused', async () => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'mallory', members: ['anna'] });
    for (const options of [{}, { persist: false }, { delay: 60 }]) {
      const { code } = await say(service, 'mallory', target, { type: 'x', event: 'order:paid', data: 1, ...options });
      expect(code).toBe('insufficient_scope');
    }
    expect((await inboxOf(as(service, 'anna'))).items).toEqual([]);
    expect((await as(service, 'mallory').get('/scheduled').expect(200)).body.items).toEqual([]);
  });

  it('speaks as somebody else: fields of the sender change nothing', async () => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'mallory', members: ['anna'] });
    const forged = { from: 'shop', userId: 'shop', sub: 'shop', seq: 99, timestamp: '2020-01-01T00:00:00.000Z' };
    const { answer } = await say(service, 'mallory', target, { type: 'chat', data: 1, ...forged });
    const [item] = (await inboxOf(as(service, 'anna'))).items;
    expect(item).toMatchObject({ id: answer['id'], from: 'mallory', seq: 1, topic: target });
    expect(Math.abs(Date.parse(item?.timestamp ?? '') - Date.now())).toBeLessThan(60_000);
  });
});

describe.each(PERSON_DOORS)('over %s', (_name, say) => {
  it('replaces a message of others: a collapseKey is of its sender', async () => {
    const { service, clock } = await startWithClock();
    await sendTo(service.api, 'anna', 'your order is ready', { collapseKey: 'order-1' });
    await say(service, 'mallory', '@anna', { type: 'chat', data: 'gone', collapseKey: 'order-1', ttl: 1 });
    clock.shift(5_000);
    const { items } = await inboxOf(as(service, 'anna'));
    expect(items.map(({ data }) => data)).toContain('your order is ready');
  });

  it('reuses the id of a message of others: an id is of its sender', async () => {
    const service = await startService();
    await sendTo(service.api, 'anna', 'real', { id: 'order-1' });
    const { code, answer } = await say(service, 'mallory', '@anna', { type: 'test', data: 'real', id: 'order-1' });
    expect(code).toBe('accepted');
    expect(answer).toMatchObject({ id: 'order-1', seq: 2 });
    const { items } = await inboxOf(as(service, 'anna'));
    expect(items.map(({ from }) => from).toSorted()).toEqual(['mallory', 'service']);
  });

  it('writes to people where they do not write to each other: direct_messages_off', async () => {
    const service = await startService({ env: { DIRECT_MESSAGES: 'false' } });
    for (const options of [{}, { persist: false }, { delay: 60 }, { id: 'one' }]) {
      const { code } = await say(service, 'mallory', '@anna', { type: 'chat', data: 1, ...options });
      expect(code).toBe('direct_messages_off');
    }
    expect((await inboxOf(as(service, 'anna'))).items).toEqual([]);
    expect(await say(service, 'anna', '@anna', { type: 'chat', data: 'a note' })).toMatchObject({ code: 'accepted' });
  });

  it('production isolates users from each other unless it is set otherwise', async () => {
    const service = await startService({ env: { NODE_ENV: 'production' } });
    expect(await say(service, 'mallory', '@anna', { type: 'chat', data: 1 })).toMatchObject({
      code: 'direct_messages_off',
    });
    const { body } = await as(service, 'mallory').post('/topics').send({ name: 'lair' }).expect(403);
    expect(body.code).toBe('topic_creation_off');
    await as(service, 'shop', 'send').post('/topics').send({ name: 'lair' }).expect(201);
  });
});

describe.each(TRANSPORTS)('over %s', (name, connect) => {
  it('creates topics where users do not: topic_creation_off', async () => {
    const service = await startService({ env: { TOPIC_CREATION: 'false' } });
    const mallory = await connect(service, 'mallory');
    const reply =
      name === 'Socket.IO'
        ? await mallory.call('topic:create', { name: 'lair' })
        : await mallory.call('create', { topic_name: 'lair' });
    expect(reply).toMatchObject({ ok: false, error: { code: 'topic_creation_off', status: 403 } });
    await as(service, 'mallory').post('/topics').send({ name: 'lair' }).expect(403);
    await as(service, 'shop', 'send').get('/topics/lair').expect(404);
  });

  it('types to people where they do not write to each other: refused', async () => {
    const service = await startService({ env: { DIRECT_MESSAGES: 'false' } });
    const anna = await connect(service, 'anna');
    const mallory = await connect(service, 'mallory');
    expect(await mallory.call('typing', { topic: '@anna', typing: true })).toMatchObject({
      ok: false,
      error: { code: 'direct_messages_off' },
    });
    await anna.settle();
    expect(anna.received.map(({ event }) => event)).not.toContain('typing');
  });
});

it('sends over the routes of services: refused', async () => {
  const service = await startService();
  const content = { type: 'chat', data: 1 };
  const routes: [path: string, body: object][] = [
    ['/websocket/message/user', { userId: 'anna', ...content }],
    ['/websocket/message/users', { userIds: ['anna'], ...content }],
    ['/websocket/message/broadcast', content],
    ['/websocket/notification', { userId: 'anna', title: 't', body: 'b' }],
    ['/messages/batch', { messages: [{ userId: 'anna', ...content }] }],
    ['/api/gateway/send', { userId: 'anna', event: 'offer', message: 1 }],
    ['/api/gateway/send-many', { userIds: ['anna'], event: 'offer', message: 1 }],
  ];
  for (const [path, body] of routes) {
    const answer = await as(service, 'mallory').post(path).send(body);
    expect({ path, code: answer.body.code }).toEqual({ path, code: 'insufficient_scope' });
  }
  expect((await inboxOf(as(service, 'anna'))).items).toEqual([]);
});

it('broadcasts as the service: scope broadcast is enough, and for nothing else', async () => {
  const service = await startService();
  const announcer = as(service, 'announcer', 'broadcast');
  const body = { type: 'announcement', event: 'order:paid', data: 1 };
  await announcer.post('/websocket/message/broadcast').send(body).expect(200);
  await createTopic(service, 'news', { owner: 'announcer' });
  await announcer.post('/topics/news/messages').send(body).expect(403);
});

it('changes a message sent as the service after the scope is gone: refused', async () => {
  const service = await startService();
  await as(service, 'shop', 'send')
    .post('/websocket/message/user')
    .send({ userId: 'anna', type: 'notification', data: { title: 'real' }, id: 'n-1' })
    .expect(200);
  const { body } = await as(service, 'shop')
    .patch('/messages/n-1')
    .send({ data: { title: 'false' } })
    .expect(403);
  expect(body.code).toBe('insufficient_scope');
  expect((await inboxOf(as(service, 'anna'))).items[0]?.data).toEqual({ title: 'real' });
});

it('changes, retracts or tracks messages of others: 403 for users who may read them, 404 for the rest', async () => {
  const service = await startService();
  const { id } = await sendTo(service.api, 'anna', 'real');
  for (const [user, status] of [
    ['anna', 403],
    ['mallory', 404],
  ] as const) {
    const api = as(service, user);
    await api.patch(`/messages/${id}`).send({ data: 'false' }).expect(status);
    await api.delete(`/messages/${id}`).expect(status);
    await api.get(`/messages/${id}/receipts`).expect(status);
    await api.patch(`/messages/${id}?from=service`).send({ data: 'false' }).expect(status);
  }
  await as(service, 'mallory').patch(`/inbox/${id}`).send({ state: 'archived' }).expect(404);
  expect((await inboxOf(as(service, 'anna'))).items).toMatchObject([{ data: 'real', state: 'unseen' }]);
});

it('uses the Idempotency-Key of others: keys are of their caller', async () => {
  const service = await startService();
  await createTopic(service, 'news', { owner: 'ben', members: ['mallory', 'anna'] });
  const post = (user: string) =>
    as(service, user).post('/topics/news/messages').set('Idempotency-Key', 'k-1').send({ type: 'chat', data: 1 });
  const [first, other] = [await post('ben').expect(200), await post('mallory').expect(200)];
  expect(other.headers['idempotent-replay']).toBeUndefined();
  expect(other.body.id).not.toBe(first.body.id);
  expect((await inboxOf(as(service, 'anna'))).items).toHaveLength(2);
});
