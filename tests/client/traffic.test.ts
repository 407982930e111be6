/** For tools such as the test page: any event can be asked, everything that passes can be seen, and tokens be given. */
import type { Traffic } from '../../client/src';
import { Topics } from '../../client/src/topics';
import { startService, testToken } from '../support/service';
import { openClient, until } from './support';

it('shows every event in both directions, with answers and their times', async () => {
  const service = await startService();
  const client = openClient(service.url, { token: testToken('anna') });
  const seen: Traffic[] = [];
  const end = client.onTraffic((traffic) => seen.push(traffic));
  await client.synced();
  await client.send({ to: 'anna', type: 'chat', data: 'hello' });
  await until(
    () => seen.find(({ event }) => event === 'ack'),
    (ack) => ack !== undefined,
  );
  const named = (direction: string) => seen.filter((traffic) => traffic.direction === direction);
  expect(named('received').map(({ event }) => event)).toEqual(['authenticated', 'connected', 'sync:done', 'message']);
  const [sent, ack] = named('sent');
  expect(sent).toMatchObject({ event: 'message', args: [{ to: 'anna' }], outcome: { reply: { ok: true, seq: 1 } } });
  expect(sent).toHaveProperty('outcome.ms', expect.any(Number));
  expect(ack).toEqual({ direction: 'sent', event: 'ack', args: [{ topic: '@anna', seq: 1 }] });
  end();
  const { length } = seen;
  await client.request('ping');
  expect(seen).toHaveLength(length);
});

it('sends any event once, and is refused with the service’s problem', async () => {
  const service = await startService();
  const client = openClient(service.url, { token: testToken('anna') });
  await expect(client.request('ping')).rejects.toMatchObject({ code: 'connection_lost' });
  await client.synced();
  expect(await client.request('topic:list', { limit: 1 })).toEqual({ ok: true, topics: [], nextCursor: null });
  await expect(client.request('message', { to: 'ben', type: '' })).rejects.toMatchObject({
    code: 'bad_request',
    problem: { errors: [{ path: 'type' }, { path: 'data' }] },
  });
});

it('uses another token of the same user on the same connection', async () => {
  const service = await startService();
  const client = openClient(service.url, { token: testToken('anna', { lifetimeSeconds: 600 }) });
  const events: string[] = [];
  await client.synced();
  client.onTraffic(({ event }) => events.push(event));
  await client.useToken(testToken('anna', { lifetimeSeconds: 1_200 }));
  expect(events).toEqual(['auth:refresh']);
  await expect(client.useToken(testToken('ben'))).rejects.toMatchObject({ code: 'other_user' });
  await expect(client.useToken(testToken('anna', { lifetimeSeconds: -90 }))).rejects.toMatchObject({
    code: 'token_expired',
  });
  expect(client.status).toBe('online');
});

it('lists all topics, however many pages they are', async () => {
  const service = await startService();
  const client = openClient(service.url, { token: testToken('anna') });
  await client.synced();
  for (const name of ['garden', 'kitchen', 'roof']) await client.topics.create(name);
  const pages = {
    call: async (_event: string, payload?: object) =>
      (await client.request('topic:list', { ...payload, limit: 1 })) as never,
  };
  expect((await new Topics(pages).list()).map(({ name }) => name)).toEqual(['garden', 'kitchen', 'roof']);
});
