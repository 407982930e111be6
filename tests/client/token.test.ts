/**
 * Tokens expire and are refused, connections are closed: the client continues where possible, and otherwise says why.
 */
import { memoryStorage } from '../../client/src';
import { Tokens } from '../../client/src/token';
import { ShiftedClock } from '../support/clock';
import { forge, hs256 } from '../support/forged-tokens';
import { startService, type TestService, testToken } from '../support/service';
import { startTcpProxy } from '../support/tcp-proxy';
import { openClient, until } from './support';

/** Longer than a test takes: a token expires only when the clock is moved. */
const LIFETIME_SECONDS = 600;

async function setUp(env: Record<string, string> = {}) {
  const clock = new ShiftedClock();
  const service = await startService({ env, overrides: { clock } });
  return { clock, service, shiftSeconds: (seconds: number) => clock.shift(seconds * 1000) };
}

/** Gives these tokens one after the other, and the last one ever after. An error is thrown. */
function tokensOf(...given: readonly (string | Error)[]) {
  const state = { calls: 0 };
  const token = async (): Promise<string> => {
    const next = given[Math.min(state.calls, given.length - 1)];
    state.calls += 1;
    if (typeof next !== 'string') throw next;
    return next;
  };
  return { token, state };
}

function recordStatus(client: ReturnType<typeof openClient>): string[] {
  const statuses: string[] = [];
  client.onStatus((status) => statuses.push(status));
  return statuses;
}

/** Signed with another secret than that of the service. */
const forged = () => forge({ alg: 'HS256', typ: 'JWT' }, { sub: 'anna' }, hs256('another secret'));
const short = () => testToken('anna', { lifetimeSeconds: LIFETIME_SECONDS });
const long = () => testToken('anna', { lifetimeSeconds: 10 * LIFETIME_SECONDS });

describe('a token that can be renewed', () => {
  it('is renewed before it expires, and the connection stays', async () => {
    const { service, shiftSeconds } = await setUp();
    const { token, state } = tokensOf(short(), long());
    const client = openClient(service.url, { token });
    await client.synced();
    const statuses = recordStatus(client);
    shiftSeconds(LIFETIME_SECONDS - 30);
    await until(
      () => state.calls,
      (calls) => calls === 2,
    );
    const witness = openClient(service.url, { token: short(), device: 'witness' });
    await witness.synced();
    shiftSeconds(60);
    await until(
      () => witness.status,
      (status) => status === 'closed',
    );
    expect([client.status, statuses, client.errors]).toEqual(['online', [], []]);
  });

  it('is renewed when it has expired meanwhile', async () => {
    const { service, shiftSeconds } = await setUp();
    const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
    const { token, state } = tokensOf(short(), long());
    const client = openClient(`http://127.0.0.1:${proxy.port}`, { token });
    await client.synced();
    proxy.cut();
    await until(
      () => client.status,
      (status) => status === 'offline',
    );
    shiftSeconds(LIFETIME_SECONDS + 1);
    proxy.restore();
    await client.synced();
    expect(state.calls).toBe(2);
  });

  it('is renewed when it could not be before it expired', async () => {
    const { service, shiftSeconds } = await setUp();
    const { token, state } = tokensOf(short(), new Error('the token service is away'), long());
    const client = openClient(service.url, { token });
    await client.synced();
    shiftSeconds(LIFETIME_SECONDS - 30);
    await until(
      () => client.errors,
      ({ length }) => length === 1,
    );
    const statuses = recordStatus(client);
    shiftSeconds(60);
    await until(
      () => statuses,
      ({ length }) => length === 2,
    );
    expect(statuses).toEqual(['offline', 'online']);
    expect([state.calls, client.errors]).toEqual([3, ['token_failed']]);
  });

  it('is requested again when the first request for it failed', async () => {
    const service = await startService();
    const { token } = tokensOf(new Error('the token service is away'), long());
    const client = openClient(service.url, { token });
    await client.synced();
    expect(client.errors).toEqual(['token_failed']);
  });

  it('is requested again when it is refused: at once, then at growing intervals', async () => {
    const service = await startService();
    const { token, state } = tokensOf(forged(), long());
    const client = openClient(service.url, { token });
    await client.synced();
    expect([state.calls, client.errors]).toEqual([2, []]);

    const { token: slowToken, state: slow } = tokensOf(forged(), forged(), forged(), long());
    const refused = openClient(service.url, { token: slowToken });
    await refused.synced();
    expect([slow.calls, refused.errors]).toEqual([4, ['unauthorized', 'unauthorized']]);
  });

  it.each([
    ['the page of a proxy', '<html>502 Bad Gateway</html>'],
    ['nothing', ''],
    ['what is no text', { token: 'x' } as unknown as string],
    ['a text with dots', 'a b.c.d'],
  ])('is requested again when the function returned %s, at first and at renewal', async (_name, wrong) => {
    const { service, shiftSeconds } = await setUp();
    const { token, state } = tokensOf(wrong, short(), wrong, long());
    const client = openClient(service.url, { token });
    await client.synced();
    expect([state.calls, client.errors]).toEqual([2, ['token_failed']]);
    shiftSeconds(LIFETIME_SECONDS + 1);
    await until(
      () => state.calls,
      (calls) => calls === 4,
    );
    await client.synced();
    expect(client.errors).toEqual(['token_failed', 'token_failed']);
  });

  it('may not become that of another user', async () => {
    const { service, shiftSeconds } = await setUp();
    const { token } = tokensOf(short(), service.token('ben'));
    const client = openClient(service.url, { token });
    await client.synced();
    shiftSeconds(LIFETIME_SECONDS + 1);
    await until(
      () => client.status,
      (status) => status === 'closed',
    );
    expect(client.error).toMatchObject({ code: 'other_user' });
  });
});

describe('a token that is revoked', () => {
  it('is renewed until the service accepts one that was issued later', async () => {
    const service = await startService();
    let made = 0;
    const token = () => {
      made += 1;
      return forge(
        { alg: 'HS256', typ: 'JWT' },
        { sub: 'anna', iat: Math.floor(Date.now() / 1000), jti: `token ${made}` },
      );
    };
    const client = openClient(service.url, { token });
    await client.synced();
    const statuses = recordStatus(client);
    await service.api.post('/users/anna/revoke').expect(200);
    await until(
      () => statuses.at(-1),
      (status) => status === 'online',
    );
    expect(statuses).not.toContain('closed');
    expect(made).toBeGreaterThan(1);
  });

  it('ends the client when it is a text', async () => {
    const service = await startService();
    const client = openClient(service.url, { token: service.token('anna') });
    await client.synced();
    await service.api.post('/users/anna/revoke').expect(200);
    await until(
      () => client.status,
      (status) => status === 'closed',
    );
    expect(client.error).toMatchObject({ code: 'revoked' });
    const again = openClient(service.url, { token: service.token('ben') });
    await again.synced();
    await service.api
      .post('/users/ben/revoke')
      .send({ issuedBefore: Math.ceil(Date.now() / 1000) + 30 })
      .expect(200);
    const third = openClient(service.url, { token: service.token('ben') });
    await expect(third.synced()).rejects.toMatchObject({ code: 'token_revoked' });
  });
});

describe('a token that is a text', () => {
  it.each([
    ['a forged one', () => forged(), 'unauthorized'],
    ['no token', () => 'nothing', 'unauthorized'],
    ['an expired one', () => testToken('anna', { lifetimeSeconds: -10 }), 'token_expired'],
    ['an empty one', () => '', 'token_failed'],
  ])('%s is refused for good', async (_name, makeToken, code) => {
    const service = await startService();
    const client = openClient(service.url, { token: makeToken() });
    await expect(client.synced()).rejects.toMatchObject({ code });
    expect([client.status, client.error?.code, client.errors]).toEqual(['closed', code, [code]]);
    await expect(client.history('*')).rejects.toMatchObject({ code });
  });

  it('is refused for good by a service that says so like a compatible one', async () => {
    const service = await startService({ env: { AUTH_ERROR_EVENT: 'true' } });
    const client = openClient(service.url, { token: 'nothing' });
    await expect(client.synced()).rejects.toMatchObject({ code: 'unauthorized' });
  });

  it('ends the client when it expires', async () => {
    const { service, shiftSeconds } = await setUp();
    const client = openClient(service.url, { token: short() });
    await client.synced();
    shiftSeconds(LIFETIME_SECONDS + 1);
    await until(
      () => client.status,
      (status) => status === 'closed',
    );
    expect(client.error).toMatchObject({ code: 'token_expired' });
  });
});

describe('a connection that is closed by the service', () => {
  async function connectTo(service: TestService) {
    const client = openClient(service.url, { token: service.token('anna') });
    await client.synced();
    return client;
  }

  it('is not restored after an administrator has closed it', async () => {
    const service = await startService();
    const client = await connectTo(service);
    await service.api.delete('/websocket/users/anna/disconnect').expect(200);
    await until(
      () => client.status,
      (status) => status === 'closed',
    );
    expect(client.errors).toEqual(['disconnected']);
  });

  it('is not restored after a logout, which removes what was kept', async () => {
    const service = await startService();
    const kept = new Map<string, string>();
    const storage = {
      getItem: (key: string) => kept.get(key),
      setItem: (key: string, value: string) => void kept.set(key, value),
      removeItem: (key: string) => void kept.delete(key),
    };
    const client = openClient(service.url, { token: service.token('anna'), storage });
    client.inbox.subscribe(() => undefined);
    await client.synced();
    await service.send('anna', [1]);
    const view = () => [...kept].filter(([key]) => key.endsWith('inbox')).map(([, value]) => value);
    await until(view, (views) => views.some((text) => text.includes('"n":1')));
    await client.logout();
    expect([client.status, client.error, client.errors, view()]).toEqual(['closed', undefined, [], []]);
  });

  it('comes back when the service says so, and forgets what was erased', async () => {
    const service = await startService();
    const storage = memoryStorage();
    const client = openClient(service.url, { token: service.token('anna'), storage });
    const resets: string[] = [];
    client.on('sync:reset', ({ reason }) => resets.push(reason));
    client.inbox.subscribe(() => undefined);
    await client.synced();
    await service.send('anna', [1]);
    await until(
      () => client.inbox.items.length,
      (length) => length === 1,
    );
    await service.api.delete('/users/anna/data').expect(200);
    await until(
      () => resets,
      ({ length }) => length > 0,
    );
    await client.synced();
    expect(resets).toEqual(['erased']);
    expect(client.inbox.snapshot).toMatchObject({ items: [], counts: { unseen: 0, unread: 0 } });
  });

  it('is tried again when there was no place', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '1' } });
    const first = await connectTo(service);
    const second = openClient(service.url, { token: service.token('anna') });
    await until(
      () => second.errors,
      ({ length }) => length > 0,
    );
    await first.close();
    await second.synced();
    expect(new Set(second.errors)).toEqual(new Set(['too_many_connections']));
  });
});

it('reports once that the service cannot be reached, and keeps trying', async () => {
  const service = await startService();
  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
  proxy.cut();
  const client = openClient(`http://127.0.0.1:${proxy.port}`, { token: service.token('anna') });
  await until(
    () => client.errors,
    ({ length }) => length > 0,
  );
  proxy.restore();
  await client.synced();
  expect(client.errors).toEqual(['unreachable']);
});

it.each(['nowhere', '', 'ws://localhost:8090', '/tidings'])('refuses %p, which is not an address', (url) => {
  const message = `url: expected an address as in http://localhost:8090, not ${JSON.stringify(url)}`;
  expect(() => openClient(url, { token: 'x' })).toThrow(message);
});

describe('a token function that never answers', () => {
  const never = () => new Promise<string>(() => undefined);

  beforeEach(() => {
    jest.useFakeTimers();
  });

  afterEach(() => {
    jest.useRealTimers();
  });

  it('has failed after 20 seconds, and is called again', async () => {
    let calls = 0;
    const tokens = new Tokens(() => {
      calls += 1;
      return calls === 1 ? never() : 'a.b.c';
    });
    const first = expect(tokens.current()).rejects.toMatchObject({ code: 'token_failed' });
    await jest.advanceTimersByTimeAsync(20_000);
    await first;
    expect(await tokens.current()).toBe('a.b.c');
    expect(jest.getTimerCount()).toBe(0);
  });

  it('is not waited for after the end', async () => {
    const tokens = new Tokens(never);
    const asked = expect(tokens.current()).rejects.toMatchObject({ code: 'closed' });
    tokens.close();
    await asked;
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('the user of a token', () => {
  const tokenOf = (claims: object) => `x.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`;

  it.each([
    ['sub', undefined, { sub: 'Zoë 🙂' }, 'Zoë 🙂'],
    ['a path', 'user.id', { sub: 'x', user: { id: 'anna' } }, 'anna'],
    ['a claim with dots', 'https://x.example/user', { sub: 'x', 'https://x.example/user': 'anna' }, 'anna'],
    ['no such claim', 'user.id', { sub: 'x' }, undefined],
    ['what is no text', undefined, { sub: 7 }, undefined],
  ])('is read from %s', (_name, claim, claims, userId) => {
    expect(new Tokens('x', claim).subjectOf(tokenOf(claims))).toBe(userId);
  });

  it('is unknown if the token is not a JWT', () => {
    expect(new Tokens('x').subjectOf('nothing')).toBeUndefined();
  });

  it('must be known, or nothing is kept: it would be shown to the next one', async () => {
    const service = await startService();
    const kept = new Map<string, string>();
    const storage = {
      getItem: (key: string) => kept.get(key),
      setItem: (key: string, value: string) => void kept.set(key, value),
      removeItem: (key: string) => void kept.delete(key),
    };
    const client = openClient(service.url, { token: service.token('anna'), storage, userClaim: 'email' });
    await client.synced();
    await client.close();
    expect([...kept.keys()]).toEqual([]);
  });
});
