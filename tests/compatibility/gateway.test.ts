/** Compatibility: a gateway for users with MongoDB ids, its Socket.IO clients and its REST paths, as documented there. */
import { io } from 'socket.io-client';
import { TestClient } from '../support/client';
import { eventually } from '../support/eventually';
import { forgeClaims } from '../support/forged-tokens';
import { type ServiceOptions, startService, type TestService } from '../support/service';

const ANNA = '507f1f77bcf86cd799439011';
const BEN = '507f1f77bcf86cd799439012';
const CARLA = '507f1f77bcf86cd799439013';
const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Any access token may send there: scopes are off. */
async function startGateway(options: ServiceOptions = {}): Promise<TestService> {
  return startService({ ...options, env: { AUTHORIZATION: 'open', AUTH_ERROR_EVENT: 'true', ...options.env } });
}

/** `http://localhost:3000` of the document, with this port. */
const addressOf = (service: TestService) => `http://localhost:${new URL(service.url).port}`;

/** The JavaScript example of the document. */
function connectByAuth(service: TestService, token: string, scheme = 'http'): TestClient {
  return new TestClient(io(addressOf(service).replace('http', scheme), { auth: { token } }));
}

async function connect(service: TestService, userId: string): Promise<TestClient> {
  const client = connectByAuth(service, service.token(userId));
  await client.next('connected');
  return client;
}

/** `Authorization: Bearer <access_token>` of a user, without any scope. */
function gatewayOf(service: TestService) {
  const authorization = `Bearer ${service.token('backend')}`;
  return {
    get: (path: string) => service.anonymous.get(path).set('Authorization', authorization),
    post: (path: string, body: object) =>
      service.anonymous
        .post(path)
        .set('Authorization', authorization)
        .set('Content-Type', 'application/json')
        .send(body),
  };
}

describe('connecting', () => {
  it.each(['http', 'ws'])('with auth.token, to %s://localhost', async (scheme) => {
    const service = await startGateway();
    const client = connectByAuth(service, service.token(ANNA), scheme);
    expect(await client.next('connected')).toEqual({
      message: 'Successfully connected to WebSocket',
      userId: ANNA,
      socketId: client.socket.id,
    });
  });

  it('with the token in a header', async () => {
    const service = await startGateway();
    const extraHeaders = { Authorization: `Bearer ${service.token(ANNA)}` };
    const client = new TestClient(io(addressOf(service), { extraHeaders }));
    expect(await client.next('connected')).toMatchObject({ userId: ANNA });
  });

  it.each([
    ['without a token', undefined],
    ['with garbage', 'your-jwt-access-token'],
    ['with a token of somebody else', forgeClaims({ sub: ANNA }).replace(/\.[^.]*$/, '.c2lnbmF0dXJl')],
    ['with an expired token', forgeClaims({ sub: ANNA, exp: 1_700_000_000 })],
  ])('%s is reported by `error`', async (_name, token) => {
    const service = await startGateway();
    // A refused polling client has to poll once more before the service releases it.
    const client = new TestClient(io(addressOf(service), { transports: ['websocket'], auth: { token } }));
    expect(await client.next('error')).toEqual({ message: 'Authentication failed' });
    await client.next('disconnect');
    expect(client.received.map(({ event }) => event)).toEqual(['error', 'disconnect']);
    const { body } = await gatewayOf(service).get('/api/gateway/connected').expect(200);
    expect(body).toEqual({ connectedUsers: [], count: 0, nextCursor: null });
  });
});

describe('client events', () => {
  it('a `message` is acknowledged by `messageReceived`', async () => {
    const service = await startGateway();
    const client = await connect(service, ANNA);
    client.socket.emit('message', { message: 'Your message here', data: { any: 'thing' } });
    expect(await client.next('messageReceived')).toEqual({
      success: true,
      message: 'Message received by server',
      data: { receivedMessage: 'Your message here', timestamp: expect.stringMatching(ISO_TIME) },
    });
  });

  it('so is the one of the complete example, with a timestamp', async () => {
    const service = await startGateway();
    const client = await connect(service, ANNA);
    client.socket.emit('message', { message: 'Hello from client!', timestamp: new Date().toISOString() });
    expect(await client.next('messageReceived')).toMatchObject({ data: { receivedMessage: 'Hello from client!' } });
  });
});

describe('POST /api/gateway/send', () => {
  const message = {
    title: 'New Message',
    body: 'You have a new message',
    timestamp: '2026-02-07T10:00:00.000Z',
  };

  it('reaches a connected user under the name of the event', async () => {
    const service = await startGateway();
    const client = await connect(service, ANNA);
    const other = await connect(service, BEN);
    const { body } = await gatewayOf(service)
      .post('/api/gateway/send', { userId: ANNA, event: 'notification', message })
      .expect(200);
    expect(body).toEqual({ success: true, message: `Message sent to user ${ANNA}` });
    expect(await client.next('notification')).toEqual(message);
    await other.settle();
    expect(other.received.map(({ event }) => event)).not.toContain('notification');
  });

  it.each(['notification', 'alert', 'update', 'made-up'])('takes any event, like %s', async (event) => {
    const service = await startGateway();
    const client = await connect(service, ANNA);
    await gatewayOf(service)
      .post('/api/gateway/send', { userId: ANNA, event, message: { message: 'x' } })
      .expect(200);
    expect(await client.next(event)).toEqual({ message: 'x' });
  });

  it('reports that a user is not connected, and keeps the message', async () => {
    const service = await startGateway();
    const { body } = await gatewayOf(service)
      .post('/api/gateway/send', { userId: ANNA, event: 'notification', message })
      .expect(200);
    expect(body).toEqual({
      success: false,
      message: `User ${ANNA} is not connected`,
      stored: true,
      id: expect.any(String),
    });
    const client = await connect(service, ANNA);
    expect(await client.next('notification')).toEqual(message);
  });

  it('needs a token, like every path of the gateway', async () => {
    const service = await startGateway();
    await service.anonymous.post('/api/gateway/send').send({ userId: ANNA, event: 'alert', message }).expect(401);
    await service.anonymous
      .post('/api/gateway/send-many')
      .send({ userIds: [ANNA], event: 'alert' })
      .expect(401);
    for (const path of [`status/${ANNA}`, 'connected', 'stats']) {
      await service.anonymous.get(`/api/gateway/${path}`).expect(401);
    }
  });
});

it('POST /api/gateway/send-many reaches several users at once', async () => {
  const service = await startGateway();
  const clients = [await connect(service, ANNA), await connect(service, BEN)];
  const message = { title: 'System Announcement', body: 'Scheduled maintenance tonight' };
  const { body } = await gatewayOf(service)
    .post('/api/gateway/send-many', { userIds: [ANNA, BEN, CARLA], event: 'announcement', message })
    .expect(200);
  expect(body).toEqual({ success: true, message: 'Message sent to 3 users', userIds: [ANNA, BEN, CARLA] });
  for (const client of clients) expect(await client.next('announcement')).toEqual(message);
  const late = await connect(service, CARLA);
  expect(await late.next('announcement')).toEqual(message);
});

describe('connection status', () => {
  it('of one user, which follows connection and disconnection', async () => {
    const service = await startGateway();
    const gateway = gatewayOf(service);
    const status = async () => (await gateway.get(`/api/gateway/status/${ANNA}`).expect(200)).body;
    expect(await status()).toEqual({ userId: ANNA, connected: false });
    const client = await connect(service, ANNA);
    expect(await status()).toEqual({ userId: ANNA, connected: true });
    client.close();
    expect(await eventually(status, ({ connected }) => connected === false)).toEqual({
      userId: ANNA,
      connected: false,
    });
  });

  it('of all users', async () => {
    const service = await startGateway();
    await connect(service, ANNA);
    await connect(service, BEN);
    const { body } = await gatewayOf(service).get('/api/gateway/connected').expect(200);
    expect(body).toEqual({ connectedUsers: [ANNA, BEN], count: 2, nextCursor: null });
  });

  it('in numbers', async () => {
    const service = await startGateway();
    await connect(service, ANNA);
    await connect(service, ANNA);
    await connect(service, BEN);
    const { body } = await gatewayOf(service).get('/api/gateway/stats').expect(200);
    expect(body).toEqual({
      connectedUsers: 2,
      userIds: [ANNA, BEN],
      sockets: 3,
      uptimeSeconds: expect.any(Number),
      nextCursor: null,
    });
  });
});

it('the complete example: connects, talks, is notified, is alerted, learns of the end', async () => {
  const service = await startGateway();
  const client = await connect(service, ANNA);
  await gatewayOf(service)
    .post('/api/gateway/send', {
      userId: ANNA,
      event: 'notification',
      message: { title: 'Test', body: 'This is a test notification' },
    })
    .expect(200);
  expect(await client.next('notification')).toEqual({ title: 'Test', body: 'This is a test notification' });
  await gatewayOf(service)
    .post('/api/gateway/send', { userId: ANNA, event: 'alert', message: { message: 'Careful' } })
    .expect(200);
  expect(await client.next('alert')).toEqual({ message: 'Careful' });
  client.socket.disconnect();
  expect(await client.next('disconnect')).toBe('io client disconnect');
});
