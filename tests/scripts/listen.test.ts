/** `npm run listen`, by either transport: what it prints, what it acknowledges, and how it ends. */

import { createSecretKey } from 'node:crypto';
import { EventEmitter, on, once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server } from 'socket.io';
import { WebSocketServer } from 'ws';
import { listen } from '../../scripts/listen';
import { fixedKey } from '../../services/tokens/token-keys';
import { createTokens } from '../../services/tokens/tokens';
import { systemClock } from '../../utils/clock';
import { openClient } from '../support/client';
import { ShiftedClock } from '../support/clock';
import { startService, TEST_SECRET, type TestService, testToken } from '../support/service';
import { startTcpProxy } from '../support/tcp-proxy';
import { onTestEnd } from '../support/temporary';
import { runToEnd, type Surroundings, startCommand } from './commands';

const SECRET_KEY = createSecretKey(Buffer.from(TEST_SECRET));
const UP_TO_DATE = /^Up to date: /;

describe.each([
  ['Socket.IO', []],
  ['the plain endpoint', ['--plain']],
])('by %s', (_name, transport) => {
  const start = (service: TestService, args: readonly string[], around?: Surroundings) =>
    startCommand(listen, ['--url', service.url, '--sub', 'anna', ...transport, ...args], around);

  it('prints what is waiting and what arrives, a line each, until Ctrl-C', async () => {
    const service = await startService();
    await service.send('anna', [1, 2]);
    const listening = start(service, ['--device', 'desk']);
    expect(await listening.line(UP_TO_DATE)).toBe('Up to date: 2 unseen, 2 unread.');
    await service.api.post('/api/gateway/send').send({ userId: 'anna', event: 'offer', message: { price: 3 } });
    await listening.line(/offer/);
    await service.api
      .post('/websocket/message/user')
      .send({ userId: 'anna', type: 'hint', data: null, persist: false });
    await listening.line(/hint/);
    listening.interrupt();
    const { code, stdout, stderr } = await listening.finished;
    expect(code).toBe(0);
    expect(stderr).toBe('Connected as anna, device desk. Ctrl-C ends.\nUp to date: 2 unseen, 2 unread.\n');
    const lines = stdout.split('\n').map((line) => line.replace(/^20\d\d-\d\d-\d\dT[\d:.]+Z/, 'TIME'));
    expect(lines).toEqual([
      'TIME  @anna  1  test  {"n":1}',
      'TIME  @anna  2  test  {"n":2}',
      'TIME  @anna  3  offer  {"price":3}',
      'TIME  @anna  -  hint  null',
      '',
    ]);
  });

  it('acknowledges what it has printed, and nothing else', async () => {
    const service = await startService();
    const [, , third] = await service.send('anna', [1, 2, 3]);
    const { code, stdout } = await start(service, ['--count', '2']).finished;
    expect({ code, count: stdout.split('\n').length - 1 }).toEqual({ code: 0, count: 2 });
    const { stdout: rest } = await start(service, ['--count', '1', '--json']).finished;
    const messages = rest.split('\n').filter((line) => line.includes('"event":"message"'));
    expect(messages.map((line) => JSON.parse(line) as unknown)).toMatchObject([{ id: third?.id, seq: 3 }]);
    const last = start(service, []);
    await last.line(UP_TO_DATE);
    expect(last.lines).toEqual([]);
  });

  it('prints each event as the frame of the plain endpoint with --json', async () => {
    const service = await startService();
    const [sent] = await service.send('anna', [1]);
    const listening = start(service, ['--json', '--device', 'desk']);
    await listening.line(/sync:done/);
    await service.api.post('/api/gateway/send').send({ userId: 'anna', event: 'offer', message: [3] });
    await service.api.patch(`/messages/${sent?.id}`).send({ data: 'new' }).expect(200);
    await listening.line(/message:updated/);
    const frames = listening.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(frames).toEqual([
      expect.objectContaining({ event: 'authenticated', userId: 'anna', device: 'desk' }),
      expect.objectContaining({ event: 'connected', userId: 'anna' }),
      expect.objectContaining({ event: 'message', id: sent?.id, topic: '@anna', seq: 1, type: 'test', data: { n: 1 } }),
      expect.objectContaining({ event: 'sync:done', counts: { unseen: 1, unread: 1 } }),
      expect.objectContaining({ event: 'offer', topic: '@anna', seq: 2, data: [3], from: 'service' }),
      expect.objectContaining({ event: 'message:updated', ref: sent?.id, seq: 3, data: 'new' }),
    ]);
  });

  it('reconnects by itself, and prints nothing twice', async () => {
    const service = await startService();
    const { hostname, port } = new URL(service.url);
    const proxy = await startTcpProxy({ host: hostname, port: Number(port) });
    const listening = start(service, ['--url', `http://127.0.0.1:${proxy.port}`]);
    await listening.line(UP_TO_DATE);
    await service.send('anna', [1]);
    await listening.line(/"n":1/);
    proxy.cut();
    await listening.line(/^Connection lost, reconnecting\.$/);
    await service.send('anna', [2]);
    proxy.restore();
    await listening.line(/"n":2/);
    expect(listening.lines.map((line) => line.split('  ')[2])).toEqual(['1', '2']);
  });

  it('ends with a sentence when the service has closed for good', async () => {
    const service = await startService();
    const listening = start(service, []);
    await listening.line(UP_TO_DATE);
    await service.api.delete('/websocket/users/anna/disconnect').expect(200);
    const { code, stderr } = await listening.finished;
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /\nThe service closes the connection \(disconnected\): .*\nAn administrator closed the connection\.\n$/,
    );
  });

  it('ends when a given token expires', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ overrides: { clock } });
    const token = testToken('anna', { lifetimeSeconds: 1_000 });
    const given = startCommand(listen, ['--url', service.url, '--token', token, ...transport]);
    await given.line(UP_TO_DATE);
    clock.shift(1_000_000);
    const { code, stderr } = await given.finished;
    expect(code).toBe(1);
    expect(stderr).toMatch(/The token has expired: make a new one with npm run token -- --sub NAME\.\n$/);
    expect(stderr).not.toContain(token);
  });

  it.each<[string, readonly string[], string, Surroundings?]>([
    ['a token of another secret', [], 'set its JWT_SECRET or DATA_DIR', { env: { JWT_SECRET: 'another' } }],
    ['a device that cannot be', ['--device', 'a\nb'], '--device must not contain control characters'],
  ])('says what to do about %s', async (_name, args, words, around = {}) => {
    const { code, stdout, stderr } = await start(await startService(), args, around).finished;
    expect(code).toBeGreaterThan(0);
    expect(stdout).toBe('');
    expect(stderr).toContain(words);
    expect(stderr).toMatch(/^[^\n]+\n$/);
  });

  it('says what to do about one connection too many', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '1' } });
    await service.connect('anna');
    const { code, stderr } = await start(service, []).finished;
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('MAX_CONNECTIONS_PER_USER: 1). Close some'),
    });
  });

  it('says what to do when the service is full', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS: '1' } });
    await service.connect('bo');
    const { code, stderr } = await start(service, []).finished;
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/open connections \(MAX_CONN/),
    });
  });

  it('says that something else listens there, or nothing', async () => {
    const server = createServer((_request, response) => response.end('<p>')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const run = () => runToEnd(listen, ['--url', url, '--sub', 'anna', ...transport]);
    const strange = await run();
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
    expect([strange, await run()]).toEqual([
      { code: 1, stdout: '', stderr: expect.stringMatching(/^What answers at \S+ is not the service \(.*\n$/) },
      { code: 1, stdout: '', stderr: expect.stringMatching(/^Nothing listens at \S+: start the service .*\n$/) },
    ]);
  });
});

it('says that the token was refused by a service that reports it in an event', async () => {
  const service = await startService({ env: { AUTH_ERROR_EVENT: 'true' } });
  const env = { JWT_SECRET: 'another' };
  const { code, stdout, stderr } = await runToEnd(listen, ['--url', service.url, '--sub', 'anna'], { env });
  expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(/refused the token/) });
});

describe('with a service that does what the real one seldom does', () => {
  it.each([
    ['Socket.IO', [], startSocketIoServer],
    ['the plain endpoint', ['--plain'], startPlainServer],
  ])('by %s it renews the token that it has made', async (_name, transport, startServer) => {
    const { url, nextToken } = await startServer();
    startCommand(listen, ['--url', url, '--sub', 'anna', ...transport]);
    const first = await nextToken();
    const renewed = await nextToken();
    const keys = fixedKey({ key: SECRET_KEY, algorithm: 'HS256' });
    const tokens = createTokens({ keys, isExpRequired: true }, systemClock);
    expect([first, renewed].map((token) => tokens.verify(token).userId)).toEqual(['anna', 'anna']);
  });

  it('ends when it is closed without a reason', async () => {
    const { url, io } = await startSocketIo();
    io.on('connection', (socket) => {
      socket.emit('connected', { userId: 'anna' });
      socket.disconnect();
    });
    const { code, stderr } = await runToEnd(listen, ['--url', url, '--sub', 'anna']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'The service closed the connection.\n' });
  });

  it('prints once what comes again on the next connection, and acknowledges it again', async () => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
    onTestEnd(() => server.close());
    const acknowledged: unknown[] = [];
    const ends = new EventEmitter();
    const left = once(ends, 'second');
    const message = (seq: number) =>
      JSON.stringify({ event: 'message', topic: '@anna', seq, type: 'x', data: seq, timestamp: 'T' });
    server.on('connection', (socket) => {
      const isFirst = acknowledged.length === 0;
      socket.on('message', (data: Buffer) => {
        acknowledged.push(JSON.parse(data.toString('utf8')));
        if (isFirst) socket.terminate();
      });
      socket.send(JSON.stringify({ event: 'connected' }));
      socket.send(message(1));
      if (isFirst) return;
      socket.send(message(2));
      socket.on('close', () => ends.emit('second'));
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const args = ['--url', url, '--sub', 'anna', '--plain', '--count', '2'];
    expect((await runToEnd(listen, args)).stdout).toBe('T  @anna  1  x  1\nT  @anna  2  x  2\n');
    const place = { action: 'ack', topic: '@anna' };
    await left;
    expect(acknowledged).toEqual([1, 1, 2].map((seq) => ({ ...place, seq })));
  });

  it('says that something else sends frames there', async () => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
    onTestEnd(() => server.close());
    server.on('connection', (socket) => socket.send('hello'));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { code, stderr } = await runToEnd(listen, ['--url', url, '--sub', 'anna', '--plain']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('it sends unknown frames') });
  });
});

describe('on a terminal', () => {
  async function printed(around: Surroundings, data: unknown): Promise<string> {
    const service = await startService();
    await service.api.post('/websocket/message/user').send({ userId: 'anna', type: 'test', data }).expect(200);
    const args = ['--url', service.url, '--sub', 'anna', '--count', '1'];
    return (await runToEnd(listen, args, around)).stdout;
  }

  it('has colours, unless NO_COLOR is set or it is not a terminal', async () => {
    const env = { TERM: 'xterm-256color' };
    const coloured = '\u001b[1mtest\u001b[22m';
    expect(await printed({ isTTY: true, env }, 1)).toContain(coloured);
    expect(await printed({ isTTY: true, env: { ...env, NO_COLOR: '1' } }, 1)).not.toContain('\u001b');
    expect(await printed({ env }, 1)).not.toContain('\u001b');
  });

  it('prints control characters as escapes', async () => {
    const text = await printed({}, 'a\u001b[2J\u009b2J\u202eb\nc');
    expect(text).toMatch(/ {2}"a\\u001b\[2J\\u009b2J\\u202eb\\nc"\n$/);
  });
});

it('uses its own device, which stays the same', async () => {
  const service = await startService();
  const other = openClient(service.url, { auth: { token: service.token('anna') } });
  await other.next('sync:done');
  const args = ['--url', service.url, '--sub', 'anna'];
  const connected = await startCommand(listen, args).line(/^Connected as anna/);
  expect(connected).toMatch(/^Connected as anna, device terminal-\S+\. Ctrl-C ends\.$/);
  expect(await startCommand(listen, args).line(/^Connected as anna/)).toBe(connected);
});

it('ends when nobody reads what it prints any more', async () => {
  const service = await startService();
  await service.send('anna', [1]);
  const args = ['--url', service.url, '--sub', 'anna', '--count', '1'];
  expect(await runToEnd(listen, args, { isClosed: true })).toMatchObject({ code: 0, stdout: '' });
  // What was not read is not acknowledged.
  expect((await runToEnd(listen, args)).stdout).toContain('{"n":1}');
});

it.each([
  ['nobody', [], 'Name the user: --sub USER, or --token TOKEN'],
  ['a user and a token', ['--sub', 'a', '--token', 'a.b.c'], '--sub and --token exclude each other'],
  ['a user without a name', ['--sub', ''], '--sub must not be empty.'],
  ['a count that is none', ['--sub', 'a', '--count', '0'], '--count must be a whole number from 1 to'],
  ['a device without a name', ['--sub', 'a', '--device', ''], '--device must not be empty.'],
])('says what is wrong with %s', async (_name, args, words) => {
  const { code, stdout, stderr } = await runToEnd(listen, args);
  expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: '', stderr: expect.stringContaining(words) });
});

it('prints its usage', async () => {
  const { code, stdout } = await runToEnd(listen, ['--help']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining('npm run listen -- --sub USER') });
});

interface TokenServer {
  readonly url: string;
  /** Resolves to the next token that a client shows. */
  nextToken(): Promise<string>;
}

/** Admits clients, and says at once that their tokens expire. */
async function startPlainServer(): Promise<TokenServer> {
  const tokens = new TokenQueue();
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  onTestEnd(() => server.close());
  server.on('connection', (socket, { headers }) => {
    tokens.push(headers.authorization?.replace('Bearer ', ''));
    socket.on('message', (data: Buffer) => tokens.push((JSON.parse(data.toString('utf8')) as Renewal).token));
    socket.send(JSON.stringify({ event: 'auth:expiring', expiresAt: new Date().toISOString() }));
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, nextToken: () => tokens.next() };
}

async function startSocketIoServer(): Promise<TokenServer> {
  const tokens = new TokenQueue();
  const { url, io } = await startSocketIo();
  io.on('connection', (socket) => {
    tokens.push((socket.handshake.auth as Renewal).token);
    socket.on('auth:refresh', ({ token }: Renewal) => tokens.push(token));
    socket.emit('auth:expiring', { expiresAt: new Date().toISOString() });
  });
  return { url, nextToken: () => tokens.next() };
}

async function startSocketIo(): Promise<{ url: string; io: Server }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const io = new Server(server);
  onTestEnd(() => io.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, io };
}

interface Renewal {
  readonly token: string;
}

class TokenQueue {
  readonly #events = new EventEmitter();
  readonly #tokens = on(this.#events, 'token');

  push(token: string | undefined): void {
    this.#events.emit('token', token);
  }

  async next(): Promise<string> {
    return ((await this.#tokens.next()).value as string[])[0] ?? '';
  }
}
