/** The routes under /api/gateway, as the callers of the compatible gateway still use them. */
import { openClient } from '../../support/client';
import { openRawSocket } from '../../support/raw-socket';
import { range, startService } from '../../support/service';

const ANNA = '507f1f77bcf86cd799439011';
const BEN = '507f1f77bcf86cd799439012';
const CARLA = '507f1f77bcf86cd799439013';
const NOTIFICATION = {
  title: 'New Message',
  body: 'You have a new message',
  timestamp: '2026-02-07T10:00:00.000Z',
};
const META = {
  id: expect.stringMatching(/\S/),
  seq: 1,
  timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
  from: 'service',
  counts: { unseen: 1, unread: 1 },
};

const SCOPES = ['send', 'broadcast', 'presence'];

const ROUTES = [
  ['post', '/api/gateway/send', { userId: ANNA, event: 'notification', message: NOTIFICATION }, 'send'],
  ['post', '/api/gateway/send-many', { userIds: [ANNA], event: 'notification', message: NOTIFICATION }, 'send'],
  ['get', `/api/gateway/status/${ANNA}`, undefined, 'presence'],
  ['get', '/api/gateway/connected', undefined, 'presence'],
  ['get', '/api/gateway/stats', undefined, 'presence'],
] as const;

describe.each(ROUTES)('%s %s', (method, path, given, scope) => {
  it(`needs scope ${scope}`, async () => {
    const service = await startService();
    const call = (token?: string) => {
      const request = service.anonymous[method](path);
      return (token === undefined ? request : request.set('Authorization', `Bearer ${token}`)).send(given);
    };
    const unauthorized = await call()
      .expect(401)
      .expect('Content-Type', /problem\+json/);
    expect(unauthorized.body).toMatchObject({ code: 'unauthorized' });
    const others = SCOPES.filter((name) => name !== scope).join(' ');
    // Not even about oneself: these routes are for services.
    const { body } = await call(service.token(ANNA, others)).expect(403);
    expect(body).toMatchObject({ code: 'insufficient_scope', detail: expect.stringContaining(scope) });
    for (const right of [scope, 'admin']) await call(service.token('caller', right)).expect(200);
  });

  it('needs no scope with AUTHORIZATION=open', async () => {
    const service = await startService({ env: { AUTHORIZATION: 'open' } });
    const request = service.anonymous[method](path).set('Authorization', `Bearer ${service.token('caller')}`);
    await request.send(given).expect(200);
  });

  it('answers other methods 405', async () => {
    const service = await startService();
    const allowed = method === 'get' ? 'GET, HEAD, OPTIONS' : 'POST, OPTIONS';
    for (const other of ['put', 'delete', method === 'get' ? 'post' : 'get'] as const) {
      const { body } = await service.api[other](path).expect(405).expect('Allow', allowed);
      expect(body).toMatchObject({ code: 'method_not_allowed' });
    }
  });
});

describe('send', () => {
  it('emits to all sockets of a user who is connected', async () => {
    const service = await startService();
    const clients = [await service.connect(ANNA), await service.connect(ANNA, { device: 'phone' })];
    const other = await service.connect(BEN);
    for (const client of [...clients, other]) await client.next('sync:done');
    const { body } = await service.api
      .post('/api/gateway/send')
      .send({ userId: ANNA, event: 'notification', message: NOTIFICATION })
      .expect(200)
      .expect('Content-Type', /application\/json/);
    expect(body).toEqual({ success: true, message: `Message sent to user ${ANNA}` });
    for (const client of clients) {
      const [payload, meta, ...rest] = await client.nextArgs('notification');
      expect(payload).toEqual(NOTIFICATION);
      expect(meta).toEqual({ ...META, topic: `@${ANNA}` });
      expect(rest).toEqual([]);
    }
    await other.settle();
    expect(other.received.map(({ event }) => event)).not.toContain('notification');
  });

  it('keeps it for an offline user, across a restart, and emits it then', async () => {
    const service = await startService();
    const { body } = await service.api
      .post('/api/gateway/send')
      .send({ userId: ANNA, event: 'alert', message: NOTIFICATION })
      .expect(200);
    expect(body).toEqual({
      success: false,
      message: `User ${ANNA} is not connected`,
      stored: true,
      id: expect.stringMatching(/\S/),
    });
    const again = await service.restart();
    const client = await again.connect(ANNA);
    expect(await client.nextArgs('alert')).toEqual([NOTIFICATION, { ...META, id: body.id, topic: `@${ANNA}` }]);
    await client.next('sync:done');
    client.close();
    await again.api.delete(`/websocket/users/${ANNA}/disconnect`).expect(200);
    // Once: what has been written to one socket of a client without a device does not come again.
    const later = await again.connect(ANNA);
    await later.next('sync:done');
    expect(later.received.map(({ event }) => event)).not.toContain('alert');
  });

  it('does not count a user who has just left as connected', async () => {
    const service = await startService();
    await service.connect(ANNA);
    await service.api.delete(`/websocket/users/${ANNA}/disconnect`).expect(200);
    const send = { userId: ANNA, event: 'alert', message: 1 };
    const { body } = await service.api.post('/api/gateway/send').send(send).expect(200);
    expect(body).toMatchObject({ success: false, stored: true });
  });

  it.each([
    ['text'],
    [''],
    [0],
    [false],
    [null],
    [[]],
    [[1, 'two', { three: 3 }]],
    [{}],
    [{ type: 't', data: 1, message: { message: 'nested' }, __proto_: 1, event: 'x' }],
  ])('emits any JSON value as it was sent: %j', async (message) => {
    const service = await startService();
    const client = await service.connect(ANNA);
    await client.next('sync:done');
    await service.api.post('/api/gateway/send').send({ userId: ANNA, event: 'custom event', message }).expect(200);
    expect(await client.nextArgs('custom event')).toEqual([message, { ...META, topic: `@${ANNA}` }]);
  });

  it('keeps the order of what other routes send to the same user', async () => {
    const service = await startService();
    for (const n of range(1, 3)) {
      await service.api.post('/api/gateway/send').send({ userId: ANNA, event: 'alert', message: n }).expect(200);
      await service.send(ANNA, [n]);
    }
    const client = await service.connect(ANNA);
    await client.next('sync:done');
    const seqs = client.received.flatMap(({ event, args }) => {
      if (event === 'alert') return [(args[1] as { seq: number }).seq];
      return event === 'message' ? [(args[0] as { seq: number }).seq] : [];
    });
    expect(seqs).toEqual(range(1, 6));
  });
});

describe('send-many', () => {
  it('says to whom it was sent, each once, online or not', async () => {
    const service = await startService();
    const anna = await service.connect(ANNA);
    await anna.next('sync:done');
    const message = { title: 'System Announcement', body: 'Scheduled maintenance tonight' };
    const { body } = await service.api
      .post('/api/gateway/send-many')
      .send({ userIds: [BEN, ANNA, BEN, CARLA, ANNA], event: 'announcement', message })
      .expect(200);
    expect(body).toEqual({ success: true, message: 'Message sent to 3 users', userIds: [BEN, ANNA, CARLA] });
    expect(await anna.nextArgs('announcement')).toEqual([message, { ...META, topic: `@${ANNA}` }]);
    for (const userId of [BEN, CARLA]) {
      const later = await service.connect(userId);
      expect(await later.nextArgs('announcement')).toEqual([message, { ...META, topic: `@${userId}` }]);
      await later.next('sync:done');
      expect(later.received.filter(({ event }) => event === 'announcement')).toHaveLength(1);
    }
    await anna.settle();
    expect(anna.received.filter(({ event }) => event === 'announcement')).toHaveLength(1);
  });
});

describe('bad input is refused and nothing is stored:', () => {
  const ROWS: [string, string, number, unknown][] = [
    ['send', 'userId', 400, { event: 'e', message: 1 }],
    ['send', 'userId', 400, { userId: '', event: 'e', message: 1 }],
    ['send', 'userId', 400, { userId: 7, event: 'e', message: 1 }],
    ['send', 'userId', 400, { userId: 'x'.repeat(129), event: 'e', message: 1 }],
    ['send', 'userId', 400, { userId: `${ANNA}\n`, event: 'e', message: 1 }],
    ['send', 'event', 400, { userId: ANNA, message: 1 }],
    ['send', 'event', 400, { userId: ANNA, event: '', message: 1 }],
    ['send', 'event', 400, { userId: ANNA, event: ['e'], message: 1 }],
    ['send', 'event', 400, { userId: ANNA, event: 'x'.repeat(65), message: 1 }],
    ['send', 'message', 400, { userId: ANNA, event: 'e' }],
    ['send', 'message', 413, { userId: ANNA, event: 'e', message: 'x'.repeat(2_000) }],
    ['send', '', 400, []],
    ['send', '', 400, 'text'],
    ['send', '', 400, null],
    ['send-many', 'userIds', 400, { event: 'e', message: 1 }],
    ['send-many', 'userIds', 400, { userIds: [], event: 'e', message: 1 }],
    ['send-many', 'userIds', 400, { userIds: ANNA, event: 'e', message: 1 }],
    ['send-many', 'userIds.1', 400, { userIds: [ANNA, ''], event: 'e', message: 1 }],
    ['send-many', 'userIds.0', 400, { userIds: [null, ANNA], event: 'e', message: 1 }],
    ['send-many', 'event', 400, { userIds: [ANNA], event: 7, message: 1 }],
    ['send-many', 'message', 400, { userIds: [ANNA], event: 'e' }],
    ['send-many', 'message', 413, { userIds: [ANNA], event: 'e', message: 'x'.repeat(2_000) }],
  ];

  it.each(ROWS)('%s, `%s` (%i)', async (route, path, status, given) => {
    const service = await startService({ env: { MAX_MESSAGE_BYTES: '1000' } });
    const { body } = await service.api
      .post(`/api/gateway/${route}`)
      .set('Content-Type', 'application/json')
      .send(JSON.stringify(given))
      .expect(status)
      .expect('Content-Type', /problem\+json/);
    // A field that the caller knows: `data` is not one of them.
    expect(body).toMatchObject({ status, errors: [{ path }] });
    expect((await service.send(ANNA, [1]))[0]?.seq).toBe(1);
  });

  it.each([
    'message',
    'authenticated',
    'connected',
    'sync:done',
    'sync:reset',
    'state',
    'message:updated',
    'message:removed',
    'presence',
    'presence:join',
    'presence:leave',
    'typing',
    'pong',
    'messageReceived',
    'auth:expiring',
    'closing',
    'reply',
    'error',
    'connect',
    'connect_error',
    'disconnect',
    'disconnecting',
    'newListener',
    'removeListener',
  ])('the reserved event %s', async (event) => {
    const service = await startService();
    for (const [route, target] of [
      ['send', { userId: ANNA }],
      ['send-many', { userIds: [ANNA] }],
    ] as const) {
      const { body } = await service.api
        .post(`/api/gateway/${route}`)
        .send({ ...target, event, message: 1 })
        .expect(400);
      expect(body).toMatchObject({ code: 'bad_request', errors: [{ path: 'event' }] });
    }
    expect((await service.send(ANNA, [1]))[0]?.seq).toBe(1);
  });
});

describe('connected users', () => {
  it('one user at a time', async () => {
    const service = await startService();
    const statusOf = async (userId: string) =>
      (await service.api.get(`/api/gateway/status/${encodeURIComponent(userId)}`).expect(200)).body as unknown;
    const odd = 'a/b c?d#e%20😀';
    expect(await statusOf(ANNA)).toEqual({ userId: ANNA, connected: false });
    for (const userId of [ANNA, ANNA, odd]) await service.connect(userId);
    for (const userId of [ANNA, odd]) expect(await statusOf(userId)).toEqual({ userId, connected: true });
    await service.api.delete(`/websocket/users/${ANNA}/disconnect`).expect(200);
    expect(await statusOf(ANNA)).toEqual({ userId: ANNA, connected: false });
  });

  it('refuses a name that no user can have', async () => {
    const service = await startService();
    for (const name of ['x'.repeat(129), 'a%00b']) {
      const { body } = await service.api.get(`/api/gateway/status/${name}`).expect(400);
      expect(body).toMatchObject({ code: 'bad_request', errors: [{ path: 'userId' }] });
    }
  });

  it('are listed and counted by user, not by socket', async () => {
    const service = await startService();
    const list = async () => (await service.api.get('/api/gateway/connected').expect(200)).body as unknown;
    const stats = async () => (await service.api.get('/api/gateway/stats').expect(200)).body as unknown;
    const uptimeSeconds = expect.any(Number);
    expect(await list()).toEqual({ connectedUsers: [], count: 0, nextCursor: null });
    expect(await stats()).toEqual({ connectedUsers: 0, userIds: [], sockets: 0, uptimeSeconds, nextCursor: null });
    for (const userId of [BEN, ANNA, BEN]) await service.connect(userId);
    await service.connect(ANNA, { device: 'phone' });
    expect(await list()).toEqual({ connectedUsers: [ANNA, BEN], count: 2, nextCursor: null });
    expect(await stats()).toEqual({
      connectedUsers: 2,
      userIds: [ANNA, BEN],
      sockets: 4,
      uptimeSeconds,
      nextCursor: null,
    });
    await service.api.delete(`/websocket/users/${BEN}/disconnect`).expect(200);
    expect(await list()).toEqual({ connectedUsers: [ANNA], count: 1, nextCursor: null });
    expect(await stats()).toEqual({ connectedUsers: 1, userIds: [ANNA], sockets: 2, uptimeSeconds, nextCursor: null });
  });

  it('never counts a socket that was refused', async () => {
    const service = await startService({ env: { AUTH_ERROR_EVENT: 'true' } });
    const refused = openClient(service.url, { auth: { token: 'forged' } });
    expect(await refused.next('error')).toEqual({ message: 'Authentication failed' });
    await openRawSocket(service.url);
    const { body } = await service.api.get('/api/gateway/stats').expect(200);
    expect(body).toMatchObject({ connectedUsers: 0, sockets: 0 });
  });

  it('comes with the uptime of the service, in whole seconds that do not run backwards', async () => {
    const service = await startService();
    const begin = performance.now();
    const uptime = async () =>
      ((await service.api.get('/api/gateway/stats').expect(200)).body as { uptimeSeconds: number }).uptimeSeconds;
    const first = await uptime();
    const second = await uptime();
    expect(Number.isInteger(first)).toBe(true);
    expect(first).toBeGreaterThanOrEqual(0);
    expect(second).toBeGreaterThanOrEqual(first);
    expect(second).toBeLessThanOrEqual((performance.now() - begin) / 1000 + 10);
  });
});
