/** What can be done with a message that was sent, and the options that decide who gets it and for how long. */
import type { Message } from '../../utils/protocol';
import type { TestClient } from '../support/client';
import { range, startService, type TestService } from '../support/service';
import {
  as,
  broadcast,
  createTopic,
  dataOf,
  ISO_TIME,
  inboxOf,
  type SendAnswer,
  say,
  sendTo,
  startWithClock,
  visit,
} from './callers';

describe.each([
  ['post', '/messages/batch'],
  ['patch', '/messages/some'],
  ['delete', '/messages/some'],
  ['get', '/messages/some/receipts'],
] as const)('%s %s', (method, path) => {
  it('needs a token', async () => {
    const service = await startService();
    const { body } = await service.anonymous[method](path)
      .expect(401)
      .expect('Content-Type', /problem\+json/);
    expect(body).toMatchObject({ code: 'unauthorized' });
  });
});

it.each([
  ['get', '/messages/batch', 'POST, OPTIONS'],
  ['post', '/messages/some', 'PATCH, DELETE, OPTIONS'],
  ['delete', '/messages/some/receipts', 'GET, HEAD, OPTIONS'],
] as const)('%s %s is no method of this path', async (method, path, allowed) => {
  const service = await startService();
  await service.api[method](path).expect(405).expect('Allow', allowed);
});

/** A service with a message from anna in each kind of topic; ben gets them all. */
async function said(): Promise<{ service: TestService; sent: Record<'personal' | 'named' | 'broadcast', SendAnswer> }> {
  const service = await startService();
  await createTopic(service, 'news', { owner: 'anna', members: ['ben'] });
  await visit(service, 'ben');
  const sent = {
    personal: await sendTo(as(service, 'anna', 'send'), 'ben', 'old'),
    named: await say(as(service, 'anna'), 'news', 'old'),
    broadcast: await broadcast(as(service, 'anna', 'broadcast'), 'old'),
  };
  return { service, sent };
}

describe('replacing the data of a message', () => {
  it('is for its sender, whatever the token may do now', async () => {
    const { service, sent } = await said();
    for (const { id, topic, seq } of Object.values(sent)) {
      const { body } = await as(service, 'anna').patch(`/messages/${id}`).send({ data: 'new' }).expect(200);
      expect(body).toEqual({ success: true, id, topic, seq });
    }
    expect(await dataOf(as(service, 'ben'))).toEqual(['new', 'new', 'new']);
    expect((await inboxOf(as(service, 'ben'))).counts).toEqual({ unseen: 3, unread: 3 });
  });

  it('is allowed for an admin', async () => {
    const { service, sent } = await said();
    const { id } = sent.personal;
    await as(service, 'root', 'admin').patch(`/messages/${id}`).send({ data: 'new' }).expect(200);
    expect(await dataOf(as(service, 'ben'), '?topic=%40ben')).toEqual(['new']);
  });

  it('keeps everything else: position, type, time, sender and state', async () => {
    const { service, sent } = await said();
    const ben = as(service, 'ben');
    await ben.patch(`/inbox/${sent.personal.id}`).send({ state: 'read' }).expect(200);
    const before = (await inboxOf(ben, '?topic=%40ben')).items;
    await as(service, 'anna')
      .patch(`/messages/${sent.personal.id}`)
      .send({ data: { new: [1] } })
      .expect(200);
    expect((await inboxOf(ben, '?topic=%40ben')).items).toEqual([{ ...before[0], data: { new: [1] } }]);
  });

  it('accepts any JSON value, and a second time, across a restart', async () => {
    const { service, sent } = await said();
    const { id } = sent.personal;
    for (const data of [null, false, 0, '', [], {}, [1, { a: null }], 'last']) {
      await as(service, 'anna').patch(`/messages/${id}`).send({ data }).expect(200);
      expect(await dataOf(as(service, 'ben'), '?topic=%40ben')).toEqual([data]);
    }
    const again = await service.restart();
    expect(await dataOf(as(again, 'ben'), '?topic=%40ben')).toEqual(['last']);
  });

  it('with the same data notifies nobody', async () => {
    const { service, sent } = await said();
    const client = await service.connect('ben');
    await client.next('sync:done');
    await as(service, 'anna').patch(`/messages/${sent.personal.id}`).send({ data: 'old' }).expect(200);
    expect(await sendTo(service.api, 'ben', 2)).toMatchObject({ seq: 2 });
    await client.messages(4);
    expect(client.received.map(({ event }) => event)).not.toContain('message:updated');
  });

  it('is sent live, and offline users never see the old data', async () => {
    const { service, sent } = await said();
    const client = await service.connect('ben', { device: 'here' });
    await client.next('sync:done');
    for (const { id } of Object.values(sent)) {
      await as(service, 'anna').patch(`/messages/${id}`).send({ data: 'new' }).expect(200);
    }
    for (const { id, topic, seq } of Object.values(sent)) {
      expect(await client.next('message:updated')).toMatchObject({ ref: id, topic, seq: seq + 1, data: 'new' });
    }
    const away = await service.connect('ben', { device: 'away' });
    await away.next('sync:done');
    expect(away.allMessages.map(({ data }) => data)).toEqual(['new', 'new', 'new']);
    expect(JSON.stringify(away.received)).not.toContain('old');
  });

  it('of too many bytes is 413 and changes nothing', async () => {
    const service = await startService({ env: { MAX_MESSAGE_BYTES: '100' } });
    const { id } = await sendTo(service.api, 'ben', 'old');
    const { body } = await service.api
      .patch(`/messages/${id}`)
      .send({ data: 'x'.repeat(99) })
      .expect(413);
    expect(body).toMatchObject({ code: 'message_too_large', errors: [{ path: 'data' }] });
    expect(await dataOf(as(service, 'ben'))).toEqual(['old']);
    await service.api
      .patch(`/messages/${id}`)
      .send({ data: 'x'.repeat(98) })
      .expect(200);
  });
});

describe('retracting a message', () => {
  it('is for its sender, and an admin; it disappears from lists, counts and histories', async () => {
    const { service, sent } = await said();
    const ben = as(service, 'ben');
    await ben.patch(`/inbox/${sent.named.id}`).send({ state: 'archived' }).expect(200);
    for (const [index, { id, topic, seq }] of Object.values(sent).entries()) {
      const api = index === 0 ? as(service, 'root', 'admin') : as(service, 'anna');
      expect((await api.delete(`/messages/${id}`).expect(200)).body).toEqual({ success: true, id, topic, seq });
    }
    expect(await inboxOf(ben)).toEqual({ items: [], nextCursor: null, counts: { unseen: 0, unread: 0 } });
    expect(await dataOf(ben, '?state=archived')).toEqual([]);
    expect((await ben.get('/topics/news/messages').expect(200)).body).toEqual({ messages: [] });
    expect(await dataOf(as(await service.restart(), 'ben'))).toEqual([]);
  });

  it('is sent live, and offline users never see it', async () => {
    const { service, sent } = await said();
    const client = await service.connect('ben', { device: 'here' });
    await client.next('sync:done');
    const { id } = sent.personal;
    await as(service, 'anna').delete(`/messages/${id}`).expect(200);
    const counts = { unseen: 2, unread: 2 };
    const removed = { id: expect.any(String), topic: '@ben', seq: 2, ref: id, refSeq: 1, reason: 'retracted', counts };
    expect(await client.next('message:removed')).toEqual(removed);
    const away = await service.connect('ben', { device: 'away' });
    await away.next('sync:done');
    expect(away.allMessages.map(({ topic }) => topic).sort()).toEqual(['*', 'news']);
  });

  it('twice is 404, and so is changing it afterwards', async () => {
    const { service, sent } = await said();
    const { id } = sent.personal;
    await as(service, 'anna').delete(`/messages/${id}`).expect(200);
    await as(service, 'anna').delete(`/messages/${id}`).expect(404);
    await as(service, 'anna').patch(`/messages/${id}`).send({ data: 1 }).expect(404);
    await as(service, 'anna').get(`/messages/${id}/receipts`).expect(404);
  });

  it('leaves its position empty: the next message comes after it', async () => {
    const service = await startService();
    const first = await sendTo(service.api, 'ben', 1);
    await service.api.delete(`/messages/${first.id}`).expect(200);
    expect((await sendTo(service.api, 'ben', 2)).seq).toBeGreaterThan(first.seq);
    expect(await dataOf(as(service, 'ben'))).toEqual([2]);
  });
});

const CHANGES = [
  ['patch', '', { data: 'stolen' }],
  ['delete', '', undefined],
  ['get', '/receipts', undefined],
] as const;

describe.each(CHANGES)('%s /messages/:id%s', (method, suffix, given) => {
  const call = (service: TestService, userId: string, id: string, scope?: string) =>
    as(service, userId, scope)
      [method](`/messages/${encodeURIComponent(id)}${suffix}`)
      .send(given);

  it('is 403 for users who may read the message', async () => {
    const { service, sent } = await said();
    for (const { id } of Object.values(sent)) {
      for (const scope of [undefined, 'send broadcast presence']) {
        const { body } = await call(service, 'ben', id, scope).expect(403);
        expect(body).toMatchObject({ code: 'forbidden' });
      }
    }
    expect(await dataOf(as(service, 'ben'))).toEqual(['old', 'old', 'old']);
  });

  it('is 404 for strangers, and for unknown ids', async () => {
    const { service, sent } = await said();
    for (const id of [sent.personal.id, sent.named.id, 'unknown', '__proto__', 'ü/😀']) {
      const { body } = await call(service, 'stranger', id, 'send broadcast presence').expect(404);
      expect(body).toMatchObject({ code: 'not_found', errors: [{ path: 'id' }] });
    }
    await call(service, 'root', 'unknown', 'admin').expect(404);
    expect(await dataOf(as(service, 'ben'))).toEqual(['old', 'old', 'old']);
  });

  it('is 404 for a user whom the message is not for', async () => {
    const { service } = await said();
    const excepted = { exceptUserId: 'ben' };
    const { id: named } = await say(as(service, 'anna'), 'news', 1, excepted);
    const { id: broad } = await broadcast(as(service, 'anna', 'broadcast'), 1, excepted);
    for (const id of [named, broad]) await call(service, 'ben', id).expect(404);
  });

  it('is 404 for an expired message', async () => {
    const { service, clock } = await startWithClock();
    const { id } = await sendTo(service.api, 'ben', 1, { ttl: 60 });
    clock.shift(61_000);
    await call(service, 'service', id, 'admin').expect(404);
  });

  it('means the caller’s own message if several senders have used the id, and otherwise asks whose', async () => {
    const service = await startService();
    for (const sender of ['anna', 'carla']) await sendTo(as(service, sender, 'send'), 'ben', sender, { id: 'same' });
    const { body } = await call(service, 'root', 'same', 'admin').expect(409);
    expect(body).toMatchObject({ code: 'ambiguous_id' });
    await as(service, 'root', 'admin')[method](`/messages/same${suffix}?from=dora`).send(given).expect(404);
    await as(service, 'anna')[method](`/messages/same${suffix}?from=carla`).send(given).expect(404);
    await call(service, 'anna', 'same').expect(200);
    expect(await dataOf(as(service, 'ben'))).toContain('carla');
    await as(service, 'root', 'admin')[method](`/messages/same${suffix}?from=carla`).send(given).expect(200);
    if (method !== 'get') expect(await dataOf(as(service, 'ben'))).not.toContain('carla');
  });
});

/** Acknowledges what has arrived, and waits until the service has received that. */
async function acknowledge(client: TestClient, { topic, seq }: Pick<Message, 'topic' | 'seq'>): Promise<void> {
  expect(await client.call('ack', { topic, seq })).toMatchObject({ ok: true });
}

describe('receipts', () => {
  const receiptsOf = async (service: TestService, id: string, query = '') =>
    (await service.api.get(`/messages/${id}/receipts${query}`).expect(200)).body as Record<string, unknown>;

  it('of a scheduled message', async () => {
    const service = await startService();
    const { id } = await sendTo(service.api, 'ben', 1);
    expect(await receiptsOf(service, id)).toEqual({
      id,
      stored: ISO_TIME,
      sent: null,
      acknowledged: [],
      seen: [],
      read: [],
      totals: { recipients: 1, acknowledged: 0, seen: 0, read: 0 },
      nextCursor: null,
    });
  });

  it('follow what the user does: sent, acknowledged by devices, seen, read', async () => {
    const service = await startService();
    const { id, topic, seq } = await sendTo(service.api, 'ben', 1);
    const ben = as(service, 'ben');
    const phone = await service.connect('ben', { device: 'phone' });
    await phone.next('sync:done');
    const totals = { recipients: 1, acknowledged: 0, seen: 0, read: 0 };
    expect(await receiptsOf(service, id)).toMatchObject({ sent: ISO_TIME, acknowledged: [], totals });
    const tablet = await service.connect('ben', { device: 'tablet' });
    await tablet.next('sync:done');
    for (const client of [tablet, phone]) await acknowledge(client, { topic, seq });
    const acknowledged = ['phone', 'tablet'].map((device) => ({ userId: 'ben', device, time: ISO_TIME }));
    expect(await receiptsOf(service, id)).toMatchObject({ acknowledged, totals: { ...totals, acknowledged: 1 } });
    const done = [{ userId: 'ben', time: ISO_TIME }];
    await ben.patch(`/inbox/${id}`).send({ state: 'seen' }).expect(200);
    const seen = await receiptsOf(service, id);
    expect(seen).toMatchObject({ seen: done, read: [], totals: { ...totals, acknowledged: 1, seen: 1 } });
    await ben.patch(`/inbox/${id}`).send({ state: 'read' }).expect(200);
    const all = { recipients: 1, acknowledged: 1, seen: 1, read: 1 };
    const read = await receiptsOf(service, id);
    expect(read).toEqual({ ...seen, read: done, totals: all });
    await ben.patch(`/inbox/${id}`).send({ state: 'unread' }).expect(200);
    expect(await receiptsOf(service, id)).toEqual(seen);
  });

  it('come in the order of time, and across a restart', async () => {
    const { service, clock } = await startWithClock();
    const { id, topic, seq } = await sendTo(service.api, 'ben', 1);
    clock.shift(1_000);
    const client = await service.connect('ben', { device: 'phone' });
    await client.next('sync:done');
    clock.shift(1_000);
    await acknowledge(client, { topic, seq });
    for (const state of ['seen', 'read']) {
      clock.shift(1_000);
      await as(service, 'ben').patch(`/inbox/${id}`).send({ state }).expect(200);
    }
    client.close();
    const again = await service.restart();
    const { body } = await again.api.get(`/messages/${id}/receipts`).expect(200);
    const times = [body.stored, body.sent, body.acknowledged[0].time, body.seen[0].time, body.read[0].time];
    expect(times).toEqual([...new Set(times)].sort());
    expect(times).toHaveLength(5);
  });

  it('of a shared device only say sent: its clients do not acknowledge', async () => {
    const service = await startService();
    const client = await service.connect('ben');
    await client.next('sync:done');
    const { id } = await sendTo(service.api, 'ben', 1);
    await client.next('message');
    const totals = { recipients: 1, acknowledged: 0, seen: 0, read: 0 };
    expect(await receiptsOf(service, id)).toMatchObject({ sent: ISO_TIME, acknowledged: [], totals });
  });

  it('of a topic and a broadcast count the recipients, without the sender and exceptUserId', async () => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'anna', members: ['ben', 'carla', 'dora'] });
    for (const userId of ['anna', 'ben', 'carla', 'dora']) await visit(service, userId);
    const sent = [
      await say(as(service, 'anna'), 'news', 1, { exceptUserId: 'dora' }),
      await broadcast(as(service, 'anna', 'broadcast'), 1, { exceptUserId: 'dora' }),
    ];
    await as(service, 'late').post('/topics/news/members').expect(200);
    await visit(service, 'late');
    for (const userId of ['anna', 'ben', 'carla', 'dora', 'late']) {
      await as(service, userId).patch('/inbox').send({ state: 'read', all: true }).expect(200);
    }
    for (const { id } of sent) {
      const { body } = await as(service, 'anna').get(`/messages/${id}/receipts`).expect(200);
      expect(body).toMatchObject({
        read: [{ userId: 'ben' }, { userId: 'carla' }],
        totals: { recipients: 2, acknowledged: 0, seen: 2, read: 2 },
      });
    }
  });

  it('come in pages, whose totals are those of all', async () => {
    const service = await startService();
    const users = range(1, 9).map((n) => `user${n}`);
    await createTopic(service, 'news', { owner: 'anna', members: users });
    const { id } = await say(as(service, 'anna'), 'news', 1);
    for (const userId of users) {
      await as(service, userId).patch(`/inbox/${id}`).send({ state: 'read' }).expect(200);
    }
    const found: string[] = [];
    let cursor: unknown = null;
    do {
      const page = await receiptsOf(service, id, `?limit=4${cursor === null ? '' : `&cursor=${String(cursor)}`}`);
      const read = page['read'] as { userId: string }[];
      expect(read.length).toBeLessThanOrEqual(4);
      expect(page['totals']).toEqual({ recipients: 9, acknowledged: 0, seen: 9, read: 9 });
      found.push(...read.map(({ userId }) => userId));
      cursor = page['nextCursor'];
    } while (cursor !== null);
    expect(found).toEqual(users);
  });
});

describe('a collapse key', () => {
  const collapseKey = 'build';

  it('replaces the message of the same sender before it as long as that is unread', async () => {
    const service = await startService();
    const client = await service.connect('ben', { device: 'here' });
    await client.next('sync:done');
    const first = await sendTo(service.api, 'ben', 1, { collapseKey });
    await sendTo(service.api, 'ben', 'aside');
    await as(service, 'ben').patch(`/inbox/${first.id}`).send({ state: 'seen' }).expect(200);
    await sendTo(as(service, 'other', 'send'), 'ben', 'of another sender', { collapseKey });
    await sendTo(service.api, 'ben', 2, { collapseKey });
    expect(await client.next('message:removed')).toMatchObject({ topic: '@ben', ref: first.id, reason: 'replaced' });
    expect(await dataOf(as(service, 'ben'))).toEqual([2, 'of another sender', 'aside']);
    expect((await inboxOf(as(service, 'ben'))).counts).toEqual({ unseen: 3, unread: 3 });
    const away = await service.connect('ben', { device: 'away' });
    await away.next('sync:done');
    expect(away.allMessages.map(({ data }) => data)).toEqual(['aside', 'of another sender', 2]);
  });

  it.each(['read', 'archived'])('leaves what is %s', async (state) => {
    const service = await startService();
    const { id } = await sendTo(service.api, 'ben', 1, { collapseKey });
    await as(service, 'ben').patch(`/inbox/${id}`).send({ state }).expect(200);
    await sendTo(service.api, 'ben', 2, { collapseKey });
    await sendTo(service.api, 'ben', 3, { collapseKey });
    expect(await dataOf(as(service, 'ben'), '?state=unread')).toEqual([3]);
    expect(await dataOf(as(service, 'ben'), `?state=${state}`)).toEqual([1]);
  });

  it('is for one user: other keys and other users stay', async () => {
    const service = await startService();
    await sendTo(service.api, 'ben', 1, { collapseKey });
    await sendTo(service.api, 'ben', 2, { collapseKey: 'Build' });
    const userIds = ['ben', 'carla'];
    for (const data of [3, 4]) {
      const many = { userIds, type: 'test', data, collapseKey };
      await service.api.post('/websocket/message/users').send(many).expect(200);
    }
    expect(await dataOf(as(service, 'ben'))).toEqual([4, 2]);
    expect(await dataOf(as(service, 'carla'))).toEqual([4]);
  });

  it('of a scheduled message counts when it is sent', async () => {
    const { service, clock } = await startWithClock();
    const later = { userId: 'ben', type: 'test', data: 'later', collapseKey, delay: 60 };
    await service.api.post('/websocket/message/user').send(later).expect(202);
    await sendTo(service.api, 'ben', 'now', { collapseKey });
    expect(await dataOf(as(service, 'ben'))).toEqual(['now']);
    const client = await service.connect('ben');
    await client.next('sync:done');
    clock.shift(61_000);
    expect(await client.next('message:removed')).toMatchObject({ reason: 'replaced' });
    expect(await dataOf(as(service, 'ben'))).toEqual(['later']);
  });
});

describe('exceptUserId', () => {
  it('keeps a message from one user of a topic, live, later and in lists', async () => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'anna', members: ['ben', 'carla'] });
    for (const userId of ['ben', 'carla']) await visit(service, userId);
    const clients = { ben: await service.connect('ben'), carla: await service.connect('carla') };
    for (const client of Object.values(clients)) await client.next('sync:done');
    const options = { exceptUserId: 'ben' };
    const sent = [
      await say(as(service, 'anna'), 'news', 'hidden', options),
      await broadcast(service.api, 'hidden', options),
    ];
    for (const persist of [true, false]) {
      await say(as(service, 'anna'), 'news', 'hidden', { ...options, persist });
      await broadcast(service.api, 'hidden', { ...options, persist });
    }
    await say(as(service, 'anna'), 'news', 'shown');
    await broadcast(service.api, 'shown');
    expect((await clients.carla.messages(8)).map(({ data }) => data)).toEqual([
      ...Array(6).fill('hidden'),
      'shown',
      'shown',
    ]);
    expect((await clients.ben.messages(2)).map(({ data }) => data)).toEqual(['shown', 'shown']);
    await service.api.patch(`/messages/${sent[0]?.id}?from=anna`).send({ data: 'hidden still' }).expect(200);
    await service.api.delete(`/messages/${sent[1]?.id}`).expect(200);
    await clients.ben.settle();
    expect(JSON.stringify(clients.ben.received)).not.toMatch(/hidden|message:/);
    const ben = as(service, 'ben');
    expect(await dataOf(ben)).toEqual(['shown', 'shown']);
    expect((await inboxOf(ben)).counts).toEqual({ unseen: 2, unread: 2 });
    const { messages } = (await ben.get('/topics/news/messages').expect(200)).body as { messages: Message[] };
    expect(messages.map(({ data }) => data)).toEqual(['shown']);
    const away = await service.connect('ben', { device: 'away' });
    await away.next('sync:done');
    expect(away.allMessages.map(({ data }) => data)).toEqual(['shown', 'shown']);
  });
});
