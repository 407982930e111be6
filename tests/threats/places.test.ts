/** What a user without a scope cannot use up, or move, of others. */
import { as, inboxOf, sendTo } from '../features/callers';
import { range, startService } from '../support/service';
import { TRANSPORTS } from '../support/transports';

describe.each(TRANSPORTS)('over %s', (_name, connect) => {
  it('moves the cursors of others: acknowledgements and states are of their caller', async () => {
    const service = await startService();
    await sendTo(service.api, 'anna', 'one');
    const mallory = await connect(service, 'mallory', { device: 'phone' });
    await mallory.next('sync:done');
    for (const topic of ['@anna', '~anna']) {
      expect(await mallory.call('ack', { topic, seq: 1 })).toMatchObject({ error: { code: 'bad_request' } });
      expect(await mallory.call('state', { state: 'archived', topic })).toMatchObject({ error: { code: 'not_found' } });
    }
    // Names of others in the frame change nothing.
    const forged = { userId: 'anna', sub: 'anna', device: 'phone', state: 'archived', all: true };
    expect(await mallory.call('state', forged)).toMatchObject({ ok: true, changed: 0 });
    const anna = await connect(service, 'anna', { device: 'phone' });
    expect(await anna.next('message')).toMatchObject({ data: 'one' });
    expect((await inboxOf(as(service, 'anna'))).items).toMatchObject([{ state: 'unseen' }]);
  });

  it('uses up the connections of others: connections and devices are counted by the token', async () => {
    const service = await startService({ env: { MAX_CONNECTIONS_PER_USER: '2' } });
    for (const device of ['anna', 'phone']) await (await connect(service, 'mallory', { device })).next('sync:done');
    const anna = await connect(service, 'anna', { device: 'phone' });
    await anna.next('sync:done');
    expect(await anna.call('ping')).toMatchObject({ ok: true });
    const { body } = await as(service, 'anna').get('/websocket/me/status').expect(200);
    expect(body).toMatchObject({ sockets: 1, devices: 1 });
  });

  it('floods a person: the events of a connection are limited, and the person stays', async () => {
    const service = await startService({ env: { SOCKET_EVENTS_PER_SECOND: '1' } });
    const anna = await connect(service, 'anna');
    const mallory = await connect(service, 'mallory');
    const send = () =>
      'nextFrame' in mallory
        ? mallory.call('message', { topic_name: '@anna', content: 'x' })
        : mallory.call('message', { to: 'anna', type: 'chat', data: 'x' });
    const replies = await Promise.all(range(1, 40).map(send));
    const refused = replies.filter((reply) => !reply.ok && reply.error.code === 'rate_limited');
    expect(refused.length).toBeGreaterThan(20);
    expect(await anna.call('ping')).toMatchObject({ ok: true });
    expect(anna.allMessages.length).toBeLessThan(20);
  });
});
