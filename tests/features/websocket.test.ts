/** The routes under /websocket, seen from a service that calls them. */
import { range, startService } from '../support/service';

const SCOPES = ['send', 'broadcast', 'presence', 'admin'];

const ROUTES = [
  ['post', '/websocket/message/user', { userId: 'u', type: 't', data: 1 }, 'send'],
  ['post', '/websocket/message/users', { userIds: ['u'], type: 't', data: 1 }, 'send'],
  ['post', '/websocket/message/broadcast', { type: 't', data: 1 }, 'broadcast'],
  ['post', '/websocket/notification', { userId: 'u', title: 't', body: 'b' }, 'send'],
  ['get', '/websocket/users/connected', undefined, 'presence'],
  ['get', '/websocket/users/u/status', undefined, 'presence'],
  ['get', '/websocket/me/status', undefined, undefined],
  ['delete', '/websocket/users/u/disconnect', undefined, 'admin'],
] as const;

describe.each(ROUTES)('%s %s', (method, path, body, scope) => {
  it(`needs ${scope ?? 'any token'}`, async () => {
    const service = await startService();
    const call = (token?: string) => {
      const request = service.anonymous[method](path);
      return (token === undefined ? request : request.set('Authorization', `Bearer ${token}`)).send(body);
    };
    await call()
      .expect(401)
      .expect('Content-Type', /problem\+json/);
    if (scope !== undefined) {
      const wrong = SCOPES.filter((name) => name !== scope && name !== 'admin').join(' ');
      const { body: problem } = await call(service.token('caller', wrong)).expect(403);
      expect(problem).toMatchObject({ code: 'insufficient_scope', detail: expect.stringContaining(scope) });
      await call(service.token('caller', scope)).expect(200);
    }
    await call(service.token('caller', 'admin')).expect(200);
    if (scope === undefined) await call(service.token('caller')).expect(200);
  });

  it('needs no scope with AUTHORIZATION=open', async () => {
    const service = await startService({ env: { AUTHORIZATION: 'open' } });
    const request = service.anonymous[method](path).set('Authorization', `Bearer ${service.token('caller')}`);
    await request.send(body).expect(200);
  });
});

it('answers a send with its result', async () => {
  const service = await startService();
  const { body } = await service.api
    .post('/websocket/message/user')
    .send({ userId: 'anna', type: 'chat', data: { message: 'Hello!' } })
    .expect(200);
  expect(body).toEqual({
    success: true,
    message: 'Message sent to user anna',
    id: expect.any(String),
    topic: '@anna',
    seq: 1,
    connected: false,
    live: 'ok',
  });
});

it('sends to several users, each once', async () => {
  const service = await startService();
  const client = await service.connect('anna');
  await client.next('sync:done');
  const { body } = await service.api
    .post('/websocket/message/users')
    .send({ userIds: ['anna', 'ben', 'anna'], type: 't', data: 1 })
    .expect(200);
  expect(body).toEqual({
    success: true,
    message: 'Message sent to 2 users',
    results: [
      { userId: 'anna', id: expect.any(String), seq: 1, connected: true },
      { userId: 'ben', id: expect.any(String), seq: 1, connected: false },
    ],
  });
  expect(await client.next('message')).toMatchObject({ seq: 1 });
});

it('makes a notification of title, body and data, in which title and body win', async () => {
  const service = await startService();
  const client = await service.connect('anna');
  await client.next('sync:done');
  await service.api
    .post('/websocket/notification')
    .send({ userId: 'anna', title: 'T', body: 'B', data: { category: 'message', body: 'of data' } })
    .expect(200);
  expect(await client.next('message')).toMatchObject({
    type: 'notification',
    data: { title: 'T', body: 'of data', category: 'message' },
  });
});

describe('a client-made id', () => {
  const message = { userId: 'anna', type: 't', data: { n: 1 }, id: 'order-7' };

  it('makes the send happen once, even across a restart and for 100 at once', async () => {
    const service = await startService();
    const post = (target = service) => target.api.post('/websocket/message/user').send(message).expect(200);
    const answers = await Promise.all(range(1, 100).map(() => post()));
    expect(new Set(answers.map(({ body }) => `${body.id} ${body.seq}`))).toEqual(new Set(['order-7 1']));
    expect(answers.filter(({ headers }) => headers['idempotent-replay'] === undefined)).toHaveLength(1);
    const again = await service.restart();
    const replay = await post(again);
    expect(replay.headers['idempotent-replay']).toBe('true');
    expect(replay.body).toMatchObject({ id: 'order-7', seq: 1 });
    const client = await again.connect('anna');
    await client.next('sync:done');
    expect(client.allMessages).toHaveLength(1);
  });

  it('with other content is refused, and is free for another sender', async () => {
    const service = await startService();
    await service.api.post('/websocket/message/user').send(message).expect(200);
    const { body } = await service.api
      .post('/websocket/message/user')
      .send({ ...message, data: { n: 2 } })
      .expect(422);
    expect(body).toMatchObject({ code: 'idempotency_conflict', errors: [{ path: 'id' }] });
    const other = await service.anonymous
      .post('/websocket/message/user')
      .set('Authorization', `Bearer ${service.token('other', 'send')}`)
      .send({ ...message, data: { n: 2 } })
      .expect(200);
    expect(other.body).toMatchObject({ id: 'order-7', seq: 2 });
  });
});

it('lists connected users, by page', async () => {
  const service = await startService();
  for (const user of ['carla', 'anna', 'ben']) await service.connect(user);
  const first = await service.api.get('/websocket/users/connected?limit=2').expect(200);
  expect(first.body).toMatchObject({ users: ['anna', 'ben'], count: 3 });
  const second = await service.api.get(`/websocket/users/connected?cursor=${first.body.nextCursor}`).expect(200);
  expect(second.body).toEqual({ users: ['carla'], count: 3, nextCursor: null });
});

it('shows a user their own status without a scope, and nobody else', async () => {
  const service = await startService();
  const asAnna = (path: string) => service.anonymous.get(path).set('Authorization', `Bearer ${service.token('anna')}`);
  await asAnna('/websocket/users/anna/status').expect(200);
  await asAnna('/websocket/me/status').expect(200);
  await asAnna('/websocket/users/ben/status').expect(403);
});

it('limits requests per caller, with headers that show the rest', async () => {
  const service = await startService({ env: { RATE_LIMIT_PER_MINUTE: '2', RATE_LIMIT_SERVICE_PER_MINUTE: '4' } });
  const call = (token: string) => service.anonymous.get('/websocket/me/status').set('Authorization', `Bearer ${token}`);
  const anna = service.token('anna');
  const { headers } = await call(anna).expect(200);
  expect(headers['ratelimit']).toMatch(/r=1/);
  expect(headers['ratelimit-policy']).toMatch(/q=2/);
  await call(anna).expect(200);
  const limited = await call(anna).expect(429);
  expect(limited.body).toMatchObject({ code: 'rate_limited', status: 429 });
  expect(Number(limited.headers['retry-after'])).toBeGreaterThan(0);
  await call(service.token('ben')).expect(200);
  for (const _ of range(1, 4)) await call(service.token('backend', 'send')).expect(200);
  await call(service.token('backend', 'send')).expect(429);
});

it('limits refused tokens per address', async () => {
  const service = await startService({ env: { RATE_LIMIT_PER_MINUTE: '3' } });
  const guess = () => service.anonymous.get('/websocket/me/status').set('Authorization', 'Bearer guess');
  for (const _ of range(1, 3)) await guess().expect(401);
  await guess().expect(429);
  await service.api.get('/websocket/me/status').expect(200);
});
