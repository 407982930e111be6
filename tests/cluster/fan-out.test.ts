/** Two and three nodes as one service, whichever node a client is connected to. */
import { ShiftedClock } from '../support/clock';
import { MONGODB_URL, REDIS_URL, startCluster } from '../support/cluster';
import { eventually } from '../support/eventually';
import { describeWith } from '../support/needs';
import { range, type TestService } from '../support/service';
import { type AnyClient, framesOf, TRANSPORTS } from '../support/transports';

const describeCluster = describeWith(
  'MongoDB and Redis (TEST_MONGODB_URL, TEST_REDIS_URL)',
  MONGODB_URL !== undefined && REDIS_URL !== undefined,
);

const numbersOf = (client: AnyClient) => client.allMessages.map(({ data }) => (data as { n: number }).n);
const namesOf = (client: AnyClient) => framesOf(client).map(({ event }) => event);

function pairOf(services: readonly TestService[]): [TestService, TestService] {
  const [one, other] = services;
  if (one === undefined || other === undefined) throw new Error('two nodes are needed');
  return [one, other];
}

async function pair(...options: Parameters<typeof startCluster>): Promise<[TestService, TestService]> {
  return pairOf(await startCluster(...options));
}

const as = (service: TestService, userId: string, path: string) =>
  service.anonymous.get(path).set('Authorization', `Bearer ${service.token(userId)}`);

/** All nodes know that this many users are connected. */
async function untilConnected(services: readonly TestService[], count: number): Promise<void> {
  for (const service of services) {
    await eventually(
      () => service.api.get('/websocket/users/connected'),
      ({ body }) => body.count === count,
    );
  }
}

describeCluster('nodes of one service', () => {
  describe.each(TRANSPORTS)('with clients over %s', (_name, connect) => {
    async function open(service: TestService, userId: string, device?: string): Promise<AnyClient> {
      const client = await connect(service, userId, device === undefined ? {} : { device });
      await client.next('sync:done');
      return client;
    }

    it('deliver what any of them accepted, in order, once', async () => {
      const services = await startCluster({ nodes: 3 });
      const clients = await Promise.all(services.map((service, index) => open(service, 'anna', `device ${index}`)));
      await untilConnected(services, 1);
      const numbers = range(1, 60);
      for (const n of numbers) {
        const service = services[n % services.length] as TestService;
        const [answer] = await service.send('anna', [n]);
        expect(answer).toMatchObject({ seq: n, connected: true, live: 'ok' });
      }
      for (const client of clients) {
        await client.messages(numbers.length);
        expect(numbersOf(client)).toEqual(numbers);
      }
    });

    it('notify users who are added to a topic by others, on whatever node', async () => {
      const services = await startCluster({ nodes: 2 });
      const [one, other] = pairOf(services);
      const clients = [await open(one, 'anna', 'phone'), await open(other, 'anna', 'laptop')];
      await untilConnected(services, 1);
      const post = (path: string) => one.anonymous.post(path).set('Authorization', `Bearer ${one.token('mallory')}`);
      await post('/topics').send({ name: 'lair', isPrivate: true }).expect(201);
      await post('/topics/lair/members').send({ userId: 'anna' }).expect(200);
      for (const client of clients) {
        expect(await client.next('topic:joined')).toEqual({ name: 'lair', isPrivate: true, by: 'mallory' });
        client.close();
      }
      await untilConnected(services, 0);
    });

    it('deliver what all of them accept at once, in the order of seq', async () => {
      const services = await startCluster({ nodes: 3 });
      const clients = await Promise.all(services.map((service, index) => open(service, 'anna', `device ${index}`)));
      await Promise.all(
        services.map((service, index) => service.send('anna', range(index * 100 + 1, index * 100 + 20))),
      );
      for (const client of clients) {
        const messages = await client.messages(60);
        expect(messages.map(({ seq }) => seq)).toEqual(range(1, 60));
      }
    });

    it('publish broadcasts, live messages, changes and states', async () => {
      const [here, there] = await pair();
      const anna = await open(there, 'anna', 'phone');
      await untilConnected([here, there], 1);
      const broadcast = await here.api.post('/websocket/message/broadcast').send({ type: 't', data: { n: 1 } });
      expect(broadcast.body).toMatchObject({ recipients: 1, connected: true, live: 'ok' });
      await anna.next('message');
      const live = { userId: 'anna', type: 't', data: { n: 2 }, persist: false };
      await here.api.post('/websocket/message/user').send(live).expect(200);
      expect(await anna.next('message')).toMatchObject({ data: { n: 2 }, counts: { unseen: 1, unread: 1 } });
      const [sent] = await here.send('anna', [3]);
      expect(await anna.next('message')).toMatchObject({ id: sent?.id, counts: { unseen: 2, unread: 2 } });
      await here.api
        .patch(`/messages/${sent?.id}`)
        .send({ data: { n: 4 } })
        .expect(200);
      expect(await anna.next('message:updated')).toMatchObject({ ref: sent?.id, data: { n: 4 } });
      const read = { state: 'read', ids: [sent?.id] };
      const authorization = `Bearer ${here.token('anna')}`;
      await here.anonymous.patch('/inbox').set('Authorization', authorization).send(read).expect(200);
      expect(await anna.next('state')).toEqual({ ...read, counts: { unseen: 1, unread: 1 } });
      await here.api.delete(`/messages/${sent?.id}`).expect(200);
      expect(await anna.next('message:removed')).toMatchObject({ ref: sent?.id, reason: 'retracted' });
    });

    it('publish what expires, and send what was scheduled once', async () => {
      const clock = new ShiftedClock();
      const [here, there] = await pair({ overrides: { clock } });
      const anna = await open(there, 'anna', 'phone');
      const send = (message: object) => here.api.post('/websocket/message/user').send({ userId: 'anna', ...message });
      const { body } = await send({ type: 'short', data: { n: 1 }, ttl: 30 }).expect(200);
      for (const n of range(2, 6)) await send({ type: 'later', data: { n }, delay: 40 }).expect(202);
      await anna.next('message');
      clock.shift(35_000);
      expect(await anna.next('message:removed')).toMatchObject({ ref: body.id, reason: 'expired' });
      clock.shift(10_000);
      await anna.messages(5);
      await anna.settle();
      expect(numbersOf(anna).toSorted()).toEqual(range(1, 6));
    });

    it('close connections everywhere: disconnect, logout, erasure', async () => {
      const [here, there] = await pair();
      const clients = [await open(here, 'anna', 'a'), await open(there, 'anna', 'b'), await open(there, 'anna', 'b')];
      const status = (sockets: number, devices: number) =>
        eventually(
          () => as(here, 'anna', '/websocket/me/status'),
          ({ body }) => body.sockets === sockets && body.devices === devices,
        );
      await status(3, 2);
      const { body } = await here.api.delete('/websocket/users/anna/disconnect').expect(200);
      expect(body).toEqual({ success: true, userId: 'anna', disconnected: 3 });
      for (const client of clients) expect(await client.next('closing')).toMatchObject({ code: 'disconnected' });
      await status(0, 0);

      const [one, other, third] = [
        await open(here, 'anna', 'a'),
        await open(there, 'anna', 'a'),
        await open(there, 'anna', 'b'),
      ];
      await status(3, 2);
      if (_name === 'Socket.IO') await one.call('logout');
      else await one.call('disconnect');
      if (_name === 'Socket.IO') {
        expect(await other.next('closing')).toMatchObject({ code: 'logged_out' });
        await status(1, 1);
      } else await status(2, 2);
      await here.api.delete('/users/anna/data').expect(200);
      expect(await third.next('closing')).toMatchObject({ code: 'going_away' });
    });

    it('stop following a topic that one of them has deleted, even when its name is used again', async () => {
      const [one, other] = await pair();
      const ben = await open(other, 'ben');
      await untilConnected([one, other], 1);
      await one.api.post('/topics').send({ name: 'news' }).expect(201);
      await one.api
        .post('/topics/news/members')
        .send({ userIds: ['ben'] })
        .expect(200);
      const say = async (n: number) => {
        const { body } = await one.api.post('/topics/news/messages').send({ type: 't', data: { n } }).expect(200);
        return body as { seq: number };
      };
      await say(1);
      await ben.messages(1);
      await one.api.delete('/topics/news').expect(200);
      await one.api.post('/topics').send({ name: 'news' }).expect(201);
      expect(await say(2)).toMatchObject({ seq: 2 });
      await one.api
        .post('/topics/news/members')
        .send({ userIds: ['ben'] })
        .expect(200);
      expect(await say(3)).toMatchObject({ seq: 3 });
      await ben.messages(1);
      expect(numbersOf(ben)).toEqual([1, 3]);
    });

    it('know who is in a topic, and who types', async () => {
      const [here, there] = await pair();
      const anna = await open(here, 'anna', 'phone');
      const ben = await open(there, 'ben', 'phone');
      const create = { name: 'news', topic_name: 'news' };
      await anna.call(_name === 'Socket.IO' ? 'topic:create' : 'create', create);
      // Joined over the other node: the connection of ben follows from now on.
      const authorization = `Bearer ${here.token('ben')}`;
      await here.anonymous.post('/topics/news/members').set('Authorization', authorization).send({}).expect(200);
      const message = { topic: 'news', topic_name: 'news', type: 'chat', data: { n: 1 } };
      await eventually(
        async () => {
          await anna.call('message', message);
          await ben.settle();
          return ben.allMessages.length;
        },
        (count) => count > 0,
      );
      const typing = { topic: 'news', typing: true };
      await ben.call('typing', typing);
      expect(await anna.next('typing')).toEqual({ topic: 'news', userId: 'ben', typing: true });
      const { body } = await there.api
        .post('/topics/news/messages')
        .send({ type: 't', data: { n: 2 } })
        .expect(200);
      expect(body).toMatchObject({ connected: true });
      await here.anonymous.delete('/topics/news/members/ben').set('Authorization', authorization).expect(200);
      const before = ben.allMessages.length;
      await there.api
        .post('/topics/news/messages')
        .send({ type: 't', data: { n: 3 } })
        .expect(200);
      await anna.settle();
      await ben.settle();
      expect(ben.allMessages.length).toBe(before);
    });
  });

  it('show the same online users: who comes and goes on any node', async () => {
    const [here, there] = await pair({ env: { PRESENCE_GRACE_MS: '300' } });
    const watcher = await here.connect('watcher');
    await watcher.call('presence:subscribe');
    const anna = await there.connect('anna');
    expect(await watcher.next('presence:join')).toEqual({ userId: 'anna' });
    const late = await there.connect('late');
    await late.call('presence:subscribe');
    const { users } = await late.next<{ users: string[] }>('presence');
    expect(users.toSorted()).toEqual(['anna', 'late', 'watcher']);
    anna.close();
    expect(await watcher.next('presence:leave')).toMatchObject({ userId: 'anna' });
    expect(await late.next('presence:leave')).toMatchObject({ userId: 'anna' });
    await untilConnected([here, there], 2);
    const { body } = await there.api.get('/api/gateway/stats').expect(200);
    expect(body).toMatchObject({ connectedUsers: 2, sockets: 2, userIds: ['late', 'watcher'] });
  });

  it('is silent about a user who switches nodes within the grace period', async () => {
    const [here, there] = await pair({ env: { PRESENCE_GRACE_MS: '2000' } });
    const watcher = await here.connect('watcher');
    await watcher.call('presence:subscribe');
    const first = await there.connect('anna');
    await watcher.next('presence:join');
    first.close();
    const second = await here.connect('anna');
    await untilConnected([here, there], 2);
    await second.call('ping');
    // Another user leaves after it: by then, anna's leave would have been sent.
    const other = await there.connect('other');
    await watcher.next('presence:join');
    other.close();
    expect(await watcher.next('presence:leave')).toMatchObject({ userId: 'other' });
    expect(namesOf(watcher).filter((name) => name === 'presence:leave')).toHaveLength(1);
  });

  it('a node that stops takes its users with it at once, and one that joins learns who is online', async () => {
    const storeServices = await startCluster({ nodes: 2, env: { PRESENCE_GRACE_MS: '100' } });
    const [here, there] = pairOf(storeServices);
    await here.connect('anna');
    await there.connect('ben');
    await untilConnected(storeServices, 2);
    await there.stop();
    await untilConnected([here], 1);
    const again = await there.restart();
    await untilConnected([again], 1);
  });

  it('idempotency holds over nodes: 100 at once give one message', async () => {
    const services = await startCluster({ nodes: 2 });
    const message = { userId: 'anna', type: 't', data: 1, id: 'once' };
    const answers = await Promise.all(
      range(1, 100).map((n) => (services[n % 2] as TestService).api.post('/websocket/message/user').send(message)),
    );
    expect(new Set(answers.map(({ status, body }) => `${status} ${body.id} ${body.seq}`))).toEqual(
      new Set(['200 once 1']),
    );
    const keyed = await Promise.all(
      range(1, 20).map((n) =>
        (services[n % 2] as TestService).api
          .post('/websocket/message/user')
          .set('Idempotency-Key', 'key')
          .send({ userId: 'ben', type: 't', data: 1 }),
      ),
    );
    expect(new Set(keyed.map(({ status }) => status)).has(200)).toBe(true);
    expect(keyed.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
    const ben = await as(services[0] as TestService, 'ben', '/inbox').expect(200);
    expect(ben.body.items).toHaveLength(1);
  });

  it('requests are limited together', async () => {
    const services = await startCluster({ nodes: 2, env: { RATE_LIMIT_PER_MINUTE: '10' } });
    const statuses: number[] = [];
    for (const n of range(1, 14)) {
      const { status } = await as(services[n % 2] as TestService, 'anna', '/inbox/counts');
      statuses.push(status);
    }
    expect(statuses.filter((status) => status === 200)).toHaveLength(10);
    expect(statuses.slice(10)).toEqual([429, 429, 429, 429]);
  });

  it('rows that a request writes on one node count on the other', async () => {
    const services = await startCluster({ nodes: 2, env: { RATE_LIMIT_PER_MINUTE: '10' } });
    const [one, other] = services as [TestService, TestService];
    const post = (path: string, body: object) =>
      one.anonymous
        .post(path)
        .set('Authorization', `Bearer ${one.token('anna')}`)
        .send(body);
    await post('/topics', { name: 'news' }).expect(201);
    await post('/topics/news/members', { userIds: range(1, 9).map((n) => `user${n}`) }).expect(200);
    await as(other, 'anna', '/inbox/counts').expect(429);
  });
});
