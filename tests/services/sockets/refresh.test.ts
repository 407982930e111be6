/** A connection outlives its token when it brings a newer one in time. */
import { createSecretKey } from 'node:crypto';
import { signToken } from '../../../services/tokens/tokens';
import type { Message } from '../../../utils/protocol';
import { openClient, type TestClient } from '../../support/client';
import { ShiftedClock } from '../../support/clock';
import { startService, TEST_SECRET, type TestService, testToken } from '../../support/service';

const WARNING_SECONDS = 60;
/** Longer than any test takes on a slow machine: a token expires only when the clock is moved. */
const LIFETIME_SECONDS = 600;

interface Held {
  readonly client: TestClient;
  /** As the greeting gave it. */
  readonly expiresAt: string;
}

async function open(service: TestService, options: { device?: string; lifetimeSeconds?: number } = {}): Promise<Held> {
  const { lifetimeSeconds = LIFETIME_SECONDS, device } = options;
  const token = testToken('anna', { lifetimeSeconds });
  const client = openClient(service.url, { auth: { token, ...(device === undefined ? {} : { device }) } });
  const { expiresAt } = await client.next<{ expiresAt: string }>('authenticated');
  await client.next('sync:done');
  return { client, expiresAt };
}

/** Whole seconds, as tokens count them. */
function isoTimeIn(seconds: number): string {
  return new Date((Math.floor(Date.now() / 1000) + seconds) * 1000).toISOString();
}

function eventsOf({ received }: TestClient): string[] {
  return received.map(({ event }) => event);
}

async function setUp() {
  const clock = new ShiftedClock();
  return { clock, service: await startService({ overrides: { clock } }) };
}

describe('a token that is about to expire', () => {
  it('is announced a minute before, once, and then closes the connection', async () => {
    const { clock, service } = await setUp();
    const { client, expiresAt } = await open(service);
    clock.shift((LIFETIME_SECONDS - WARNING_SECONDS) * 1000);
    expect(await client.next('auth:expiring')).toEqual({ expiresAt });
    await client.settle();
    expect(eventsOf(client)).not.toContain('closing');
    clock.shift(WARNING_SECONDS * 1000);
    expect(await client.next('closing')).toEqual({
      code: 'token_expired',
      reason: expect.stringMatching(/\S/),
      retryInMs: null,
    });
    expect(await client.next('disconnect')).toBe('io server disconnect');
    expect(eventsOf(client).filter((event) => event === 'auth:expiring')).toHaveLength(1);
    const { body } = await service.api.get('/websocket/users/anna/status').expect(200);
    expect(body).toMatchObject({ connected: false, sockets: 0 });
  });

  it('is not announced earlier, nor on connections whose tokens last longer', async () => {
    const { clock, service } = await setUp();
    const { client: patient } = await open(service, { lifetimeSeconds: 3_600, device: 'patient' });
    const { client: early } = await open(service, { lifetimeSeconds: LIFETIME_SECONDS + 120, device: 'early' });
    const { client } = await open(service);
    clock.shift((LIFETIME_SECONDS - WARNING_SECONDS) * 1000);
    await client.next('auth:expiring');
    for (const other of [patient, early]) {
      await other.settle();
      expect(eventsOf(other)).not.toContain('auth:expiring');
    }
  });

  it('is announced at once to a connection that comes in the last minute', async () => {
    const { service } = await setUp();
    const { client, expiresAt } = await open(service, { lifetimeSeconds: 55 });
    expect(await client.next('auth:expiring')).toEqual({ expiresAt });
  });

  it('does not concern a token without an expiry', async () => {
    const { clock, service } = await setUp();
    const token = signToken(createSecretKey(Buffer.from(TEST_SECRET)), { userId: 'anna' });
    const client = openClient(service.url, { auth: { token } });
    expect(await client.next('authenticated')).toMatchObject({ expiresAt: null });
    await client.next('sync:done');
    const { client: other } = await open(service, { device: 'other' });
    clock.shift(LIFETIME_SECONDS * 1000);
    await other.next('closing');
    await client.settle();
    expect(eventsOf(client)).not.toContain('auth:expiring');
  });
});

describe('auth:refresh', () => {
  it('keeps the socket, which lives as long as the newer token', async () => {
    const { clock, service } = await setUp();
    const { client } = await open(service);
    const { id } = client.socket;
    clock.shift((LIFETIME_SECONDS - WARNING_SECONDS) * 1000);
    await client.next('auth:expiring');
    const expected = [isoTimeIn(1_200), isoTimeIn(1_201)];
    const token = testToken('anna', { lifetimeSeconds: 1_200 });
    const reply = await client.call('auth:refresh', { token });
    expect(reply).toEqual({ ok: true, expiresAt: expect.any(String) });
    const { expiresAt } = reply as unknown as { expiresAt: string };
    expect(expected).toContain(expiresAt);
    // Beyond the end of the first token.
    clock.shift(2 * WARNING_SECONDS * 1000);
    const { client: witness } = await open(service, { lifetimeSeconds: LIFETIME_SECONDS + 70, device: 'witness' });
    await witness.next('auth:expiring');
    await client.settle();
    expect(client.socket.connected).toBe(true);
    expect(client.socket.id).toBe(id);
    await service.send('anna', [1]);
    expect(await client.next<Message>('message')).toMatchObject({ seq: 1 });
    // The newer one is announced and ends in its turn.
    clock.shift((1_200 - LIFETIME_SECONDS - 2 * WARNING_SECONDS) * 1000);
    expect(await client.next('auth:expiring')).toEqual({ expiresAt });
    clock.shift(WARNING_SECONDS * 1000);
    expect(await client.next('closing')).toMatchObject({ code: 'token_expired' });
  });

  it('keeps the cursors: nothing comes twice, nothing is left out', async () => {
    const { service } = await setUp();
    await service.send('anna', [1, 2]);
    const { client } = await open(service, { device: 'phone' });
    await client.messages(2);
    await client.call('ack', { topic: '@anna', seq: 1 });
    const sending = service.send('anna', [3, 4, 5, 6]);
    for (const _again of [1, 2, 3]) {
      expect(await client.call('auth:refresh', { token: testToken('anna') })).toMatchObject({ ok: true });
    }
    await sending;
    await client.settle();
    expect(client.allMessages.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6]);
    for (const event of ['authenticated', 'connected', 'sync:done']) {
      expect(eventsOf(client).filter((name) => name === event)).toHaveLength(1);
    }
    expect(await client.call('ack', { topic: '@anna', seq: 4 })).toEqual({ ok: true });
    client.close();
    const { client: back } = await open(service, { device: 'phone' });
    expect(back.allMessages.map(({ seq }) => seq)).toEqual([5, 6]);
  });

  it('brings the scopes of the newer token, and removes those of the older', async () => {
    const service = await startService({ env: { PRESENCE_PUBLIC: 'false' } });
    const client = await service.connect('anna');
    const subscribe = () => client.call('presence:subscribe');
    expect(await subscribe()).toMatchObject({ ok: false, error: { code: 'insufficient_scope' } });
    await client.call('auth:refresh', { token: testToken('anna', { scope: 'presence' }) });
    expect(await subscribe()).toMatchObject({ ok: true });
    await client.call('auth:refresh', { token: testToken('anna') });
    expect(await subscribe()).toMatchObject({ ok: false, error: { code: 'insufficient_scope' } });
  });

  it('refuses a token of another user, and continues with the previous one', async () => {
    const { clock, service } = await setUp();
    const { client, expiresAt } = await open(service);
    const reply = await client.call('auth:refresh', { token: testToken('ben', { scope: 'admin' }) });
    expect(reply).toMatchObject({ ok: false, error: { code: 'forbidden', status: 403 } });
    expect(await client.call('history', { topic: '@ben' })).toMatchObject({ ok: false });
    await service.send('ben', [1]);
    await service.send('anna', [2]);
    expect(await client.next('message')).toMatchObject({ topic: '@anna' });
    const { body } = await service.api.get('/websocket/users/ben/status').expect(200);
    expect(body).toMatchObject({ connected: false });
    clock.shift((LIFETIME_SECONDS - WARNING_SECONDS) * 1000);
    expect(await client.next('auth:expiring')).toEqual({ expiresAt });
    clock.shift(WARNING_SECONDS * 1000);
    expect(await client.next('closing')).toMatchObject({ code: 'token_expired' });
  });

  it.each([
    ['an expired token', 'token_expired', () => testToken('anna', { lifetimeSeconds: -1 })],
    ['a forged token', 'unauthorized', () => `${testToken('anna').slice(0, -4)}AAAA`],
    ['no token at all', 'unauthorized', () => 'guess'],
  ])('refuses %s, and keeps the connection', async (_name, code, makeToken) => {
    const { service } = await setUp();
    const { client } = await open(service);
    expect(await client.call('auth:refresh', { token: makeToken() })).toMatchObject({
      ok: false,
      error: { code, status: 401 },
    });
    await service.send('anna', [1]);
    expect(await client.next('message')).toMatchObject({ seq: 1 });
  });

  it.each([
    ['token', {}],
    ['token', { token: '' }],
    ['token', { token: 7 }],
    ['token', { token: null }],
    ['', undefined],
    ['', 'token'],
  ])('names the bad field `%s` in %j', async (path, payload) => {
    const { service } = await setUp();
    const { client } = await open(service);
    expect(await client.call('auth:refresh', payload)).toMatchObject({
      ok: false,
      error: { code: 'bad_request', errors: [{ path }] },
    });
  });

  it('may also bring a token that ends sooner', async () => {
    const { clock, service } = await setUp();
    const { client } = await open(service, { lifetimeSeconds: 3_000 });
    await client.call('auth:refresh', { token: testToken('anna', { lifetimeSeconds: LIFETIME_SECONDS }) });
    clock.shift(LIFETIME_SECONDS * 1000);
    expect(await client.next('closing')).toMatchObject({ code: 'token_expired' });
  });
});
