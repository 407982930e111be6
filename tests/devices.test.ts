/** How many devices a user may have, as clients see it; and what reading much costs. */
import { openPlain } from './support/plain-client';
import { range, startService, testToken } from './support/service';

const MAX_DEVICES = 3;

describe('more devices than MAX_DEVICES_PER_USER', () => {
  const env = { MAX_DEVICES_PER_USER: `${MAX_DEVICES}` };

  it('forget the one that acknowledged least recently, which receives sync:reset when it comes back', async () => {
    const service = await startService({ env });
    for (const n of range(1, MAX_DEVICES + 1)) {
      const client = await service.connect('anna', { device: `device ${n}` });
      await client.next('sync:done');
      client.socket.disconnect();
    }
    const { text } = await service.api.get('/users/anna/export').expect(200);
    const devices = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string; device?: string })
      .filter(({ kind }) => kind === 'device');
    expect(devices.map(({ device }) => device)).toEqual(['device 2', 'device 3', 'device 4']);
    await service.api.post('/websocket/message/user').send({ userId: 'anna', type: 't', data: 1 }).expect(200);
    const back = await service.connect('anna', { device: 'device 1' });
    expect(await back.next('sync:reset')).toEqual({ reason: 'forgotten' });
    expect((await back.messages(1)).map(({ data }) => data)).toEqual([1]);
    await back.next('sync:done');
    const fresh = await service.connect('anna', { device: 'device 5' });
    await fresh.next('sync:done');
    expect(fresh.received.map(({ event }) => event)).not.toContain('sync:reset');
  });

  it('leave connected ones alone, over the plain endpoint too', async () => {
    const service = await startService({ env });
    const first = await service.connect('anna', { device: 'first' });
    await first.next('sync:done');
    for (const n of range(1, MAX_DEVICES + 2)) {
      const token = testToken('anna');
      const client = openPlain(service.url, { path: `/ws?token=${token}&device=made-up-${n}` });
      await client.next('sync:done');
      client.socket.close();
      await client.closed;
    }
    first.socket.disconnect();
    const again = await service.connect('anna', { device: 'first' });
    await again.next('sync:done');
    expect(again.received.map(({ event }) => event)).not.toContain('sync:reset');
  });
});

describe('expensive events', () => {
  it('count as several', async () => {
    const service = await startService({ env: { SOCKET_EVENTS_PER_SECOND: '5' } });
    const client = await service.connect('anna');
    // A burst of 20: two lists, and nothing is left.
    const replies = await Promise.all(range(1, 3).map(() => client.call('topic:list')));
    expect(replies.map(({ ok }) => ok)).toEqual([true, true, false]);
    const plain = openPlain(service.url, { path: `/ws?token=${testToken('ben')}` });
    await plain.next('sync:done');
    const answers = await Promise.all(range(1, 6).map((n) => plain.call('history', { topic: '*', limit: 1, ref: n })));
    expect(answers.map(({ ok }) => ok)).toEqual([true, true, true, true, true, false]);
  });
});
