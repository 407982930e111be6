/** Compatibility: the Socket.IO module of a starter template, as documented there. */
import { io } from 'socket.io-client';
import { type ClientOptions, TestClient } from '../support/client';
import { startService, type TestService } from '../support/service';

/** `http://localhost:3000` of the document, with this port. */
const addressOf = (service: TestService) => `http://localhost:${new URL(service.url).port}`;

/** The three places for the token, as options and address of a client. */
const PLACES: [place: string, query: (token: string) => string, options: (token: string) => ClientOptions][] = [
  ['the handshake auth object', () => '', (token) => ({ auth: { token } })],
  ['the handshake headers', () => '', (token) => ({ extraHeaders: { Authorization: `Bearer ${token}` } })],
  ['the query parameters', () => '', (token) => ({ query: { token } })],
  ['the query of the address', (token) => `?token=${token}`, () => ({})],
];

describe.each(PLACES)('with the token in %s', (_place, query, options) => {
  const open = (address: string, token: string, more: ClientOptions = {}) =>
    new TestClient(io(address + query(token), { ...options(token), ...more }));

  it('a client connects', async () => {
    const service = await startService();
    const client = open(addressOf(service), service.token('anna'));
    expect(await client.next('connected')).toMatchObject({ userId: 'anna' });
    expect(client.socket.connected).toBe(true);
  });

  it('an invalid one ends in `error` and a disconnection', async () => {
    const service = await startService({ env: { AUTH_ERROR_EVENT: 'true' } });
    // A refused polling client has to poll once more before the service releases it.
    const client = open(addressOf(service), 'your-jwt-token', { transports: ['websocket'] });
    expect(await client.next('error')).toEqual({ message: 'Authentication failed' });
    expect(await client.next('disconnect')).toBe('io server disconnect');
    const { body } = await service.api.get('/websocket/users/connected').expect(200);
    expect(body).toMatchObject({ users: [], count: 0 });
  });
});

describe('messages', () => {
  it('a client message is answered by a `message`', async () => {
    const service = await startService();
    const client = new TestClient(io(addressOf(service), { auth: { token: service.token('anna') } }));
    const connected = new Promise<void>((resolve) => client.socket.on('connect', resolve));
    await connected;
    client.socket.emit('message', { content: 'Hello, server!' });
    expect(await client.next('message')).toEqual({
      type: 'echo',
      data: { content: 'Hello, server!' },
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
    });
  });

  it('what cannot be handled is answered by an `error` with a message, and the connection stays', async () => {
    const service = await startService();
    const client = await service.connect('anna');
    client.socket.emit('message', {});
    expect(await client.next('error')).toMatchObject({ message: expect.stringMatching(/\S/), status: 400 });
    client.socket.emit('message', { content: 'still here' });
    expect(await client.next('message')).toMatchObject({ data: { content: 'still here' } });
  });
});

it('clients join and leave rooms for group communication', async () => {
  const service = await startService();
  const anna = await service.connect('anna');
  const ben = await service.connect('ben');
  expect(await anna.call('topic:create', { name: 'room' })).toMatchObject({ ok: true });
  expect(await ben.call('topic:join', { name: 'room' })).toMatchObject({ ok: true });
  expect(await anna.call('message', { topic: 'room', type: 'chat', data: 1 })).toMatchObject({ ok: true });
  expect(await ben.next('message')).toMatchObject({ topic: 'room', data: 1, from: 'anna' });
  expect(await ben.call('topic:leave', { name: 'room' })).toMatchObject({ ok: true });
  expect(await anna.call('message', { topic: 'room', type: 'chat', data: 2 })).toMatchObject({ ok: true });
  await anna.messages(2);
  await ben.settle();
  expect(ben.allMessages).toHaveLength(1);
});

it('the example page is served by the service', async () => {
  const service = await startService();
  await service.anonymous.get('/websocket-client.html').expect(200).expect('Content-Type', /html/);
});
