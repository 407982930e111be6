/** Sending the same twice: the header Idempotency-Key on every route that sends, and ids that clients make. */
import type { Response } from 'supertest';
import { range, startService, type TestService } from '../support/service';
import { type Api, as, createTopic, DAY_MS, dataOf, inboxOf, startWithClock, visit } from './callers';

const ALL_SCOPES = 'send broadcast presence admin';
const MINUTE_MS = 60_000;

interface SendRoute {
  readonly path: string;
  /** A body that sends this value to anna, once. */
  readonly body: (value: string) => object;
  /** One that is refused. */
  readonly bad: object;
}

const content = (value: string) => ({ type: 'test', data: value });
const ROUTES: SendRoute[] = [
  { path: '/websocket/message/user', body: (value) => ({ userId: 'anna', ...content(value) }), bad: {} },
  { path: '/websocket/message/users', body: (value) => ({ userIds: ['ben', 'anna'], ...content(value) }), bad: {} },
  { path: '/websocket/message/broadcast', body: content, bad: {} },
  { path: '/websocket/notification', body: (value) => ({ userId: 'anna', title: value, body: value }), bad: {} },
  { path: '/api/gateway/send', body: (value) => ({ userId: 'anna', event: 'alert', message: value }), bad: {} },
  {
    path: '/api/gateway/send-many',
    body: (value) => ({ userIds: ['ben', 'anna'], event: 'alert', message: value }),
    bad: {},
  },
  { path: '/topics/news/messages', body: content, bad: {} },
  {
    path: '/messages/batch',
    body: (value) => ({ messages: [{ userId: 'anna', ...content(value) }, { userId: '' }] }),
    bad: { messages: [] },
  },
];

/** Anna gets what any route sends. */
async function listen(service: TestService): Promise<void> {
  await createTopic(service, 'news', { owner: 'ben', members: ['anna'] });
  await visit(service, 'anna');
}

async function post(api: Api, path: string, key: string, body: object): Promise<Response> {
  return api.post(path).set('Idempotency-Key', key).send(body);
}

/** How many messages anna has. */
async function countFor(service: TestService): Promise<number> {
  return (await inboxOf(as(service, 'anna'), '?limit=200')).items.length;
}

const isReplay = ({ headers }: Response) => headers['idempotent-replay'] !== undefined;

describe.each(ROUTES)('Idempotency-Key on $path', ({ path, body, bad }) => {
  it('carries out the request once, and answers the same again, even after a restart', async () => {
    const service = await startService();
    await listen(service);
    const first = await post(service.api, path, 'key', body('one'));
    expect(first.status).toBe(200);
    expect(isReplay(first)).toBe(false);
    const expectReplay = async (running: TestService) => {
      const replay = await post(running.api, path, 'key', body('one'));
      expect(replay.status).toBe(200);
      expect(replay.headers['idempotent-replay']).toBe('true');
      expect(replay.headers['content-type']).toBe(first.headers['content-type']);
      expect(replay.text).toBe(first.text);
      expect(await countFor(running)).toBe(1);
    };
    await expectReplay(service);
    // The answer describes that moment: now a client is connected.
    await service.connect('anna');
    await expectReplay(service);
    await expectReplay(await service.restart());
  });

  it('makes one message of many requests at once', async () => {
    const service = await startService();
    await listen(service);
    const count = path === '/websocket/message/user' ? 100 : 20;
    const answers = await Promise.all(range(1, count).map(() => post(service.api, path, 'key', body('one'))));
    const running = answers.filter(({ status }) => status === 409);
    const answered = answers.filter(({ status }) => status === 200);
    expect(running.length + answered.length).toBe(count);
    expect(answered.filter((answer) => !isReplay(answer))).toHaveLength(1);
    expect(new Set(answered.map(({ text }) => text)).size).toBe(1);
    for (const { body: problem, headers } of running) {
      expect(problem).toMatchObject({ code: 'request_in_progress', status: 409 });
      expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    }
    expect(await countFor(service)).toBe(1);
    expect(isReplay(await post(service.api, path, 'key', body('one')))).toBe(true);
  });

  it('refuses another body under the key', async () => {
    const service = await startService();
    await listen(service);
    await post(service.api, path, 'key', body('one'));
    const other = await post(service.api, path, 'key', body('two'));
    expect(other.status).toBe(422);
    expect(other.body).toMatchObject({ code: 'idempotency_conflict', errors: [{ path: 'Idempotency-Key' }] });
    expect(await countFor(service)).toBe(1);
    expect((await post(service.api, path, 'another', body('two'))).status).toBe(200);
    expect(await countFor(service)).toBe(2);
  });

  it('is separate for each caller', async () => {
    const service = await startService();
    await listen(service);
    await post(service.api, path, 'key', body('one'));
    for (const [index, value] of ['one', 'two'].entries()) {
      const answer = await post(as(service, `other${index}`, ALL_SCOPES), path, 'key', body(value));
      expect(answer.status).toBe(200);
      expect(isReplay(answer)).toBe(false);
    }
    expect(await countFor(service)).toBe(3);
  });

  it('is free again after a request that failed', async () => {
    const service = await startService();
    await listen(service);
    for (const _ of range(1, 2)) {
      const { status, body: problem } = await post(service.api, path, 'key', bad);
      expect({ status, problem }).toMatchObject({ status: 400, problem: { code: 'bad_request' } });
    }
    const answer = await post(service.api, path, 'key', body('one'));
    expect(answer.status).toBe(200);
    expect(isReplay(answer)).toBe(false);
    expect(await countFor(service)).toBe(1);
  });
});

describe('an Idempotency-Key', () => {
  const [{ path, body }] = ROUTES as [SendRoute];

  it('holds for 24 hours', async () => {
    const { service, clock } = await startWithClock();
    const api = as(service, 'service', ALL_SCOPES);
    const first = await post(api, path, 'key', body('one'));
    clock.shift(DAY_MS - MINUTE_MS);
    expect(await post(api, path, 'key', body('one'))).toMatchObject({ status: 200, text: first.text });
    expect((await post(api, path, 'key', body('two'))).status).toBe(422);
    clock.shift(2 * MINUTE_MS);
    const later = await post(api, path, 'key', body('one'));
    expect(later.status).toBe(200);
    expect(isReplay(later)).toBe(false);
    expect(later.body.id).not.toBe(first.body.id);
    expect(await dataOf(as(service, 'anna'))).toEqual(['one', 'one']);
  });

  it('is free for another request after 24 hours', async () => {
    const { service, clock } = await startWithClock();
    const api = as(service, 'service', ALL_SCOPES);
    await post(api, path, 'key', body('one'));
    clock.shift(DAY_MS + MINUTE_MS);
    expect((await post(api, path, 'key', body('two'))).status).toBe(200);
    expect(await dataOf(as(service, 'anna'))).toEqual(['two', 'one']);
  });

  it('is for one route', async () => {
    const service = await startService();
    await listen(service);
    await post(service.api, path, 'key', body('one'));
    for (const other of ROUTES.slice(1)) {
      const { status } = await post(service.api, other.path, 'key', other.body('one'));
      expect({ path: other.path, status }).toEqual({ path: other.path, status: 422 });
    }
    expect(await countFor(service)).toBe(1);
  });

  it('is free again after a topic was missing, a scope was missing, or data was too large', async () => {
    const service = await startService({ env: { MAX_MESSAGE_BYTES: '100' } });
    const say = (data: string, scope = ALL_SCOPES) =>
      post(as(service, 'caller', scope), '/topics/news/messages', 'key', content(data));
    expect((await say('one')).status).toBe(404);
    await listen(service);
    expect((await say('one', '')).status).toBe(403);
    expect((await say('x'.repeat(200))).status).toBe(413);
    const answer = await say('one');
    expect({ status: answer.status, isReplay: isReplay(answer) }).toEqual({ status: 200, isReplay: false });
  });

  it('of a scheduled message answers 202 with the same time, and schedules once', async () => {
    const { service, clock } = await startWithClock();
    const later = { ...body('later'), delay: 60 };
    const first = await post(service.api, path, 'key', later);
    clock.shift(5_000);
    const replay = await post(service.api, path, 'key', later);
    for (const { status } of [first, replay]) expect(status).toBe(202);
    expect(isReplay(replay)).toBe(true);
    expect(replay.text).toBe(first.text);
    const { body: scheduled } = await service.api.get('/scheduled').expect(200);
    expect(scheduled.items).toMatchObject([{ id: first.body.id }]);
  });

  it('of a live message emits it once', async () => {
    const service = await startService();
    const client = await service.connect('anna');
    await client.next('sync:done');
    for (const _ of range(1, 3)) await post(service.api, path, 'key', { ...body('live'), persist: false });
    await client.settle();
    expect(client.allMessages.map(({ data }) => data)).toEqual(['live']);
  });

  it('goes together with an id of the client', async () => {
    const service = await startService();
    const given = { ...body('one'), id: 'order-7' };
    const first = await post(service.api, path, 'key', given);
    expect(first.body).toMatchObject({ id: 'order-7', seq: 1 });
    for (const key of ['key', 'another']) {
      const again = await post(service.api, path, key, given);
      expect({ status: again.status, isReplay: isReplay(again) }).toEqual({ status: 200, isReplay: true });
      expect(again.body).toEqual(first.body);
    }
    expect(await dataOf(as(service, 'anna'))).toEqual(['one']);
  });

  it.each([
    ['one character', 'k'],
    ['255 characters', 'k'.repeat(255)],
    [
      'all visible ASCII',
      Array.from({ length: 95 }, (_value, n) => String.fromCharCode(32 + n))
        .join('')
        .trim(),
    ],
    ['a name of a prototype', '__proto__'],
  ])('may be %s', async (_name, key) => {
    const service = await startService();
    expect((await post(service.api, path, key, body('one'))).status).toBe(200);
    expect(isReplay(await post(service.api, path, key, body('one')))).toBe(true);
    expect(await dataOf(as(service, 'anna'))).toEqual(['one']);
  });

  it('counts upper and lower case apart', async () => {
    const service = await startService();
    for (const key of ['key', 'KEY']) expect(isReplay(await post(service.api, path, key, body('one')))).toBe(false);
    expect(await dataOf(as(service, 'anna'))).toHaveLength(2);
  });
});

describe.each(ROUTES.filter(({ path }) => /user$|broadcast|notification|topics/.test(path)))(
  'an id that the client made, on $path',
  ({ path, body }) => {
    const send = (service: TestService, value: string, id = 'order-7'): Promise<Response> =>
      Promise.resolve(service.api.post(path).send({ ...body(value), id }));

    it('gives the first answer again for the same content', async () => {
      const service = await startService();
      await listen(service);
      const first = await send(service, 'one');
      expect({ status: first.status, isReplay: isReplay(first) }).toEqual({ status: 200, isReplay: false });
      expect(first.body).toMatchObject({ id: 'order-7' });
      const expectReplay = async (running: TestService) => {
        const replay = await send(running, 'one');
        expect(replay.status).toBe(200);
        expect(replay.headers['idempotent-replay']).toBe('true');
        expect(replay.body).toEqual(first.body);
        expect(await countFor(running)).toBe(1);
      };
      await expectReplay(service);
      await expectReplay(await service.restart());
    });

    it('is refused for other content', async () => {
      const service = await startService();
      await listen(service);
      await send(service, 'one');
      const other = await send(service, 'two');
      expect(other.status).toBe(422);
      expect(other.body).toMatchObject({ code: 'idempotency_conflict', errors: [{ path: 'id' }] });
      expect(await countFor(service)).toBe(1);
      expect((await send(service, 'two', 'order-8')).status).toBe(200);
    });
  },
);

it('an id that the client made names one message of its sender, whatever the route', async () => {
  const service = await startService();
  await listen(service);
  const id = 'order-7';
  await service.api.post('/websocket/message/user').send({ userId: 'anna', type: 't', data: 1, id }).expect(200);
  await service.api.post('/websocket/message/user').send({ userId: 'ben', type: 't', data: 1, id }).expect(422);
  await service.api.post('/websocket/message/broadcast').send({ type: 't', data: 1, id }).expect(422);
  await service.api.post('/topics/news/messages').send({ type: 't', data: 1, id }).expect(422);
  expect(await countFor(service)).toBe(1);
});

describe('an id that the client made, after its message', () => {
  const message = { userId: 'anna', type: 't', data: 1, id: 'order-7' };
  const send = (service: TestService, given: object = message) =>
    service.api.post('/websocket/message/user').send(given);

  it('was changed, gives the first answer to the first request', async () => {
    const service = await startService();
    const first = await send(service).expect(200);
    await service.api.patch('/messages/order-7').send({ data: 2 }).expect(200);
    const replay = await send(service).expect(200);
    expect(replay.headers['idempotent-replay']).toBe('true');
    expect(replay.body).toEqual(first.body);
    expect(await dataOf(as(service, 'anna'))).toEqual([2]);
  });

  it.each(['taken back', 'replaced', 'expired'])('was %s, stays taken', async (end) => {
    const { service, clock } = await startWithClock();
    const client = await service.connect('anna');
    await client.next('sync:done');
    const options = { replaced: { collapseKey: 'k' }, expired: { ttl: 60 } }[end] ?? {};
    const first = await send(service, { ...message, ...options }).expect(200);
    if (end === 'taken back') await service.api.delete('/messages/order-7').expect(200);
    if (end === 'replaced') await send(service, { ...message, ...options, id: 'order-8' }).expect(200);
    if (end === 'expired') clock.shift(61_000);
    expect(await client.next('message:removed')).toMatchObject({ ref: 'order-7' });
    const left = await dataOf(as(service, 'anna'));
    const replay = await send(service, { ...message, ...options }).expect(200);
    expect(replay.headers['idempotent-replay']).toBe('true');
    expect(replay.body).toEqual(first.body);
    // To report "sent" for something that nobody will ever see would lose it.
    for (const other of [{ data: 2 }, { type: 'other' }, { userId: 'ben' }]) {
      const { status } = await send(service, { ...message, ...options, ...other });
      expect({ other, status }).toEqual({ other, status: 422 });
    }
    expect(await dataOf(as(service, 'anna'))).toEqual(left);
    expect(await dataOf(as(service, 'ben'))).toEqual([]);
  });
});
