/** Connections: who is admitted, what they receive, how they end. */
import { getWebSocketService } from '../../services/websocket';
import { openClient } from '../support/client';
import { ShiftedClock } from '../support/clock';
import { range, startService, testToken } from '../support/service';

describe('a connection', () => {
  it('is greeted in the words of the compatible services', async () => {
    const service = await startService();
    const client = openClient(service.url, { auth: { token: service.token('anna'), device: 'phone' } });
    expect(await client.next('authenticated')).toEqual({
      userId: 'anna',
      socketId: client.socket.id,
      device: 'phone',
      expiresAt: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(await client.next('connected')).toEqual({
      message: 'Successfully connected to WebSocket',
      userId: 'anna',
      socketId: client.socket.id,
    });
    expect(await client.next('sync:done')).toEqual({
      cursors: { '@anna': 0, '*': 0 },
      counts: { unseen: 0, unread: 0 },
    });
  });

  it.each([
    ['an Authorization header', (token: string) => ({ extraHeaders: { Authorization: `Bearer ${token}` } })],
    ['auth.token', (token: string) => ({ auth: { token } })],
    ['the query', (token: string) => ({ query: { token } })],
  ])('is admitted with the token in %s', async (_place, options) => {
    const service = await startService();
    for (const transports of [['websocket'], ['polling']]) {
      const client = openClient(service.url, { transports, ...options(service.token('anna')) });
      expect(await client.next('connected')).toMatchObject({ userId: 'anna' });
    }
  });

  it('answers ping, and the echoes of two compatible services', async () => {
    const service = await startService();
    const client = await service.connect('anna');
    client.socket.emit('ping');
    expect(await client.next('pong')).toEqual({ timestamp: expect.any(String) });
    client.socket.emit('message', { message: 'Hello from client!', data: {} });
    expect(await client.next('messageReceived')).toEqual({
      success: true,
      message: 'Message received by server',
      data: { receivedMessage: 'Hello from client!', timestamp: expect.any(String) },
    });
    client.socket.emit('message', { content: 'Hello, server!' });
    expect(await client.next('message')).toEqual({
      type: 'echo',
      data: { content: 'Hello, server!' },
      timestamp: expect.any(String),
    });
  });

  it('sends direct messages, which reach the other from this user', async () => {
    const service = await startService();
    const anna = await service.connect('anna');
    const reply = await anna.call('message', { to: 'ben', type: 'chat', data: { text: 'hi' } });
    expect(reply).toMatchObject({ ok: true, success: true, topic: '@ben', seq: 1, connected: false });
    const ben = await service.connect('ben');
    expect(await ben.next('message')).toMatchObject({ from: 'anna', type: 'chat', data: { text: 'hi' } });
  });

  it('reads the history of its own topic, by page', async () => {
    const service = await startService();
    await service.send('anna', range(1, 10));
    const client = await service.connect('anna');
    const seqs = async (query: object) => {
      const reply = (await client.call('history', { topic: '@anna', ...query })) as { messages?: { seq: number }[] };
      return reply.messages?.map(({ seq }) => seq);
    };
    expect(await seqs({})).toEqual(range(1, 10));
    expect(await seqs({ limit: 3 })).toEqual([8, 9, 10]);
    expect(await seqs({ limit: 3, before: 8 })).toEqual([5, 6, 7]);
    expect(await seqs({ limit: 3, after: 4 })).toEqual([5, 6, 7]);
    expect(await seqs({ after: 2, before: 5 })).toEqual([3, 4]);
  });
});

describe('the end of a connection', () => {
  it('logout closes the sockets of this device only', async () => {
    const service = await startService();
    const first = await service.connect('anna', { device: 'phone' });
    const second = await service.connect('anna', { device: 'phone' });
    const other = await service.connect('anna', { device: 'laptop' });
    expect(await first.call('logout')).toEqual({ ok: true });
    for (const client of [first, second]) {
      expect(await client.next('closing')).toMatchObject({ code: 'logged_out', retryInMs: null });
      expect(await client.next('disconnect')).toBe('io server disconnect');
    }
    await other.settle();
    const { body } = await service.api.get('/websocket/users/anna/status').expect(200);
    expect(body).toMatchObject({ connected: true, sockets: 1, devices: 1 });
  });

  it('an administrator disconnects all sockets of a user', async () => {
    const service = await startService();
    const clients = [await service.connect('anna'), await service.connect('anna', { device: 'phone' })];
    const { body } = await service.api.delete('/websocket/users/anna/disconnect').expect(200);
    expect(body).toEqual({ success: true, userId: 'anna', disconnected: 2 });
    for (const client of clients) expect(await client.next('closing')).toMatchObject({ code: 'disconnected' });
    const { body: again } = await service.api.delete('/websocket/users/anna/disconnect').expect(200);
    expect(again).toEqual({ success: true, userId: 'anna', disconnected: 0 });
  });

  it('comes when the token expires, and nothing is delivered afterwards', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ overrides: { clock } });
    const token = testToken('anna', { lifetimeSeconds: 60 });
    const client = openClient(service.url, { auth: { token } });
    await client.next('sync:done');
    clock.shift(61_000);
    expect(await client.next('closing')).toMatchObject({ code: 'token_expired' });
    await client.next('disconnect');
    const refused = openClient(service.url, { auth: { token } });
    const error = await refused.next<Error & { data: unknown }>('connect_error');
    expect(error.data).toMatchObject({ code: 'token_expired', status: 401 });
  });

  it('is remembered as lastSeen, even across a restart', async () => {
    const service = await startService();
    const client = await service.connect('anna');
    const online = await service.api.get('/websocket/users/anna/status').expect(200);
    expect(online.body).toEqual({
      userId: 'anna',
      connected: true,
      sockets: 1,
      devices: 1,
      lastSeen: expect.any(String),
    });
    client.close();
    await service.api.delete('/websocket/users/anna/disconnect').expect(200);
    const again = await service.restart();
    const { body } = await again.api.get('/websocket/users/anna/status').expect(200);
    expect(body).toEqual({ userId: 'anna', connected: false, sockets: 0, devices: 0, lastSeen: expect.any(String) });
    const unknown = await again.api.get('/websocket/users/nobody/status').expect(200);
    expect(unknown.body).toMatchObject({ connected: false, lastSeen: null });
  });
});

describe('code that embeds the service', () => {
  it('sends notifications through getWebSocketService()', async () => {
    const service = await startService();
    const client = await service.connect('anna');
    await client.next('sync:done');
    const { id } = await getWebSocketService().sendNotification('anna', 'Title', 'Body');
    expect(await client.next('message')).toMatchObject({
      id,
      type: 'notification',
      data: { title: 'Title', body: 'Body' },
    });
    expect(getWebSocketService().isUserConnected('anna')).toBe(true);
  });

  it('throws when nothing is running', async () => {
    const service = await startService();
    await service.stop();
    expect(() => getWebSocketService()).toThrow('not open');
  });
});
