/** The plain endpoint: who is admitted, what each action does, how connections end. */
import { ShiftedClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { forgeClaims } from '../../support/forged-tokens';
import { connectPlain, openPlain, type PlainClient } from '../../support/plain-client';
import { closeFrame, encodeRawFrame, OPCODES, openRawPlain, textFrame } from '../../support/raw-plain';
import { range, startService, type TestService, testToken } from '../../support/service';
import { countRefusals } from '../../support/shared-service';
import { onTestEnd } from '../../support/temporary';

const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

const connect = (service: TestService, userId: string, user: { device?: string; scope?: string } = {}) =>
  connectPlain(service.url, userId, user);

const statusOf = async (service: TestService, userId: string) =>
  (await service.api.get(`/websocket/users/${userId}/status`).expect(200)).body;

const untilAway = (service: TestService, userId: string) =>
  eventually(
    () => statusOf(service, userId),
    ({ connected }) => connected === false,
  );

/** Nobody was admitted, listed or counted. */
async function expectNobody(service: TestService): Promise<void> {
  const { body } = await service.api.get('/websocket/users/connected').expect(200);
  expect(body).toMatchObject({ users: [], count: 0 });
}

describe('the token', () => {
  const places: [place: string, open: (url: string, token: string) => PlainClient][] = [
    ['the Authorization header', (url, token) => openPlain(url, { headers: { Authorization: `Bearer ${token}` } })],
    ['the query of /ws', (url, token) => openPlain(url, { path: `/ws?token=${token}` })],
    ['the query of the root', (url, token) => openPlain(url, { path: `/?token=${token}` })],
    ['the path', (url, token) => openPlain(url, { path: `/${token}` })],
    [
      'the first frame',
      (url, token) => {
        const client = openPlain(url);
        client.socket.once('open', () => client.send({ action: 'auth', token }));
        return client;
      },
    ],
  ];

  it.each(places)('is taken from %s', async (_place, open) => {
    const service = await startService();
    const client = open(service.url, service.token('anna'));
    const { socketId, ...who } = await client.nextFrame('authenticated');
    expect(who).toEqual({
      event: 'authenticated',
      userId: 'anna',
      device: 'default',
      expiresAt: expect.stringMatching(ISO_TIME),
    });
    expect(await client.nextFrame('connected')).toEqual({
      event: 'connected',
      message: 'Successfully connected to WebSocket',
      userId: 'anna',
      socketId,
    });
    expect(await client.nextFrame('sync:done')).toEqual({
      event: 'sync:done',
      cursors: { '@anna': 0, '*': 0 },
      counts: { unseen: 0, unread: 0 },
    });
    expect(client.received.map(({ event }) => event)).toEqual(['authenticated', 'connected', 'sync:done']);
  });

  it.each(places)('that is garbage is refused from %s, with 4401', async (_place, open) => {
    const service = await startService();
    const client = open(service.url, 'eyJhbGciOiJIUzI1NiJ9.garbage.garbage');
    expect(await client.nextFrame('error')).toMatchObject({ status: 401, code: 'unauthorized' });
    expect(await client.closed).toEqual({ code: 4401, reason: 'unauthorized' });
    await expectNobody(service);
  });

  it.each(places)('that has expired is refused from %s, with 4401', async (_place, open) => {
    const service = await startService();
    const client = open(service.url, forgeClaims({ sub: 'anna', exp: 1_700_000_000 }));
    expect(await client.nextFrame('error')).toMatchObject({ status: 401, code: 'token_expired' });
    expect(await client.closed).toEqual({ code: 4401, reason: 'token_expired' });
    await expectNobody(service);
  });

  it('without an expiry is reported to have none', async () => {
    const service = await startService();
    const client = openPlain(service.url, { path: `/${forgeClaims({ sub: 'anna' })}` });
    expect(await client.next('authenticated')).toMatchObject({ userId: 'anna', expiresAt: null });
  });

  it.each([
    ['an Authorization header of another scheme', { headers: { Authorization: 'Basic YTpi' } }],
    ['an empty ?token=', { path: '/ws?token=' }],
  ])('is missed in %s', async (_name, options) => {
    const service = await startService();
    const client = openPlain(service.url, options);
    expect(await client.closed).toMatchObject({ code: 4401 });
    await expectNobody(service);
  });

  it.each([
    ['another action', { action: 'ping' }],
    ['no object', '"auth"'],
    ['bytes', Buffer.from('{"action":"auth"}')],
    ['no token', { action: 'auth' }],
    ['a token that is no text', { action: 'auth', token: { toString: 'x' } }],
  ])('has to be in the first frame: %s ends with 4401', async (_name, frame) => {
    const service = await startService();
    const client = openPlain(service.url);
    client.socket.once('open', () => client.send(frame));
    expect(await client.nextFrame('error')).toMatchObject({ status: 401, code: 'unauthorized' });
    expect(await client.closed).toMatchObject({ code: 4401 });
    expect(client.received.map(({ event }) => event)).toEqual(['error']);
    await expectNobody(service);
  });

  it('has to come within five seconds, and the user is not listed meanwhile', async () => {
    const service = await startService();
    const startedAt = performance.now();
    const client = openPlain(service.url);
    await new Promise((resolve) => client.socket.once('open', resolve));
    await expectNobody(service);
    await service.api.post('/websocket/message/broadcast').send({ type: 't', data: 1 }).expect(200);
    expect(await client.closed).toMatchObject({ code: 4401, reason: 'unauthorized' });
    expect(performance.now() - startedAt).toBeGreaterThan(4_900);
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    expect(client.received.map(({ event }) => event)).toEqual(['error']);
    expect(await countRefusals(service.url, 'unauthorized')).toBe(1);
  });
});

describe('the device', () => {
  it('is named in the query', async () => {
    const service = await startService();
    const client = openPlain(service.url, { path: `/ws?device=phone&token=${service.token('anna')}` });
    expect(await client.next('authenticated')).toMatchObject({ device: 'phone' });
  });

  it('is named beside a token in the path', async () => {
    const service = await startService();
    const client = openPlain(service.url, { path: `/${service.token('anna')}?device=phone` });
    expect(await client.next('authenticated')).toMatchObject({ device: 'phone' });
  });

  it('is named in the auth frame, which wins', async () => {
    const service = await startService();
    const client = openPlain(service.url, { path: '/ws?device=laptop' });
    client.socket.once('open', () => client.send({ action: 'auth', token: service.token('anna'), device: 'phone' }));
    expect(await client.next('authenticated')).toMatchObject({ device: 'phone' });
  });

  it.each([
    ['with a control character', '%00'],
    ['of 129 characters', 'a'.repeat(129)],
    ['that is empty', ''],
  ])('%s is refused with 4400', async (_name, device) => {
    const service = await startService();
    const client = openPlain(service.url, { path: `/ws?device=${device}&token=${service.token('anna')}` });
    expect(await client.nextFrame('error')).toMatchObject({ status: 400, errors: [{ path: 'device' }] });
    expect(await client.closed).toMatchObject({ code: 4400, reason: 'bad_request' });
    await expectNobody(service);
  });
});

describe('answers', () => {
  it.each([
    ['a text', 'x'],
    ['128 characters', 'x'.repeat(128)],
    ['a number', 7],
    ['zero', 0],
    ['an empty text', ''],
  ])('return a ref that is %s', async (_name, ref) => {
    const service = await startService();
    const client = await connect(service, 'anna');
    client.send({ action: 'presence', on: false, ref });
    expect(await client.nextFrame('reply')).toEqual({ event: 'reply', ref, ok: true });
  });

  it('have no ref when none was given', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    client.send({ action: 'presence', on: false });
    expect(await client.nextFrame('reply')).toEqual({ event: 'reply', ok: true });
  });

  it('to ping are pong, and a reply only to a ref', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    client.send({ action: 'ping' });
    expect(await client.nextFrame('pong')).toEqual({ event: 'pong', timestamp: expect.stringMatching(ISO_TIME) });
    client.send({ action: 'ping', ref: 1 });
    expect(await client.nextFrame('pong')).toMatchObject({ timestamp: expect.stringMatching(ISO_TIME) });
    expect(await client.nextFrame('reply')).toEqual({
      event: 'reply',
      ref: 1,
      ok: true,
      timestamp: expect.stringMatching(ISO_TIME),
    });
    expect(client.received.filter(({ event }) => event === 'reply')).toHaveLength(1);
  });

  it('keep the order of the actions', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    client.send({ action: 'create', topic_name: 'news', ref: 1 });
    client.send({ action: 'message', topic_name: 'news', content: 'x', ref: 2 });
    client.send({ action: 'history', topic: 'news', ref: 3 });
    const replies = [await client.nextFrame('reply'), await client.nextFrame('reply'), await client.nextFrame('reply')];
    expect(replies).toMatchObject([
      { ref: 1, ok: true },
      { ref: 2, ok: true, topic: 'news', seq: 1 },
      { ref: 3, ok: true, messages: [{ seq: 1, data: { content: 'x' } }] },
    ]);
  });

  it('of an unknown action name no action, and keep the connection', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    expect(await client.call('dance')).toMatchObject({ ok: false, error: { status: 400, code: 'unknown_event' } });
    expect(await client.call('ping')).toMatchObject({ ok: true });
  });
});

describe('topics', () => {
  it('are created public by default', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    const created = { ok: true, owner: 'anna', createdAt: expect.stringMatching(ISO_TIME), isMember: true };
    expect(await client.call('create', { topic_name: 'news' })).toEqual({ ...created, name: 'news', isPrivate: false });
    expect(await client.call('create', { topic_name: 'club', is_private: true })).toEqual({
      ...created,
      name: 'club',
      isPrivate: true,
    });
  });

  it.each(['suscribe', 'subscribe'])('are joined by %s, repeatedly too, and left by unsubscribe', async (action) => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben');
    await anna.call('create', { topic_name: 'news' });
    expect(await ben.call(action, { topic_name: 'news' })).toEqual({ ok: true, name: 'news', userId: 'ben' });
    expect(await ben.call(action, { topic_name: 'news' })).toMatchObject({ ok: true });
    await anna.call('message', { topic_name: 'news', content: 'one' });
    expect(await ben.next('message')).toMatchObject({ topic: 'news', seq: 1, data: { content: 'one' } });
    expect(await ben.call('unsubscribe', { topic_name: 'news' })).toMatchObject({ ok: true, name: 'news' });
    await anna.call('message', { topic_name: 'news', content: 'two' });
    await ben.settle();
    expect(ben.allMessages).toHaveLength(1);
  });

  it('that are private are joined by invitation only', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben');
    await anna.call('create', { topic_name: 'club', is_private: true });
    expect(await ben.call('subscribe', { topic_name: 'club' })).toMatchObject({ ok: false, error: { status: 404 } });
    expect(await anna.call('invite', { topic_name: 'club', username: 'ben' })).toEqual({
      ok: true,
      name: 'club',
      userId: 'ben',
    });
    expect(await ben.call('message', { topic_name: 'club', content: 'hi' })).toMatchObject({ ok: true, topic: 'club' });
    expect(await anna.next('message')).toMatchObject({ topic: 'club', from: 'ben' });
  });

  it('cannot be left by their owner', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    await anna.call('create', { topic_name: 'news' });
    const reply = await anna.call('unsubscribe', { topic_name: 'news' });
    expect(reply).toMatchObject({ ok: false, error: { status: 409, code: 'owner_cannot_leave' } });
  });

  it('keep messages for offline members', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben', { device: 'phone' });
    await anna.call('create', { topic_name: 'news' });
    await ben.call('subscribe', { topic_name: 'news' });
    ben.close();
    await untilAway(service, 'ben');
    await anna.call('message', { topic_name: 'news', content: 'missed' });
    const back = await connect(service, 'ben', { device: 'phone' });
    expect(await back.next('message')).toMatchObject({ topic: 'news', seq: 1, data: { content: 'missed' } });
  });
});

describe('whom `message` means by topic_name', () => {
  it('a topic of which the sender is a member', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    await anna.call('create', { topic_name: 'ben' });
    const reply = await anna.call('message', { topic_name: 'ben', content: 'x' });
    expect(reply).toEqual({
      ok: true,
      success: true,
      message: 'Message sent to topic ben',
      id: expect.any(String),
      topic: 'ben',
      seq: 1,
      connected: true,
      live: 'ok',
    });
  });

  it('nobody when it is a public topic of which the sender is not a member', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben');
    await anna.call('create', { topic_name: 'news' });
    const reply = await ben.call('message', { topic_name: 'news', content: 'x' });
    expect(reply).toMatchObject({ ok: false, error: { status: 403, code: 'not_a_member' } });
    expect(await anna.call('history', { topic: 'news' })).toMatchObject({ messages: [] });
    const carla = await connect(service, 'news');
    await carla.next('sync:done');
    expect(carla.allMessages).toEqual([]);
  });

  it('otherwise the user with that name, even beside a private topic of others', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben');
    await anna.call('create', { topic_name: 'club', is_private: true });
    expect(await ben.call('message', { topic_name: 'club', content: 'x' })).toMatchObject({ topic: '@club' });
    expect(await ben.call('message', { topic_name: 'anna', content: 'y' })).toMatchObject({ topic: '@anna' });
    expect(await anna.next('message')).toMatchObject({ topic: '@anna', from: 'ben', data: { content: 'y' } });
    expect(await anna.call('history', { topic: 'club' })).toMatchObject({ messages: [] });
  });

  it('with @ always the user', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben');
    await anna.call('create', { topic_name: 'ben' });
    expect(await anna.call('message', { topic_name: '@ben', content: 'x' })).toMatchObject({ topic: '@ben', seq: 1 });
    expect(await ben.next('message')).toMatchObject({ topic: '@ben', from: 'anna', data: { content: 'x' } });
  });

  it('a user whose name could be no topic', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    const name = 'José García <jose@example.org>';
    const jose = await connect(service, name);
    expect(await anna.call('message', { topic_name: name, content: 'x' })).toMatchObject({ topic: `@${name}` });
    expect(await jose.next('message')).toMatchObject({ topic: `@${name}` });
  });
});

describe('the content of `message`', () => {
  it('content becomes a chat', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben');
    const reply = await anna.call('message', { topic_name: 'ben', content: ['any', { json: true }] });
    expect(await ben.nextFrame('message')).toEqual({
      event: 'message',
      id: 'id' in reply ? reply.id : undefined,
      topic: '@ben',
      seq: 1,
      type: 'chat',
      data: { content: ['any', { json: true }] },
      timestamp: expect.stringMatching(ISO_TIME),
      from: 'anna',
      counts: { unseen: 1, unread: 1 },
    });
  });

  it('or type and data, with options', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben');
    const frame = { topic_name: 'ben', type: 'order', data: { n: 1 }, id: 'order-1' };
    expect(await anna.call('message', frame)).toMatchObject({ ok: true, id: 'order-1', seq: 1 });
    expect(await anna.call('message', frame)).toMatchObject({ ok: true, id: 'order-1', seq: 1 });
    const other = await anna.call('message', { ...frame, data: { n: 2 } });
    expect(other).toMatchObject({ ok: false, error: { status: 422, code: 'idempotency_conflict' } });
    expect(await ben.next('message')).toMatchObject({ id: 'order-1', type: 'order', data: { n: 1 } });
    await ben.settle();
    expect(ben.allMessages).toHaveLength(1);
  });

  it('a custom event comes under its own name, with everything beside it', async () => {
    const service = await startService();
    const anna = await connect(service, 'anna', { scope: 'send' });
    const ben = await connect(service, 'ben', { device: 'phone' });
    await anna.call('message', { topic_name: 'ben', type: 't', data: { level: 3 }, event: 'alert' });
    const alert = {
      event: 'alert',
      id: expect.any(String),
      topic: '@ben',
      seq: 1,
      timestamp: expect.stringMatching(ISO_TIME),
      from: 'anna',
      counts: { unseen: 1, unread: 1 },
      data: { level: 3 },
    };
    expect(await ben.nextFrame('alert')).toEqual(alert);
    const again = await connect(service, 'ben', { device: 'phone' });
    expect(await again.nextFrame('alert')).toEqual(alert);
  });

  it.each(['reply', 'error', 'message', 'closing', 'presence:join', 'connect'])(
    'never under the reserved name %s',
    async (event) => {
      const service = await startService();
      const anna = await connect(service, 'anna');
      const reply = await anna.call('message', { topic_name: 'ben', type: 't', data: 1, event });
      expect(reply).toMatchObject({ ok: false, error: { status: 400, errors: [{ path: 'event' }] } });
    },
  );
});

describe('acknowledgement and history', () => {
  it('ack moves the cursor of the device', async () => {
    const service = await startService();
    await service.send('anna', range(1, 3));
    const client = await connect(service, 'anna', { device: 'phone' });
    await client.messages(3);
    expect(await client.call('ack', { topic: '@anna', seq: 2 })).toEqual({ ok: true });
    const again = await connect(service, 'anna', { device: 'phone' });
    await again.next('sync:done');
    expect(again.allMessages.map(({ seq }) => seq)).toEqual([3]);
  });

  it('history comes by page', async () => {
    const service = await startService();
    await service.send('anna', range(1, 10));
    const client = await connect(service, 'anna');
    const seqs = async (query: object) => {
      const reply = (await client.call('history', { topic: '@anna', ...query })) as { messages?: { seq: number }[] };
      return reply.messages?.map(({ seq }) => seq);
    };
    expect(await seqs({})).toEqual(range(1, 10));
    expect(await seqs({ limit: 3 })).toEqual([8, 9, 10]);
    expect(await seqs({ limit: 3, before: 8 })).toEqual([5, 6, 7]);
    expect(await seqs({ limit: 3, after: 4 })).toEqual([5, 6, 7]);
  });

  it('history of others does not exist', async () => {
    const service = await startService();
    await service.send('ben', [1]);
    const client = await connect(service, 'anna');
    expect(await client.call('history', { topic: '@ben' })).toMatchObject({ ok: false, error: { status: 404 } });
  });
});

describe('presence and typing', () => {
  it('presence on shows online users and who comes and goes, off ends it', async () => {
    const service = await startService({ env: { PRESENCE_GRACE_MS: '0' } });
    const anna = await connect(service, 'anna');
    expect(await anna.call('presence', { on: true })).toEqual({ ok: true, count: 1 });
    expect(await anna.nextFrame('presence')).toEqual({ event: 'presence', users: ['anna'], count: 1 });
    const ben = await connect(service, 'ben');
    expect(await anna.nextFrame('presence:join')).toEqual({ event: 'presence:join', userId: 'ben' });
    ben.close();
    expect(await anna.nextFrame('presence:leave')).toEqual({
      event: 'presence:leave',
      userId: 'ben',
      lastSeen: expect.stringMatching(ISO_TIME),
    });
    const carla = await connect(service, 'carla');
    await carla.call('presence');
    expect(await anna.call('presence', { on: false })).toEqual({ ok: true });
    await connect(service, 'dora');
    expect(await carla.next('presence:join')).toEqual({ userId: 'dora' });
    await anna.settle();
    const joined = anna.received.filter(({ event }) => event === 'presence:join').map(({ userId }) => userId);
    expect(joined).not.toContain('dora');
  });

  it('typing reaches the others of a topic, and the peer of a conversation', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ overrides: { clock } });
    const anna = await connect(service, 'anna');
    const ben = await connect(service, 'ben');
    await anna.call('create', { topic_name: 'news' });
    await ben.call('subscribe', { topic_name: 'news' });
    expect(await ben.call('typing', { topic: 'news', typing: true })).toEqual({ ok: true });
    expect(await anna.nextFrame('typing')).toEqual({ event: 'typing', topic: 'news', userId: 'ben', typing: true });
    clock.shift(2_000);
    expect(await ben.call('typing', { topic: '@anna', typing: true })).toEqual({ ok: true });
    expect(await anna.nextFrame('typing')).toEqual({ event: 'typing', topic: '@ben', userId: 'ben', typing: true });
    expect(ben.received.map(({ event }) => event)).not.toContain('typing');
  });
});

describe('auth on an open connection', () => {
  it('continues with a newer token of the same user', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ overrides: { clock } });
    const client = openPlain(service.url, { path: `/${testToken('anna', { lifetimeSeconds: 30 })}` });
    await client.next('sync:done');
    const reply = await client.call('auth', { token: testToken('anna', { lifetimeSeconds: 3_600 }) });
    expect(reply).toEqual({ ok: true, expiresAt: expect.stringMatching(ISO_TIME) });
    clock.shift(31_000);
    // The connection whose token has not been refreshed is the one that goes.
    const control = openPlain(service.url, { path: `/${forgeClaims({ sub: 'ben', exp: clock.now() / 1000 + 0.5 })}` });
    expect(await control.closed).toMatchObject({ code: 4401, reason: expect.any(String) });
    await client.settle();
    await service.send('anna', [1]);
    expect(await client.next('message')).toMatchObject({ seq: 1 });
  });

  it('takes over the scopes of the newer token', async () => {
    const service = await startService();
    await service.send('ben', [1]);
    const client = await connect(service, 'anna');
    expect(await client.call('history', { topic: '@ben' })).toMatchObject({ ok: false });
    await client.call('auth', { token: service.token('anna', 'admin') });
    expect(await client.call('history', { topic: '@ben' })).toMatchObject({ ok: true, messages: [{ seq: 1 }] });
  });

  it.each([
    ['of another user', () => testToken('ben'), 403, 'forbidden'],
    ['that has expired', () => forgeClaims({ sub: 'anna', exp: 1_700_000_000 }), 401, 'token_expired'],
    ['that is garbage', () => 'garbage', 401, 'unauthorized'],
  ])('refuses a token %s and changes nothing', async (_name, token, status, code) => {
    const service = await startService();
    const client = await connect(service, 'anna');
    expect(await client.call('auth', { token: token() })).toMatchObject({ ok: false, error: { status, code } });
    await service.send('anna', [1]);
    expect(await client.next('message')).toMatchObject({ topic: '@anna' });
    await service.send('ben', [2]);
    await client.settle();
    expect(client.allMessages).toHaveLength(1);
  });
});

describe('the end of a connection', () => {
  it('1000 after disconnect, which is answered', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    expect(await client.call('disconnect')).toEqual({ ok: true });
    expect(await client.closed).toMatchObject({ code: 1000 });
    expect(client.received.map(({ event }) => event)).not.toContain('closing');
    expect(await untilAway(service, 'anna')).toMatchObject({ sockets: 0 });
  });

  it('1000 after logout, which is answered, for all connections of the device', async () => {
    const service = await startService();
    const clients = [
      await connect(service, 'anna', { device: 'phone' }),
      await connect(service, 'anna', { device: 'phone' }),
    ];
    const other = await connect(service, 'anna', { device: 'laptop' });
    expect(await clients[0]?.call('logout')).toEqual({ ok: true });
    for (const client of clients) {
      expect(await client.nextFrame('closing')).toMatchObject({ code: 'logged_out', retryInMs: null });
      expect(await client.closed).toMatchObject({ code: 1000 });
    }
    await other.settle();
    expect(await statusOf(service, 'anna')).toMatchObject({ connected: true, sockets: 1, devices: 1 });
  });

  it('4403 when an administrator disconnects the user', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    const { body } = await service.api.delete('/websocket/users/anna/disconnect').expect(200);
    expect(body).toEqual({ success: true, userId: 'anna', disconnected: 1 });
    expect(await client.nextFrame('closing')).toMatchObject({ code: 'disconnected', retryInMs: null });
    expect(await client.closed).toMatchObject({ code: 4403 });
  });

  it('4403 for a page of another origin', async () => {
    const service = await startService({ env: { CORS_ORIGIN: 'https://app.example.com' } });
    const path = `/ws?token=${service.token('anna')}`;
    const client = openPlain(service.url, { path, headers: { Origin: 'https://evil.example.com' } });
    expect(await client.closed).toEqual({ code: 4403, reason: 'origin_not_allowed' });
    await expectNobody(service);
    const allowed = openPlain(service.url, { path, headers: { Origin: 'https://app.example.com' } });
    await allowed.next('connected');
  });

  it('4401 when the token expires', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ overrides: { clock } });
    const client = openPlain(service.url, { path: `/${testToken('anna', { lifetimeSeconds: 90 })}` });
    await client.next('sync:done');
    clock.shift(40_000);
    expect(await client.nextFrame('auth:expiring')).toMatchObject({ expiresAt: expect.stringMatching(ISO_TIME) });
    clock.shift(51_000);
    expect(await client.nextFrame('closing')).toMatchObject({ code: 'token_expired' });
    expect(await client.closed).toMatchObject({ code: 4401 });
  });

  it('4400 after ten bad frames in a row', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    for (let n = 1; n <= 10; n += 1) client.send(n % 2 === 0 ? 'not json' : { action: 'dance' });
    expect(await client.nextFrame('closing')).toMatchObject({ code: 'bad_frames' });
    expect(await client.closed).toMatchObject({ code: 4400 });
    expect(client.received.filter(({ event }) => event === 'reply')).toHaveLength(10);
    expect(await statusOf(service, 'anna')).toMatchObject({ connected: false });
  });

  it('not after nine and a good one, over and over', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    for (let round = 0; round < 3; round += 1) {
      for (let n = 1; n <= 9; n += 1) expect(await client.reply('not json')).toMatchObject({ ok: false });
      expect(await client.call('ping')).toMatchObject({ ok: true });
    }
    expect(client.isClosed).toBe(false);
  });

  it('1001 when the service goes away, even before authentication', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    const stranger = openPlain(service.url);
    await new Promise((resolve) => stranger.socket.once('open', resolve));
    await service.stop();
    expect(await client.nextFrame('closing')).toMatchObject({ code: 'going_away', retryInMs: expect.any(Number) });
    expect(await client.closed).toMatchObject({ code: 1001 });
    expect(await stranger.closed).toMatchObject({ code: 1001 });
  });

  it('comes at once to a reader that does not read, and the others are not held up', async () => {
    const service = await startService({ env: { MAX_BUFFERED_BYTES: '200000' } });
    const slow = await connect(service, 'anna', { device: 'slow' });
    const other = await connect(service, 'anna', { device: 'other' });
    await Promise.all([slow.next('sync:done'), other.next('sync:done')]);
    slow.socket.pause();
    const data = 'x'.repeat(60_000);
    const sockets = async () => (await statusOf(service, 'anna')).sockets as number;
    let sent = 0;
    while ((await sockets()) === 2 && sent < 1_000) {
      await service.api.post('/websocket/message/user').send({ userId: 'anna', type: 't', data }).expect(200);
      sent += 1;
    }
    expect(await sockets()).toBe(1);
    const messages = await other.messages(sent);
    expect(messages.at(-1)?.seq).toBe(sent);
    const { text } = await service.anonymous.get('/metrics').expect(200);
    expect(text).toContain('tidings_slow_consumers_total 1');
    slow.socket.resume();
    // 1006: the close frame could not reach a reader whose buffers are full.
    expect([1006, 4408]).toContain((await slow.closed).code);
    const back = await connect(service, 'anna', { device: 'slow' });
    expect(await back.next('message')).toMatchObject({ seq: 1 });
  });

  it('ends a catch-up that waits for a reader who does not read', async () => {
    const service = await startService({ env: { MAX_MESSAGE_BYTES: '700000' } });
    // 30 MB: more than the operating system's buffers hold.
    const data = 'x'.repeat(600_000);
    for (const _n of range(1, 50)) {
      await service.api.post('/websocket/message/user').send({ userId: 'anna', type: 't', data }).expect(200);
    }
    const running = async () => {
      const { text } = await service.anonymous.get('/metrics').expect(200);
      return /^tidings_catch_ups_running (\d+)$/m.exec(text)?.[1];
    };
    const slow = openPlain(service.url, { path: `/ws?token=${service.token('anna')}` });
    slow.socket.once('open', () => slow.socket.pause());
    await eventually(
      () => statusOf(service, 'anna'),
      ({ connected }) => connected === true,
    );
    expect(await running()).toBe('1');
    await service.api.delete('/websocket/users/anna/disconnect').expect(200);
    await eventually(running, (count) => count === '0');
  });

  describe.each([
    ['a close frame', closeFrame(1000), 1000],
    ['the action disconnect', textFrame({ action: 'disconnect' }), 1000],
    ['a frame against the protocol', encodeRawFrame({ opcode: OPCODES.text, reserved: 7 }), 1002],
  ])('begins with %s, whatever the client does afterwards:', (_name, goodbye, code) => {
    /** Has said goodbye, does not answer the close frame, and keeps TCP open. */
    async function sayGoodbye(service: TestService): Promise<void> {
      const raw = await openRawPlain(service.url, { path: `/${service.token('anna')}` });
      await raw.next('sync:done');
      raw.write(goodbye);
      expect(await raw.closed()).toBe(code);
    }

    it('the user is not connected any more', async () => {
      const service = await startService();
      await sayGoodbye(service);
      expect(await statusOf(service, 'anna')).toMatchObject({ connected: false, sockets: 0 });
    });

    it('a message waits for the next connection', async () => {
      const service = await startService();
      await sayGoodbye(service);
      await service.send('anna', [1]);
      const again = await service.restart();
      const back = await connect(again, 'anna');
      await back.next('sync:done');
      expect(back.allMessages.map(({ seq }) => seq)).toEqual([1]);
    });
  });

  it.each([
    ['has vanished', []],
    ['still talks, and is not reached', [textFrame({ action: 'ping' }), encodeRawFrame({ opcode: OPCODES.ping })]],
  ])('comes to a peer that %s: it answers no ping', async (_name, frames) => {
    const service = await startService({ env: { PING_INTERVAL_MS: '200', PING_TIMEOUT_MS: '200' } });
    const alive = await connect(service, 'ben');
    const raw = await openRawPlain(service.url, { path: `/${service.token('anna')}` });
    await raw.next('sync:done');
    const talk = setInterval(() => raw.write(...frames), 50);
    onTestEnd(() => clearInterval(talk));
    await untilAway(service, 'anna');
    await raw.ended();
    await alive.settle();
    expect(await statusOf(service, 'ben')).toMatchObject({ connected: true });
  });
});

describe('limits, as over Socket.IO', () => {
  it('4409 beyond the connections of one user, both transports counted together', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '2' } });
    await service.connect('anna');
    await connect(service, 'anna');
    const third = openPlain(service.url, { path: `/${service.token('anna')}` });
    expect(await third.nextFrame('error')).toMatchObject({ status: 429, code: 'too_many_connections' });
    expect(await third.closed).toEqual({ code: 4409, reason: 'too_many_connections' });
    expect(await statusOf(service, 'anna')).toMatchObject({ sockets: 2 });
    await connect(service, 'ben');
  });

  it.each(['MAX_CONNECTIONS', 'MAX_CONNECTIONS_PER_ADDRESS'])('4409 beyond %s', async (name) => {
    const service = await startService({ env: { [name]: '2' } });
    const first = await connect(service, 'anna');
    await connect(service, 'ben');
    const third = openPlain(service.url, { path: `/${service.token('carla')}` });
    expect(await third.closed).toEqual({ code: 4409, reason: 'too_many_connections' });
    first.close();
    await untilAway(service, 'anna');
    await connect(service, 'carla');
  });

  it('refuses events beyond the burst, and acknowledgements never', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ env: { SOCKET_EVENTS_PER_SECOND: '1' }, overrides: { clock } });
    const client = await connect(service, 'anna', { device: 'phone' });
    await client.next('sync:done');
    const codes: unknown[] = [];
    for (const _n of range(1, 12)) {
      const reply = await client.call('ping');
      codes.push(reply.ok ? 'ok' : reply.error.code);
    }
    expect(codes.slice(0, 4)).toEqual(['ok', 'ok', 'ok', 'ok']);
    expect(codes).toContain('rate_limited');
    for (const _n of range(1, 12)) expect(await client.call('ack', { topic: '@anna', seq: 0 })).toEqual({ ok: true });
    clock.shift(5_000);
    expect(await client.call('ping')).toMatchObject({ ok: true });
  });

  it('refuses a message that is too large, and keeps the connection', async () => {
    const service = await startService({ env: { MAX_MESSAGE_BYTES: '100' } });
    const client = await connect(service, 'anna');
    const fits = 'x'.repeat(100 - '{"content":""}'.length);
    expect(await client.call('message', { topic_name: 'ben', content: fits })).toMatchObject({ ok: true });
    const reply = await client.call('message', { topic_name: 'ben', content: `${fits}x` });
    expect(reply).toMatchObject({ ok: false, error: { status: 413, code: 'message_too_large' } });
    expect(await client.call('history', { topic: '@anna' })).toMatchObject({ ok: true });
  });

  it('catches up through a small buffer', async () => {
    const service = await startService({ env: { MAX_BUFFERED_BYTES: '20000' } });
    for (const n of range(1, 20)) {
      const message = { userId: 'anna', type: 't', data: { n, padding: 'x'.repeat(15_000) } };
      await service.api.post('/websocket/message/user').send(message).expect(200);
    }
    const client = await connect(service, 'anna');
    await client.next('sync:done');
    expect(client.allMessages.map(({ seq }) => seq)).toEqual(range(1, 20));
  });
});
