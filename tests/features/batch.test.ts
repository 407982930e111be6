/** POST /messages/batch: many sends in one request, each of which succeeds or fails alone. */
import * as lmdb from 'lmdb';
import { range, startService, type TestService } from '../support/service';
import { type Api, as, createTopic, dataOf, inboxOf, sendTo, visit } from './callers';

interface Result {
  readonly id?: string;
  readonly topic?: string;
  readonly seq?: number;
  readonly error?: { readonly code: string };
}

async function batch(api: Api, messages: readonly unknown[]): Promise<Result[]> {
  const { body } = await api.post('/messages/batch').send({ messages }).expect(200);
  expect(Object.keys(body as object)).toEqual(['results']);
  const { results } = body as { results: Result[] };
  expect(results).toHaveLength(messages.length);
  return results;
}

const toUser = (userId: string, data: unknown, options: object = {}) => ({ userId, type: 'test', data, ...options });

it('needs scope send', async () => {
  const service = await startService();
  const post = (api: Api) => api.post('/messages/batch').send({ messages: [toUser('anna', 1)] });
  await post(service.anonymous).expect(401);
  const { body } = await post(as(service, 'caller', 'broadcast presence')).expect(403);
  expect(body).toMatchObject({ code: 'insufficient_scope', detail: expect.stringContaining('send') });
  for (const scope of ['send', 'admin']) await post(as(service, 'caller', scope)).expect(200);
});

describe('a batch', () => {
  it('sends to users, topics and everyone, and answers item by item', async () => {
    const service = await startService();
    await createTopic(service, 'news', { owner: 'ben', members: ['anna'] });
    await visit(service, 'anna');
    const results = await batch(service.api, [
      toUser('anna', 1),
      { topic: 'news', type: 'test', data: 2 },
      { broadcast: true, type: 'test', data: 3, event: 'alert' },
      toUser('anna', 4, { id: 'own', ttl: 60, collapseKey: 'k' }),
      toUser('anna', 5, { persist: false }),
    ]);
    const id = expect.stringMatching(/\S/);
    expect(results).toEqual([
      { id, topic: '@anna', seq: 1 },
      { id, topic: 'news', seq: 1 },
      { id, topic: '*', seq: 1 },
      { id: 'own', topic: '@anna', seq: 2 },
      { id, topic: '@anna' },
    ]);
    expect((await dataOf(as(service, 'anna'))).sort()).toEqual([1, 2, 3, 4]);
    expect(await dataOf(as(service, 'ben'), '?topic=news')).toEqual([2]);
  });

  it('takes 1,000 items and keeps their order, stored and live', async () => {
    const service = await startService();
    const client = await service.connect('user3', { device: 'phone' });
    await client.next('sync:done');
    const numbers = range(0, 999);
    const results = await batch(
      service.api,
      numbers.map((n) => toUser(`user${n % 10}`, n)),
    );
    expect(results.map(({ topic, seq }) => ({ topic, seq }))).toEqual(
      numbers.map((n) => ({ topic: `@user${n % 10}`, seq: Math.floor(n / 10) + 1 })),
    );
    expect(new Set(results.map(({ id }) => id)).size).toBe(1_000);
    const own = numbers.filter((n) => n % 10 === 3);
    expect((await client.messages(100)).map(({ data }) => data)).toEqual(own);
    expect(await dataOf(as(await service.restart(), 'user3'), '?limit=200')).toEqual(own.reverse());
  });

  it('shares transactions of the store, and so flushes', async () => {
    const opening = jest.spyOn(lmdb, 'open');
    const service = await startService();
    const [root] = opening.mock.results.map(({ value }) => value as lmdb.RootDatabase);
    opening.mockRestore();
    if (root === undefined) throw new Error('no store was opened');
    const commits = jest.spyOn(root, 'transaction');
    await sendTo(service.api, 'anna', 0);
    expect(commits).toHaveBeenCalledTimes(1);
    await batch(
      service.api,
      range(1, 1_000).map((n) => toUser(`user${n % 7}`, n)),
    );
    // A transaction ends after 20 ms of work: how many that are is the machine's affair, but not one for each message.
    expect(commits.mock.calls.length).toBeLessThan(100);
  });
});

describe('one bad item fails alone:', () => {
  const MAX_MESSAGE_BYTES = 1_000;
  const large = 'x'.repeat(MAX_MESSAGE_BYTES);
  const valid = { type: 'test', data: 1 };
  const past = '2001-01-01T00:00:00Z';
  const rows: [name: string, item: unknown, status: number, code: string, path: string][] = [
    ['null', null, 400, 'bad_request', ''],
    ['a text', 'text', 400, 'bad_request', ''],
    ['a list', [], 400, 'bad_request', ''],
    ['no target', valid, 400, 'bad_request', 'userId'],
    ['two targets', { ...valid, userId: 'bad', topic: 'news' }, 400, 'bad_request', 'userId'],
    ['a target and broadcast', { ...valid, userId: 'bad', broadcast: true }, 400, 'bad_request', 'userId'],
    ['broadcast false', { ...valid, userId: 'bad', broadcast: false }, 400, 'bad_request', 'broadcast'],
    ['broadcast 1', { ...valid, broadcast: 1 }, 400, 'bad_request', 'broadcast'],
    ['userId null', { ...valid, userId: null }, 400, 'bad_request', 'userId'],
    ['userId empty', { ...valid, userId: '' }, 400, 'bad_request', 'userId'],
    ['userId a number', { ...valid, userId: 7 }, 400, 'bad_request', 'userId'],
    ['topic of another form', { ...valid, topic: '@bad' }, 400, 'bad_request', 'topic'],
    ['topic everyone', { ...valid, topic: '*' }, 400, 'bad_request', 'topic'],
    ['topic null', { ...valid, topic: null }, 400, 'bad_request', 'topic'],
    ['an unknown topic', { ...valid, topic: 'unknown' }, 404, 'not_found', 'topic'],
    ['no type', { userId: 'bad', data: 1 }, 400, 'bad_request', 'type'],
    ['no data', { userId: 'bad', type: 't' }, 400, 'bad_request', 'data'],
    ['too much data', toUser('bad', large), 413, 'message_too_large', 'data'],
    ['a reserved event', toUser('bad', 1, { event: 'closing' }), 400, 'bad_request', 'event'],
    ['a bad id', toUser('bad', 1, { id: '' }), 400, 'bad_request', 'id'],
    ['a bad ttl', toUser('bad', 1, { ttl: 0 }), 400, 'bad_request', 'ttl'],
    ['ttl and expiresAt', toUser('bad', 1, { ttl: 1, expiresAt: '2099-01-01T00:00:00Z' }), 400, 'bad_request', 'ttl'],
    ['expiresAt past', toUser('bad', 1, { expiresAt: past }), 400, 'bad_request', 'expiresAt'],
    ['sendAt past', toUser('bad', 1, { sendAt: past }), 400, 'bad_request', 'sendAt'],
    ['delay below 0', toUser('bad', 1, { delay: -1 }), 400, 'bad_request', 'delay'],
    ['collapseKey on a topic', { ...valid, topic: 'news', collapseKey: 'k' }, 400, 'bad_request', 'collapseKey'],
    ['exceptUserId to a user', toUser('bad', 1, { exceptUserId: 'x' }), 400, 'bad_request', 'exceptUserId'],
    ['an id of other content', toUser('anna', 'other', { id: 'first' }), 422, 'idempotency_conflict', 'id'],
  ];

  it.each(rows)('%s', async (_name, item, status, code, path) => {
    const service = await startService({ env: { MAX_MESSAGE_BYTES: String(MAX_MESSAGE_BYTES) } });
    await createTopic(service, 'news', { owner: 'anna' });
    const results = await batch(service.api, [toUser('anna', 1, { id: 'first' }), item, toUser('anna', 2)]);
    expect(results).toEqual([
      { id: 'first', topic: '@anna', seq: 1 },
      {
        error: {
          type: `${service.url}/docs/errors#${code}`,
          title: expect.stringMatching(/\S/),
          status,
          detail: expect.stringMatching(/\S/),
          code,
          errors: [{ path, message: expect.stringMatching(/\S/) }],
        },
      },
      { id: expect.any(String), topic: '@anna', seq: 2 },
    ]);
    expect(await dataOf(as(service, 'anna'))).toEqual([2, 1]);
    expect(await dataOf(as(service, 'bad'))).toEqual([]);
  });

  it('a broadcast without its scope', async () => {
    const service = await startService();
    await visit(service, 'anna');
    const items = [toUser('anna', 1), { broadcast: true, type: 't', data: 2 }, toUser('anna', 3)];
    const results = await batch(as(service, 'caller', 'send'), items);
    expect(results).toMatchObject([
      { seq: 1 },
      { error: { code: 'insufficient_scope', status: 403, detail: expect.stringContaining('broadcast') } },
      { seq: 2 },
    ]);
    expect(await dataOf(as(service, 'anna'))).toEqual([3, 1]);
    for (const scope of ['send broadcast', 'admin']) {
      expect((await batch(as(service, 'caller', scope), items))[1]).toMatchObject({ topic: '*' });
    }
  });

  it('with AUTHORIZATION=open no scope is missing', async () => {
    const service = await startService({ env: { AUTHORIZATION: 'open' } });
    const [result] = await batch(as(service, 'caller'), [{ broadcast: true, type: 't', data: 1 }]);
    expect(result).toMatchObject({ topic: '*', seq: 1 });
  });

  it('an id twice in one batch: the same content once, other content not at all', async () => {
    const service = await startService();
    const results = await batch(service.api, [
      toUser('anna', 1, { id: 'same' }),
      toUser('anna', 1, { id: 'same' }),
      toUser('anna', 2, { id: 'same' }),
      toUser('ben', 1, { id: 'same' }),
    ]);
    expect(results).toMatchObject([
      { id: 'same', topic: '@anna', seq: 1 },
      { id: 'same', topic: '@anna', seq: 1 },
      { error: { code: 'idempotency_conflict' } },
      { error: { code: 'idempotency_conflict' } },
    ]);
    expect(await dataOf(as(service, 'anna'))).toEqual([1]);
    expect(await dataOf(as(service, 'ben'))).toEqual([]);
  });

  it('and all bad items are answered 200 as well', async () => {
    const service = await startService();
    const results = await batch(service.api, [null, {}, []]);
    expect(results.map(({ error }) => error?.code)).toEqual(Array(3).fill('bad_request'));
  });
});

describe('a batch again', () => {
  const messages = [toUser('anna', 1), toUser('anna', ''), { userId: '' }, toUser('anna', 1)];
  const post = (service: TestService, given: readonly unknown[] = messages) =>
    service.api.post('/messages/batch').set('Idempotency-Key', 'key').send({ messages: given });

  it('under its key gives the same results, the errors too', async () => {
    const service = await startService();
    const first = await post(service).expect(200);
    const replay = await post(service).expect(200);
    expect(replay.headers['idempotent-replay']).toBe('true');
    expect(replay.text).toBe(first.text);
    // Items with the same content are separate messages.
    expect(await dataOf(as(service, 'anna'))).toEqual([1, '', 1]);
    await post(service, messages.slice(1)).expect(422);
    expect((await inboxOf(as(service, 'anna'))).items).toHaveLength(3);
  });

  it('with ids of the client stores nothing twice', async () => {
    const service = await startService();
    const items = range(1, 50).map((n) => toUser('anna', n, { id: `id${n}` }));
    const first = await batch(service.api, items);
    expect(await batch(service.api, items)).toEqual(first);
    expect(await dataOf(as(service, 'anna'), '?limit=200')).toHaveLength(50);
  });
});
