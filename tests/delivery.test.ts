/** What the service promises about delivery, seen from clients. */
import type { Message } from '../utils/protocol';
import { eventually } from './support/eventually';
import { connectPlain } from './support/plain-client';
import { range, startService, type TestService } from './support/service';
import { TRANSPORTS } from './support/transports';

/** The server knows that the user's connections have ended: what is sent from now on waits. */
const untilAway = (service: TestService, userId: string) =>
  eventually(
    () => service.api.get(`/websocket/users/${userId}/status`),
    ({ body }) => body.connected === false,
  );

/** Requests of a user. */
function as(service: TestService, userId: string) {
  const authorization = `Bearer ${service.token(userId)}`;
  const ask = (method: 'get' | 'post' | 'patch' | 'delete', path: string, body: object | undefined, status: number) =>
    service.anonymous[method](path).set('Authorization', authorization).send(body).expect(status);
  return {
    get: (path: string) => ask('get', path, undefined, 200),
    post: (path: string, body: object, status: number) => ask('post', path, body, status),
    patch: (path: string, body: object, status: number) => ask('patch', path, body, status),
    delete: (path: string) => ask('delete', path, undefined, 200),
  };
}

const numbersOf = (messages: readonly Message[]) => messages.map(({ data }) => (data as { n: number }).n);

describe.each(TRANSPORTS)('over %s,', (_name, connect) => {
  describe('a client that names no device', () => {
    it('receives what was sent while it was offline, in order, once', async () => {
      const service = await startService();
      await service.send('anna', range(1, 5));
      const first = await connect(service, 'anna');
      expect(numbersOf(await first.messages(5))).toEqual(range(1, 5));
      await first.next('sync:done');
      first.close();
      await untilAway(service, 'anna');
      await service.send('anna', [6]);
      const second = await connect(service, 'anna');
      expect(numbersOf(await second.messages(1))).toEqual([6]);
      await second.next('sync:done');
      await second.settle();
      expect(second.allMessages).toHaveLength(1);
    });

    it('keeps its cursor across a restart of the service', async () => {
      const service = await startService();
      await service.send('anna', [1, 2]);
      const first = await connect(service, 'anna');
      await first.messages(2);
      await first.next('sync:done');
      const again = await service.restart();
      await again.send('anna', [3]);
      const second = await connect(again, 'anna');
      await second.next('sync:done');
      expect(numbersOf(second.allMessages)).toEqual([3]);
    });

    it('receives live messages with the fields of the contract', async () => {
      const service = await startService();
      const client = await connect(service, 'anna');
      await client.next('sync:done');
      const [sent] = await service.send('anna', [1]);
      const message = await client.next<Message>('message');
      expect(message).toEqual({
        id: sent?.id,
        topic: '@anna',
        seq: 1,
        type: 'test',
        data: { n: 1 },
        timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
        from: 'service',
        counts: { unseen: 1, unread: 1 },
      });
    });
  });

  describe('a device that is named', () => {
    it('receives unacknowledged messages again, and acknowledged ones not', async () => {
      const service = await startService();
      await service.send('anna', range(1, 4));
      const first = await connect(service, 'anna', { device: 'phone' });
      const messages = await first.messages(4);
      expect(await first.call('ack', { topic: '@anna', seq: messages[1]?.seq })).toEqual({ ok: true });
      first.close();
      const second = await connect(service, 'anna', { device: 'phone' });
      const again = await second.messages(2);
      expect(again.map(({ id }) => id)).toEqual(messages.slice(2).map(({ id }) => id));
    });

    it('has at most 200 messages in flight until it acknowledges', async () => {
      const service = await startService();
      await service.send('anna', range(1, 450));
      const client = await connect(service, 'anna', { device: 'phone' });
      await client.messages(200);
      await client.settle();
      expect(client.allMessages).toHaveLength(200);
      await client.call('ack', { topic: '@anna', seq: 200 });
      await client.messages(200);
      await client.call('ack', { topic: '@anna', seq: 400 });
      expect(numbersOf(await client.messages(50))).toEqual(range(401, 450));
      await client.next('sync:done');
    });

    describe('with entries in its log that hold nothing for it', () => {
      /** Sends messages to anna under ids, and retracts some of them. */
      async function sendWithHoles(service: TestService, count: number, holes: readonly number[]): Promise<void> {
        const messages = range(1, count).map((n) => ({ userId: 'anna', type: 'test', data: { n }, id: `id-${n}` }));
        await service.api.post('/messages/batch').send({ messages }).expect(200);
        for (const n of holes) await service.api.delete(`/messages/id-${n}`).expect(200);
      }

      it.each([
        ['right after a full window', 205, [201]],
        ['at the end of a full window', 205, range(196, 201)],
        ['at the beginning', 203, range(1, 201)],
        ['all over', 420, range(1, 420).filter((n) => n % 7 === 0)],
      ])('%s, it reaches the end by acknowledging what it sees', async (_where, count, holes) => {
        const service = await startService();
        const device = { device: 'phone' };
        await (await connect(service, 'anna', device)).next('sync:done');
        await sendWithHoles(service, count, holes);
        const client = await connect(service, 'anna', device);
        const expected = range(1, count).filter((n) => !holes.includes(n));
        for (const n of expected) {
          const [message] = await client.messages(1);
          expect(message?.data).toEqual({ n });
          await client.call('ack', { topic: '@anna', seq: message?.seq });
        }
        for (const _hole of holes) {
          const { seq } = await client.next<{ seq: number }>('message:removed');
          await client.call('ack', { topic: '@anna', seq });
        }
        await client.next('sync:done');
        await service.send('anna', [1_000]);
        expect(numbersOf(await client.messages(1))).toEqual([1_000]);
      });

      it('it is after them once it has acknowledged what came before', async () => {
        const service = await startService();
        const device = { device: 'phone' };
        const post = (data: number, exceptUserId?: string) =>
          service.api.post('/websocket/message/broadcast').send({ type: 'test', data, exceptUserId }).expect(200);
        await (await connect(service, 'anna', device)).next('sync:done');
        await post(1);
        for (const n of range(2, 4)) await post(n, 'anna');
        const client = await connect(service, 'anna', device);
        await client.messages(1);
        await client.call('ack', { topic: '*', seq: 1 });
        await client.next('sync:done');
        const again = await service.restart();
        const later = await connect(again, 'anna', device);
        expect(await later.next('sync:done')).toMatchObject({ cursors: { '*': 4 } });
      });

      it('it shares its window among topics', async () => {
        const service = await startService();
        const device = { device: 'phone' };
        await (await connect(service, 'anna', device)).next('sync:done');
        const broadcasts = range(1, 150).map((n) => ({ broadcast: true, type: 'test', data: { n }, id: `all-${n}` }));
        await service.api.post('/messages/batch').send({ messages: broadcasts }).expect(200);
        for (const n of [149, 150]) await service.api.delete(`/messages/all-${n}`).expect(200);
        await sendWithHoles(service, 150, [49, 50, 51, 52]);
        const client = await connect(service, 'anna', device);
        await client.messages(148);
        await client.next('message:removed');
        const { seq } = await client.next<{ seq: number }>('message:removed');
        const first = await client.messages(50);
        await client.call('ack', { topic: '@anna', seq: first.at(-1)?.seq });
        await client.messages(50);
        await client.call('ack', { topic: '*', seq });
        expect(numbersOf(await client.messages(46))).toEqual(range(105, 150));
        for (const _hole of range(1, 4)) await client.next('message:removed');
        await client.next('sync:done');
      });
    });

    it('has its own cursor beside another one', async () => {
      const service = await startService();
      const phone = await connect(service, 'anna', { device: 'phone' });
      await phone.next('sync:done');
      await service.send('anna', [1, 2]);
      await phone.messages(2);
      await phone.call('ack', { topic: '@anna', seq: 2 });
      const laptop = await connect(service, 'anna', { device: 'laptop' });
      expect(numbersOf(await laptop.messages(2))).toEqual([1, 2]);
    });

    it('starts with at most the last 100 when the user is known already', async () => {
      const service = await startService();
      const first = await connect(service, 'anna');
      await service.send('anna', range(1, 130));
      await first.messages(130);
      const further = await connect(service, 'anna', { device: 'tablet' });
      expect(numbersOf(await further.messages(100))).toEqual(range(31, 130));
      await further.next('sync:done');
      expect(further.allMessages).toHaveLength(100);
    });

    it.each([
      ['a topic that it does not follow', { topic: '@ben', seq: 1 }, 'topic'],
      ['a message of the future', { topic: '@anna', seq: 99 }, 'seq'],
      ['a negative number', { topic: '@anna', seq: -1 }, 'seq'],
      ['a fraction', { topic: '@anna', seq: 0.5 }, 'seq'],
      ['a text for a number', { topic: '@anna', seq: '1' }, 'seq'],
    ])('is refused an acknowledgement of %s', async (_name, payload, path) => {
      const service = await startService();
      await service.send('anna', [1]);
      const client = await connect(service, 'anna', { device: 'phone' });
      await client.next('sync:done');
      const reply = await client.call('ack', payload);
      expect(reply).toMatchObject({ ok: false, error: { code: 'bad_request', errors: [{ path }] } });
      client.close();
      const again = await connect(service, 'anna', { device: 'phone' });
      expect(numbersOf(await again.messages(1))).toEqual([1]);
    });
  });

  describe('a topic that its user leaves and joins again', () => {
    async function start() {
      const service = await startService();
      const anna = as(service, 'anna');
      const ben = as(service, 'ben');
      await anna.post('/topics', { name: 'sea', isPrivate: false }, 201);
      await ben.post('/topics/sea/members', {}, 200);
      const say = async (n: number) => {
        const { body } = await anna.post('/topics/sea/messages', { type: 'test', data: { n } }, 200);
        return body as { id: string; seq: number };
      };
      const leave = () => ben.delete('/topics/sea/members/ben');
      const join = () => ben.post('/topics/sea/members', {}, 200);
      return { service, ben, say, leave, join };
    }

    it('brings an offline device what it had missed before and after, and nothing from in between', async () => {
      const { service, ben, say, leave, join } = await start();
      const device = { device: 'phone' };
      const first = await connect(service, 'ben', device);
      await first.next('sync:done');
      await say(1);
      const [one] = await first.messages(1);
      await first.call('ack', { topic: 'sea', seq: one?.seq });
      first.close();
      await untilAway(service, 'ben');
      await say(2);
      await leave();
      const between = await say(3);
      await join();
      await say(4);
      const again = await connect(service, 'ben', device);
      expect(numbersOf(await again.messages(2))).toEqual([2, 4]);
      const { cursors } = await again.next<{ cursors: Record<string, number> }>('sync:done');
      expect(cursors['sea']).toBe(4);
      const { items, counts } = (await ben.get('/inbox')).body;
      expect(numbersOf(items as Message[])).toEqual([4, 2, 1]);
      expect(counts).toEqual({ unseen: 3, unread: 3 });
      await ben.patch('/inbox', { ids: [between.id], state: 'read' }, 404);
      await again.call('ack', { topic: 'sea', seq: 4 });
      const receipts = async (id: string) => (await service.api.get(`/messages/${id}/receipts`).expect(200)).body;
      expect((await receipts(between.id)).totals).toMatchObject({ recipients: 0, acknowledged: 0 });
    });

    it('comes once on one connection, and again on the next one unless it was acknowledged', async () => {
      const { service, say, leave, join } = await start();
      const device = { device: 'phone' };
      const client = await connect(service, 'ben', device);
      await client.next('sync:done');
      await say(1);
      await client.messages(1);
      await leave();
      await say(2);
      await join();
      await eventually(
        async () => {
          await say(3);
          await client.settle();
          return client.allMessages.length;
        },
        (count) => count > 1,
      );
      const live = numbersOf(client.allMessages);
      expect(live.filter((n) => n === 1)).toHaveLength(1);
      expect(live).not.toContain(2);
      const again = await connect(service, 'ben', device);
      await again.next('sync:done');
      const repeated = numbersOf(again.allMessages);
      expect(repeated[0]).toBe(1);
      expect(repeated).not.toContain(2);
    });
  });

  describe('broadcasts', () => {
    it('are one message for everybody, and start at the head for a new user', async () => {
      const service = await startService();
      const broadcast = (n: number) =>
        service.api.post('/websocket/message/broadcast').send({ type: 'news', data: { n } }).expect(200);
      const anna = await connect(service, 'anna');
      await anna.next('sync:done');
      const { body } = await broadcast(1);
      expect(body).toMatchObject({ success: true, topic: '*', seq: 1, recipients: 1, connected: true, live: 'ok' });
      expect(await anna.next('message')).toMatchObject({ topic: '*', seq: 1, data: { n: 1 } });
      const ben = await connect(service, 'ben');
      await ben.next('sync:done');
      await broadcast(2);
      expect(numbersOf([await ben.next<Message>('message')])).toEqual([2]);
      await ben.settle();
      expect(ben.allMessages).toHaveLength(1);
      anna.close();
      ben.close();
      await untilAway(service, 'anna');
      await broadcast(3);
      const annaAgain = await connect(service, 'anna');
      await annaAgain.next('sync:done');
      expect(numbersOf(annaAgain.allMessages)).toEqual([3]);
    });
  });

  it('loses and repeats nothing while messages are sent during catch-up', async () => {
    const service = await startService();
    const total = 300;
    const sending = service.send('anna', range(1, total));
    const seen: number[] = [];
    // Clients come and go while the sender continues: each connect joins a growing log.
    while (seen.length < total) {
      const client = await connect(service, 'anna', { device: 'phone' });
      await client.next('sync:done');
      const messages = await client.messages(1);
      const all = [...messages, ...client.allMessages.slice(1)];
      const last = all.at(-1);
      await client.call('ack', { topic: '@anna', seq: last?.seq });
      seen.push(...numbersOf(all));
      client.close();
    }
    await sending;
    expect(seen).toEqual(range(1, total));
  });

  it('a message with persist:false reaches connected users, has no seq, and is not kept', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    await client.next('sync:done');
    const { body } = await service.api
      .post('/websocket/message/user')
      .send({ userId: 'anna', type: 'cursor', data: 1, persist: false })
      .expect(200);
    expect(body).toEqual({
      success: true,
      message: 'Message sent to user anna',
      id: expect.any(String),
      topic: '@anna',
      connected: true,
      live: 'ok',
    });
    expect(await client.next('message')).toEqual({
      id: body.id,
      topic: '@anna',
      type: 'cursor',
      data: 1,
      timestamp: expect.any(String),
      from: 'service',
      counts: { unseen: 0, unread: 0 },
    });
    const reply = await client.call('history', { topic: '@anna' });
    expect(reply).toMatchObject({ ok: true, messages: [] });
  });

  it('a custom event carries the payload first and the meta second', async () => {
    const service = await startService();
    const client = await connect(service, 'anna');
    await client.next('sync:done');
    const { body } = await service.api
      .post('/websocket/message/user')
      .send({ userId: 'anna', type: 'x', event: 'alert', data: { level: 3 } })
      .expect(200);
    expect(await client.nextArgs('alert')).toEqual([
      { level: 3 },
      {
        id: body.id,
        topic: '@anna',
        seq: 1,
        timestamp: expect.any(String),
        from: 'service',
        counts: { unseen: 1, unread: 1 },
      },
    ]);
  });
});

describe('several Socket.IO sockets of one user', () => {
  it('all get a message, on websocket and on polling', async () => {
    const service = await startService();
    const clients = [
      await service.connect('anna'),
      await service.connect('anna', { device: 'phone' }),
      await service.connect('anna', { transports: ['polling'] }),
      await service.connect('anna', { transports: ['polling', 'websocket'] }),
    ];
    for (const client of clients) await client.next('sync:done');
    await service.send('anna', [7]);
    for (const client of clients) expect(numbersOf([await client.next<Message>('message')])).toEqual([7]);
  });

  it('catch up over polling too', async () => {
    const service = await startService();
    await service.send('anna', range(1, 450));
    const client = await service.connect('anna', { transports: ['polling'] });
    expect(numbersOf(await client.messages(450))).toEqual(range(1, 450));
    await client.next('sync:done');
  });
});

describe('Socket.IO and plain clients of one user', () => {
  it('all receive a message, live', async () => {
    const service = await startService();
    const clients = [
      await service.connect('anna'),
      await connectPlain(service.url, 'anna'),
      await service.connect('anna', { device: 'phone' }),
      await connectPlain(service.url, 'anna', { device: 'phone' }),
    ];
    for (const client of clients) await client.next('sync:done');
    const [sent] = await service.send('anna', [7]);
    for (const client of clients) {
      expect(await client.next('message')).toMatchObject({ id: sent?.id, seq: 1, data: { n: 7 } });
      await client.settle();
      expect(client.allMessages).toHaveLength(1);
    }
  });

  it('share the cursor of the device without a name', async () => {
    const service = await startService();
    await service.send('anna', [1, 2]);
    const plain = await connectPlain(service.url, 'anna');
    expect(numbersOf(await plain.messages(2))).toEqual([1, 2]);
    await plain.next('sync:done');
    plain.close();
    await untilAway(service, 'anna');
    await service.send('anna', [3]);
    const socket = await service.connect('anna');
    await socket.next('sync:done');
    expect(numbersOf(socket.allMessages)).toEqual([3]);
    socket.close();
    await untilAway(service, 'anna');
    await service.send('anna', [4]);
    const again = await connectPlain(service.url, 'anna');
    await again.next('sync:done');
    expect(numbersOf(again.allMessages)).toEqual([4]);
  });

  it('share the cursor of a named device', async () => {
    const service = await startService();
    await service.send('anna', range(1, 4));
    const plain = await connectPlain(service.url, 'anna', { device: 'phone' });
    await plain.messages(4);
    expect(await plain.call('ack', { topic: '@anna', seq: 1 })).toEqual({ ok: true });
    const socket = await service.connect('anna', { device: 'phone' });
    await socket.next('sync:done');
    expect(numbersOf(socket.allMessages)).toEqual([2, 3, 4]);
    expect(await socket.call('ack', { topic: '@anna', seq: 3 })).toEqual({ ok: true });
    const again = await connectPlain(service.url, 'anna', { device: 'phone' });
    await again.next('sync:done');
    expect(numbersOf(again.allMessages)).toEqual([4]);
  });

  it('are counted together', async () => {
    const service = await startService();
    const plain = await connectPlain(service.url, 'anna', { device: 'phone' });
    await connectPlain(service.url, 'anna', { device: 'watch' });
    const socket = await service.connect('anna', { device: 'phone' });
    const status = async () => (await service.api.get('/websocket/users/anna/status').expect(200)).body;
    expect(await status()).toMatchObject({ connected: true, sockets: 3, devices: 2 });
    const { body: list } = await service.api.get('/websocket/users/connected').expect(200);
    expect(list).toMatchObject({ users: ['anna'], count: 1 });
    const { body: stats } = await service.api.get('/api/gateway/stats').expect(200);
    expect(stats).toMatchObject({ connectedUsers: 1, userIds: ['anna'], sockets: 3 });
    plain.close();
    await plain.closed;
    expect(await eventually(status, ({ sockets }) => sockets === 2)).toMatchObject({ connected: true, devices: 2 });
    socket.close();
    expect(await eventually(status, ({ sockets }) => sockets === 1)).toMatchObject({ connected: true, devices: 1 });
  });

  it('end together on a logout of their device', async () => {
    const service = await startService();
    const plain = await connectPlain(service.url, 'anna', { device: 'phone' });
    const other = await connectPlain(service.url, 'anna', { device: 'watch' });
    const socket = await service.connect('anna', { device: 'phone' });
    plain.send({ action: 'logout' });
    expect(await socket.next('closing')).toMatchObject({ code: 'logged_out' });
    expect(await plain.closed).toMatchObject({ code: 1000 });
    await other.settle();
    const { body } = await service.api.get('/websocket/users/anna/status').expect(200);
    expect(body).toMatchObject({ connected: true, sockets: 1, devices: 1 });
  });
});
