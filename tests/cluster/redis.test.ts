/**
 * Redis killed, and down at start. How nodes survive that, and a Redis that hangs, is empty or cuts them: tests/chaos.
 */
import type { Message } from '../../utils/protocol';
import { MONGODB_URL, newDatabase, startCluster, untilLive } from '../support/cluster';
import { eventually } from '../support/eventually';
import { describeWith } from '../support/needs';
import { connectPlain } from '../support/plain-client';
import { freePort, runServer } from '../support/process';
import { REDIS_SERVER, type RedisServer, startRedis } from '../support/redis';
import { range, startService, TEST_SECRET, type TestService } from '../support/service';
import { temporaryDirectory } from '../support/temporary';
import { collectUncaught } from '../support/uncaught';

const describeRedis = describeWith(
  'MongoDB (TEST_MONGODB_URL) and redis-server',
  MONGODB_URL !== undefined && REDIS_SERVER !== undefined,
);

const numbersOf = (client: { readonly allMessages: readonly Message[] }) =>
  client.allMessages.map(({ data }) => (data as { n: number }).n);

describeRedis('Redis', () => {
  let uncaught: readonly string[] = [];

  beforeEach(() => {
    uncaught = collectUncaught();
  });

  async function startPair(redis: RedisServer): Promise<[TestService, TestService]> {
    const env = { SOCKET_EVENTS_PER_SECOND: '100000' };
    const [here, there] = await startCluster({ redisUrl: redis.url, env });
    if (here === undefined || there === undefined) throw new Error('two nodes are needed');
    return [here, there];
  }

  it('killed: plain clients of the other node receive sends, then all is as before', async () => {
    const redis = await startRedis();
    const [here, there] = await startPair(redis);
    const near = await connectPlain(here.url, 'anna', { device: 'near' });
    const far = await connectPlain(there.url, 'anna', { device: 'far' });
    for (const client of [near, far]) await client.next('sync:done');
    await here.send('anna', [1]);
    await far.messages(1);

    await redis.kill();
    await untilLive(here, 'degraded');
    const { status, body } = await here.anonymous.get('/readyz');
    expect([status, body]).toEqual([200, { status: 'ok', store: 'ok', live: 'degraded' }]);
    const answers = await here.send('anna', range(2, 6));
    for (const answer of answers) expect(answer).toMatchObject({ live: 'degraded', connected: true });
    await near.messages(6);
    // By comparison with the store.
    await far.messages(5);

    await redis.start();
    for (const service of [here, there]) await untilLive(service, 'ok');
    const [answer] = await here.send('anna', [7]);
    expect(answer).toMatchObject({ live: 'ok' });
    await far.messages(1);
    for (const client of [near, far]) expect(numbersOf(client)).toEqual(range(1, 7));
    const watcher = await there.connect('watcher');
    await watcher.call('presence:subscribe');
    expect((await watcher.next<{ users: string[] }>('presence')).users.toSorted()).toEqual(['anna', 'watcher']);
    expect(uncaught).toEqual([]);
  });

  it('down while a user is removed from a topic: after its return nothing more of it is read elsewhere', async () => {
    const redis = await startRedis();
    const [here, there] = await startPair(redis);
    await here.api.post('/topics').send({ name: 'club', isPrivate: true }).expect(201);
    for (const userId of ['ben', 'carla']) {
      await here.api.post('/topics/club/members').send({ userId }).expect(200);
    }
    const [ben, carla] = [await there.connect('ben', { device: 'd' }), await there.connect('carla', { device: 'd' })];
    for (const client of [ben, carla]) await client.next('sync:done');
    await redis.kill();
    await untilLive(here, 'degraded');
    await here.api.delete('/topics/club/members/ben').expect(200);
    await redis.start();
    for (const service of [here, there]) await untilLive(service, 'ok');
    // The check comes with the next comparison with the store.
    const say = () => here.api.post('/topics/club/messages').send({ type: 'test', data: 1 }).expect(200);
    await eventually(
      async () => {
        const before = ben.allMessages.length;
        await say();
        await carla.next('message');
        await ben.settle();
        return ben.allMessages.length - before;
      },
      (heard) => heard === 0,
    );
    expect(uncaught).toEqual([]);
  });

  it('down at start: refused, with the variable and without the password', async () => {
    const port = await freePort();
    const env = {
      NODE_ENV: 'production',
      JWT_SECRET: TEST_SECRET,
      PORT: '0',
      DATA_DIR: temporaryDirectory(),
      STORE_URL: newDatabase(),
      SHUTDOWN_TIMEOUT_MS: '500',
    };
    const startedAt = performance.now();
    const server = runServer({ ...env, REDIS_URL: `redis://user:hidden-word@127.0.0.1:${port}/0` });
    const line = await server.line(/REDIS_URL/);
    expect(line).toContain(`redis://***@127.0.0.1:${port}/0`);
    const { code } = await server.end('SIGCONT');
    expect(code).toBe(1);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(server.lines.join('\n')).not.toContain('hidden-word');
  });

  it('with another password: refused, without the password', async () => {
    const redis = await startRedis({ password: 'right' });
    const url = redis.url.replace('//', '//:hidden-word@');
    const env = { STORE_URL: newDatabase(), REDIS_URL: url };
    await expect(startService({ env })).rejects.toThrow(/^Redis at redis:\/\/\*\*\*@.*REDIS_URL/);
    await expect(startService({ env })).rejects.not.toThrow(/hidden-word/);
  });

  it('down at start with REDIS_REQUIRED=false: starts degraded, and finds the others later', async () => {
    const redis = await startRedis();
    await redis.kill();
    const env = { STORE_URL: newDatabase(), REDIS_URL: redis.url, REDIS_REQUIRED: 'false' };
    const here = await startService({ env });
    const there = await startService({ env });
    const far = await there.connect('anna', { device: 'far' });
    expect(await here.send('anna', [1])).toMatchObject([{ live: 'degraded' }]);
    await far.messages(1);
    await redis.start();
    for (const service of [here, there]) await untilLive(service, 'ok');
    await eventually(
      () => here.api.get('/websocket/users/anna/status'),
      ({ body }) => body.connected === true,
    );
    expect(await here.send('anna', [2])).toMatchObject([{ live: 'ok', connected: true }]);
    await far.messages(1);
    expect(numbersOf(far)).toEqual([1, 2]);
  });
});
