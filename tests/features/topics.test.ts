/** The routes under /topics, seen from the people and services that call them. */
import { openLmdbStore } from '../../services/storage/lmdb/store';
import { systemClock } from '../../utils/clock';
import type { Problem } from '../../utils/errors';
import type { Message } from '../../utils/protocol';
import type { TestClient } from '../support/client';
import { range, startService } from '../support/service';
import { temporaryDirectory } from '../support/temporary';
import { type Api, as, ISO_TIME } from './callers';

async function create(api: Api, name: string, isPrivate = false): Promise<void> {
  await api.post('/topics').send({ name, isPrivate }).expect(201);
}

async function join(api: Api, name: string): Promise<void> {
  await api.post(`/topics/${name}/members`).expect(200);
}

async function leave(api: Api, name: string, userId: string): Promise<void> {
  await api.delete(`/topics/${name}/members/${userId}`).expect(200);
}

/** Says a number in a topic. @returns the `seq` it got. */
async function say(api: Api, name: string, n: number): Promise<number> {
  const { body } = await api.post(`/topics/${name}/messages`).send({ type: 'test', data: { n } }).expect(200);
  return (body as { seq: number }).seq;
}

async function sayAll(api: Api, name: string, numbers: readonly number[]): Promise<void> {
  for (const n of numbers) await say(api, name, n);
}

function numberOf({ data }: Message): unknown {
  return (data as { n?: unknown }).n;
}

async function historyOf(api: Api, name: string, query = ''): Promise<Message[]> {
  const { body } = await api.get(`/topics/${name}/messages${query}`).expect(200);
  return (body as { messages: Message[] }).messages;
}

async function membersOf(api: Api, name: string): Promise<string[]> {
  const found: string[] = [];
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const after = cursor === undefined ? '' : `&cursor=${cursor}`;
    const { body } = await api.get(`/topics/${name}/members?limit=1000${after}`).expect(200);
    const page = body as { members: { userId: string }[]; nextCursor: string | null };
    found.push(...page.members.map(({ userId }) => userId));
    cursor = page.nextCursor;
  }
  return found;
}

/** What a client that is up to date has got in a topic, by number. */
async function numbersAfterSync(client: TestClient, topic: string): Promise<unknown[]> {
  await client.next('sync:done');
  return client.allMessages.filter((message) => message.topic === topic).map(numberOf);
}

const ROUTES = [
  ['get', '/topics'],
  ['post', '/topics'],
  ['get', '/topics/secret'],
  ['delete', '/topics/secret'],
  ['get', '/topics/secret/members'],
  ['post', '/topics/secret/members'],
  ['delete', '/topics/secret/members/owner'],
  ['get', '/topics/secret/messages'],
  ['post', '/topics/secret/messages'],
] as const;

it.each(ROUTES)('%s %s wants a token', async (method, path) => {
  const service = await startService();
  const { body } = await service.anonymous[method](path)
    .expect(401)
    .expect('Content-Type', /problem\+json/);
  expect(body).toMatchObject({ code: 'unauthorized' });
});

it.each([
  ['/topics', 'put', 'POST, GET, HEAD, OPTIONS'],
  ['/topics/secret', 'post', 'GET, DELETE, HEAD, OPTIONS'],
  ['/topics/secret/members', 'delete', 'GET, POST, HEAD, OPTIONS'],
  ['/topics/secret/members/owner', 'get', 'DELETE, OPTIONS'],
  ['/topics/secret/messages', 'patch', 'POST, GET, HEAD, OPTIONS'],
] as const)('%s does not know %s', async (path, method, allowed) => {
  const service = await startService();
  const { body } = await service.api[method](path).expect(405).expect('Allow', allowed);
  expect(body).toMatchObject({ code: 'method_not_allowed', status: 405 });
});

describe('creating a topic', () => {
  it('answers 201 with the topic, which is public unless it says otherwise', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    const { body } = await anna.post('/topics').send({ name: 'news' }).expect(201);
    const news = { name: 'news', isPrivate: false, owner: 'anna', createdAt: ISO_TIME, isMember: true };
    expect(body).toEqual(news);
    const secret = await anna.post('/topics').send({ name: 'secret', isPrivate: true, owner: 'ben' }).expect(201);
    expect(secret.body).toEqual({ ...news, name: 'secret', isPrivate: true });
    expect((await anna.get('/topics/news').expect(200)).body).toEqual(body);
    const { body: members } = await anna.get('/topics/news/members').expect(200);
    expect(members).toEqual({ members: [{ userId: 'anna', joinedAt: body.createdAt }], nextCursor: null });
  });

  it('with a taken name is 409 and changes nothing', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    await create(anna, 'secret', true);
    for (const [api, name] of [
      [anna, 'news'],
      [as(service, 'ben'), 'news'],
      [as(service, 'ben'), 'secret'],
    ] as const) {
      const { body } = await api.post('/topics').send({ name, isPrivate: true }).expect(409);
      expect(body).toMatchObject({ code: 'topic_taken', status: 409, errors: [{ path: 'name' }] });
    }
    expect((await anna.get('/topics/news').expect(200)).body).toMatchObject({ isPrivate: false, owner: 'anna' });
    expect(await membersOf(anna, 'secret')).toEqual(['anna']);
  });

  it('with one name by many at once makes one of them the owner', async () => {
    const service = await startService();
    const users = range(1, 20).map((n) => `user${n}`);
    const answers = await Promise.all(users.map((user) => as(service, user).post('/topics').send({ name: 'race' })));
    const winners = answers.filter(({ status }) => status === 201);
    expect(winners).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(19);
    expect(await membersOf(service.api, 'race')).toEqual([winners[0]?.body.owner]);
  });

  it.each(['a', '0', 'Z9', 'a_b', 'a.b', 'a:b', 'a-b', 'a_.:-', '__proto__'.slice(2), 'x'.repeat(64)])(
    'takes the name %j',
    async (name) => {
      const service = await startService();
      const anna = as(service, 'anna');
      await create(anna, name);
      expect((await anna.get(`/topics/${name}`).expect(200)).body).toMatchObject({ name });
      expect(await say(anna, name, 1)).toBe(1);
      expect(await membersOf(anna, name)).toEqual(['anna']);
    },
  );

  it('keeps upper and lower case apart', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    await anna.get('/topics/News').expect(404);
    await create(anna, 'News');
    await say(anna, 'News', 1);
    expect(await historyOf(anna, 'news')).toEqual([]);
  });

  it.each([
    ['name', { name: '' }],
    ['name', { name: 'x'.repeat(65) }],
    ['name', { name: '*' }],
    ['name', { name: '@anna' }],
    ['name', { name: '_a' }],
    ['name', { name: '.a' }],
    ['name', { name: ':a' }],
    ['name', { name: '-a' }],
    ['name', { name: ' a' }],
    ['name', { name: 'a ' }],
    ['name', { name: 'a\n' }],
    ['name', { name: 'a/b' }],
    ['name', { name: 'a b' }],
    ['name', { name: 'a@b' }],
    ['name', { name: 'é' }],
    ['name', { name: 'a\u0000' }],
    ['name', { name: '日本' }],
    ['name', { name: 7 }],
    ['name', { name: null }],
    ['name', { name: ['news'] }],
    ['name', {}],
    ['isPrivate', { name: 'news', isPrivate: 'true' }],
    ['isPrivate', { name: 'news', isPrivate: 1 }],
    ['isPrivate', { name: 'news', isPrivate: null }],
    ['', []],
    ['', 'news'],
  ] as const)('refuses `%s` in %j', async (path, given) => {
    const service = await startService();
    const anna = as(service, 'anna');
    const { body } = await anna
      .post('/topics')
      .set('Content-Type', 'application/json')
      .send(JSON.stringify(given))
      .expect(400)
      .expect('Content-Type', /problem\+json/);
    expect(body).toMatchObject({ code: 'bad_request', errors: [{ path }] });
    expect((await anna.get('/topics').expect(200)).body).toEqual({ topics: [], nextCursor: null });
  });

  it.each(['x'.repeat(65), '%40anna', '*', '_a', 'a%20b', 'a%2Fb', '%C3%A9', 'a%00'])(
    'names outside the grammar are 400 on every route: %s',
    async (name) => {
      const service = await startService();
      const message = { type: 'test', data: 1 };
      for (const call of [
        service.api.get(`/topics/${name}`),
        service.api.delete(`/topics/${name}`),
        service.api.get(`/topics/${name}/members`),
        service.api.post(`/topics/${name}/members`),
        service.api.post(`/topics/${name}/members`).send({ userId: 'ben' }),
        service.api.delete(`/topics/${name}/members/ben`),
        service.api.get(`/topics/${name}/messages`),
        service.api.post(`/topics/${name}/messages`).send(message),
      ]) {
        const { body } = await call.expect(400);
        expect(body).toMatchObject({ code: 'bad_request', errors: [{ path: 'name' }] });
      }
    },
  );
});

describe('many members at once', () => {
  it('are added by one request, and one that fails fails alone', async () => {
    const service = await startService({ env: { MAX_INVITED_TOPICS_PER_USER: '1' } });
    const anna = as(service, 'anna');
    await create(anna, 'other');
    await anna.post('/topics/other/members').send({ userId: 'full' }).expect(200);
    await create(anna, 'news', true);
    const userIds = ['ben', 'full', 'carla', 'ben'];
    const { body } = await anna.post('/topics/news/members').send({ userIds }).expect(200);
    expect(body).toEqual({
      results: [
        { userId: 'ben' },
        { userId: 'full', error: { code: 'invitee_full', detail: expect.any(String) } },
        { userId: 'carla' },
      ],
    });
    expect(await membersOf(anna, 'news')).toEqual(['anna', 'ben', 'carla']);
  });

  it('count as many requests of the caller, even when several arrive at the same moment', async () => {
    const env = { RATE_LIMIT_PER_MINUTE: '5', RATE_LIMIT_SERVICE_PER_MINUTE: '40' };
    const service = await startService({ env });
    const anna = as(service, 'anna');
    await create(anna, 'news');
    const add = (caller: typeof anna, name: string, from: number) =>
      caller.post('/topics/news/members').send({ userIds: range(from, from + 9).map((n) => `${name}${n}`) });
    // The first finds something left of the rate, and uses it up.
    const answers = await Promise.all([1, 11, 21].map((from) => add(anna, 'user', from)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 429, 429]);
    const { body, headers } = answers.find(({ status }) => status === 429) ?? {};
    expect([body.code, body.detail]).toEqual(['rate_limited', expect.stringContaining('RATE_LIMIT_PER_MINUTE')]);
    expect(Number(headers?.['retry-after'])).toBeGreaterThan(0);
    await anna.get('/topics').expect(429);
    // 1 and 10, ten more each time, and then 31 are more than what a service may: 40 are used when the fourth has come.
    const owner = as(service, 'shop', 'send');
    await owner.post('/topics/news/members').expect(200);
    for (const from of [1, 11, 21, 31]) await add(owner, 'customer', from).expect(200);
    await owner.get('/topics').expect(429);
  });

  it('are refused as a whole if the caller may add nobody, or names too many', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'secret', true);
    await as(service, 'stranger')
      .post('/topics/secret/members')
      .send({ userIds: ['ben'] })
      .expect(404);
    const many = range(1, 1_001).map((n) => `user ${n}`);
    for (const body of [{ userIds: [] }, { userIds: many }, { userIds: ['ben'], userId: 'carla' }]) {
      await anna.post('/topics/secret/members').send(body).expect(400);
    }
    expect(await membersOf(anna, 'secret')).toEqual(['anna']);
    await anna
      .post('/topics/secret/members')
      .send({ userIds: many.slice(1) })
      .expect(200);
    expect(await membersOf(anna, 'secret')).toHaveLength(1_001);
  });
});

describe('lists in pages', () => {
  it('of topics and members are complete, and the page token of another list is refused', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    for (const n of range(1, 7)) await create(anna, `topic-${n}`);
    const names: string[] = [];
    let cursor: string | null = null;
    do {
      const path: string = `/topics?limit=3${cursor === null ? '' : `&cursor=${cursor}`}`;
      const page = (await anna.get(path).expect(200)).body as { topics: { name: string }[]; nextCursor: string | null };
      names.push(...page.topics.map(({ name }) => name));
      cursor = page.nextCursor;
      if (cursor !== null) await anna.get(`/topics/topic-1/members?cursor=${cursor}`).expect(400);
    } while (cursor !== null);
    expect(names).toEqual(range(1, 7).map((n) => `topic-${n}`));
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'cursor=x']) {
      await anna.get(`/topics?${query}`).expect(400);
      await anna.get(`/topics/topic-1/members?${query}`).expect(400);
    }
  });

  it('are bounded in bytes, too', async () => {
    const service = await startService({ env: { RATE_LIMIT_PER_MINUTE: '5000' } });
    const anna = as(service, 'anna');
    await create(anna, 'crowd');
    // 1,000 names of 127 characters of three bytes are more than a page has.
    const userIds = range(1, 999).map((n) => `${n}`.padEnd(127, '€'));
    await anna.post('/topics/crowd/members').send({ userIds }).expect(200);
    const { body, text } = await anna.get('/topics/crowd/members?limit=1000').expect(200);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(257 * 1024);
    expect((body as { nextCursor: string | null }).nextCursor).toEqual(expect.any(String));
    expect(await membersOf(anna, 'crowd')).toHaveLength(1_000);
  });
});

describe('the list of topics', () => {
  it('shows the caller’s and the public ones, by name', async () => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(ben, 'public-ben');
    await create(anna, 'hidden-anna', true);
    await create(ben, 'hidden-ben', true);
    await create(ben, 'by-invitation', true);
    await create(anna, 'a-public');
    await ben.post('/topics/by-invitation/members').send({ userId: 'anna' }).expect(200);
    const { body } = await anna.get('/topics').expect(200);
    expect(body).toEqual({
      topics: [
        { name: 'a-public', isPrivate: false, owner: 'anna', createdAt: ISO_TIME, isMember: true },
        { name: 'by-invitation', isPrivate: true, owner: 'ben', createdAt: ISO_TIME, isMember: true },
        { name: 'hidden-anna', isPrivate: true, owner: 'anna', createdAt: ISO_TIME, isMember: true },
        { name: 'public-ben', isPrivate: false, owner: 'ben', createdAt: ISO_TIME, isMember: false },
      ],
      nextCursor: null,
    });
    const stranger = await as(service, 'carla').get('/topics').expect(200);
    expect(stranger.body.topics.map(({ name }: { name: string }) => name)).toEqual(['a-public', 'public-ben']);
  });

  it('is empty at first', async () => {
    const service = await startService();
    expect((await as(service, 'anna').get('/topics').expect(200)).body).toEqual({ topics: [], nextCursor: null });
  });
});

describe('a private topic', () => {
  const calls = [
    ['get', '', undefined],
    ['delete', '', undefined],
    ['get', '/members', undefined],
    ['post', '/members', undefined],
    ['post', '/members', {}],
    ['post', '/members', { userId: 'stranger' }],
    ['post', '/members', { userId: 'carla' }],
    ['delete', '/members/stranger', undefined],
    ['delete', '/members/owner', undefined],
    ['delete', '/members/carla', undefined],
    ['get', '/messages', undefined],
    ['post', '/messages', { type: 'test', data: 1 }],
  ] as const;

  it.each(calls)('is not there for who is not in it: %s …%s %j', async (method, path, given) => {
    const service = await startService();
    const owner = as(service, 'owner');
    await create(owner, 'secret', true);
    const stranger = as(service, 'stranger');
    const problemOf = async (name: string) => {
      const { body } = await stranger[method](`/topics/${name}${path}`).send(given).expect(404);
      const { requestId, ...problem } = body as Problem;
      expect(requestId).toMatch(/\S/);
      return problem;
    };
    const problem = await problemOf('secret');
    expect(problem).toMatchObject({ code: 'not_found', status: 404 });
    // Nothing distinguishes it from a topic that does not exist.
    expect(problem).toEqual(await problemOf('no-such-topic'));
    expect(await membersOf(owner, 'secret')).toEqual(['owner']);
    expect(await historyOf(owner, 'secret')).toEqual([]);
  });

  it('no longer exists for a user who was removed from it', async () => {
    const service = await startService();
    const [owner, ben] = [as(service, 'owner'), as(service, 'ben')];
    await create(owner, 'secret', true);
    await owner.post('/topics/secret/members').send({ userId: 'ben' }).expect(200);
    await ben.get('/topics/secret').expect(200);
    await owner.delete('/topics/secret/members/ben').expect(200);
    for (const path of ['', '/members', '/messages']) await ben.get(`/topics/secret${path}`).expect(404);
    await ben.post('/topics/secret/members').expect(404);
  });

  it('is open to scope admin', async () => {
    const service = await startService();
    await create(as(service, 'owner'), 'secret', true);
    const admin = as(service, 'root', 'admin');
    expect((await admin.get('/topics/secret').expect(200)).body).toMatchObject({ name: 'secret', isMember: false });
    expect(await membersOf(admin, 'secret')).toEqual(['owner']);
    expect(await historyOf(admin, 'secret')).toEqual([]);
    await admin.delete('/topics/secret').expect(200);
    await as(service, 'owner').get('/topics/secret').expect(404);
  });
});

describe('membership', () => {
  it.each([
    ['no body', undefined],
    ['an empty object', {}],
    ['the own name', { userId: 'ben' }],
  ])('of a public topic comes by joining: %s', async (_name, given) => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(anna, 'news');
    const { body } = await ben.post('/topics/news/members').send(given).expect(200);
    expect(body).toEqual({ name: 'news', userId: 'ben' });
    const { body: list } = await ben.get('/topics/news/members').expect(200);
    expect(list).toEqual({
      members: [
        { userId: 'anna', joinedAt: ISO_TIME },
        { userId: 'ben', joinedAt: ISO_TIME },
      ],
      nextCursor: null,
    });
    // Once more changes nothing, not even the time.
    await ben.post('/topics/news/members').send(given).expect(200);
    expect((await ben.get('/topics/news/members').expect(200)).body).toEqual(list);
  });

  it('is seen by everyone who sees the topic', async () => {
    const service = await startService();
    await create(as(service, 'anna'), 'news');
    expect(await membersOf(as(service, 'stranger'), 'news')).toEqual(['anna']);
  });

  it('comes by invitation from a member, at once', async () => {
    const service = await startService();
    const [anna, ben, carla] = [as(service, 'anna'), as(service, 'ben'), as(service, 'carla')];
    await create(anna, 'secret', true);
    const { body } = await anna.post('/topics/secret/members').send({ userId: 'ben' }).expect(200);
    expect(body).toEqual({ name: 'secret', userId: 'ben' });
    expect(await say(ben, 'secret', 1)).toBe(1);
    // Who was invited may invite.
    await ben.post('/topics/secret/members').send({ userId: 'carla' }).expect(200);
    await ben.post('/topics/secret/members').send({ userId: 'carla' }).expect(200);
    expect(await membersOf(carla, 'secret')).toEqual(['anna', 'ben', 'carla']);
  });

  it('is not given by a user who has none', async () => {
    const service = await startService();
    await create(as(service, 'anna'), 'news');
    const { body } = await as(service, 'ben').post('/topics/news/members').send({ userId: 'carla' }).expect(403);
    expect(body).toMatchObject({ code: 'not_a_member', status: 403 });
    expect(await membersOf(service.api, 'news')).toEqual(['anna']);
  });

  it.each([
    ['userId', { userId: '' }],
    ['userId', { userId: 7 }],
    ['userId', { userId: null }],
    ['userId', { userId: 'a\u0007b' }],
    ['userId', { userId: 'x'.repeat(129) }],
    ['', []],
  ])('is refused for a bad `%s`: %j', async (path, given) => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    const { body } = await anna
      .post('/topics/news/members')
      .set('Content-Type', 'application/json')
      .send(JSON.stringify(given))
      .expect(400);
    expect(body).toMatchObject({ code: 'bad_request', errors: [{ path }] });
    expect(await membersOf(anna, 'news')).toEqual(['anna']);
  });

  it('ends by leaving, once', async () => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(anna, 'news');
    await ben.delete('/topics/news/members/ben').expect(404);
    await join(ben, 'news');
    const { body } = await ben.delete('/topics/news/members/ben').expect(200);
    expect(body).toEqual({ success: true, name: 'news', userId: 'ben' });
    expect(await membersOf(anna, 'news')).toEqual(['anna']);
    const again = await ben.delete('/topics/news/members/ben').expect(404);
    expect(again.body).toMatchObject({ code: 'not_found', errors: [{ path: 'userId' }] });
  });

  it('of the owner ends only with the topic', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    for (const api of [anna, as(service, 'root', 'admin')]) {
      const { body } = await api.delete('/topics/news/members/anna').expect(409);
      expect(body).toMatchObject({ code: 'owner_cannot_leave', status: 409 });
    }
    expect(await membersOf(anna, 'news')).toEqual(['anna']);
  });

  it('is ended by the owner or an administrator, and by no other member', async () => {
    const service = await startService();
    const [anna, ben, carla] = [as(service, 'anna'), as(service, 'ben'), as(service, 'carla')];
    await create(anna, 'news');
    for (const api of [ben, carla]) await join(api, 'news');
    for (const [api, userId] of [
      [ben, 'carla'],
      [ben, 'anna'],
      [ben, 'nobody'],
      [as(service, 'stranger'), 'carla'],
    ] as const) {
      const { body } = await api.delete(`/topics/news/members/${userId}`).expect(403);
      expect(body).toMatchObject({ code: 'forbidden', status: 403 });
    }
    expect(await membersOf(anna, 'news')).toEqual(['anna', 'ben', 'carla']);
    const { body } = await anna.delete('/topics/news/members/carla').expect(200);
    expect(body).toEqual({ success: true, name: 'news', userId: 'carla' });
    await anna.delete('/topics/news/members/carla').expect(404);
    await as(service, 'root', 'admin').delete('/topics/news/members/ben').expect(200);
    expect(await membersOf(anna, 'news')).toEqual(['anna']);
  });

  it('of a user whose id needs encoding can be ended', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    const userId = 'a/b c?d#e%20😀';
    await create(anna, 'news');
    await anna.post('/topics/news/members').send({ userId }).expect(200);
    expect(await membersOf(anna, 'news')).toContain(userId);
    await anna.delete(`/topics/news/members/${encodeURIComponent(userId)}`).expect(200);
    expect(await membersOf(anna, 'news')).toEqual(['anna']);
  });

  it('is limited by MAX_TOPICS_PER_USER, whether a user creates or joins', async () => {
    const service = await startService({ env: { MAX_TOPICS_PER_USER: '2' } });
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    for (const name of ['one', 'two']) await create(anna, name);
    await create(ben, 'other');
    await join(ben, 'one');
    const refused = [ben.post('/topics').send({ name: 'third' }), ben.post('/topics/two/members')];
    for (const call of refused) {
      const { body } = await call.expect(403);
      expect(body).toMatchObject({ code: 'too_many_topics', status: 403 });
    }
    await ben.get('/topics/third').expect(404);
    expect(await membersOf(anna, 'two')).toEqual(['anna']);
    // What one is in may be joined again; leaving makes room, deleting too.
    await join(ben, 'one');
    await leave(ben, 'one', 'ben');
    await join(ben, 'two');
    await ben.delete('/topics/other').expect(200);
    await create(ben, 'third');
    await ben.post('/topics').send({ name: 'fourth' }).expect(403);
  });

  it('does not exceed MAX_TOPICS_PER_USER when many come at once', async () => {
    const service = await startService({ env: { MAX_TOPICS_PER_USER: '3' } });
    const anna = as(service, 'anna');
    const names = range(1, 12).map((n) => `topic${n}`);
    const answers = await Promise.all(names.map((name) => anna.post('/topics').send({ name })));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(3);
    expect((await anna.get('/topics').expect(200)).body.topics).toHaveLength(3);
  });

  it('survives a restart, with its messages', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'secret', true);
    await anna.post('/topics/secret/members').send({ userId: 'ben' }).expect(200);
    await sayAll(anna, 'secret', [1, 2]);
    const before = await anna.get('/topics/secret/members').expect(200);
    const topic = await anna.get('/topics/secret').expect(200);
    const again = await service.restart();
    const ben = as(again, 'ben');
    expect((await ben.get('/topics/secret/members').expect(200)).body).toEqual(before.body);
    expect((await ben.get('/topics/secret').expect(200)).body).toEqual(topic.body);
    expect((await historyOf(ben, 'secret')).map(numberOf)).toEqual([1, 2]);
    expect(await say(ben, 'secret', 3)).toBe(3);
    await as(again, 'carla').get('/topics/secret').expect(404);
    await anna.get('/topics/secret').then(
      () => expect('the old service').toBe('stopped'),
      () => undefined,
    );
  });
});

describe('deleting a topic', () => {
  it('is for the owner', async () => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(anna, 'news');
    await join(ben, 'news');
    for (const api of [ben, as(service, 'stranger'), as(service, 'sender', 'send broadcast presence')]) {
      const { body } = await api.delete('/topics/news').expect(403);
      expect(body).toMatchObject({ code: 'forbidden', status: 403 });
    }
    const { body } = await anna.delete('/topics/news').expect(200);
    expect(body).toEqual({ success: true, name: 'news' });
    await anna.delete('/topics/news').expect(404);
    for (const path of ['', '/members', '/messages']) await anna.get(`/topics/news${path}`).expect(404);
    await anna.post('/topics/news/messages').send({ type: 'test', data: 1 }).expect(404);
    await service.api.post('/topics/news/messages').send({ type: 'test', data: 1 }).expect(404);
    await anna.post('/topics/news/members').expect(404);
    expect((await ben.get('/topics').expect(200)).body).toEqual({ topics: [], nextCursor: null });
  });

  it('frees the name: `seq` continues, and nothing of before is shown', async () => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(anna, 'news');
    await join(ben, 'news');
    await sayAll(anna, 'news', [1, 2, 3]);
    await anna.delete('/topics/news').expect(200);
    await create(ben, 'news', true);
    expect((await ben.get('/topics/news').expect(200)).body).toMatchObject({ owner: 'ben', isPrivate: true });
    expect(await membersOf(ben, 'news')).toEqual(['ben']);
    await anna.get('/topics/news').expect(404);
    for (const query of ['', '?after=0', '?before=4', '?after=1&before=4']) {
      expect(await historyOf(ben, 'news', query)).toEqual([]);
    }
    expect(await say(ben, 'news', 4)).toBe(4);
    for (const query of ['', '?after=0']) expect((await historyOf(ben, 'news', query)).map(numberOf)).toEqual([4]);
    const again = await service.restart();
    expect((await historyOf(as(again, 'ben'), 'news', '?after=0')).map(numberOf)).toEqual([4]);
  });

  it('removes the cursors of its members: offline ones receive nothing of it, and no reset', async () => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(anna, 'news');
    await join(ben, 'news');
    (await service.connect('ben', { device: 'phone' })).close();
    await sayAll(anna, 'news', [1, 2, 3]);
    await anna.delete('/topics/news').expect(200);
    const away = await service.connect('ben', { device: 'phone' });
    expect(await away.next('sync:done')).toEqual({ cursors: { '@ben': 0, '*': 0 }, counts: { unseen: 0, unread: 0 } });
    expect(away.allMessages).toEqual([]);
    away.close();
    await create(anna, 'news');
    await join(ben, 'news');
    await say(anna, 'news', 4);
    const back = await service.connect('ben', { device: 'phone' });
    expect(await numbersAfterSync(back, 'news')).toEqual([4]);
    expect(back.received.map(({ event }) => event)).not.toContain('sync:reset');
  });
});

describe('sending to a topic', () => {
  const message = { type: 'chat', data: { text: 'hi' } };

  it('is answered like any other send', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    const { body } = await anna.post('/topics/news/messages').send(message).expect(200);
    const answer = {
      success: true,
      message: 'Message sent to topic news',
      id: expect.stringMatching(/\S/),
      topic: 'news',
      seq: 1,
      connected: false,
      live: 'ok',
    };
    expect(body).toEqual(answer);
    const client = await service.connect('anna');
    expect(await client.next('message')).toEqual({
      id: body.id,
      topic: 'news',
      seq: 1,
      ...message,
      timestamp: ISO_TIME,
      from: 'anna',
    });
    const second = await anna.post('/topics/news/messages').send(message).expect(200);
    expect(second.body).toEqual({ ...answer, seq: 2, connected: true });
    const { seq, ...withoutSeq } = answer;
    expect(seq).toBe(1);
    const live = await anna
      .post('/topics/news/messages')
      .send({ ...message, persist: false })
      .expect(200);
    expect(live.body).toEqual({ ...withoutSeq, connected: true });
    expect((await historyOf(anna, 'news')).map((one) => one.seq)).toEqual([1, 2]);
  });

  it('says who is connected among the members, not among others', async () => {
    const service = await startService();
    await create(as(service, 'anna'), 'news');
    await (await service.connect('stranger')).next('sync:done');
    const { body } = await as(service, 'anna').post('/topics/news/messages').send(message).expect(200);
    expect(body).toMatchObject({ connected: false });
  });

  it('is for members, and for scope send', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    await create(anna, 'secret', true);
    for (const scope of [undefined, 'broadcast presence']) {
      const { body } = await as(service, 'ben', scope).post('/topics/news/messages').send(message).expect(403);
      expect(body).toMatchObject({ code: 'not_a_member', status: 403 });
      await as(service, 'ben', scope).post('/topics/secret/messages').send(message).expect(404);
    }
    for (const [name, scope] of [
      ['news', 'send'],
      ['secret', 'send'],
      ['secret', 'admin'],
    ] as const) {
      await as(service, 'backend', scope).post(`/topics/${name}/messages`).send(message).expect(200);
    }
    expect((await historyOf(anna, 'news')).map(({ from }) => from)).toEqual(['backend']);
    expect((await historyOf(anna, 'secret')).map(({ from }) => from)).toEqual(['backend', 'backend']);
  });

  it('happens once with an id of the client', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    const post = (data: unknown) => anna.post('/topics/news/messages').send({ type: 't', id: 'once', data });
    const first = await post(1).expect(200);
    expect(first.headers['idempotent-replay']).toBeUndefined();
    const again = await post(1).expect(200).expect('Idempotent-Replay', 'true');
    expect(again.body).toMatchObject({ id: 'once', seq: 1 });
    const { body } = await post(2).expect(422);
    expect(body).toMatchObject({ code: 'idempotency_conflict', errors: [{ path: 'id' }] });
    expect(await historyOf(anna, 'news')).toHaveLength(1);
  });

  it('goes to the topic of the path, whatever the body says', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    for (const name of ['news', 'other']) await create(anna, name);
    const { body } = await anna
      .post('/topics/news/messages')
      .send({ ...message, topic: 'other', userId: 'ben', to: 'ben', from: 'ben', seq: 9 })
      .expect(200);
    expect(body).toMatchObject({ topic: 'news', seq: 1 });
    expect((await historyOf(anna, 'news')).map(({ from }) => from)).toEqual(['anna']);
    expect(await historyOf(anna, 'other')).toEqual([]);
  });

  it.each([
    [400, 'type', { data: 1 }],
    [400, 'type', { type: '', data: 1 }],
    [400, 'type', { type: 7, data: 1 }],
    [400, 'data', { type: 't' }],
    [400, 'id', { type: 't', data: 1, id: '' }],
    [400, 'id', { type: 't', data: 1, id: 'x'.repeat(65) }],
    [400, 'event', { type: 't', data: 1, event: 'sync:done' }],
    [400, 'event', { type: 't', data: 1, event: 'connect' }],
    [400, 'persist', { type: 't', data: 1, persist: 'no' }],
    [400, '', []],
    [400, '', 'text'],
    [413, 'data', { type: 't', data: 'x'.repeat(2_000) }],
  ])('answers %i about `%s` and stores nothing: %j', async (status, path, given) => {
    const service = await startService({ env: { MAX_MESSAGE_BYTES: '1000' } });
    const anna = as(service, 'anna');
    await create(anna, 'news');
    const { body } = await anna
      .post('/topics/news/messages')
      .set('Content-Type', 'application/json')
      .send(JSON.stringify(given))
      .expect(status);
    expect(body).toMatchObject({ status, errors: [{ path }] });
    expect(await historyOf(anna, 'news')).toEqual([]);
    expect(await say(anna, 'news', 1)).toBe(1);
  });

  it('with 10,000 members is one append', async () => {
    const directory = temporaryDirectory();
    const store = openLmdbStore(directory, systemClock);
    const createdAt = new Date().toISOString();
    await store.topics.create({ name: 'crowd', isPrivate: true, owner: 'anna', createdAt }, 10);
    const userIds = range(1, 10_000).map((n) => `member${n}`);
    const added = await Promise.all(
      userIds.map((userId) => store.topics.addMember('crowd', { userId, joinedAt: createdAt }, 10)),
    );
    expect(added.filter(({ outcome }) => outcome === 'joined')).toHaveLength(10_000);
    await store.close();
    const service = await startService({ directory });
    const members = await Promise.all(['member1', 'member10000'].map((userId) => service.connect(userId)));
    for (const member of members) await member.next('sync:done');
    const begin = performance.now();
    expect(await say(service.api, 'crowd', 1)).toBe(1);
    const milliseconds = performance.now() - begin;
    process.stdout.write(`a message to a topic of 10,000 members: ${milliseconds.toFixed(1)} ms\n`);
    expect(await say(service.api, 'crowd', 2)).toBe(2);
    for (const member of members) expect((await member.messages(2)).map(({ seq }) => seq)).toEqual([1, 2]);
    // Nothing was written for any one of them.
    for (const userId of ['anna', 'member1', 'member5000']) {
      const { body } = await service.api.post('/websocket/message/user').send({ userId, type: 't', data: 1 });
      expect(body).toMatchObject({ topic: `@${userId}`, seq: 1 });
    }
    expect(await membersOf(service.api, 'crowd')).toHaveLength(10_001);
    const late = await service.connect('member5000');
    expect(await numbersAfterSync(late, 'crowd')).toEqual([1, 2]);
  });
});

describe('the history of a topic', () => {
  it('is given by page', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    await sayAll(anna, 'news', range(1, 60));
    const numbers = async (query: string) => (await historyOf(anna, 'news', query)).map(numberOf);
    expect(await numbers('')).toEqual(range(11, 60));
    expect(await numbers('?limit=200')).toEqual(range(1, 60));
    expect(await numbers('?limit=3')).toEqual([58, 59, 60]);
    expect(await numbers('?before=10&limit=3')).toEqual([7, 8, 9]);
    expect(await numbers('?after=10&limit=3')).toEqual([11, 12, 13]);
    expect(await numbers('?after=10&before=13')).toEqual([11, 12]);
    expect(await numbers('?after=60')).toEqual([]);
    expect(await numbers('?before=1')).toEqual([]);
    expect(await historyOf(anna, 'news', '?limit=1')).toEqual([
      {
        id: expect.any(String),
        topic: 'news',
        seq: 60,
        type: 'test',
        data: { n: 60 },
        timestamp: ISO_TIME,
        from: 'anna',
      },
    ]);
  });

  it.each([
    ['limit', 'limit=0'],
    ['limit', 'limit=201'],
    ['limit', 'limit=ten'],
    ['limit', 'limit=-1'],
    ['limit', 'limit=1.5'],
    ['limit', 'limit='],
    ['limit', 'limit=1&limit=2'],
    ['after', 'after=-1'],
    ['after', 'after=x'],
    ['before', 'before=0'],
    ['before', 'before=1e3'],
  ])('refuses `%s` in ?%s', async (path, query) => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    const { body } = await anna.get(`/topics/news/messages?${query}`).expect(400);
    expect(body).toMatchObject({ code: 'bad_request', errors: [{ path }] });
  });

  it('is for members and administrators; the right to write there does not include reading', async () => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(anna, 'news');
    await create(anna, 'secret', true);
    for (const name of ['news', 'secret']) await say(anna, name, 1);
    for (const api of [ben, as(service, 'backend', 'send broadcast presence')]) {
      const { body } = await api.get('/topics/news/messages').expect(403);
      expect(body).toMatchObject({ code: 'not_a_member', status: 403 });
      await api.get('/topics/secret/messages').expect(404);
    }
    for (const name of ['news', 'secret']) {
      expect(await historyOf(as(service, 'root', 'admin'), name)).toHaveLength(1);
    }
    await join(ben, 'news');
    expect(await historyOf(ben, 'news')).toHaveLength(1);
    await leave(ben, 'news', 'ben');
    await ben.get('/topics/news/messages').expect(403);
  });
});

describe.each([
  ['that names its device', { device: 'phone' }],
  ['that names none', {}],
])('a client %s', (_name, options) => {
  it('receives the messages that were sent in its topics while it was offline', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    await join(as(service, 'ben'), 'news');
    const first = await service.connect('ben', options);
    await first.next('sync:done');
    await say(anna, 'news', 1);
    await first.messages(1);
    await first.call('ack', { topic: 'news', seq: 1 });
    first.close();
    await sayAll(anna, 'news', [2, 3]);
    const again = await service.restart();
    await say(as(again, 'anna'), 'news', 4);
    const back = await again.connect('ben', options);
    expect(await numbersAfterSync(back, 'news')).toEqual([2, 3, 4]);
  });

  it('that has never connected receives the messages since it was invited', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    await create(anna, 'news');
    await say(anna, 'news', 1);
    await anna.post('/topics/news/members').send({ userId: 'ben' }).expect(200);
    await sayAll(anna, 'news', [2, 3]);
    expect(await numbersAfterSync(await service.connect('ben', options), 'news')).toEqual([2, 3]);
  });

  it('starts at the head of a topic that it joins', async () => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(anna, 'news');
    await sayAll(anna, 'news', [1, 2]);
    (await service.connect('ben', options)).close();
    await join(ben, 'news');
    await say(anna, 'news', 3);
    const client = await service.connect('ben', options);
    expect(await numbersAfterSync(client, 'news')).toEqual([3]);
    // Reading back is allowed: it is a member now.
    expect((await historyOf(ben, 'news')).map(numberOf)).toEqual([1, 2, 3]);
  });

  it.each(['away', 'connected'])('skips what was sent between leaving and rejoining: %s', async (state) => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(anna, 'news');
    await join(ben, 'news');
    const first = await service.connect('ben', options);
    await first.next('sync:done');
    await say(anna, 'news', 1);
    await first.messages(1);
    await first.call('ack', { topic: 'news', seq: 1 });
    if (state === 'away') {
      first.close();
      await service.api.delete('/websocket/users/ben/disconnect').expect(200);
    }
    await leave(ben, 'news', 'ben');
    await sayAll(anna, 'news', [2, 3]);
    await join(ben, 'news');
    await sayAll(anna, 'news', [4, 5]);
    if (state === 'connected') {
      expect((await first.messages(2)).map(numberOf)).toEqual([4, 5]);
      await first.settle();
      expect(first.allMessages.map(numberOf)).toEqual([1, 4, 5]);
    } else {
      expect(await numbersAfterSync(await service.connect('ben', options), 'news')).toEqual([4, 5]);
    }
  });

  it('receives nothing of a topic that it has left while offline', async () => {
    const service = await startService();
    const [anna, ben] = [as(service, 'anna'), as(service, 'ben')];
    await create(anna, 'news');
    await join(ben, 'news');
    (await service.connect('ben', options)).close();
    await sayAll(anna, 'news', [1, 2]);
    await leave(ben, 'news', 'ben');
    const client = await service.connect('ben', options);
    expect(await client.next('sync:done')).toEqual({
      cursors: { '@ben': 0, '*': 0 },
      counts: { unseen: 0, unread: 0 },
    });
    expect(client.allMessages).toEqual([]);
  });
});
