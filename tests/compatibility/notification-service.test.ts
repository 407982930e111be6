/** Compatibility: the WebSocket service for notifications, its client events and its routes, as documented there. */
import { io } from 'socket.io-client';
import { getWebSocketService } from '../../services/websocket';
import { TestClient } from '../support/client';
import { forgeClaims } from '../support/forged-tokens';
import { startService, type TestService } from '../support/service';

const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const USER_123 = { sub: 'user123', name: 'John Doe', iat: 1516239022 };
const USER_456 = { sub: 'user456', name: 'Jane Smith', iat: 1516239022 };
/** A sample token of the document, whose signature nobody verified there. */
const PRINTED_TOKEN =
  'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1c2VyMTIzIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c';

/** Any JWT may send there: scopes are off. */
const startAncestor = () => startService({ env: { AUTHORIZATION: 'open' } });

/** The client code of the document, with this port. */
function openSocket(service: TestService, token: string): TestClient {
  const socket = io(`http://localhost:${new URL(service.url).port}`, {
    extraHeaders: {
      Authorization: `Bearer ${token}`,
    },
  });
  return new TestClient(socket);
}

async function connect(service: TestService, claims: object): Promise<TestClient> {
  const client = openSocket(service, forgeClaims(claims));
  await client.next('authenticated');
  return client;
}

function routesOf(service: TestService, claims: object = USER_456) {
  const authorization = `Bearer ${forgeClaims(claims)}`;
  const { anonymous } = service;
  return {
    get: (path: string) => anonymous.get(path).set('Authorization', authorization),
    delete: (path: string) => anonymous.delete(path).set('Authorization', authorization),
    post: (path: string, body: object) => anonymous.post(path).set('Authorization', authorization).send(body),
  };
}

/** `WebSocketMessage` of the document, beside what this service adds. */
const messageOf = (type: string, data: unknown) => ({ type, data, timestamp: expect.stringMatching(ISO_TIME) });

describe('connection events', () => {
  it('connect, authenticated, disconnect', async () => {
    const service = await startAncestor();
    const client = openSocket(service, forgeClaims(USER_123));
    const connected = new Promise<void>((resolve) => client.socket.on('connect', resolve));
    await connected;
    expect(await client.next('authenticated')).toEqual({
      userId: 'user123',
      socketId: client.socket.id,
      device: 'default',
      expiresAt: null,
    });
    await routesOf(service).delete('/websocket/users/user123/disconnect').expect(200);
    expect(await client.next('disconnect')).toBe('io server disconnect');
  });

  it('refuses the printed token, whose signature is not ours', async () => {
    const service = await startAncestor();
    const error = await openSocket(service, PRINTED_TOKEN).next<Error & { data: unknown }>('connect_error');
    expect(error.data).toMatchObject({ status: 401, code: 'unauthorized' });
  });

  it('refuses a token without `sub`', async () => {
    const service = await startAncestor();
    const error = await openSocket(service, forgeClaims({ name: 'John Doe' })).next<Error & { data: unknown }>(
      'connect_error',
    );
    expect(error.data).toMatchObject({ status: 401, code: 'unauthorized' });
  });
});

it('`ping` is answered by `pong`', async () => {
  const service = await startAncestor();
  const client = await connect(service, USER_123);
  client.socket.emit('ping');
  expect(await client.next('pong')).toEqual({ timestamp: expect.stringMatching(ISO_TIME) });
});

describe('message endpoints', () => {
  it('POST /websocket/message/user', async () => {
    const service = await startAncestor();
    const client = await connect(service, USER_123);
    const data = { message: 'Hello!', sender: 'system' };
    const { body } = await routesOf(service)
      .post('/websocket/message/user', { userId: 'user123', type: 'chat', data })
      .expect(200);
    expect(body).toMatchObject({ success: true, message: 'Message sent to user user123', connected: true });
    expect(await client.next('message')).toMatchObject(messageOf('chat', data));
  });

  it('POST /websocket/message/users', async () => {
    const service = await startAncestor();
    const clients = [await connect(service, USER_123), await connect(service, USER_456)];
    const data = { title: 'System Update', message: 'System will be updated tonight' };
    const { body } = await routesOf(service)
      .post('/websocket/message/users', { userIds: ['user123', 'user456'], type: 'announcement', data })
      .expect(200);
    expect(body).toMatchObject({
      success: true,
      results: [
        { userId: 'user123', connected: true },
        { userId: 'user456', connected: true },
      ],
    });
    for (const client of clients) expect(await client.next('message')).toMatchObject(messageOf('announcement', data));
  });

  it('POST /websocket/message/broadcast', async () => {
    const service = await startAncestor();
    const clients = [await connect(service, USER_123), await connect(service, USER_456)];
    const data = { message: 'Welcome to our platform!', level: 'info' };
    const { body } = await routesOf(service).post('/websocket/message/broadcast', { type: 'system', data }).expect(200);
    expect(body).toMatchObject({ success: true, recipients: 2 });
    for (const client of clients) expect(await client.next('message')).toMatchObject(messageOf('system', data));
  });

  it('POST /websocket/notification', async () => {
    const service = await startAncestor();
    const client = await connect(service, USER_123);
    const { body } = await routesOf(service)
      .post('/websocket/notification', {
        userId: 'user123',
        title: 'New Message',
        body: 'You have received a new message',
        data: { category: 'message', priority: 'normal' },
      })
      .expect(200);
    expect(body).toMatchObject({ success: true });
    expect(await client.next('message')).toMatchObject(
      messageOf('notification', {
        title: 'New Message',
        body: 'You have received a new message',
        category: 'message',
        priority: 'normal',
      }),
    );
  });

  it.each(['notification', 'chat', 'system', 'update', 'alert', 'custom'])('messages of type %s', async (type) => {
    const service = await startAncestor();
    const client = await connect(service, USER_123);
    await routesOf(service)
      .post('/websocket/message/user', { userId: 'user123', type, data: { x: 1 } })
      .expect(200);
    expect(await client.next('message')).toMatchObject(messageOf(type, { x: 1 }));
  });
});

describe('connection management endpoints', () => {
  it('GET /websocket/users/connected', async () => {
    const service = await startAncestor();
    await connect(service, USER_123);
    await connect(service, USER_456);
    const { body } = await routesOf(service).get('/websocket/users/connected').expect(200);
    expect(body).toMatchObject({ users: ['user123', 'user456'], count: 2 });
  });

  it('GET /websocket/users/{userId}/status', async () => {
    const service = await startAncestor();
    await connect(service, USER_123);
    const routes = routesOf(service);
    const { body } = await routes.get('/websocket/users/user123/status').expect(200);
    expect(body).toMatchObject({ userId: 'user123', connected: true, sockets: 1 });
    const { body: other } = await routes.get('/websocket/users/user789/status').expect(200);
    expect(other).toMatchObject({ userId: 'user789', connected: false, sockets: 0 });
  });

  it('GET /websocket/me/status', async () => {
    const service = await startAncestor();
    await connect(service, USER_123);
    const { body } = await routesOf(service, USER_123).get('/websocket/me/status').expect(200);
    expect(body).toMatchObject({ userId: 'user123', connected: true, sockets: 1 });
  });

  it('DELETE /websocket/users/{userId}/disconnect', async () => {
    const service = await startAncestor();
    const client = await connect(service, USER_123);
    const { body } = await routesOf(service).delete('/websocket/users/user123/disconnect').expect(200);
    expect(body).toEqual({ success: true, userId: 'user123', disconnected: 1 });
    await client.next('disconnect');
    const { body: status } = await routesOf(service).get('/websocket/users/user123/status').expect(200);
    expect(status).toMatchObject({ connected: false });
  });

  it.each([
    ['post', '/websocket/message/user'],
    ['post', '/websocket/message/users'],
    ['post', '/websocket/message/broadcast'],
    ['post', '/websocket/notification'],
    ['get', '/websocket/users/connected'],
    ['get', '/websocket/users/user123/status'],
    ['get', '/websocket/me/status'],
    ['delete', '/websocket/users/user123/disconnect'],
  ] as const)('%s %s wants a token', async (method, path) => {
    const service = await startAncestor();
    await service.anonymous[method](path).expect(401);
  });
});

it('one user may have several sockets; each gets the message', async () => {
  const service = await startAncestor();
  const clients = [await connect(service, USER_123), await connect(service, USER_123)];
  await routesOf(service).post('/websocket/message/user', { userId: 'user123', type: 'chat', data: 1 }).expect(200);
  for (const client of clients) expect(await client.next('message')).toMatchObject({ type: 'chat', data: 1 });
});

it('code of the same process sends by getWebSocketService().sendNotification', async () => {
  const service = await startAncestor();
  const client = await connect(service, USER_123);
  await getWebSocketService().sendNotification('user123', 'New Notification', 'Body of the notification');
  expect(await client.next('message')).toMatchObject(
    messageOf('notification', { title: 'New Notification', body: 'Body of the notification' }),
  );
});

it('the test page is there', async () => {
  const service = await startAncestor();
  const { text } = await service.anonymous.get('/websocket-client.html').expect(200).expect('Content-Type', /html/);
  expect(text).toContain('Connect');
});
