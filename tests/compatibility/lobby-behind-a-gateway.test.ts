/** Compatibility: the lobby behind a gateway, whose document connects with `wscat -c "ws://localhost:3003?token=…"`. */
import { forgeClaims } from '../support/forged-tokens';
import { startService, type TestService } from '../support/service';
import { Wscat } from '../support/wscat';

/** The command as it is printed, with this port and this token. */
function wscat(service: TestService, token: string): Wscat {
  const { port } = new URL(service.url);
  const printed = 'wscat -c "ws://localhost:3003?token=YOUR_TOKEN"';
  return new Wscat(printed.replace('3003', port).replace('YOUR_TOKEN', token));
}

const logIn = (service: TestService, user: string) => wscat(service, service.token(user));

describe('JWT validation', () => {
  it('admits a user whose token is in the query', async () => {
    const service = await startService();
    const anna = logIn(service, 'anna');
    expect(await anna.next('authenticated')).toMatchObject({ userId: 'anna', device: 'default' });
    expect(await anna.next('connected')).toEqual({
      event: 'connected',
      message: 'Successfully connected to WebSocket',
      userId: 'anna',
      socketId: expect.any(String),
    });
  });

  it.each([
    ['the placeholder of the document', () => 'YOUR_TOKEN'],
    ['a token of another issuer', () => forgeClaims({ sub: 'anna' }).replace(/\.[^.]*$/, '.c2lnbmF0dXJl')],
    ['a token that has expired', () => forgeClaims({ sub: 'anna', exp: 1_700_000_000 })],
    ['no user in the token', () => forgeClaims({ name: 'anna' })],
    ['no token', () => ''],
  ])('refuses %s, and shows nobody as connected', async (_name, token) => {
    const service = await startService();
    const stranger = wscat(service, token());
    expect(await stranger.next('error')).toMatchObject({ status: 401, title: expect.any(String) });
    expect(await stranger.ended).toBe(0);
    const { body } = await service.api.get('/websocket/users/connected').expect(200);
    expect(body).toMatchObject({ users: [], count: 0 });
  });

  it('works beside HTTP on the same port', async () => {
    const service = await startService();
    const anna = logIn(service, 'anna');
    await anna.next('connected');
    const { body } = await service.anonymous
      .get('/websocket/me/status')
      .set('Authorization', `Bearer ${service.token('anna')}`)
      .expect(200);
    expect(body).toMatchObject({ userId: 'anna', connected: true, sockets: 1 });
  });
});

describe('the lobby', () => {
  it('shows who is online', async () => {
    const service = await startService();
    const ben = logIn(service, 'ben');
    await ben.next('connected');
    const anna = logIn(service, 'anna');
    await anna.next('connected');
    anna.type({ action: 'presence' });
    expect(await anna.next('presence')).toEqual({ event: 'presence', users: ['ben', 'anna'], count: 2 });
    expect(await anna.next('reply')).toEqual({ event: 'reply', ok: true, count: 2 });
  });

  it('shows who comes, in real time', async () => {
    const service = await startService();
    const anna = logIn(service, 'anna');
    await anna.next('connected');
    await anna.reply({ action: 'presence' });
    const ben = logIn(service, 'ben');
    await ben.next('connected');
    expect(await anna.next('presence:join')).toEqual({ event: 'presence:join', userId: 'ben' });
  });

  it('shows at once who pushes the log-out button', async () => {
    // The grace is longer than the test: only a logout ends it.
    const service = await startService({ env: { PRESENCE_GRACE_MS: '3600000' } });
    const anna = logIn(service, 'anna');
    const ben = logIn(service, 'ben');
    await anna.next('connected');
    await ben.next('connected');
    await anna.reply({ action: 'presence' });
    ben.type({ action: 'logout' });
    expect(await ben.next('closing')).toMatchObject({ code: 'logged_out', retryInMs: null });
    expect(await ben.ended).toBe(0);
    expect(await anna.next('presence:leave')).toEqual({
      event: 'presence:leave',
      userId: 'ben',
      lastSeen: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    const { body } = await service.api.get('/websocket/users/connected').expect(200);
    expect(body).toMatchObject({ users: ['anna'], count: 1 });
  });

  it('shows who closes the page, after the grace period', async () => {
    const service = await startService({ env: { PRESENCE_GRACE_MS: '100' } });
    const anna = logIn(service, 'anna');
    const ben = logIn(service, 'ben');
    await anna.next('connected');
    await ben.next('connected');
    await anna.reply({ action: 'presence' });
    ben.interrupt();
    expect(await anna.next('presence:leave')).toMatchObject({ userId: 'ben' });
  });

  it('does not show who has not logged in, as connected or as undefined', async () => {
    const service = await startService();
    const anna = logIn(service, 'anna');
    await anna.next('connected');
    const stranger = wscat(service, 'undefined');
    await stranger.ended;
    anna.type({ action: 'presence' });
    expect(await anna.next('presence')).toEqual({ event: 'presence', users: ['anna'], count: 1 });
    await logIn(service, 'ben').next('connected');
    expect(await anna.next('presence:join')).toEqual({ event: 'presence:join', userId: 'ben' });
  });
});
