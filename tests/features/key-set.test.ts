/** Tokens of an issuer that publishes its keys (JWT_JWKS_URL), over every door. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { openClient } from '../support/client';
import { DOORS, overRest } from '../support/doors';
import { eventually } from '../support/eventually';
import { forge, hs256 } from '../support/forged-tokens';
import { type Issuer, makeKey, type SigningKey, signWith, startIssuer } from '../support/issuer';
import { openPlain } from '../support/plain-client';
import { range, startService, type TestService } from '../support/service';

const old = makeKey('old', 'RS256');
const fresh = makeKey('new', 'ES256');
const stranger = makeKey('stranger');

const tokenOf = (key: SigningKey, claims: object = {}, kid?: string | null) =>
  signWith(key, { sub: 'anna', ...claims }, kid === undefined ? {} : { kid });

async function setUp(...keys: readonly SigningKey[]): Promise<{ issuer: Issuer; service: TestService }> {
  const issuer = await startIssuer(...keys);
  const service = await startService({ env: { JWT_SECRET: '', JWT_JWKS_URL: issuer.url } });
  return { issuer, service };
}

describe.each(DOORS)('over %s', (_name, enter) => {
  it('tokens of published keys are accepted, with either algorithm', async () => {
    const { service } = await setUp(old, fresh);
    for (const key of [old, fresh]) expect(await enter(service, tokenOf(key))).toBe('accepted');
    expect(await enter(service, tokenOf(fresh, {}, null))).toBe('accepted');
  });

  it('others are refused', async () => {
    const { service } = await setUp(old, fresh);
    const tokens = [
      tokenOf(stranger),
      tokenOf(stranger, {}, 'new'),
      tokenOf(fresh, {}, 'old'),
      forge({ alg: 'HS256', kid: 'old' }, { sub: 'anna' }, hs256(JSON.stringify(old.jwk))),
      forge({ alg: 'none', kid: 'old' }, { sub: 'anna' }, () => ''),
      'guess',
    ];
    for (const token of tokens) expect(await enter(service, token)).toBe('unauthorized');
  });

  it('a rotation takes effect with the first token of the new key', async () => {
    const { issuer, service } = await setUp(old);
    expect(await enter(service, tokenOf(old))).toBe('accepted');
    issuer.publish(fresh);
    expect(await enter(service, tokenOf(fresh))).toBe('accepted');
    // Also where the token had been checked before: the key it was checked with is gone.
    expect(await enter(service, tokenOf(old))).toBe('unauthorized');
  });

  it('keys keep working while the issuer is down', async () => {
    const { issuer, service } = await setUp(old);
    await issuer.goAway();
    expect(await enter(service, tokenOf(stranger))).toBe('unauthorized');
    expect(await enter(service, tokenOf(old))).toBe('accepted');
  });
});

it('the same token is refused when its key is gone', async () => {
  const { issuer, service } = await setUp(old);
  const token = tokenOf(old);
  expect(await overRest(service, token)).toBe('accepted');
  issuer.publish(fresh);
  expect(await overRest(service, tokenOf(fresh))).toBe('accepted');
  expect(await overRest(service, token)).toBe('unauthorized');
});

it('while a key is fetched, others are served, and what the new client sends waits', async () => {
  const { issuer, service } = await setUp(old);
  let answer = (): void => undefined;
  issuer.behave((response) => {
    answer = () => response.end(JSON.stringify({ keys: [old.jwk, fresh.jwk] }));
  });
  const waiting = openPlain(service.url, { path: `/ws?token=${tokenOf(fresh)}` });
  waiting.socket.once('open', () => {
    for (const ref of range(1, 5)) waiting.send({ action: 'ping', ref });
  });
  const socket = openClient(service.url, { auth: { token: tokenOf(fresh) } });
  await eventually(
    async () => {
      await nextTurn();
      return issuer.requests;
    },
    (requests) => requests === 2,
  );
  const { status } = await service.anonymous.get('/inbox/counts').set('Authorization', `Bearer ${tokenOf(old)}`);
  expect(status).toBe(200);
  expect(waiting.received).toEqual([]);
  answer();
  await waiting.next('connected');
  const refs: unknown[] = [];
  for (const _each of range(1, 5)) refs.push((await waiting.next('reply'))['ref']);
  expect(refs).toEqual(range(1, 5));
  await socket.next('connected');
});

it('a connection is refreshed with a token of a new key', async () => {
  const { issuer, service } = await setUp(old);
  const client = openClient(service.url, { auth: { token: tokenOf(old) } });
  await client.next('connected');
  issuer.publish(old, fresh);
  expect(await client.call('auth:refresh', { token: tokenOf(fresh) })).toMatchObject({ ok: true });
  expect(await client.call('auth:refresh', { token: tokenOf(stranger) })).toMatchObject({
    ok: false,
    error: { code: 'unauthorized' },
  });
});

it('connections whose key the issuer withdraws are closed', async () => {
  const { issuer, service } = await setUp(old, fresh);
  const socket = openClient(service.url, { auth: { token: tokenOf(old) } });
  const plain = openPlain(service.url, { path: `/ws?token=${tokenOf(old)}` });
  const [staying, renewed] = [tokenOf(fresh), tokenOf(old)].map((token) =>
    openClient(service.url, { auth: { token } }),
  );
  for (const client of [socket, plain, staying, renewed]) await client?.next('connected');
  expect(await renewed?.call('auth:refresh', { token: tokenOf(fresh) })).toMatchObject({ ok: true });
  const newest = makeKey('newest');
  issuer.publish(fresh, newest);
  expect(await overRest(service, tokenOf(newest))).toBe('accepted');
  const closing = { code: 'revoked', reason: expect.stringContaining('withdrawn'), retryInMs: null };
  expect(await socket.next('closing')).toEqual(closing);
  expect(await plain.next('closing')).toMatchObject(closing);
  for (const client of [staying, renewed]) expect(await client?.call('ping')).toMatchObject({ ok: true });
});

it('a key that is published in another order, or under another name, is the same key', async () => {
  const { issuer, service } = await setUp(old, fresh);
  const socket = openClient(service.url, { auth: { token: tokenOf(old) } });
  await socket.next('connected');
  const newest = makeKey('newest');
  issuer.publish(newest, { ...old, jwk: { ...old.jwk, kid: 'renamed' } });
  expect(await overRest(service, tokenOf(newest))).toBe('accepted');
  expect(await socket.call('ping')).toMatchObject({ ok: true });
});
