/** Tokens that are refused before their time: POST /users/:userId/revoke, and what becomes of them at every door. */
import { openLmdbStore } from '../../services/storage/lmdb/store';
import { systemClock } from '../../utils/clock';
import { openClient } from '../support/client';
import { ShiftedClock } from '../support/clock';
import { DOORS, overRest } from '../support/doors';
import { forgeClaims } from '../support/forged-tokens';
import { openPlain } from '../support/plain-client';
import { expectProblem } from '../support/problems';
import { startService, type TestService } from '../support/service';
import { onTestEnd } from '../support/temporary';
import type { AnyClient } from '../support/transports';
import { as } from './callers';

/** Seconds, some time before any test: whatever is issued now came later. */
const NOW = Math.floor(Date.now() / 1000) - 600;

interface Claims {
  readonly iat?: number;
  readonly jti?: string;
  readonly exp?: number;
  readonly sub?: string;
}

const tokenOf = (claims: Claims = { iat: NOW }) => forgeClaims({ sub: 'anna', exp: NOW + 7_200, ...claims });

const revoke = (service: TestService, body?: object | string, userId = 'anna') =>
  service.api.post(`/users/${encodeURIComponent(userId)}/revoke`).send(body);

async function revoked(service: TestService, body?: object, userId = 'anna'): Promise<number> {
  const answer = await revoke(service, body, userId).expect(200);
  expect(answer.body).toEqual({ success: true, userId, closed: expect.any(Number) });
  return answer.body.closed;
}

const WITH_TOKEN: [name: string, open: (service: TestService, token: string) => Promise<AnyClient>][] = [
  [
    'Socket.IO',
    async (service, token) => {
      const client = openClient(service.url, { auth: { token } });
      await client.next('sync:done');
      return client;
    },
  ],
  [
    'plain WebSocket',
    async (service, token) => {
      const client = openPlain(service.url, { path: `/ws?token=${token}` });
      await client.next('sync:done');
      return client;
    },
  ],
];

describe('POST /users/:userId/revoke', () => {
  it('needs scope admin', async () => {
    const service = await startService();
    await service.anonymous.post('/users/anna/revoke').expect(401);
    const others = as(service, 'caller', 'send broadcast presence');
    const { body } = await others.post('/users/anna/revoke').send({}).expect(403);
    expect(body).toMatchObject({ code: 'insufficient_scope', detail: expect.stringContaining('admin') });
    const anna = as(service, 'anna');
    await as(service, 'caller', 'admin').post('/users/anna/revoke').expect(200);
    await anna.get('/inbox/counts').expect(401);
  });

  it('does not know other methods', async () => {
    const service = await startService();
    await service.api.get('/users/anna/revoke').expect(405).expect('Allow', 'POST, OPTIONS');
  });

  const future = Math.floor(Date.now() / 1000) + 3_600;
  const BAD: [path: string, body: object | string][] = [
    ['issuedBefore', { issuedBefore: 'now' }],
    ['issuedBefore', { issuedBefore: '' }],
    ['issuedBefore', { issuedBefore: '1700000000' }],
    ['issuedBefore', { issuedBefore: '2026-02-30T00:00:00Z' }],
    ['issuedBefore', { issuedBefore: '2026-01-01' }],
    ['issuedBefore', { issuedBefore: '2026-01-01T00:00:00' }],
    ['issuedBefore', { issuedBefore: -1 }],
    ['issuedBefore', { issuedBefore: null }],
    ['issuedBefore', { issuedBefore: true }],
    ['issuedBefore', { issuedBefore: [1] }],
    ['issuedBefore', { issuedBefore: {} }],
    ['issuedBefore', { issuedBefore: future }],
    ['issuedBefore', { issuedBefore: new Date(future * 1000).toISOString() }],
    ['issuedBefore', { issuedBefore: Date.now() }],
    ['issuedBefore', { issuedBefore: Number.MAX_VALUE }],
    ['issuedBefore', { issuedBefore: 1, jti: 'token' }],
    ['jti', { jti: '' }],
    ['jti', { jti: 7 }],
    ['jti', { jti: null }],
    ['jti', { jti: ['token'] }],
    ['jti', { jti: 'a\nb' }],
    ['jti', { jti: 'x'.repeat(256) }],
    ['jti', { jti: '\ud800' }],
    ['', []],
    ['', '"now"'],
    ['', '7'],
  ];

  it('names the bad field, and revokes nothing', async () => {
    const service = await startService();
    for (const [path, body] of BAD) {
      const request = service.api.post('/users/anna/revoke').set('Content-Type', 'application/json');
      const answer = await request.send(body);
      expect({ body, status: answer.status }).toEqual({ body, status: 400 });
      expectProblem(answer.body, { status: 400, code: 'bad_request', path });
    }
    expect(await overRest(service, tokenOf({}))).toBe('accepted');
    expect(await overRest(service, tokenOf({ iat: 1, jti: 'token' }))).toBe('accepted');
  });

  it.each([
    ['a body that is no JSON', 'text', 'application/json', 400, 'invalid_json'],
    ['a body of another type', 'issuedBefore=1', 'application/x-www-form-urlencoded', 415, 'unsupported_media_type'],
  ])('refuses %s', async (_name, body, type, status, code) => {
    const service = await startService();
    const request = service.api.post('/users/anna/revoke').set('Content-Type', type);
    const { body: problem } = await request.send(body).expect(status);
    expect(problem).toMatchObject({ code });
    expect(await overRest(service, tokenOf({}))).toBe('accepted');
  });

  it.each(['x'.repeat(129), 'a\nb'])('refuses the user %j', async (userId) => {
    const service = await startService();
    const { body } = await revoke(service, {}, userId).expect(400);
    expectProblem(body, { status: 400, code: 'bad_request', path: 'userId' });
  });

  it('does nothing special for an unknown user, nor the second time', async () => {
    const service = await startService();
    for (const _each of [1, 2]) expect(await revoked(service, {}, 'nobody / 漢字')).toBe(0);
    for (const _each of [1, 2]) expect(await revoked(service, { jti: 'a b' }, 'nobody')).toBe(0);
  });
});

describe.each(DOORS)('over %s', (_name, enter) => {
  it('tokens are refused that were issued before the time, or have no time', async () => {
    const service = await startService();
    const tokens = {
      before: tokenOf({ iat: NOW - 1 }),
      fraction: tokenOf({ iat: NOW - 0.5 }),
      at: tokenOf({ iat: NOW }),
      after: tokenOf({ iat: NOW + 1 }),
      without: tokenOf({}),
      ofBen: tokenOf({ sub: 'ben' }),
    };
    // Known to the cache of tokens from now on.
    for (const token of Object.values(tokens)) expect(await enter(service, token)).toBe('accepted');
    await revoked(service, { issuedBefore: NOW });
    for (const token of [tokens.before, tokens.fraction, tokens.without]) {
      expect(await enter(service, token)).toBe('token_revoked');
    }
    for (const token of [tokens.at, tokens.after, tokens.ofBen]) expect(await enter(service, token)).toBe('accepted');
  });

  it('one token is refused by its id', async () => {
    const service = await startService();
    const tokens = [tokenOf({ jti: 'one' }), tokenOf({ jti: 'two' }), tokenOf({ jti: 'one', sub: 'ben' }), tokenOf()];
    for (const token of tokens) expect(await enter(service, token)).toBe('accepted');
    await revoked(service, { jti: 'one' });
    const verdicts: string[] = [];
    for (const token of tokens) verdicts.push(await enter(service, token));
    expect(verdicts).toEqual(['token_revoked', 'accepted', 'accepted', 'accepted']);
  });

  it('stay refused after a restart', async () => {
    const service = await startService();
    await revoked(service, { issuedBefore: NOW });
    await revoked(service, { jti: 'one' });
    const again = await service.restart();
    expect(await enter(again, tokenOf({ iat: NOW - 1 }))).toBe('token_revoked');
    expect(await enter(again, tokenOf({ iat: NOW, jti: 'one' }))).toBe('token_revoked');
    expect(await enter(again, tokenOf({ iat: NOW, jti: 'two' }))).toBe('accepted');
  });
});

describe('a time', () => {
  it('that is not given is now: tokens of the same second are refused, those of the next one are not', async () => {
    const clock = new ShiftedClock();
    const service = await startService({ overrides: { clock } });
    const before = Math.floor(clock.now() / 1000);
    const token = tokenOf({ iat: before });
    expect(await overRest(service, token)).toBe('accepted');
    await revoked(service);
    expect(await overRest(service, token)).toBe('token_revoked');
    expect(await overRest(service, tokenOf({ iat: Math.floor(clock.now() / 1000) + 1 }))).toBe('accepted');
  });

  it('may be Unix seconds or ISO 8601, and is rounded up', async () => {
    const forms = [
      NOW,
      NOW - 0.5,
      new Date(NOW * 1000).toISOString(),
      new Date((NOW + 7_200) * 1000).toISOString().replace('Z', '+02:00'),
      new Date(NOW * 1000 - 1).toISOString(),
    ];
    const service = await startService();
    for (const [index, issuedBefore] of forms.entries()) {
      const sub = `user ${index}`;
      await revoked(service, { issuedBefore }, sub);
      expect(await overRest(service, tokenOf({ sub, iat: NOW - 1 }))).toBe('token_revoked');
      expect(await overRest(service, tokenOf({ sub, iat: NOW }))).toBe('accepted');
    }
  });

  it.each([0, '1969-01-01T00:00:00Z'])(
    '%j is before every token that says when it was issued',
    async (issuedBefore) => {
      const service = await startService();
      await revoked(service, { issuedBefore });
      expect(await overRest(service, tokenOf({ iat: 0 }))).toBe('accepted');
      expect(await overRest(service, tokenOf({}))).toBe('token_revoked');
    },
  );

  it('may be ahead as clocks are, and only grows', async () => {
    const service = await startService();
    const ahead = Math.floor(Date.now() / 1000) + 30;
    await revoked(service, { issuedBefore: ahead });
    await revoked(service, { issuedBefore: NOW });
    expect(await overRest(service, tokenOf({ iat: ahead - 1 }))).toBe('token_revoked');
    expect(await overRest(service, tokenOf({ iat: ahead }))).toBe('accepted');
  });
});

describe.each(WITH_TOKEN)('a connection over %s', (name, open) => {
  const refresh = (client: AnyClient, token: string) =>
    client.call(name === 'Socket.IO' ? 'auth:refresh' : 'auth', { token });

  it('is closed when its token is revoked, and receives nothing afterwards', async () => {
    const service = await startService();
    const clients = [await open(service, tokenOf()), await open(service, tokenOf({ jti: 'one' }))];
    const ben = await open(service, tokenOf({ sub: 'ben' }));
    expect(await revoked(service)).toBe(2);
    await service.send('anna', [1]);
    for (const client of clients) {
      expect(await client.next('closing')).toEqual({
        code: 'revoked',
        reason: expect.stringMatching(/\S/),
        retryInMs: null,
      });
      if (name === 'Socket.IO') expect(await client.next('disconnect')).toBeDefined();
      expect(client.allMessages).toEqual([]);
    }
    const { body } = await service.api.get('/websocket/users/anna/status').expect(200);
    expect(body).toMatchObject({ connected: false, sockets: 0 });
    await ben.settle();
  });

  it('stays when it uses another token, or a newer one', async () => {
    const service = await startService();
    const other = await open(service, tokenOf({ iat: NOW, jti: 'other' }));
    const refreshed = await open(service, tokenOf({ iat: NOW - 100, jti: 'one' }));
    expect(await refresh(refreshed, tokenOf({ iat: NOW, jti: 'newer' }))).toMatchObject({ ok: true });
    expect(await revoked(service, { jti: 'one' })).toBe(0);
    expect(await revoked(service, { issuedBefore: NOW })).toBe(0);
    const [sent] = await service.send('anna', [1]);
    for (const client of [other, refreshed]) expect(await client.next('message')).toMatchObject({ id: sent?.id });
    expect(await refresh(other, tokenOf({ jti: 'one' }))).toMatchObject({
      ok: false,
      error: { code: 'token_revoked', status: 401 },
    });
    await other.settle();
    expect(await revoked(service, { jti: 'newer' })).toBe(1);
    expect(await refreshed.next('closing')).toMatchObject({ code: 'revoked' });
  });
});

it('close codes of the plain endpoint are 4401, for connections and for refused tokens', async () => {
  const service = await startService();
  const client = openPlain(service.url, { path: `/ws?token=${tokenOf()}` });
  await client.next('connected');
  await revoked(service);
  expect(await client.closed).toMatchObject({ code: 4401 });
  const again = openPlain(service.url, { path: `/ws?token=${tokenOf()}` });
  expect(await again.next('error')).toMatchObject({ code: 'token_revoked', status: 401 });
  expect(await again.closed).toEqual({ code: 4401, reason: 'token_revoked' });
});

it('with AUTH_ERROR_EVENT the socket is notified as of any bad token', async () => {
  const service = await startService({ env: { AUTH_ERROR_EVENT: 'true' } });
  await revoked(service);
  const client = openClient(service.url, { auth: { token: tokenOf() } });
  expect(await client.next('error')).toEqual({ message: 'Authentication failed' });
});

it('connections that come while tokens are revoked are closed or refused: none stays', async () => {
  const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '1000' } });
  const ends = Array.from({ length: 40 }, async (_value, index) => {
    if (index % 2 === 0) return openPlain(service.url, { path: `/ws?token=${tokenOf()}` }).closed;
    const { socket } = openClient(service.url, { auth: { token: tokenOf() } });
    return new Promise((resolve) => {
      socket.once('disconnect', resolve);
      socket.once('connect_error', resolve);
    });
  });
  await revoked(service);
  await Promise.all(ends);
  const { body } = await service.api.get('/websocket/users/anna/status').expect(200);
  expect(body).toMatchObject({ sockets: 0 });
});

it('the revocation outlives the erasure of the user', async () => {
  const service = await startService();
  await revoked(service, { issuedBefore: NOW + 1 });
  await service.api.delete('/users/anna/data').expect(200);
  expect(await overRest(service, tokenOf())).toBe('token_revoked');
  expect(await overRest(await service.restart(), tokenOf())).toBe('token_revoked');
});

it('the expiry of a token that was seen before is kept with its revocation', async () => {
  const service = await startService();
  const exp = NOW + 7_200;
  expect(await overRest(service, tokenOf({ iat: NOW, jti: 'one', exp }))).toBe('accepted');
  for (const jti of ['one', 'never seen']) await revoked(service, { jti });
  await service.stop();
  const store = openLmdbStore(service.directory, systemClock);
  onTestEnd(() => store.close());
  expect(await store.revocations.list({ limit: 10 })).toEqual([
    { userId: 'anna', jti: 'never seen' },
    { userId: 'anna', jti: 'one', expiresAt: exp },
  ]);
});

it('tokens whose `jti` is not a text are refused: nobody could revoke them', async () => {
  const service = await startService();
  for (const jti of [7, null, {}, ['a']]) {
    expect(await overRest(service, forgeClaims({ sub: 'anna', jti }))).toBe('unauthorized');
  }
});
