/** Messages that wait for their time: sendAt, delay, and the routes under /scheduled. */
import { toIsoTime } from '../../utils/clock';
import { eventually } from '../support/eventually';
import { range, startService, type TestService } from '../support/service';
import {
  type Api,
  as,
  createTopic,
  dataOf,
  ISO_TIME,
  type Item,
  inboxOf,
  sendTo,
  startWithClock,
  visit,
} from './callers';

interface ScheduledItem {
  readonly id: string;
  readonly data: unknown;
  readonly scheduledFor: string;
}

interface ScheduledList {
  readonly items: ScheduledItem[];
  readonly nextCursor: string | null;
}

const SEND = '/websocket/message/user';
const HOUR_MS = 3_600_000;
/** Less than the tokens of the tests live. */
const DOWNTIME_MS = 1_800_000;

async function scheduledOf(api: Api, query = ''): Promise<ScheduledList> {
  return (await api.get(`/scheduled${query}`).expect(200)).body as ScheduledList;
}

/** Schedules a message to a user. */
async function schedule(api: Api, userId: string, data: unknown, options: object): Promise<ScheduledItem> {
  const { body } = await api
    .post(SEND)
    .send({ userId, type: 'test', data, ...options })
    .expect(202);
  return body as ScheduledItem;
}

/** Waits until nothing waits that is due. */
async function everythingSent(service: TestService, left = 0): Promise<void> {
  await eventually(
    () => scheduledOf(service.api, '?limit=1000'),
    ({ items }) => items.length === left,
  );
}

/** The messages of a user's own topic in the order of their places. */
async function logOf(service: TestService, userId: string): Promise<Item[]> {
  const { items } = await inboxOf(as(service, userId), `?limit=200&topic=${encodeURIComponent(`@${userId}`)}`);
  return items.reverse();
}

describe.each([
  ['get', '/scheduled'],
  ['delete', '/scheduled/some'],
] as const)('%s %s', (method, path) => {
  it('needs a token, and no scope', async () => {
    const service = await startService();
    await service.anonymous[method](path).expect(401);
    const allowed = method === 'get' ? 200 : 404;
    for (const scope of ['', 'send', 'admin']) await as(service, 'caller', scope)[method](path).expect(allowed);
  });
});

describe('a send with a time', () => {
  const routes = [
    [SEND, '@anna', { userId: 'anna', type: 't', data: 1 }],
    ['/websocket/message/broadcast', '*', { type: 't', data: 1 }],
    ['/websocket/notification', '@anna', { userId: 'anna', title: 't', body: 'b' }],
    ['/topics/news/messages', 'news', { type: 't', data: 1 }],
  ] as const;

  it.each(routes)('to %s is answered 202, and nothing is stored yet', async (path, topic, given) => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'ben', members: ['anna'] });
    await visit(service, 'anna');
    const sendAt = new Date(Date.now() + HOUR_MS).toISOString();
    const { body } = await service.api
      .post(path)
      .send({ ...given, sendAt })
      .expect(202)
      .expect('Content-Type', /^application\/json/);
    const expected = { success: true, message: expect.stringMatching(/\S/), id: expect.stringMatching(/\S/), topic };
    expect(body).toEqual({ ...expected, scheduledFor: sendAt });
    const before = Date.now();
    const delayed = await service.api
      .post(path)
      .send({ ...given, delay: 60 })
      .expect(202);
    expect(delayed.body).toEqual({ ...expected, scheduledFor: ISO_TIME });
    const at = Date.parse(delayed.body.scheduledFor);
    expect(at).toBeGreaterThanOrEqual(before + 60_000);
    expect(at).toBeLessThanOrEqual(Date.now() + 60_000);
    expect(await dataOf(as(service, 'anna'))).toEqual([]);
    expect((await scheduledOf(service.api)).items.map(({ id }) => id)).toEqual([delayed.body.id, body.id]);
  });

  it('to several users is answered 202 with the time for each', async () => {
    const service = await startService();
    const sendAt = new Date(Date.now() + HOUR_MS).toISOString();
    const { body } = await service.api
      .post('/websocket/message/users')
      .send({ userIds: ['anna', 'ben', 'anna'], type: 't', data: 1, sendAt })
      .expect(202);
    const results = ['anna', 'ben'].map((userId) => ({ userId, id: expect.any(String), scheduledFor: sendAt }));
    expect(body).toEqual({ success: true, message: expect.any(String), results });
    expect((await scheduledOf(service.api)).items).toHaveLength(2);
  });

  it('in a batch is reported by its item', async () => {
    const service = await startService();
    const sendAt = new Date(Date.now() + HOUR_MS).toISOString();
    const message = { userId: 'anna', type: 't', data: 1 };
    const { body } = await service.api
      .post('/messages/batch')
      .send({ messages: [message, { ...message, sendAt }] })
      .expect(200);
    expect(body.results).toEqual([
      { id: expect.any(String), topic: '@anna', seq: 1 },
      { id: expect.any(String), topic: '@anna', scheduledFor: sendAt },
    ]);
  });

  it.each([
    ['sendAt', -59_000],
    ['sendAt', -1],
    ['delay', 0],
  ])('that has just passed is sent now: %s %i', async (option, value) => {
    const service = await startService();
    const time = option === 'delay' ? { delay: value } : { sendAt: new Date(Date.now() + value).toISOString() };
    const { body } = await service.api
      .post(SEND)
      .send({ userId: 'anna', type: 't', data: 1, ...time })
      .expect(200);
    expect(body).toMatchObject({ topic: '@anna', seq: 1 });
    expect(body).not.toHaveProperty('scheduledFor');
    expect(await scheduledOf(service.api)).toEqual({ items: [], nextCursor: null });
  });

  it.each([
    ['more than a minute ago', -61_000],
    ['in more than a year', 366 * 86_400_000],
  ])('that is %s is refused', async (_name, shift) => {
    const service = await startService();
    const sendAt = new Date(Date.now() + shift).toISOString();
    const { body } = await service.api.post(SEND).send({ userId: 'anna', type: 't', data: 1, sendAt }).expect(400);
    expect(body).toMatchObject({ code: 'bad_request', errors: [{ path: 'sendAt' }] });
    expect(await dataOf(as(service, 'anna'))).toEqual([]);
    expect((await scheduledOf(service.api)).items).toEqual([]);
  });

  it('may say it in any time zone', async () => {
    const service = await startService();
    const at = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + HOUR_MS);
    const local = new Date(at.getTime() + 2 * HOUR_MS).toISOString().replace(/\.000Z$/, '+02:00');
    expect(await schedule(service.api, 'anna', 1, { sendAt: local })).toMatchObject({ scheduledFor: at.toISOString() });
  });
});

describe('when its time has come', () => {
  it('the message is sent under the id that was answered', async () => {
    const { service, clock } = await startWithClock();
    const client = await service.connect('anna', { device: 'phone' });
    await client.next('sync:done');
    const { id } = await schedule(service.api, 'anna', 'later', { delay: 1_800, event: 'alert' });
    await sendTo(service.api, 'anna', 'now');
    clock.shift(1_801_000);
    const [payload, meta] = await client.nextArgs('alert');
    expect(payload).toBe('later');
    expect(meta).toMatchObject({ id, topic: '@anna', seq: 2, from: 'service', counts: { unseen: 2, unread: 2 } });
    expect(await logOf(service, 'anna')).toMatchObject([{ data: 'now' }, { id, data: 'later', seq: 2 }]);
    const { timestamp } = (await logOf(service, 'anna'))[1] ?? { timestamp: '' };
    // The time of sending, not that of asking for it.
    expect(Math.abs(Date.parse(timestamp) - clock.now())).toBeLessThan(60_000);
    expect(await scheduledOf(service.api)).toEqual({ items: [], nextCursor: null });
    await service.api.delete(`/scheduled/${id}`).expect(404);
    await service.api.patch(`/messages/${id}`).send({ data: 'changed' }).expect(200);
  });

  it('late ones are sent after a restart: in order, each once', async () => {
    const { service, clock } = await startWithClock();
    const times = range(1, 20).map((n) => (n * 7) % 20);
    // By the clock, not from each request on: a slow machine must not change the order.
    const first = clock.now() + 60_000;
    for (const n of times) await schedule(service.api, 'anna', n, { sendAt: toIsoTime(first + n * 1_000) });
    await schedule(service.api, 'anna', 'not yet', { delay: 86_400 });
    await service.stop();
    clock.shift(DOWNTIME_MS);
    const again = await service.restart();
    await everythingSent(again, 1);
    const inOrder = range(0, 19).map((n) => ({ data: n, seq: n + 1 }));
    expect(await logOf(again, 'anna')).toMatchObject(inOrder);
    const once = await again.restart();
    await everythingSent(once, 1);
    expect(await logOf(once, 'anna')).toMatchObject(inOrder);
    expect((await scheduledOf(once.api)).items).toMatchObject([{ data: 'not yet' }]);
  });

  it('ttl counts from then', async () => {
    const { service, clock } = await startWithClock();
    await schedule(service.api, 'anna', 1, { delay: 600, ttl: 60 });
    clock.shift(601_000);
    await everythingSent(service);
    expect(await dataOf(as(service, 'anna'))).toEqual([1]);
    clock.shift(60_000);
    expect(await dataOf(as(service, 'anna'))).toEqual([]);
  });

  it('messages that have expired meanwhile, or lost their topic, are not sent', async () => {
    const { service, clock } = await startWithClock();
    await createTopic(service, 'news', { owner: 'ben', members: ['anna'] });
    const homeless = { type: 't', data: 'homeless', delay: 60 };
    await service.api.post('/topics/news/messages').send(homeless).expect(202);
    await as(service, 'ben').delete('/topics/news').expect(200);
    await schedule(service.api, 'anna', 'over', { delay: 60, ttl: 60 });
    await service.stop();
    clock.shift(DOWNTIME_MS);
    const again = await service.restart();
    await everythingSent(again);
    await createTopic(again, 'news', { owner: 'ben' });
    expect((await as(again, 'ben').get('/topics/news/messages').expect(200)).body).toEqual({ messages: [] });
    expect(await logOf(again, 'anna')).toEqual([]);
    expect(await sendTo(again.api, 'anna', 1)).toMatchObject({ seq: 1 });
  });

  it('exceptUserId holds', async () => {
    const { service, clock } = await startWithClock();
    for (const userId of ['anna', 'ben']) await visit(service, userId);
    const send = { type: 't', data: 1, delay: 60, exceptUserId: 'ben' };
    await service.api.post('/websocket/message/broadcast').send(send).expect(202);
    clock.shift(61_000);
    await everythingSent(service);
    expect(await dataOf(as(service, 'anna'))).toEqual([1]);
    expect(await dataOf(as(service, 'ben'))).toEqual([]);
  });
});

describe('GET /scheduled', () => {
  it('lists scheduled messages, soonest first', async () => {
    const { service } = await startWithClock();
    const expiresAt = new Date(Date.now() + 2 * HOUR_MS).toISOString();
    const late = await schedule(service.api, 'anna', { n: 1 }, { delay: 3_600, event: 'alert', expiresAt });
    const soon = await schedule(service.api, 'anna', 2, { delay: 60, id: 'own' });
    const common = { topic: '@anna', type: 'test', from: 'service', createdAt: ISO_TIME };
    expect(await scheduledOf(service.api)).toEqual({
      items: [
        { ...common, id: 'own', data: 2, scheduledFor: soon.scheduledFor },
        { ...common, id: late.id, data: { n: 1 }, scheduledFor: late.scheduledFor, event: 'alert', expiresAt },
      ],
      nextCursor: null,
    });
  });

  it('shows the caller’s own, and an admin everything, page by page', async () => {
    const service = await startService();
    const senders = ['anna', 'ben'].map((userId) => as(service, userId, 'send'));
    const sendAt = new Date(Date.now() + HOUR_MS).toISOString();
    for (const n of range(1, 5)) {
      // Some at one moment: the page token must tell them apart.
      for (const api of senders) await schedule(api, 'carla', n, n > 3 ? { delay: n } : { sendAt, id: `same${n}` });
    }
    const listAll = async (api: Api) => {
      const found: ScheduledItem[] = [];
      let cursor: string | null = null;
      do {
        const page: ScheduledList = await scheduledOf(api, `?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`);
        expect(page.items.length).toBeLessThanOrEqual(2);
        found.push(...page.items);
        cursor = page.nextCursor;
      } while (cursor !== null);
      return found;
    };
    for (const api of senders) {
      const own = await listAll(api);
      expect(own.map(({ data }) => data)).toEqual([4, 5, 1, 2, 3]);
      expect(await scheduledOf(api)).toEqual({ items: own, nextCursor: null });
    }
    const everything = await listAll(service.api);
    expect(everything).toHaveLength(10);
    expect(await scheduledOf(service.api)).toEqual({ items: everything, nextCursor: null });
    expect(await scheduledOf(as(service, 'dora', 'send'))).toEqual({ items: [], nextCursor: null });
  });
});

describe('cancelling', () => {
  it('removes a message from the list; it is never sent, and a second time is 404', async () => {
    const { service, clock } = await startWithClock();
    const anna = as(service, 'anna', 'send');
    const { id } = await schedule(anna, 'ben', 'cancelled', { delay: 60 });
    await schedule(anna, 'ben', 'sent', { delay: 60 });
    expect((await anna.delete(`/scheduled/${id}`).expect(200)).body).toEqual({ success: true, id });
    const { body } = await anna.delete(`/scheduled/${id}`).expect(404);
    expect(body).toMatchObject({ code: 'not_found', errors: [{ path: 'id' }] });
    clock.shift(61_000);
    await everythingSent(service);
    expect(await dataOf(as(service, 'ben'))).toEqual(['sent']);
  });

  it('is 404 for messages of others, unknown, sent or never scheduled; an admin may', async () => {
    const { service, clock } = await startWithClock();
    const anna = as(service, 'anna', 'send');
    const waiting = await schedule(anna, 'ben', 1, { delay: 7_200 });
    const due = await schedule(anna, 'ben', 2, { delay: 60 });
    const now = await sendTo(anna, 'ben', 3);
    clock.shift(61_000);
    await everythingSent(service, 1);
    await as(service, 'ben', 'send').delete(`/scheduled/${waiting.id}`).expect(404);
    for (const id of [due.id, now.id, 'unknown', '__proto__']) await anna.delete(`/scheduled/${id}`).expect(404);
    expect((await scheduledOf(anna)).items).toHaveLength(1);
    await as(service, 'root', 'admin').delete(`/scheduled/${waiting.id}`).expect(200);
    expect((await scheduledOf(anna)).items).toEqual([]);
  });

  it('cancels the caller’s own if several senders have used the id', async () => {
    const service = await startService();
    const senders = { anna: as(service, 'anna', 'send'), zoe: as(service, 'zoe', 'admin') };
    for (const api of Object.values(senders)) await schedule(api, 'ben', 1, { delay: 60, id: 'same' });
    await senders.zoe.delete('/scheduled/same').expect(200);
    expect((await scheduledOf(senders.zoe)).items).toMatchObject([{ id: 'same', from: 'anna' }]);
    await senders.anna.delete('/scheduled/same').expect(200);
  });

  it('survives a restart', async () => {
    const { service, clock } = await startWithClock();
    const { id } = await schedule(service.api, 'ben', 1, { delay: 60 });
    await service.api.delete(`/scheduled/${id}`).expect(200);
    await service.stop();
    clock.shift(DOWNTIME_MS);
    const again = await service.restart();
    await everythingSent(again);
    expect(await dataOf(as(again, 'ben'))).toEqual([]);
  });
});

describe('a client-made id', () => {
  const message = { userId: 'anna', type: 't', data: 1, id: 'order-7', delay: 60 };
  const send = (service: TestService, given: object = message) => service.api.post(SEND).send(given);

  it('gives the first answer again while it is scheduled, after it was sent, and across a restart', async () => {
    const { service, clock } = await startWithClock();
    const first = await send(service).expect(202);
    expect(first.headers).not.toHaveProperty('idempotent-replay');
    const expectReplay = async (running: TestService) => {
      const replay = await send(running).expect(202);
      expect(replay.headers['idempotent-replay']).toBe('true');
      expect(replay.body).toEqual(first.body);
    };
    clock.shift(5_000);
    await expectReplay(service);
    clock.shift(60_000);
    await everythingSent(service);
    await expectReplay(service);
    const again = await service.restart();
    await expectReplay(again);
    expect(await scheduledOf(again.api)).toEqual({ items: [], nextCursor: null });
    expect(await logOf(again, 'anna')).toMatchObject([{ id: 'order-7', data: 1 }]);
  });

  it('with other content is 422, now or later; cancelling frees it', async () => {
    const service = await startService();
    await send(service).expect(202);
    const { delay, ...now } = message;
    for (const given of [{ ...message, data: 2 }, { ...message, type: 'other' }, { ...message, userId: 'ben' }, now]) {
      const { body } = await send(service, given).expect(422);
      expect(body).toMatchObject({ code: 'idempotency_conflict', errors: [{ path: 'id' }] });
    }
    expect((await scheduledOf(service.api)).items).toHaveLength(1);
    await service.api.delete('/scheduled/order-7').expect(200);
    await send(service, { ...message, data: 2 }).expect(202);
  });
});
