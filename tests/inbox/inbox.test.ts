/** States, counts, and what becomes of messages after they were sent, seen from clients. */
import type { Counts, Message, RequestedState } from '../../utils/protocol';
import { ShiftedClock } from '../support/clock';
import { eventually } from '../support/eventually';
import { range, startService, type TestService } from '../support/service';
import { type AnyClient, framesOf, type Told, TRANSPORTS } from '../support/transports';

const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Requests of a user without scopes. */
function as(service: TestService, userId: string) {
  const authorization = `Bearer ${service.token(userId)}`;
  return {
    get: (path: string) => service.anonymous.get(path).set('Authorization', authorization),
    post: (path: string, body: object) => service.anonymous.post(path).set('Authorization', authorization).send(body),
    patch: (path: string, body: object) => service.anonymous.patch(path).set('Authorization', authorization).send(body),
    delete: (path: string) => service.anonymous.delete(path).set('Authorization', authorization),
  };
}

const countsOf = async (service: TestService, userId: string): Promise<Counts> =>
  (await as(service, userId).get('/inbox/counts').expect(200)).body;

/** The server knows that the user's connections have ended: what is sent from now on waits. */
const untilAway = (service: TestService, userId: string) =>
  eventually(
    () => service.api.get(`/websocket/users/${userId}/status`),
    ({ body }) => body.connected === false,
  );

interface Sent {
  readonly id: string;
  readonly topic: string;
  readonly seq: number;
}

/** Sends to a user with options; the answer's body. */
async function send(service: TestService, userId: string, data: unknown, options: object = {}): Promise<Sent> {
  const message = { userId, type: 'test', data, ...options };
  return (await service.api.post('/websocket/message/user').send(message).expect(200)).body;
}

/** Where a message can go to that anna gets: herself, everybody, a topic she is in. */
const PLACES = ['@anna', '*', 'news'];

async function sendTo(service: TestService, topic: string, data: unknown, options: object = {}): Promise<Sent> {
  const content = { type: 'test', data, ...options };
  if (topic === '@anna') return send(service, 'anna', data, options);
  const path = topic === '*' ? '/websocket/message/broadcast' : `/topics/${topic}/messages`;
  return (await service.api.post(path).send(content).expect(200)).body;
}

/** A topic `news` that these users are in. */
async function createNews(service: TestService, ...userIds: string[]): Promise<void> {
  await service.api.post('/topics').send({ name: 'news' }).expect(201);
  for (const userId of userIds) await service.api.post('/topics/news/members').send({ userId }).expect(200);
}

const toldOf = (client: AnyClient, ...events: string[]): Told[] =>
  framesOf(client).filter(({ event }) => events.includes(event));
const namesOf = (client: AnyClient): string[] => framesOf(client).map(({ event }) => event);
const payloadsOf = (client: AnyClient, event: string) => toldOf(client, event).map(({ payload }) => payload);
/** Everything that the client received, as one text: what is not in it never reached the client. */
const textOf = (client: AnyClient): string => JSON.stringify(framesOf(client));

/** Acknowledges everything of a topic. */
async function acknowledge(client: AnyClient, topic: string, seq: number): Promise<void> {
  expect(await client.call('ack', { topic, seq })).toEqual({ ok: true });
}

/** What a client believes to be unread that applies what it receives, in order. */
function unreadOf(client: AnyClient): string[] {
  const known = new Map<string, { topic: string; seq: number; isUnread: boolean }>();
  for (const { event, payload } of framesOf(client)) {
    const { id, topic, seq, ref, state, ids, ...told } = payload as unknown as Message & {
      state: RequestedState;
      ids?: string[];
      upTo?: number;
      cursors?: Record<string, number>;
    };
    if (event === 'message' && !known.has(id)) known.set(id, { topic, seq, isUnread: true });
    if (event === 'message:removed' && ref !== undefined) known.delete(ref);
    if (event !== 'state' || state === 'seen') continue;
    for (const [messageId, message] of known) {
      const upTo = told.cursors?.[message.topic] ?? (message.topic === topic ? told.upTo : undefined);
      const isMeant = ids?.includes(messageId) ?? message.seq <= (upTo ?? 0);
      if (isMeant) message.isUnread = state === 'unread';
    }
  }
  return [...known].filter(([, { isUnread }]) => isUnread).map(([id]) => id);
}

describe.each(TRANSPORTS)('over %s,', (_name, connect) => {
  /** Opens a client and waits until it is up to date. */
  async function open(service: TestService, userId: string, device?: string): Promise<AnyClient> {
    const client = await connect(service, userId, device === undefined ? {} : { device });
    await client.next('sync:done');
    return client;
  }

  async function leave(service: TestService, userId: string, ...clients: AnyClient[]): Promise<void> {
    for (const client of clients) client.close();
    await untilAway(service, userId);
  }

  describe('a change of state', () => {
    type SelectionRow = [name: string, of: (sent: readonly Sent[]) => object, changed: number, told: object];
    const selections: SelectionRow[] = [
      ['one message', ([first]) => ({ ids: [first?.id] }), 1, {}],
      ['several messages', (sent) => ({ ids: sent.slice(1).map(({ id }) => id) }), 2, {}],
      ['a topic up to a seq', () => ({ topic: '@anna', upTo: 2 }), 2, {}],
      // Devices learn up to where: what comes later is not meant.
      ['everything', () => ({ all: true }), 3, { cursors: { '@anna': 3 } }],
    ];

    /** anna on three devices, two connections of the first; ben beside her; three messages to anna. */
    async function meet(service: TestService) {
      const [asker, twin, laptop, nameless] = [
        await open(service, 'anna', 'phone'),
        await open(service, 'anna', 'phone'),
        await open(service, 'anna', 'laptop'),
        await open(service, 'anna'),
      ];
      const ben = await open(service, 'ben');
      const sent: Sent[] = [];
      for (const n of range(1, 3)) sent.push(await send(service, 'anna', { n }));
      return { asker, others: [twin, laptop, nameless], ben, sent };
    }

    it.each(selections)('of %s is told to every other connection at once', async (_selection, of, changed, told) => {
      const service = await startService();
      const { asker, others, ben, sent } = await meet(service);
      const selection = of(sent);
      const counts = { unseen: 3 - changed, unread: 3 - changed };
      const reply = await asker.call('state', { ...selection, state: 'read' });
      expect(reply).toEqual({ ok: true, success: true, state: 'read', changed, counts });
      for (const other of others) {
        expect(await other.next('state')).toEqual({ ...selection, ...told, state: 'read', counts });
      }
      expect(await countsOf(service, 'anna')).toEqual(counts);
      for (const client of [asker, ...others, ben]) await client.settle();
      expect(others.map((other) => toldOf(other, 'state').length)).toEqual([1, 1, 1]);
      expect(toldOf(asker, 'state')).toEqual([]);
      expect(toldOf(ben, 'state')).toEqual([]);
    });

    it.each(selections)('of %s over REST is told to all connections', async (_selection, of, changed, told) => {
      const service = await startService();
      const { asker, others, ben, sent } = await meet(service);
      const selection = of(sent);
      const counts = { unseen: 3 - changed, unread: 3 - changed };
      const { body } = await as(service, 'anna')
        .patch('/inbox', { ...selection, state: 'archived' })
        .expect(200);
      expect(body).toEqual({ success: true, state: 'archived', changed, counts });
      for (const client of [asker, ...others]) {
        expect(await client.next('state')).toEqual({ ...selection, ...told, state: 'archived', counts });
      }
      await ben.settle();
      expect(toldOf(ben, 'state')).toEqual([]);
    });

    it('of one message by its own path is sent as its id', async () => {
      const service = await startService();
      const { asker, others, sent } = await meet(service);
      const { id = '' } = sent[1] ?? {};
      const { body } = await as(service, 'anna').patch(`/inbox/${id}`, { state: 'seen' }).expect(200);
      const counts = { unseen: 2, unread: 3 };
      expect(body).toEqual({ success: true, state: 'seen', changed: 1, counts });
      for (const client of [asker, ...others]) {
        expect(await client.next('state')).toEqual({ ids: [id], state: 'seen', counts });
      }
    });

    it('that changes nothing notifies nobody', async () => {
      const service = await startService();
      const { asker, others } = await meet(service);
      await asker.call('state', { all: true, state: 'read' });
      for (const state of ['read', 'seen']) {
        for (const selection of [{ all: true }, { topic: '@anna', upTo: 3 }]) {
          expect(await asker.call('state', { ...selection, state })).toMatchObject({ ok: true, changed: 0 });
        }
      }
      for (const other of others) {
        await other.settle();
        expect(toldOf(other, 'state')).toHaveLength(1);
      }
    });

    it('follows the rules: seen never lowers, unread undoes read and archived, bulk skips what is archived', async () => {
      const service = await startService();
      const client = await open(service, 'anna');
      const { id } = await send(service, 'anna', 1);
      const change = async (selection: object, state: RequestedState) => {
        const { changed, counts } = (await client.call('state', { ...selection, state })) as unknown as {
          changed: number;
          counts: Counts;
        };
        expect(await countsOf(service, 'anna')).toEqual(counts);
        return [changed, counts.unseen, counts.unread];
      };
      const one = { ids: [id] };
      expect(await change(one, 'unread')).toEqual([0, 1, 1]);
      expect(await change(one, 'seen')).toEqual([1, 0, 1]);
      expect(await change(one, 'read')).toEqual([1, 0, 0]);
      expect(await change(one, 'seen')).toEqual([0, 0, 0]);
      expect(await change(one, 'unread')).toEqual([1, 0, 1]);
      expect(await change(one, 'archived')).toEqual([1, 0, 0]);
      for (const bulk of [{ all: true }, { topic: '@anna', upTo: 1 }]) {
        for (const state of ['seen', 'read', 'unread'] as const) expect(await change(bulk, state)).toEqual([0, 0, 0]);
      }
      expect(await change(one, 'seen')).toEqual([0, 0, 0]);
      expect(await change(one, 'unread')).toEqual([1, 0, 1]);
    });

    it('reaches messages in every topic', async () => {
      const service = await startService();
      await createNews(service, 'anna');
      const asker = await open(service, 'anna', 'phone');
      const other = await open(service, 'anna', 'laptop');
      const sent: Sent[] = [];
      for (const place of PLACES) sent.push(await sendTo(service, place, 'x'));
      const ids = sent.map(({ id }) => id);
      expect(await asker.call('state', { ids, state: 'read' })).toMatchObject({ changed: 3 });
      expect(await other.next('state')).toEqual({ ids, state: 'read', counts: { unseen: 0, unread: 0 } });
      for (const topic of PLACES) {
        expect(await asker.call('state', { topic, upTo: 1, state: 'unread' })).toMatchObject({ changed: 1 });
        expect(await other.next('state')).toMatchObject({ topic, upTo: 1, state: 'unread' });
      }
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 0, unread: 3 });
    });
  });

  describe('a device that was offline', () => {
    it.each(['phone', undefined])('receives what changed before sync:done, in order, once: %s', async (device) => {
      const service = await startService();
      await service.send('anna', range(1, 5));
      const first = await open(service, 'anna', device);
      await acknowledge(first, '@anna', 5);
      await leave(service, 'anna', first);
      const { id, seq } = await send(service, 'anna', 6);
      const anna = as(service, 'anna');
      const changes = [
        { ids: [id], state: 'read' },
        { topic: '@anna', upTo: 3, state: 'seen' },
        { ids: [id], state: 'unread' },
        { all: true, state: 'archived' },
      ];
      for (const change of changes) await anna.patch('/inbox', change).expect(200);
      const second = await open(service, 'anna', device);
      await acknowledge(second, '@anna', seq);
      const counts = { unseen: 0, unread: 0 };
      expect(namesOf(second).slice(2)).toEqual(['message', 'state', 'state', 'state', 'state', 'sync:done']);
      const told = [...changes.slice(0, 3), { all: true, cursors: { '@anna': seq }, state: 'archived' }];
      expect(payloadsOf(second, 'state')).toEqual(told.map((change) => ({ ...change, counts })));
      await leave(service, 'anna', second);
      const third = await open(service, 'anna', device);
      expect(namesOf(third).slice(2)).toEqual(['sync:done']);
    });

    it('receives it after a restart of the service too, once', async () => {
      const service = await startService();
      const { id } = await send(service, 'anna', 1);
      const first = await open(service, 'anna', 'phone');
      await acknowledge(first, '@anna', 1);
      await leave(service, 'anna', first);
      await as(service, 'anna').patch(`/inbox/${id}`, { state: 'read' }).expect(200);
      const again = await service.restart();
      const second = await open(again, 'anna', 'phone');
      expect(payloadsOf(second, 'state')).toEqual([{ ids: [id], state: 'read', counts: { unseen: 0, unread: 0 } }]);
      const onceMore = await again.restart();
      const third = await open(onceMore, 'anna', 'phone');
      expect(namesOf(third).slice(2)).toEqual(['sync:done']);
    });

    it('does not receive its own changes', async () => {
      const service = await startService();
      const { id } = await send(service, 'anna', 1);
      const first = await open(service, 'anna', 'phone');
      await acknowledge(first, '@anna', 1);
      await first.call('state', { ids: [id], state: 'read' });
      await leave(service, 'anna', first);
      const second = await open(service, 'anna', 'phone');
      expect(namesOf(second).slice(2)).toEqual(['sync:done']);
    });

    it('receives what other devices did, each device on its own', async () => {
      const service = await startService();
      const { id } = await send(service, 'anna', 1);
      const phone = await open(service, 'anna', 'phone');
      await acknowledge(phone, '@anna', 1);
      await leave(service, 'anna', phone);
      const laptop = await open(service, 'anna', 'laptop');
      await acknowledge(laptop, '@anna', 1);
      await laptop.call('state', { ids: [id], state: 'read' });
      await leave(service, 'anna', laptop);
      for (const [device, told] of [
        ['phone', 1],
        ['laptop', 0],
        ['phone', 0],
      ] as const) {
        const client = await open(service, 'anna', device);
        expect(toldOf(client, 'state')).toHaveLength(told);
        await leave(service, 'anna', client);
      }
    });

    it.each<[string, object]>([
      ['a topic up to a seq', { topic: '@anna', upTo: 2 }],
      ['everything', { all: true }],
    ])('knows that what came after a change of %s is still unread', async (_name, selection) => {
      const service = await startService();
      await leave(service, 'anna', await open(service, 'anna', 'phone'));
      await service.send('anna', [1, 2]);
      await as(service, 'anna')
        .patch('/inbox', { ...selection, state: 'read' })
        .expect(200);
      const later = await send(service, 'anna', 3);
      const client = await open(service, 'anna', 'phone');
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 1, unread: 1 });
      expect(unreadOf(client)).toEqual([later.id]);
    });
  });

  describe('counts', () => {
    it('come with everything that concerns the inbox of one person, as in GET /inbox/counts', async () => {
      const service = await startService();
      await createNews(service, 'anna');
      await service.send('anna', [1, 2]);
      const client = await connect(service, 'anna', { device: 'phone' });
      expect((await client.messages(2)).map((message) => (message as Message & { counts: Counts }).counts)).toEqual([
        { unseen: 2, unread: 2 },
        { unseen: 2, unread: 2 },
      ]);
      expect(await client.next('sync:done')).toMatchObject({ counts: { unseen: 2, unread: 2 } });

      const { id } = await send(service, 'anna', 3);
      expect(await client.next('message')).toMatchObject({ id, counts: await countsOf(service, 'anna') });
      await as(service, 'anna').patch(`/inbox/${id}`, { state: 'seen' }).expect(200);
      expect(await client.next('state')).toMatchObject({ counts: { unseen: 2, unread: 3 } });
      await send(service, 'anna', 4, { event: 'alert' });
      const [payload, meta] = await client.nextArgs('alert');
      expect(payload).toBe(4);
      expect(meta).toMatchObject({ topic: '@anna', seq: 4, counts: await countsOf(service, 'anna') });
      await send(service, 'anna', 5, { persist: false });
      expect(await client.next('message')).toMatchObject({ data: 5, counts: { unseen: 3, unread: 4 } });
      await service.api.patch(`/messages/${id}`).send({ data: 'new' }).expect(200);
      expect(await client.next('message:updated')).toMatchObject({ ref: id, counts: { unseen: 3, unread: 4 } });
      await service.api.delete(`/messages/${id}`).expect(200);
      expect(await client.next('message:removed')).toMatchObject({ ref: id, counts: { unseen: 3, unread: 3 } });
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 3, unread: 3 });
    });

    it('include broadcasts and topics, which do not carry them: they are the same for all', async () => {
      const service = await startService();
      await createNews(service, 'anna');
      const client = await open(service, 'anna');
      for (const place of ['*', 'news']) {
        await sendTo(service, place, 'x');
        expect(Object.keys(await client.next('message'))).not.toContain('counts');
        await sendTo(service, place, 'y', { event: 'alert' });
        const [, meta] = await client.nextArgs('alert');
        expect(Object.keys(meta as object)).not.toContain('counts');
      }
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 4, unread: 4 });
      await client.call('state', { all: true, state: 'read' });
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 0, unread: 0 });
    });

    it('count the user’s own messages as read', async () => {
      const service = await startService();
      const client = await open(service, 'anna');
      const reply = await client.call('message', { to: 'anna', topic_name: '@anna', type: 'note', data: 1 });
      expect(reply).toMatchObject({ ok: true, topic: '@anna' });
      expect(await client.next('message')).toMatchObject({ from: 'anna', counts: { unseen: 0, unread: 0 } });
    });
  });

  describe('a message whose data is replaced', () => {
    it.each(PLACES)('is told to who is connected, in %s', async (place) => {
      const service = await startService();
      await createNews(service, 'anna');
      const clients = [await open(service, 'anna', 'phone'), await open(service, 'anna')];
      const { id, topic, seq } = await sendTo(service, place, 'the first text');
      const { body } = await service.api
        .patch(`/messages/${id}`)
        .send({ data: { text: 'the new text' } })
        .expect(200);
      expect(body).toEqual({ success: true, id, topic, seq });
      const updated = {
        id: expect.any(String),
        topic: place,
        seq: 2,
        ref: id,
        refSeq: 1,
        data: { text: 'the new text' },
      };
      const counts = place === '@anna' ? { counts: { unseen: 1, unread: 1 } } : {};
      for (const client of clients) expect(await client.next('message:updated')).toEqual({ ...updated, ...counts });
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 1, unread: 1 });
    });

    it.each(PLACES)('reaches who was away with the new data at its own seq, in %s', async (place) => {
      const service = await startService();
      await createNews(service, 'anna');
      await leave(service, 'anna', await open(service, 'anna', 'phone'));
      await sendTo(service, place, 'before');
      const { id } = await sendTo(service, place, 'the first text');
      await sendTo(service, place, 'after');
      for (const data of ['the second text', 'the third text']) {
        await service.api.patch(`/messages/${id}`).send({ data }).expect(200);
      }
      const client = await open(service, 'anna', 'phone');
      const entries = toldOf(client, 'message', 'message:updated').map(({ event, payload }) => [
        event,
        payload['seq'],
        payload['data'],
      ]);
      expect(entries).toEqual([
        ['message', 1, 'before'],
        ['message', 2, 'the third text'],
        ['message', 3, 'after'],
        ['message:updated', 5, 'the third text'],
      ]);
      expect(payloadsOf(client, 'message:updated')).toMatchObject([{ ref: id }]);
      expect(textOf(client)).not.toMatch(/the (first|second) text/);
    });

    it.each(PLACES)('and is then taken back does not reach who was away at all, in %s', async (place) => {
      const service = await startService();
      await createNews(service, 'anna');
      await leave(service, 'anna', await open(service, 'anna', 'phone'));
      const { id } = await sendTo(service, place, 'the first text');
      await sendTo(service, place, 'after');
      for (const data of ['the second text', 'the third text']) {
        await service.api.patch(`/messages/${id}`).send({ data }).expect(200);
      }
      await service.api.delete(`/messages/${id}`).expect(200);
      const client = await open(service, 'anna', 'phone');
      const entries = toldOf(client, 'message', 'message:updated', 'message:removed');
      expect(entries.map(({ event, payload }) => [event, payload['seq']])).toEqual([
        ['message', 2],
        ['message:removed', 5],
      ]);
      expect(textOf(client)).not.toMatch(/the (first|second|third) text/);
      const reply = await client.call('history', { topic: place });
      expect(JSON.stringify(reply)).not.toMatch(/the (first|second|third) text/);
    });

    it('is sent to a device that had the old data, once', async () => {
      const service = await startService();
      const first = await open(service, 'anna', 'phone');
      const { id, seq } = await send(service, 'anna', 'the first text');
      await first.messages(1);
      await acknowledge(first, '@anna', seq);
      await leave(service, 'anna', first);
      for (const data of ['the second text', 'the third text']) {
        await service.api.patch(`/messages/${id}`).send({ data }).expect(200);
      }
      const second = await open(service, 'anna', 'phone');
      expect(namesOf(second).slice(2)).toEqual(['message:updated', 'sync:done']);
      expect(payloadsOf(second, 'message:updated')).toMatchObject([{ ref: id, data: 'the third text' }]);
      expect(textOf(second)).not.toContain('the second text');
      await acknowledge(second, '@anna', 3);
      await leave(service, 'anna', second);
      expect(namesOf(await open(service, 'anna', 'phone')).slice(2)).toEqual(['sync:done']);
    });

    it('keeps its state', async () => {
      const service = await startService();
      const client = await open(service, 'anna');
      const { id } = await send(service, 'anna', 'the first text');
      await client.call('state', { ids: [id], state: 'read' });
      await service.api.patch(`/messages/${id}`).send({ data: 'the new text' }).expect(200);
      expect(await client.next('message:updated')).toMatchObject({ counts: { unseen: 0, unread: 0 } });
      const { body } = await as(service, 'anna').get('/inbox').expect(200);
      expect(body.items).toMatchObject([{ id, data: 'the new text', state: 'read' }]);
    });

    it('with a custom event is sent like any other', async () => {
      const service = await startService();
      const client = await open(service, 'anna');
      const { id } = await send(service, 'anna', 'the first text', { event: 'alert' });
      await service.api.patch(`/messages/${id}`).send({ data: 'the new text' }).expect(200);
      expect(await client.next('message:updated')).toMatchObject({ ref: id, data: 'the new text' });
      const late = await connect(service, 'anna', { device: 'late' });
      expect((await late.nextArgs('alert'))[0]).toBe('the new text');
      await late.next('sync:done');
      expect(textOf(late)).not.toContain('the first text');
    });
  });

  describe('a message that is retracted', () => {
    it.each(PLACES)('is told to who is connected, in %s', async (place) => {
      const service = await startService();
      await createNews(service, 'anna');
      const clients = [await open(service, 'anna', 'phone'), await open(service, 'anna')];
      const { id, topic, seq } = await sendTo(service, place, 'x');
      const { body } = await service.api.delete(`/messages/${id}`).expect(200);
      expect(body).toEqual({ success: true, id, topic, seq });
      const removed = { id: expect.any(String), topic: place, seq: 2, ref: id, refSeq: 1, reason: 'retracted' };
      const counts = place === '@anna' ? { counts: { unseen: 0, unread: 0 } } : {};
      for (const client of clients) expect(await client.next('message:removed')).toEqual({ ...removed, ...counts });
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 0, unread: 0 });
    });

    it('is sent once to a device that had it', async () => {
      const service = await startService();
      const first = await open(service, 'anna', 'phone');
      const { id, seq } = await send(service, 'anna', 'x');
      await first.messages(1);
      await acknowledge(first, '@anna', seq);
      await leave(service, 'anna', first);
      await service.api.delete(`/messages/${id}`).expect(200);
      const second = await open(service, 'anna', 'phone');
      expect(namesOf(second).slice(2)).toEqual(['message:removed', 'sync:done']);
      await acknowledge(second, '@anna', seq + 1);
      await leave(service, 'anna', second);
      expect(namesOf(await open(service, 'anna', 'phone')).slice(2)).toEqual(['sync:done']);
    });
  });

  describe('collapseKey', () => {
    const options = { collapseKey: 'weather' };

    it('removes the one before, then comes the new one', async () => {
      const service = await startService();
      const client = await open(service, 'anna', 'phone');
      const rain = await send(service, 'anna', 'rain', options);
      const sun = await send(service, 'anna', 'sun', options);
      expect([rain.seq, sun.seq]).toEqual([1, 3]);
      await client.settle();
      const counts = { unseen: 1, unread: 1 };
      const entries = toldOf(client, 'message', 'message:removed').slice(1);
      expect(entries.map(({ event }) => event)).toEqual(['message:removed', 'message']);
      expect(entries.map(({ payload }) => payload)).toMatchObject([
        { id: expect.any(String), topic: '@anna', seq: 2, ref: rain.id, reason: 'replaced', counts },
        { id: sun.id, topic: '@anna', seq: 3, data: 'sun', counts },
      ]);
      expect(await countsOf(service, 'anna')).toEqual(counts);
    });

    it('leaves only the newest to an offline user', async () => {
      const service = await startService();
      await leave(service, 'anna', await open(service, 'anna', 'phone'));
      for (const data of ['rain', 'hail', 'snow']) await send(service, 'anna', data, options);
      await send(service, 'anna', 'other', { collapseKey: 'traffic' });
      const sun = await send(service, 'anna', 'sun', options);
      const client = await open(service, 'anna', 'phone');
      expect(client.allMessages.map(({ data }) => data)).toEqual(['other', 'sun']);
      expect(textOf(client)).not.toMatch(/rain|hail|snow/);
      expect(client.allMessages.map(({ seq }) => seq)).toEqual([6, sun.seq]);
      expect(payloadsOf(client, 'sync:done')).toMatchObject([{ counts: { unseen: 2, unread: 2 } }]);
    });

    it.each(['read', 'archived'])('leaves one alone that was %s', async (state) => {
      const service = await startService();
      const client = await open(service, 'anna');
      const rain = await send(service, 'anna', 'rain', options);
      await client.call('state', { ids: [rain.id], state });
      expect((await send(service, 'anna', 'sun', options)).seq).toBe(2);
      await client.settle();
      expect(toldOf(client, 'message:removed')).toEqual([]);
    });
  });

  describe('exceptUserId', () => {
    it.each(['*', 'news'])('keeps a message of %s from one user, live and later', async (place) => {
      const service = await startService();
      await createNews(service, 'anna', 'ben');
      const clients = { anna: await open(service, 'anna', 'phone'), ben: await open(service, 'ben', 'phone') };
      const nameless = await open(service, 'anna');
      await sendTo(service, place, 'for both');
      const hidden = await sendTo(service, place, 'not for anna', { exceptUserId: 'anna' });
      await sendTo(service, place, 'not for anna, live', { exceptUserId: 'anna', persist: false });
      expect((await clients.ben.messages(3)).map(({ data }) => data)).toEqual([
        'for both',
        'not for anna',
        'not for anna, live',
      ]);
      await leave(service, 'anna', clients.anna, nameless);
      const later = await sendTo(service, place, 'later, not for anna', { exceptUserId: 'anna' });
      await service.api.patch(`/messages/${hidden.id}`).send({ data: 'still not for anna' }).expect(200);
      await service.api.delete(`/messages/${later.id}`).expect(200);
      const last = await sendTo(service, place, 'for both again');
      for (const device of ['phone', undefined, 'tablet']) {
        const client = await open(service, 'anna', device);
        expect(client.allMessages.map(({ data }) => data).at(-1)).toBe('for both again');
        expect(textOf(client)).not.toContain('not for anna');
        expect(toldOf(client, 'message:updated', 'message:removed')).toEqual([]);
        const reply = await client.call('history', { topic: place });
        expect(JSON.stringify(reply)).not.toContain('not for anna');
      }
      for (const client of [clients.anna, nameless]) expect(textOf(client)).not.toContain('not for anna');
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 2, unread: 2 });
      const { body } = await as(service, 'anna').get('/inbox').expect(200);
      expect(JSON.stringify(body)).not.toContain('not for anna');
      expect(body.items[0].id).toBe(last.id);
    });
  });

  describe('a message that expires', () => {
    const options = { ttl: 60 };

    it.each(PLACES)('is taken from who is connected, in %s', async (place) => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      await createNews(service, 'anna');
      const clients = [await open(service, 'anna', 'phone'), await open(service, 'anna')];
      const { id } = await sendTo(service, place, 'soon gone', options);
      clock.shift(61_000);
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 0, unread: 0 });
      const counts = place === '@anna' ? { counts: { unseen: 0, unread: 0 } } : {};
      const removed = { topic: place, ref: id, refSeq: 1, reason: 'expired', ...counts };
      for (const client of clients) expect(await client.next('message:removed')).toEqual(removed);
      // It is no entry of the log: the next message follows.
      expect(await sendTo(service, place, 'next')).toMatchObject({ seq: 2 });
    });

    it.each(PLACES)('never reaches who was away, in %s: seq skips', async (place) => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      await createNews(service, 'anna', 'ben');
      const ben = await open(service, 'ben');
      await leave(service, 'anna', await open(service, 'anna', 'phone'));
      await sendTo(service, place, 'first');
      const { id } = await sendTo(service, place, 'soon gone', options);
      await sendTo(service, place, 'last');
      await service.api.patch(`/messages/${id}`).send({ data: 'soon gone too' }).expect(200);
      clock.shift(61_000);
      // Before and after it is swept.
      for (const device of ['phone', 'tablet']) {
        const client = await open(service, 'anna', device);
        expect(client.allMessages.map(({ seq }) => seq)).toEqual([1, 3]);
        expect(textOf(client)).not.toContain('soon gone');
        expect(payloadsOf(client, 'sync:done')).toMatchObject([{ counts: { unseen: 2, unread: 2 } }]);
        if (place === '@anna') continue;
        await ben.next('message:removed');
        await client.settle();
        await service.api.delete('/websocket/users/ben/disconnect').expect(200);
        break;
      }
    });

    it('is not sent to a user whom it was not for', async () => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      const clients = { anna: await open(service, 'anna'), ben: await open(service, 'ben') };
      const { id } = await sendTo(service, '*', 'x', { ...options, exceptUserId: 'anna' });
      clock.shift(61_000);
      expect(await clients.ben.next('message:removed')).toEqual({ topic: '*', ref: id, refSeq: 1, reason: 'expired' });
      await clients.anna.settle();
      expect(toldOf(clients.anna, 'message', 'message:removed')).toEqual([]);
    });

    it('at a given time expires then', async () => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      const client = await open(service, 'anna');
      const expiresAt = new Date(clock.now() + 30_000).toISOString();
      const { id } = await send(service, 'anna', 'x', { expiresAt });
      clock.shift(29_000);
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 1, unread: 1 });
      clock.shift(2_000);
      expect(await client.next('message:removed')).toMatchObject({ ref: id, reason: 'expired' });
    });
  });

  describe('a message that is scheduled', () => {
    async function schedule(service: TestService, data: unknown, options: object): Promise<Sent> {
      const message = { userId: 'anna', type: 'test', data, ...options };
      return (await service.api.post('/websocket/message/user').send(message).expect(202)).body;
    }

    it('arrives at its time with the id that was answered', async () => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      const client = await open(service, 'anna');
      const { id, ...answer } = await schedule(service, 'later', { delay: 60 });
      expect(answer).toEqual({
        success: true,
        message: 'Message scheduled',
        topic: '@anna',
        scheduledFor: expect.stringMatching(ISO_TIME),
      });
      expect(await countsOf(service, 'anna')).toEqual({ unseen: 0, unread: 0 });
      const { seq } = await send(service, 'anna', 'now');
      expect(seq).toBe(1);
      clock.shift(60_000);
      expect((await client.messages(2)).map(({ data }) => data)).toEqual(['now', 'later']);
      expect(client.allMessages[1]).toMatchObject({ id, seq: 2, counts: { unseen: 2, unread: 2 } });
      expect((await service.api.get('/scheduled').expect(200)).body.items).toEqual([]);
    });

    it('arrives after a restart, and late ones in the order of their times', async () => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      const waiting = [];
      for (const minutes of [3, 1, 2]) waiting.push(await schedule(service, minutes, { delay: 60 * minutes }));
      await service.stop();
      clock.shift(200_000);
      const again = await startService({ overrides: { clock }, directory: service.directory });
      const client = await connect(again, 'anna', { device: 'phone' });
      const messages = await client.messages(3);
      expect(messages.map(({ data, seq }) => [data, seq])).toEqual([
        [1, 1],
        [2, 2],
        [3, 3],
      ]);
      expect(new Set(messages.map(({ id }) => id))).toEqual(new Set(waiting.map(({ id }) => id)));
    });

    it('and cancelled never arrives', async () => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      const client = await open(service, 'anna');
      const cancelled = await schedule(service, 'cancelled', { delay: 60 });
      const kept = await schedule(service, 'kept', { delay: 61 });
      await service.api.delete(`/scheduled/${cancelled.id}`).expect(200);
      clock.shift(61_000);
      expect(await client.next('message')).toMatchObject({ id: kept.id, seq: 1, data: 'kept' });
      await service.api.delete(`/scheduled/${kept.id}`).expect(404);
    });

    it('replaces and expires like one that is sent at once', async () => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      const client = await open(service, 'anna');
      const { id } = await send(service, 'anna', 'rain', { collapseKey: 'weather' });
      const sun = await schedule(service, 'sun', { collapseKey: 'weather', delay: 60, ttl: 60 });
      clock.shift(60_000);
      expect(await client.next('message:removed')).toMatchObject({ ref: id, reason: 'replaced', seq: 2 });
      expect((await client.messages(2)).at(-1)).toMatchObject({ id: sun.id, seq: 3 });
      clock.shift(60_000);
      expect(await client.next('message:removed')).toMatchObject({ ref: sun.id, reason: 'expired' });
    });
  });

  describe('sends over a socket take the options too:', () => {
    /** The recipient in the words of both transports. */
    const toBen = { to: 'ben', topic_name: '@ben', type: 'test' };

    it('delay and sendAt', async () => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      const anna = await open(service, 'anna');
      const ben = await open(service, 'ben');
      const reply = (await anna.call('message', { ...toBen, data: 1, delay: 60 })) as unknown as Sent;
      expect(reply).toEqual({
        ok: true,
        success: true,
        message: 'Message scheduled',
        id: expect.any(String),
        topic: '@ben',
        scheduledFor: expect.stringMatching(ISO_TIME),
      });
      const sendAt = new Date(clock.now() + 30_000).toISOString();
      expect(await anna.call('message', { ...toBen, data: 2, sendAt })).toMatchObject({ scheduledFor: sendAt });
      clock.shift(61_000);
      expect((await ben.messages(2)).map(({ data }) => data)).toEqual([2, 1]);
      expect(ben.allMessages[1]?.id).toBe(reply.id);
    });

    it('ttl and expiresAt', async () => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      const anna = await open(service, 'anna');
      const ben = await open(service, 'ben');
      const first = await anna.call('message', { ...toBen, data: 1, ttl: 60 });
      const expiresAt = new Date(clock.now() + 30_000).toISOString();
      const second = await anna.call('message', { ...toBen, data: 2, expiresAt });
      clock.shift(61_000);
      const refs = [(await ben.next('message:removed'))['ref'], (await ben.next('message:removed'))['ref']];
      expect(refs).toEqual([second, first].map((reply) => (reply as unknown as Sent).id));
    });

    it('collapseKey', async () => {
      const service = await startService();
      const anna = await open(service, 'anna');
      const ben = await open(service, 'ben');
      const first = await anna.call('message', { ...toBen, data: 1, collapseKey: 'k' });
      expect(await anna.call('message', { ...toBen, data: 2, collapseKey: 'k' })).toMatchObject({ ok: true, seq: 3 });
      expect(await ben.next('message:removed')).toMatchObject({ ref: (first as unknown as Sent).id });
      expect((await ben.messages(2)).map(({ data }) => data)).toEqual([1, 2]);
    });

    it('exceptUserId', async () => {
      const service = await startService();
      await createNews(service, 'anna', 'ben', 'carla');
      const [anna, ben, carla] = [
        await open(service, 'anna'),
        await open(service, 'ben'),
        await open(service, 'carla'),
      ];
      const toNews = { topic: 'news', topic_name: 'news', type: 'test', data: 1, exceptUserId: 'ben' };
      expect(await anna.call('message', toNews)).toMatchObject({ ok: true, seq: 1 });
      await Promise.all([anna.next('message'), carla.next('message')]);
      await ben.settle();
      expect(ben.allMessages).toEqual([]);
    });
  });

  describe('a new device of a known user', () => {
    it('receives what is unread, and not what was read or archived', async () => {
      const service = await startService();
      await createNews(service, 'anna');
      const first = await open(service, 'anna', 'phone');
      const sent: Sent[] = [];
      for (const place of PLACES) {
        for (const n of range(1, 5)) sent.push(await sendTo(service, place, n));
      }
      const ids = (seq: number) => sent.filter((one) => one.seq === seq).map(({ id }) => id);
      await first.call('state', { ids: ids(2), state: 'read' });
      await first.call('state', { ids: ids(4), state: 'archived' });
      await first.call('state', { ids: ids(5), state: 'seen' });
      await service.api.delete(`/messages/${ids(1)[0]}`).expect(200);
      const further = await open(service, 'anna', 'tablet');
      const got = PLACES.map((place) =>
        further.allMessages.filter(({ topic }) => topic === place).map(({ seq }) => seq),
      );
      expect(got).toEqual([
        [3, 5],
        [1, 3, 5],
        [1, 3, 5],
      ]);
      expect(toldOf(further, 'state', 'message:removed', 'message:updated')).toEqual([]);
      expect(payloadsOf(further, 'sync:done')).toMatchObject([
        { cursors: { '@anna': 6, '*': 5, news: 5 }, counts: await countsOf(service, 'anna') },
      ]);
    });

    it('receives at most the last 100 of them, in pages that it acknowledges, even when it breaks off', async () => {
      const service = await startService();
      const first = await open(service, 'anna');
      const sent = await service.send('anna', range(1, 210));
      await first.messages(210);
      const isRead = (seq: number) => seq % 2 === 0;
      const ids = sent.filter(({ seq }) => isRead(seq)).map(({ id }) => id);
      await first.call('state', { ids, state: 'read' });
      const expected = range(1, 210)
        .filter((seq) => !isRead(seq))
        .slice(-100);
      const tablet = await open(service, 'anna', 'tablet');
      expect(tablet.allMessages.map(({ seq }) => seq)).toEqual(expected);
      await acknowledge(tablet, '@anna', expected[49] ?? 0);
      tablet.close();
      // It is no new device any more, and still does not receive what was read before it came.
      const again = await open(service, 'anna', 'tablet');
      expect(again.allMessages.map(({ seq }) => seq)).toEqual(expected.slice(50));
    });

    it('receives everything from then on', async () => {
      const service = await startService();
      const first = await open(service, 'anna');
      const { id } = await send(service, 'anna', 1);
      await first.call('state', { ids: [id], state: 'read' });
      await leave(service, 'anna', first, await open(service, 'anna', 'tablet'));
      const later = await send(service, 'anna', 2);
      await as(service, 'anna')
        .patch('/inbox', { ids: [later.id], state: 'read' })
        .expect(200);
      const tablet = await open(service, 'anna', 'tablet');
      expect(tablet.allMessages.map(({ seq }) => seq)).toEqual([2]);
      expect(payloadsOf(tablet, 'state')).toMatchObject([{ ids: [later.id], state: 'read' }]);
    });
  });

  describe('a user whose data is erased', () => {
    const reset = { topic: '@anna', reason: 'erased', head: 3 };

    async function erase(service: TestService): Promise<void> {
      const { body } = await service.api.delete('/users/anna/data').expect(200);
      expect(body).toMatchObject({ success: true, userId: 'anna', erased: { messages: 3 } });
    }

    it.each(['phone', undefined])('is notified once on a device that was connected: %s', async (device) => {
      const service = await startService();
      const client = await open(service, 'anna', device);
      const ben = await open(service, 'ben');
      await service.send('anna', range(1, 3));
      await client.messages(3);
      await erase(service);
      expect(await client.next('closing')).toEqual({
        code: 'going_away',
        reason: expect.any(String),
        retryInMs: expect.any(Number),
      });
      await untilAway(service, 'anna');
      const second = await open(service, 'anna', device);
      expect(namesOf(second).slice(2)).toEqual(['sync:reset', 'sync:done']);
      expect(payloadsOf(second, 'sync:reset')).toEqual([reset]);
      expect(payloadsOf(second, 'sync:done')).toMatchObject([{ counts: { unseen: 0, unread: 0 } }]);
      await leave(service, 'anna', second);
      const third = await open(service, 'anna', device);
      expect(namesOf(third).slice(2)).toEqual(['sync:done']);
      expect(await ben.call('ping')).toMatchObject({ ok: true });
    });

    it.each(['phone', undefined])('is notified once on each other device, known or brand new: %s', async (device) => {
      const service = await startService();
      await leave(service, 'anna', await open(service, 'anna', 'known'), await open(service, 'anna', device));
      await service.send('anna', range(1, 3));
      await erase(service);
      for (const each of [device, 'known', 'brand new']) {
        const first = await open(service, 'anna', each);
        expect(namesOf(first).slice(2)).toEqual(['sync:reset', 'sync:done']);
        expect(payloadsOf(first, 'sync:reset')).toEqual([reset]);
        first.close();
      }
      await untilAway(service, 'anna');
      for (const each of [device, 'known', 'brand new']) {
        expect(namesOf(await open(service, 'anna', each)).slice(2)).toEqual(['sync:done']);
      }
    });

    it('receives what is sent afterwards, after what is gone', async () => {
      const service = await startService();
      await service.send('anna', range(1, 3));
      await erase(service);
      expect((await send(service, 'anna', 'after')).seq).toBe(4);
      for (const device of ['phone', undefined]) {
        const client = await open(service, 'anna', device);
        expect(namesOf(client).slice(2)).toEqual(['sync:reset', 'message', 'sync:done']);
        expect(payloadsOf(client, 'sync:reset')).toEqual([{ ...reset, head: 4 }]);
        expect(client.allMessages).toMatchObject([{ seq: 4, data: 'after', counts: { unseen: 1, unread: 1 } }]);
      }
    });

    it('does not receive what was scheduled before', async () => {
      const clock = new ShiftedClock();
      const service = await startService({ overrides: { clock } });
      await service.send('anna', range(1, 3));
      const scheduled = { userId: 'anna', type: 'test', data: 'scheduled before', delay: 60 };
      await service.api.post('/websocket/message/user').send(scheduled).expect(202);
      await service.api
        .post('/websocket/message/user')
        .send({ ...scheduled, userId: 'ben' })
        .expect(202);
      await erase(service);
      const client = await open(service, 'anna');
      const ben = await open(service, 'ben');
      clock.shift(61_000);
      await ben.next('message');
      await client.settle();
      expect(client.allMessages).toEqual([]);
    });
  });
});
