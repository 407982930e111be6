/** What the client asks for: done once, in order, through cuts and limits, or refused with the service's own words. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { newId, TidingsError } from '../../client/src';
import { parseAddress } from '../../client/src/address';
import { Rest } from '../../client/src/rest';
import { isCounts, isInboxPage } from '../../client/src/shapes';
import { jsonBytes } from '../../client/src/sizes';
import { Tokens } from '../../client/src/token';
import { eventually } from '../support/eventually';
import { range, startService, type TestService, testToken } from '../support/service';
import { startTcpProxy } from '../support/tcp-proxy';
import { onTestEnd } from '../support/temporary';
import { numberIn, openClient, until } from './support';

async function startBehindProxy() {
  const service = await startService();
  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
  return { service, proxy, url: `http://127.0.0.1:${proxy.port}` };
}

/** The numbers that a user was sent, by `seq`. */
async function sentTo(service: TestService, userId: string): Promise<number[]> {
  const client = openClient(service.url, { token: service.token(userId) });
  const messages = await client.history(`@${userId}`, { after: 0, limit: 200 });
  await client.close();
  return messages.map(({ data }) => numberIn(data));
}

const toBen = (n: number) => ({ to: 'ben', type: 'chat', data: { n } });

describe('send()', () => {
  it('sends once, though its answer was lost', async () => {
    const { service, proxy, url } = await startBehindProxy();
    const client = openClient(url, { token: service.token('anna') });
    await client.synced();
    proxy.loseAnswers();
    const sending = client.send(toBen(1));
    await eventually(
      () => sentTo(service, 'ben'),
      ({ length }) => length === 1,
    );
    proxy.restore();
    expect(await sending).toMatchObject({ topic: '@ben', seq: 1, connected: false, live: 'ok' });
    await client.send(toBen(2));
    expect(await sentTo(service, 'ben')).toEqual([1, 2]);
  });

  it('keeps the order of the calls while the network is cut', async () => {
    const { service, proxy, url } = await startBehindProxy();
    const client = openClient(url, { token: service.token('anna') });
    const numbers = range(1, 60);
    const answers = numbers.map((n) => client.send(toBen(n)));
    for (const place of [10, 30, 50]) {
      await answers[place - 1];
      proxy.cut();
      await until(
        () => client.status,
        (status) => status === 'offline',
      );
      proxy.restore();
    }
    expect((await Promise.all(answers)).map(({ seq }) => seq)).toEqual(numbers);
    expect(await sentTo(service, 'ben')).toEqual(numbers);
  });

  it('waits less when the service says so', async () => {
    const service = await startService({ env: { SOCKET_EVENTS_PER_SECOND: '10' } });
    const client = openClient(service.url, { token: service.token('anna') });
    const numbers = range(1, 55);
    await Promise.all(numbers.map((n) => client.send(toBen(n))));
    expect(await sentTo(service, 'ben')).toEqual(numbers);
    expect(client.errors).toEqual([]);
  });

  it('takes an id, and returns the first answer to a repeat', async () => {
    const service = await startService();
    const client = openClient(service.url, { token: service.token('anna') });
    const id = newId();
    const first = await client.send({ ...toBen(1), id });
    expect(await client.send({ ...toBen(1), id })).toEqual(first);
    await expect(client.send({ ...toBen(2), id })).rejects.toMatchObject({ code: 'idempotency_conflict', status: 422 });
    expect(await sentTo(service, 'ben')).toEqual([1]);
  });

  it('is refused with the service’s problem', async () => {
    const service = await startService();
    const client = openClient(service.url, { token: service.token('anna') });
    const refused = client.send({ to: 'ben', type: '', data: 1 });
    await expect(refused).rejects.toBeInstanceOf(TidingsError);
    await expect(refused).rejects.toMatchObject({
      code: 'bad_request',
      status: 400,
      problem: { errors: [{ path: 'type', message: 'must not be empty' }] },
    });
    await expect(client.send({ topic: 'nowhere', type: 'chat', data: 1 })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('gives up in time when there is no connection', async () => {
    const { service, proxy, url } = await startBehindProxy();
    proxy.cut();
    const client = openClient(url, { token: service.token('anna'), timeoutMs: 100 });
    await expect(client.send(toBen(1))).rejects.toMatchObject({ code: 'timeout' });
    const waiting = client.send(toBen(2));
    const [ended] = await Promise.allSettled([waiting, client.close()]);
    expect(ended).toMatchObject({ status: 'rejected', reason: { code: 'closed' } });
    await expect(client.synced()).rejects.toMatchObject({ code: 'closed' });
    await expect(client.inbox.fetch()).rejects.toMatchObject({ code: 'closed' });
  });
});

describe('a message that is too large', () => {
  it('is refused before it is sent, and nothing else is disturbed', async () => {
    const service = await startService();
    const client = openClient(service.url, { token: service.token('anna') });
    const statuses: string[] = [];
    await client.synced();
    client.onStatus((status) => statuses.push(status));
    const outcomes = await Promise.allSettled([
      client.send({ ...toBen(1), data: 'x'.repeat(1_200_000) }),
      client.send({ ...toBen(1), data: '€'.repeat(400_000) }),
      client.send(toBen(2)),
    ]);
    const codes = outcomes.map((outcome) => (outcome.status === 'fulfilled' ? 'sent' : outcome.reason.code));
    expect([codes, statuses]).toEqual([['body_too_large', 'body_too_large', 'sent'], []]);
  });

  it('is left to the service below the size of a packet', async () => {
    const service = await startService();
    const client = openClient(service.url, { token: service.token('anna') });
    const sending = client.send({ ...toBen(1), data: 'x'.repeat(100_000) });
    await expect(sending).rejects.toMatchObject({ code: 'message_too_large', status: 413 });
  });

  it.each(['', 'plain', 'é', '€', '🙂', '\ud800', '"\\\n', 'a€🙂é'])('has its bytes counted: %j', (text) => {
    expect(jsonBytes([text])).toBe(Buffer.byteLength(JSON.stringify([text])));
  });
});

describe('timeoutMs', () => {
  it.each([Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 40])('may be %d', async (timeoutMs) => {
    const { service, proxy, url } = await startBehindProxy();
    proxy.cut();
    const client = openClient(url, { token: service.token('anna'), timeoutMs });
    const sending = client.send(toBen(1));
    await until(
      () => client.errors,
      ({ length }) => length > 0,
    );
    proxy.restore();
    expect(await sending).toMatchObject({ seq: 1 });
  });

  it.each([0, -1, Number.NaN])('may not be %d', (timeoutMs) => {
    expect(() => openClient('http://localhost', { token: 'x', timeoutMs })).toThrow(/^timeoutMs: /);
  });
});

it('does not repeat what a second time might do more than once', async () => {
  const { service, proxy, url } = await startBehindProxy();
  const client = openClient(url, { token: service.token('anna') });
  await client.synced();
  proxy.loseAnswers();
  const outcome = Promise.allSettled([client.topics.create('news'), client.inbox.markRead('all')]);
  const { api } = service;
  await eventually(
    async () => (await api.get('/topics')).body.topics.length as number,
    (count) => count === 1,
  );
  proxy.restore();
  const lost = { status: 'rejected', reason: { code: 'connection_lost' } };
  expect(await outcome).toMatchObject([lost, lost]);
});

it('joins, invites, leaves and reads topics, and reports who types in them', async () => {
  const service = await startService();
  const anna = openClient(service.url, { token: service.token('anna') });
  const ben = openClient(service.url, { token: service.token('ben') });
  const told: unknown[] = [];
  ben.on('message', ({ data }) => told.push(data));
  ben.on('typing', (typing) => told.push(typing));
  await ben.synced();
  expect(await anna.topics.create('secret', { isPrivate: true })).toMatchObject({ owner: 'anna', isMember: true });
  await anna.topics.invite('secret', 'ben');
  await anna.send({ topic: 'secret', type: 'chat', data: 'hello' });
  await until(
    () => told.length,
    (count) => count === 1,
  );
  anna.typing('secret', true);
  await until(
    () => told.length,
    (count) => count === 2,
  );
  expect(told).toEqual(['hello', { topic: 'secret', userId: 'anna', typing: true }]);
  expect((await ben.topics.list()).map(({ name }) => name)).toEqual(['secret']);
  expect((await ben.history('secret')).map(({ data }) => data)).toEqual(['hello']);
  await ben.topics.leave('secret');
  await expect(ben.history('secret')).rejects.toMatchObject({ code: 'not_found' });
  await anna.topics.create('open');
  await ben.topics.join('open');
  await expect(anna.topics.leave('open')).rejects.toMatchObject({ code: 'owner_cannot_leave' });
});

it('shows who is online, even across a reconnect, for as long as there is a subscriber', async () => {
  const service = await startService({ env: { PRESENCE_GRACE_MS: '0' } });
  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
  const anna = openClient(`http://127.0.0.1:${proxy.port}`, { token: service.token('anna') });
  const seen: string[] = [];
  const unsubscribe = anna.presence.subscribe((users) => seen.push([...users].sort().join(' ')));
  await until(
    () => seen.at(-1),
    (users) => users === 'anna',
  );
  const ben = openClient(service.url, { token: service.token('ben') });
  await until(
    () => seen.at(-1),
    (users) => users === 'anna ben',
  );
  proxy.cut();
  await until(
    () => anna.status,
    (status) => status === 'offline',
  );
  await ben.close();
  proxy.restore();
  await until(
    () => seen.at(-1),
    (users) => users === 'anna',
  );
  unsubscribe();
  expect(anna.presence.users).toEqual([]);
  expect(anna.errors).toEqual([]);
});

it('reports that it may not see who is online', async () => {
  const service = await startService({ env: { PRESENCE_PUBLIC: 'false' } });
  const anna = openClient(service.url, { token: service.token('anna') });
  anna.presence.subscribe(() => undefined);
  await until(
    () => anna.errors,
    ({ length }) => length > 0,
  );
  expect(anna.errors).toEqual(['insufficient_scope']);
});

describe('a request over HTTP', () => {
  it('replaces a token that was refused', async () => {
    const service = await startService();
    const tokens = [testToken('anna', { lifetimeSeconds: -1 }), service.token('anna')];
    const rest = new Rest(parseAddress(service.url), new Tokens(() => tokens.shift() ?? ''));
    expect(await rest.get('/inbox/counts', isCounts)).toEqual({ unseen: 0, unread: 0 });
  });

  it.each([
    ['a page of a proxy', 502, '<html>', { code: 'unexpected_answer', message: /^\/inbox was answered 502/ }],
    ['JSON of somebody else', 404, '{}', { code: 'unexpected_answer' }],
    ['no JSON at all', 200, 'hello', { code: 'unexpected_answer' }],
    ['JSON of somebody else that goes for an answer', 200, '{}', { code: 'unexpected_answer' }],
    ['a problem', 503, JSON.stringify({ code: 'store_unavailable', detail: 'x', status: 503 }), { status: 503 }],
  ])('reports what it was answered: %s', async (_name, status, text, expected) => {
    const server = createServer((_request, response) => response.writeHead(status).end(text));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestEnd(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = parseAddress(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const asked = new Rest(address, new Tokens('token')).get('/inbox', isInboxPage);
    await expect(asked).rejects.toMatchObject(
      'message' in expected ? { ...expected, message: expect.stringMatching(expected.message) } : expected,
    );
  });
});
