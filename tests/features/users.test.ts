/** All that is kept of one user: erasing and exporting it. */
import { eventually } from '../support/eventually';
import { startService, type TestService } from '../support/service';
import { as, broadcast, createTopic, dataOf, ISO_TIME, inboxOf, say, sendTo, startWithClock, visit } from './callers';

const NOTHING = { messages: 0, devices: 0, memberships: 0, scheduled: 0 };

describe.each([
  ['delete', '/users/anna/data', 'DELETE, OPTIONS'],
  ['get', '/users/anna/export', 'GET, HEAD, OPTIONS'],
] as const)('%s %s', (method, path, allowed) => {
  it('needs scope admin', async () => {
    const service = await startService();
    await service.anonymous[method](path).expect(401);
    const { body } = await as(service, 'caller', 'send broadcast presence')[method](path).expect(403);
    expect(body).toMatchObject({ code: 'insufficient_scope', detail: expect.stringContaining('admin') });
    await as(service, 'caller', 'admin')[method](path).expect(200);
  });

  it('does not know other methods', async () => {
    const service = await startService();
    await service.api.post(path).expect(405).expect('Allow', allowed);
  });
});

/** Anna with two devices, three messages, two topics, one scheduled by and one for her; ben with some of the same. */
async function lived(): Promise<TestService> {
  const service = await startService();
  await createTopic(service, 'news', { owner: 'ben', members: ['anna'] });
  await createTopic(service, 'chat', { owner: 'ben', members: ['anna'] });
  for (const userId of ['anna', 'ben']) await visit(service, userId);
  const phone = await service.connect('anna', { device: 'phone' });
  await phone.next('sync:done');
  for (const data of ['one', 'two', 'three']) await sendTo(service.api, 'anna', data);
  await phone.messages(3);
  await phone.call('ack', { topic: '@anna', seq: 3 });
  phone.close();
  await sendTo(as(service, 'anna', 'send'), 'ben', 'from anna');
  await say(as(service, 'anna'), 'news', 'from anna');
  await say(as(service, 'ben'), 'news', 'from ben');
  await broadcast(service.api, 'to everyone');
  await as(service, 'anna').patch('/inbox').send({ state: 'read', topic: '@anna', upTo: 1 }).expect(200);
  const later = (from: string, userId: string) =>
    as(service, from, 'send')
      .post('/websocket/message/user')
      .send({ userId, type: 'test', data: `${from} later`, delay: 3_600 })
      .expect(202);
  await later('anna', 'ben');
  await later('ben', 'anna');
  await later('ben', 'ben');
  return service;
}

interface Line {
  readonly kind: string;
  readonly [field: string]: unknown;
}

async function exportOf(service: TestService, userId: string, asUser?: string): Promise<Line[]> {
  const api = asUser === undefined ? service.api : as(service, asUser);
  const { text } = await api
    .get(`/users/${encodeURIComponent(userId)}/export`)
    .buffer()
    .parse((response, done) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        response.text = Buffer.concat(chunks).toString('utf8');
        done(null, undefined);
      });
    })
    .expect(200)
    .expect('Content-Type', /^application\/x-ndjson/);
  expect(text.endsWith('\n')).toBe(true);
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

describe('erasing', () => {
  it('answers with what was removed', async () => {
    const service = await lived();
    const { body } = await service.api.delete('/users/anna/data').expect(200);
    const erased = { messages: 3, devices: 2, memberships: 2, scheduled: 2 };
    expect(body).toEqual({ success: true, userId: 'anna', erased });
    const again = await service.api.delete('/users/anna/data').expect(200);
    expect(again.body).toEqual({ success: true, userId: 'anna', erased: NOTHING });
  });

  it('counts messages, not the entries that tell of them', async () => {
    const service = await startService();
    for (const id of ['changed', 'taken back', 'kept']) await sendTo(service.api, 'anna', 1, { id });
    await service.api.patch('/messages/changed').send({ data: 2 }).expect(200);
    await service.api.delete('/messages/taken%20back').expect(200);
    const { body } = await service.api.delete('/users/anna/data').expect(200);
    expect(body.erased).toEqual({ ...NOTHING, messages: 2 });
  });

  it('leaves nothing of the user, even across a restart', async () => {
    const service = await lived();
    await service.api.delete('/users/anna/data').expect(200);
    for (const start of [() => service, () => service.restart()]) {
      const running = await start();
      const anna = as(running, 'anna');
      const empty = { items: [], nextCursor: null, counts: { unseen: 0, unread: 0 } };
      expect(await inboxOf(anna)).toEqual(empty);
      expect(await inboxOf(anna, '?state=archived')).toEqual(empty);
      expect(await exportOf(running, 'anna')).toEqual([
        { kind: 'user', userId: 'anna', isKnown: false, lastSeen: null, exportedAt: ISO_TIME },
      ]);
      const { body: status } = await running.api.get('/websocket/users/anna/status').expect(200);
      expect(status).toEqual({ userId: 'anna', connected: false, sockets: 0, devices: 0, lastSeen: null });
      const { body: scheduled } = await running.api.get('/scheduled').expect(200);
      expect(scheduled.items).toMatchObject([{ data: 'ben later', topic: '@ben' }]);
      for (const name of ['news', 'chat']) {
        const { body } = await running.api.get(`/topics/${name}/members`).expect(200);
        expect(body.members).toMatchObject([{ userId: 'ben' }]);
        await anna.get(`/topics/${name}/messages`).expect(403);
      }
    }
  });

  it('leaves messages to others, and others alone', async () => {
    const service = await lived();
    const before = await inboxOf(as(service, 'ben'));
    await service.api.delete('/users/anna/data').expect(200);
    expect(await inboxOf(as(service, 'ben'))).toEqual(before);
    expect(before.items.map(({ data }) => data)).toContain('from anna');
  });

  it('removes the messages from the reach of their senders, too', async () => {
    const service = await startService();
    const { id } = await sendTo(service.api, 'anna', 'secret', { id: 'own' });
    await service.api.delete('/users/anna/data').expect(200);
    await service.api.get(`/messages/${id}/receipts`).expect(404);
    await service.api.patch(`/messages/${id}`).send({ data: 1 }).expect(404);
  });

  it('forgets what the user has seen and read of messages that others keep', async () => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'ben', members: ['anna'] });
    for (const userId of ['anna', 'ben']) await visit(service, userId);
    const ids = [(await say(as(service, 'ben'), 'news', 1)).id, (await broadcast(service.api, 1)).id];
    await as(service, 'anna').patch('/inbox').send({ state: 'read', all: true }).expect(200);
    await service.api.delete('/users/anna/data').expect(200);
    for (const id of ids) {
      const { text } = await service.api.get(`/messages/${id}/receipts`).expect(200);
      expect(text).not.toContain('anna');
    }
  });

  it('continues after the old positions, and notifies each device once', async () => {
    const service = await lived();
    await service.api.delete('/users/anna/data').expect(200);
    const phone = await service.connect('anna', { device: 'phone' });
    expect(await phone.next('sync:reset')).toEqual({ topic: '@anna', reason: 'erased', head: 3 });
    await phone.next('sync:done');
    expect(phone.allMessages).toEqual([]);
    expect(await sendTo(service.api, 'anna', 'new')).toMatchObject({ seq: 4 });
    expect(await phone.next('message')).toMatchObject({ data: 'new', counts: { unseen: 1, unread: 1 } });
    expect(await dataOf(as(service, 'anna'))).toEqual(['new']);
    await phone.call('ack', { topic: '@anna', seq: 4 });
    phone.close();
    const again = await service.connect('anna', { device: 'phone' });
    await again.next('sync:done');
    expect(again.received.map(({ event }) => event)).not.toContain('sync:reset');
  });

  it('closes the connections of the user, who may come back', async () => {
    const service = await startService();
    const [client, other] = [await service.connect('anna', { device: 'phone' }), await service.connect('ben')];
    for (const each of [client, other]) await each.next('sync:done');
    await service.api.delete('/users/anna/data').expect(200);
    await client.next('disconnect');
    await other.settle();
    expect(other.socket.connected).toBe(true);
    const { body } = await service.api.get('/websocket/users/anna/status').expect(200);
    expect(body).toEqual({ userId: 'anna', connected: false, sockets: 0, devices: 0, lastSeen: null });
    expect(await exportOf(service, 'anna')).toMatchObject([{ isKnown: false }]);
    const again = await service.connect('anna', { device: 'phone' });
    await again.next('sync:done');
  });

  it('forgets the answers that the user received under keys', async () => {
    const service = await startService();
    const send = () =>
      as(service, 'anna', 'send')
        .post('/websocket/message/user')
        .set('Idempotency-Key', 'k')
        .send({ userId: 'ben', type: 't', data: 1, persist: false });
    await send().expect(200);
    expect((await send().expect(200)).headers['idempotent-replay']).toBe('true');
    await service.api.delete('/users/anna/data').expect(200);
    expect((await send().expect(200)).headers).not.toHaveProperty('idempotent-replay');
  });

  it('of an unknown user, with any name, removes nothing', async () => {
    const service = await startService();
    for (const userId of ['nobody', '__proto__', 'a/b?c#d%', '😀']) {
      const { body } = await service.api.delete(`/users/${encodeURIComponent(userId)}/data`).expect(200);
      expect(body).toEqual({ success: true, userId, erased: NOTHING });
    }
  });

  it('of 1,200 messages leaves none', async () => {
    const service = await startService();
    for (const count of [1_000, 200]) {
      const messages = Array.from({ length: count }, (_value, n) => ({ userId: 'anna', type: 't', data: n }));
      await service.api.post('/messages/batch').send({ messages }).expect(200);
    }
    const { body } = await service.api.delete('/users/anna/data').expect(200);
    expect(body.erased).toEqual({ ...NOTHING, messages: 1_200 });
    expect(await dataOf(as(service, 'anna'))).toEqual([]);
  });
});

describe('the export', () => {
  it('has a line for each thing that is stored about a user', async () => {
    const service = await lived();
    const lines = await exportOf(service, 'anna');
    const of = (kind: string) => lines.filter((line) => line.kind === kind);
    expect(new Set(lines.map(({ kind }) => kind))).toEqual(
      new Set(['user', 'message', 'membership', 'device', 'scheduled']),
    );
    expect(lines[0]).toEqual({
      kind: 'user',
      userId: 'anna',
      isKnown: true,
      lastSeen: ISO_TIME,
      exportedAt: ISO_TIME,
    });
    const { items } = await inboxOf(as(service, 'anna'));
    expect(items).toHaveLength(6);
    expect(of('message')).toEqual(items.map((item) => ({ kind: 'message', ...item })));
    expect(of('membership')).toEqual(
      ['chat', 'news'].map((topic) => ({ kind: 'membership', topic, joinedAt: ISO_TIME })),
    );
    const devices = of('device') as unknown as { device: string; cursors: { topic: string; seq: number }[] }[];
    expect(devices.map(({ device }) => device)).toEqual(['default', 'phone']);
    expect(devices[1]?.cursors.map(({ topic }) => topic).sort()).toEqual(['*', '@anna', 'chat', 'news']);
    expect(of('scheduled')).toMatchObject([
      { topic: '@ben', data: 'anna later', from: 'anna', scheduledFor: ISO_TIME },
    ]);
  });

  it('has the cursors of devices', async () => {
    const service = await startService();
    const phone = await service.connect('anna', { device: 'phone' });
    await phone.next('sync:done');
    await sendTo(service.api, 'anna', 1);
    await phone.next('message');
    await phone.call('ack', { topic: '@anna', seq: 1 });
    // Acknowledgements are written later.
    await eventually(
      async () => (await exportOf(service, 'anna')).find(({ kind }) => kind === 'device'),
      (device) => JSON.stringify(device?.['cursors']).includes(JSON.stringify({ topic: '@anna', seq: 1 })),
    );
  });

  it('includes archived messages, with their state, and nothing that has expired', async () => {
    const { service, clock } = await startWithClock();
    const { id } = await sendTo(service.api, 'anna', 'archived');
    await as(service, 'anna').patch(`/inbox/${id}`).send({ state: 'archived' }).expect(200);
    await sendTo(service.api, 'anna', 'expired', { ttl: 60 });
    clock.shift(61_000);
    const api = as(service, 'root', 'admin');
    const { text } = await api.get('/users/anna/export').buffer().expect(200);
    const lines = text.trim().split('\n');
    expect(lines.slice(1).map((line) => JSON.parse(line) as Line)).toMatchObject([
      { kind: 'message', id, data: 'archived', state: 'archived' },
    ]);
  });

  it('of oneself needs no scope, and nobody else may', async () => {
    const service = await lived();
    expect((await exportOf(service, 'anna', 'anna')).length).toBeGreaterThan(1);
    const { body } = await as(service, 'ben').get('/users/anna/export').expect(403);
    expect(body).toMatchObject({ code: 'insufficient_scope' });
    expect(JSON.stringify(body)).not.toContain('one');
    await as(service, 'anna').delete('/users/anna/data').expect(403);
  });

  it('knows users of any name', async () => {
    const service = await startService();
    for (const userId of ['__proto__', 'a/b?c#d%', '😀']) {
      await sendTo(service.api, userId, 'for them');
      const lines = await exportOf(service, userId, userId);
      expect(lines).toMatchObject([
        { kind: 'user', userId },
        { kind: 'message', topic: `@${userId}`, data: 'for them' },
      ]);
    }
  });

  it('of many messages gives each once', async () => {
    const service = await startService();
    const messages = Array.from({ length: 450 }, (_value, n) => ({ userId: 'anna', type: 't', data: n }));
    await service.api.post('/messages/batch').send({ messages }).expect(200);
    const data = (await exportOf(service, 'anna')).filter(({ kind }) => kind === 'message').map((line) => line['data']);
    expect(data).toEqual(messages.map(({ data: n }) => n).reverse());
  });
});
