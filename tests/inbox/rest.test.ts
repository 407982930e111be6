/** The routes under /inbox, seen from the user whose messages they are. */

import {
  type Api,
  as,
  broadcast,
  createTopic,
  dataOf,
  ISO_TIME,
  inboxOf,
  say,
  sendTo,
  startWithClock,
  visit,
} from '../features/callers';
import { range, startService, type TestService } from '../support/service';

const NOTHING = { unseen: 0, unread: 0 };

describe.each([
  ['get', '/inbox', 'GET, PATCH, HEAD, OPTIONS', 'delete'],
  ['get', '/inbox/counts', 'GET, HEAD, OPTIONS', 'post'],
  ['patch', '/inbox', 'GET, PATCH, HEAD, OPTIONS', 'put'],
  ['patch', '/inbox/some', 'PATCH, OPTIONS', 'get'],
] as const)('%s %s', (method, path, allowed, other) => {
  it('needs any token', async () => {
    const service = await startService();
    const { body } = await service.anonymous[method](path)
      .expect(401)
      .expect('Content-Type', /problem\+json/);
    expect(body).toMatchObject({ code: 'unauthorized' });
    await as(service, 'anna').get('/inbox').expect(200);
  });

  it(`does not know ${other}`, async () => {
    const service = await startService();
    const { body } = await service.api[other](path).expect(405).expect('Allow', allowed);
    expect(body).toMatchObject({ code: 'method_not_allowed' });
  });
});

/** Five messages of three kinds, a moment apart: what anna lists is `e`, `d`, `c`, `b`, `a`. */
async function fill(service: TestService, tick: () => void): Promise<void> {
  await createTopic(service, 'news', { owner: 'ben' });
  await say(as(service, 'ben'), 'news', 'before anna came');
  await broadcast(service.api, 'before anna came');
  await visit(service, 'anna');
  await as(service, 'anna').post('/topics/news/members').expect(200);
  const sends = [
    () => sendTo(service.api, 'anna', 'a'),
    () => say(as(service, 'ben'), 'news', 'b', { type: 'chat' }),
    () => broadcast(service.api, 'c', { event: 'alert' }),
    () => say(as(service, 'anna'), 'news', 'd'),
    () => sendTo(service.api, 'anna', 'e', { type: 'chat' }),
  ];
  for (const send of sends) {
    tick();
    await send();
  }
}

async function filled(): Promise<{ service: TestService; anna: Api }> {
  const { service, clock } = await startWithClock();
  await fill(service, () => clock.shift(1));
  return { service, anna: as(service, 'anna') };
}

describe('the list', () => {
  it('is empty for a new user', async () => {
    const service = await startService();
    expect(await inboxOf(as(service, 'nobody'))).toEqual({ items: [], nextCursor: null, counts: NOTHING });
  });

  it('has the messages of all topics since the user joined, newest first, as they are delivered', async () => {
    const { anna } = await filled();
    const { items, nextCursor, counts } = await inboxOf(anna);
    const common = { id: expect.stringMatching(/\S/), timestamp: ISO_TIME };
    expect(items).toEqual([
      { ...common, topic: '@anna', seq: 2, type: 'chat', data: 'e', from: 'service', state: 'unseen' },
      { ...common, topic: 'news', seq: 3, type: 'test', data: 'd', from: 'anna', state: 'read' },
      { ...common, topic: '*', seq: 2, type: 'test', data: 'c', from: 'service', state: 'unseen', event: 'alert' },
      { ...common, topic: 'news', seq: 2, type: 'chat', data: 'b', from: 'ben', state: 'unseen' },
      { ...common, topic: '@anna', seq: 1, type: 'test', data: 'a', from: 'service', state: 'unseen' },
    ]);
    expect(nextCursor).toBeNull();
    // One's own message counts as read.
    expect(counts).toEqual({ unseen: 4, unread: 4 });
  });

  it('can be narrowed to a topic, a type and a state', async () => {
    const { anna } = await filled();
    const { items } = await inboxOf(anna);
    await anna.patch(`/inbox/${items[0]?.id}`).send({ state: 'read' }).expect(200);
    await anna.patch(`/inbox/${items[1]?.id}`).send({ state: 'archived' }).expect(200);
    const lists = {
      '': ['e', 'c', 'b', 'a'],
      '?state=unread': ['c', 'b', 'a'],
      '?state=read': ['e'],
      '?state=archived': ['d'],
      '?topic=news': ['b'],
      '?topic=%40anna': ['e', 'a'],
      '?topic=*': ['c'],
      '?type=chat': ['e', 'b'],
      '?type=chat&state=unread': ['b'],
      '?type=test&topic=news&state=archived': ['d'],
      '?type=unknown': [],
      '?topic=unknown': [],
      '?topic=%40ben': [],
    };
    for (const [query, expected] of Object.entries(lists)) {
      expect({ query, data: await dataOf(anna, query) }).toEqual({ query, data: expected });
    }
  });

  it('gives each message once over its pages, whatever arrives meanwhile', async () => {
    const { service, clock } = await startWithClock();
    await createTopic(service, 'news', { owner: 'ben', members: ['anna'] });
    await visit(service, 'anna');
    const anna = as(service, 'anna');
    const sendAll = async (label: string) => {
      for (const send of [sendTo.bind(null, service.api, 'anna'), say.bind(null, as(service, 'ben'), 'news')]) {
        clock.shift(1);
        await send(label);
      }
      // No time passes: these two are of one moment.
      await broadcast(service.api, label);
    };
    for (const n of range(1, 5)) await sendAll(`old ${n}`);
    const before = (await inboxOf(anna, '?limit=200')).items.map(({ id }) => id);
    expect(before).toHaveLength(15);
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page = await inboxOf(anna, `?limit=4${cursor === null ? '' : `&cursor=${cursor}`}`);
      expect(page.items.length).toBeLessThanOrEqual(4);
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor;
      await sendAll('new');
    } while (cursor !== null);
    expect(seen).toEqual(before);
    expect(await dataOf(anna, '?limit=3')).toEqual(['new', 'new', 'new']);
  });

  it('continues under the same filters', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    for (const n of range(1, 9)) await sendTo(service.api, 'anna', n, { type: n % 2 === 0 ? 'even' : 'odd' });
    const first = await inboxOf(anna, '?type=odd&limit=2');
    expect(first.items.map(({ data }) => data)).toEqual([9, 7]);
    const rest = await inboxOf(anna, `?type=odd&cursor=${first.nextCursor}`);
    expect(rest.items.map(({ data }) => data)).toEqual([5, 3, 1]);
    expect(rest.nextCursor).toBeNull();
  });

  it('has 50 by default, and up to 200', async () => {
    const service = await startService();
    const messages = range(1, 201).map((n) => ({ userId: 'anna', type: 'test', data: n }));
    await service.api.post('/messages/batch').send({ messages }).expect(200);
    const anna = as(service, 'anna');
    expect(await dataOf(anna)).toEqual(range(152, 201).reverse());
    expect(await dataOf(anna, '?limit=200')).toEqual(range(2, 201).reverse());
    expect((await inboxOf(anna)).counts).toEqual({ unseen: 201, unread: 201 });
  });

  it('survives a restart, with its states and page tokens', async () => {
    const service = await startService();
    for (const n of range(1, 4)) await sendTo(service.api, 'anna', n);
    const { items, nextCursor } = await inboxOf(as(service, 'anna'), '?limit=2');
    await as(service, 'anna').patch(`/inbox/${items[0]?.id}`).send({ state: 'read' }).expect(200);
    const again = as(await service.restart(), 'anna');
    expect(await dataOf(again, `?cursor=${nextCursor}`)).toEqual([2, 1]);
    expect((await inboxOf(again)).items.map(({ state }) => state)).toEqual(['read', 'unseen', 'unseen', 'unseen']);
  });

  it('loses a topic that the user leaves, and shows the messages from before and after once the user is back', async () => {
    const { anna, service } = await filled();
    await anna.delete('/topics/news/members/anna').expect(200);
    expect(await dataOf(anna)).toEqual(['e', 'c', 'a']);
    await anna.post('/topics/news/members').expect(200);
    await say(as(service, 'ben'), 'news', 'f');
    expect(await dataOf(anna, '?topic=news')).toEqual(['f', 'd', 'b']);
  });
});

describe('the time to live', () => {
  it('removes a message from the list and the counts when the clock says so', async () => {
    const { service, clock } = await startWithClock();
    const anna = as(service, 'anna');
    await createTopic(service, 'news', { owner: 'ben', members: ['anna'] });
    await visit(service, 'anna');
    await sendTo(service.api, 'anna', 'stays');
    await sendTo(service.api, 'anna', 'a minute', { ttl: 60 });
    await say(as(service, 'ben'), 'news', 'an hour', { ttl: 3_600 });
    const expiresAt = new Date(clock.now() + 7_200_000).toISOString();
    await broadcast(service.api, 'two hours', { expiresAt });
    expect((await dataOf(anna)).sort()).toEqual(['a minute', 'an hour', 'stays', 'two hours']);
    expect((await inboxOf(anna)).counts).toEqual({ unseen: 4, unread: 4 });
    const steps: [milliseconds: number, left: string[]][] = [
      [61_000, ['an hour', 'stays', 'two hours']],
      [3_600_000, ['stays', 'two hours']],
      [3_600_000, ['stays']],
    ];
    for (const [milliseconds, left] of steps) {
      clock.shift(milliseconds);
      expect((await dataOf(anna)).sort()).toEqual(left);
      expect((await inboxOf(anna)).counts).toEqual({ unseen: left.length, unread: left.length });
    }
    const again = await service.restart();
    expect(await dataOf(as(again, 'anna'))).toEqual(['stays']);
  });

  it('leaves nothing to change: an expired message is 404', async () => {
    const { service, clock } = await startWithClock();
    const anna = as(service, 'anna');
    const { id } = await sendTo(service.api, 'anna', 1, { ttl: 1 });
    clock.shift(1_001);
    await anna.patch(`/inbox/${id}`).send({ state: 'read' }).expect(404);
    expect(await inboxOf(anna)).toMatchObject({ items: [], counts: NOTHING });
  });
});

async function statesOf(api: Api): Promise<unknown> {
  const open = await inboxOf(api);
  const archived = await inboxOf(api, '?state=archived');
  return Object.fromEntries([...open.items, ...archived.items].map(({ data, state }) => [data, state]));
}

describe('changing states', () => {
  it('of one message answers what has changed and the counts', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    const { id } = await sendTo(service.api, 'anna', 1);
    const change = async (state: string) => (await anna.patch(`/inbox/${id}`).send({ state }).expect(200)).body;
    const unread = { unseen: 0, unread: 1 };
    expect(await change('seen')).toEqual({ success: true, state: 'seen', changed: 1, counts: unread });
    expect(await change('seen')).toEqual({ success: true, state: 'seen', changed: 0, counts: unread });
    expect(await change('read')).toEqual({ success: true, state: 'read', changed: 1, counts: NOTHING });
    // `seen` lowers nothing.
    expect(await change('seen')).toEqual({ success: true, state: 'seen', changed: 0, counts: NOTHING });
    expect(await statesOf(anna)).toEqual({ 1: 'read' });
    expect(await change('archived')).toEqual({ success: true, state: 'archived', changed: 1, counts: NOTHING });
    expect(await change('seen')).toMatchObject({ changed: 0 });
    expect(await statesOf(anna)).toEqual({ 1: 'archived' });
    // `unread` undoes read and archived, not seen.
    expect(await change('unread')).toEqual({ success: true, state: 'unread', changed: 1, counts: unread });
    expect(await statesOf(anna)).toEqual({ 1: 'seen' });
  });

  it('of a list of ids, over topics, repeated ones once', async () => {
    const { anna } = await filled();
    const { items } = await inboxOf(anna);
    const ids = items.filter(({ data }) => data === 'a' || data === 'b').map(({ id }) => id);
    const { body } = await anna
      .patch('/inbox')
      .send({ state: 'read', ids: [...ids, ...ids] })
      .expect(200);
    expect(body).toEqual({ success: true, state: 'read', changed: 2, counts: { unseen: 2, unread: 2 } });
    expect(await statesOf(anna)).toEqual({ a: 'read', b: 'read', c: 'unseen', d: 'read', e: 'unseen' });
  });

  it('of a topic up to a message, of a topic, and of everything; archived ones are skipped', async () => {
    const { service, anna } = await filled();
    for (const n of range(1, 3)) await sendTo(service.api, 'anna', `n${n}`);
    const change = async (what: object) => (await anna.patch('/inbox').send(what).expect(200)).body as object;
    expect(await change({ state: 'archived', topic: '@anna', upTo: 1 })).toMatchObject({ changed: 1 });
    expect(await change({ state: 'read', topic: '@anna', upTo: 3 })).toMatchObject({ changed: 2 });
    expect(await statesOf(anna)).toEqual({
      a: 'archived',
      b: 'unseen',
      c: 'unseen',
      d: 'read',
      e: 'read',
      n1: 'read',
      n2: 'unseen',
      n3: 'unseen',
    });
    expect(await change({ state: 'seen', topic: '@anna' })).toMatchObject({ changed: 2 });
    expect(await change({ state: 'read', topic: 'news' })).toMatchObject({ changed: 1 });
    expect(await statesOf(anna)).toEqual({
      a: 'archived',
      b: 'read',
      c: 'unseen',
      d: 'read',
      e: 'read',
      n1: 'read',
      n2: 'seen',
      n3: 'seen',
    });
    expect(await change({ state: 'read', all: true })).toEqual({
      success: true,
      state: 'read',
      changed: 3,
      counts: NOTHING,
    });
    expect(await change({ state: 'unread', all: true })).toMatchObject({
      changed: 6,
      counts: { unseen: 0, unread: 6 },
    });
    expect(await statesOf(anna)).toMatchObject({ a: 'archived', b: 'seen', c: 'seen', n1: 'seen' });
  });

  it('up to a position from before joining the topic changes nothing', async () => {
    const { anna } = await filled();
    const before = await inboxOf(anna);
    for (const topic of ['news', '*']) {
      const { body } = await anna.patch('/inbox').send({ state: 'read', topic, upTo: 1 }).expect(200);
      expect(body).toMatchObject({ changed: 0, counts: before.counts });
    }
    expect(await inboxOf(anna)).toEqual(before);
  });

  it('up to a position ahead of the topic is refused', async () => {
    const { anna } = await filled();
    const before = await inboxOf(anna);
    const { body } = await anna.patch('/inbox').send({ state: 'read', topic: '@anna', upTo: 3 }).expect(400);
    expect(body).toMatchObject({ code: 'bad_request', errors: [{ path: 'upTo' }] });
    expect(await inboxOf(anna)).toEqual(before);
  });

  it('belongs to one user alone', async () => {
    const service = await startService();
    for (const userId of ['anna', 'ben']) await visit(service, userId);
    const { id } = await broadcast(service.api, 1);
    await as(service, 'anna').patch(`/inbox/${id}`).send({ state: 'read' }).expect(200);
    expect((await inboxOf(as(service, 'anna'))).counts).toEqual(NOTHING);
    expect((await inboxOf(as(service, 'ben'))).counts).toEqual({ unseen: 1, unread: 1 });
  });

  it('is sent to the user’s connections', async () => {
    const service = await startService();
    const client = await service.connect('anna', { device: 'phone' });
    await client.next('sync:done');
    const { id } = await sendTo(service.api, 'anna', 1);
    await as(service, 'anna').patch(`/inbox/${id}`).send({ state: 'read' }).expect(200);
    expect(await client.next('state')).toEqual({ ids: [id], state: 'read', counts: NOTHING });
    await as(service, 'anna').patch('/inbox').send({ state: 'unread', topic: '@anna', upTo: 1 }).expect(200);
    const told = { topic: '@anna', upTo: 1, state: 'unread', counts: { unseen: 0, unread: 1 } };
    expect(await client.next('state')).toEqual(told);
    await as(service, 'anna').patch('/inbox').send({ state: 'archived', all: true }).expect(200);
    expect(await client.next('state')).toEqual({
      all: true,
      cursors: { '@anna': 1 },
      state: 'archived',
      counts: NOTHING,
    });
  });

  it('works on a client-made id of any form', async () => {
    const service = await startService();
    const anna = as(service, 'anna');
    for (const id of ['counts', 'a/b?c#d%', '__proto__', 'ü€😀']) {
      await sendTo(service.api, 'anna', id, { id });
      const { body } = await anna
        .patch(`/inbox/${encodeURIComponent(id)}`)
        .send({ state: 'read' })
        .expect(200);
      expect({ id, ...(body as object) }).toMatchObject({ id, changed: 1 });
    }
  });
});

describe('what is not the caller’s own is 404 and nothing changes:', () => {
  async function prepared() {
    const service = await startService();
    await createTopic(service, 'closed', { owner: 'ben' });
    await visit(service, 'ben');
    const early = await broadcast(service.api, 'before anna came');
    await visit(service, 'anna');
    const foreign = {
      'of another user': (await sendTo(service.api, 'ben', 1)).id,
      'of a topic that one is not in': (await say(as(service, 'ben'), 'closed', 1)).id,
      'of a broadcast before one came': early.id,
      'of a broadcast that is not for one': (await broadcast(service.api, 1, { exceptUserId: 'anna' })).id,
      'that was taken back': (await sendTo(service.api, 'anna', 1)).id,
      'that waits for its time': 'later',
      'that nobody has used': 'unknown',
    };
    await service.api.delete(`/messages/${foreign['that was taken back']}`).expect(200);
    const later = { userId: 'anna', type: 't', data: 1, id: 'later', delay: 600 };
    await service.api.post('/websocket/message/user').send(later).expect(202);
    const own = (await sendTo(service.api, 'anna', 'own')).id;
    return { service, foreign, own };
  }

  it('an id', async () => {
    const { service, foreign } = await prepared();
    for (const [name, id] of Object.entries(foreign)) {
      const { body } = await as(service, 'anna').patch(`/inbox/${id}`).send({ state: 'read' }).expect(404);
      expect({ name, ...(body as object) }).toMatchObject({ name, code: 'not_found', errors: [{ path: 'id' }] });
    }
    expect((await inboxOf(as(service, 'anna'))).counts).toEqual({ unseen: 1, unread: 1 });
    expect((await inboxOf(as(service, 'ben'))).counts.unread).toBe(3);
  });

  it('a list with one such id', async () => {
    const { service, foreign, own } = await prepared();
    for (const [name, id] of Object.entries(foreign)) {
      const { body } = await as(service, 'anna')
        .patch('/inbox')
        .send({ state: 'read', ids: [own, id] })
        .expect(404);
      expect({ name, ...(body as object) }).toMatchObject({ name, code: 'not_found', errors: [{ path: 'ids.1' }] });
    }
    expect((await inboxOf(as(service, 'anna'))).items).toMatchObject([{ data: 'own', state: 'unseen' }]);
  });

  it('a topic', async () => {
    const { service } = await prepared();
    for (const topic of ['closed', '@ben', 'unknown', '~anna', '~ben']) {
      const { body } = await as(service, 'anna').patch('/inbox').send({ state: 'read', topic, upTo: 1 }).expect(404);
      expect({ topic, ...(body as object) }).toMatchObject({ topic, code: 'not_found', errors: [{ path: 'topic' }] });
    }
    // For who never came there are no broadcasts.
    await as(service, 'new').patch('/inbox').send({ state: 'read', topic: '*' }).expect(404);
    expect((await inboxOf(as(service, 'ben'))).counts.unread).toBe(3);
  });
});

describe('the counts', () => {
  it('come with every message to a personal topic, and with sync:done', async () => {
    const service = await startService();
    await sendTo(service.api, 'anna', 1);
    const client = await service.connect('anna', { device: 'phone' });
    expect(await client.next('sync:done')).toMatchObject({ counts: { unseen: 1, unread: 1 } });
    await sendTo(service.api, 'anna', 2);
    await client.next('message');
    expect(await client.next('message')).toMatchObject({ data: 2, counts: { unseen: 2, unread: 2 } });
    await as(service, 'anna').patch('/inbox').send({ state: 'read', all: true }).expect(200);
    await sendTo(service.api, 'anna', 3, { event: 'alert' });
    const [, meta] = await client.nextArgs('alert');
    expect(meta).toMatchObject({ topic: '@anna', seq: 3, counts: { unseen: 1, unread: 1 } });
  });

  it('agree with the list after anything', async () => {
    const { service, clock } = await startWithClock();
    const anna = as(service, 'anna');
    await createTopic(service, 'news', { owner: 'ben', members: ['anna'] });
    await visit(service, 'anna');
    const ids: string[] = [];
    for (const n of range(1, 6)) {
      ids.push((await sendTo(service.api, 'anna', n, n % 2 === 0 ? { ttl: 60 } : {})).id);
      ids.push((await say(as(service, 'ben'), 'news', n)).id);
    }
    const steps = [
      () => anna.patch('/inbox').send({ state: 'read', ids: ids.slice(0, 5) }),
      () => anna.patch(`/inbox/${ids[6]}`).send({ state: 'archived' }),
      () => service.api.delete(`/messages/${ids[7]}`),
      () => service.api.patch(`/messages/${ids[8]}`).send({ data: 'other' }),
      () => anna.patch('/inbox').send({ state: 'unread', topic: 'news', upTo: 2 }),
      () => {
        clock.shift(61_000);
        return anna.get('/inbox');
      },
      () => anna.patch('/inbox').send({ state: 'seen', topic: 'news' }),
    ];
    for (const step of steps) {
      await step().expect(200);
      const { items, counts } = await inboxOf(anna, '?limit=200');
      const unread = items.filter(({ state }) => state === 'unseen' || state === 'seen');
      const unseen = unread.filter(({ state }) => state === 'unseen');
      expect(counts).toEqual({ unseen: unseen.length, unread: unread.length });
    }
  });
});
