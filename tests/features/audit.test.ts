/** GET /audit: who did what, to how many, and never the content. */
import { get } from 'node:http';
import { eventually } from '../support/eventually';
import { forgeClaims } from '../support/forged-tokens';
import { expectProblem } from '../support/problems';
import { range, startService, type TestService } from '../support/service';
import { as, DAY_MS, ISO_TIME, sendTo, startWithClock } from './callers';

interface Item {
  readonly id: string;
  readonly time: string;
  readonly actor: string;
  readonly action: string;
  readonly outcome: string;
  readonly target?: string;
  readonly messageId?: string;
  readonly count?: number;
  readonly requests?: number;
  readonly requestId?: string;
}

interface Listed {
  readonly items: Item[];
  readonly nextCursor: string | null;
}

async function list(service: TestService, query: Record<string, string> = {}): Promise<Listed> {
  return (await service.api.get('/audit').query(query).expect(200)).body as Listed;
}

async function items(service: TestService, query: Record<string, string> = {}): Promise<Item[]> {
  const found: Item[] = [];
  let cursor: string | null = null;
  do {
    const page = await list(service, { ...query, ...(cursor === null ? {} : { cursor }) });
    found.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return found;
}

/** A text in every body: no entry may contain it. */
const SAID = 'm4rk3r-of-a-body';
const content = { type: SAID, data: { text: SAID } };

interface Recorded {
  readonly name: string;
  readonly request: [method: 'post' | 'patch' | 'delete' | 'get', path: string, body?: object];
  readonly status?: number;
  readonly entry: Partial<Item>;
}

/** In this order: later ones need what earlier ones have made. */
const RECORDED: readonly Recorded[] = [
  {
    name: 'a message to a user',
    request: ['post', '/websocket/message/user', { userId: 'anna', id: 'order-1', ...content }],
    entry: { action: 'send', target: '@anna', messageId: 'order-1', count: 1 },
  },
  {
    name: 'a message that is not stored',
    request: ['post', '/websocket/message/user', { userId: 'anna', persist: false, ...content }],
    entry: { action: 'send', target: '@anna', messageId: expect.any(String), count: 1 },
  },
  {
    name: 'a message to several users',
    request: ['post', '/websocket/message/users', { userIds: ['anna', 'ben', 'anna'], ...content }],
    entry: { action: 'send', count: 2 },
  },
  {
    name: 'a broadcast',
    request: ['post', '/websocket/message/broadcast', content],
    entry: { action: 'broadcast', target: '*', messageId: expect.any(String), count: 1 },
  },
  {
    name: 'a notification',
    request: ['post', '/websocket/notification', { userId: 'ben', title: SAID, body: SAID, data: { text: SAID } }],
    entry: { action: 'send', target: '@ben', messageId: expect.any(String), count: 1 },
  },
  {
    name: 'a message to a topic',
    request: ['post', '/topics/news/messages', content],
    entry: { action: 'send', target: 'news', messageId: expect.any(String), count: 1 },
  },
  {
    name: 'an event over the gateway',
    request: ['post', '/api/gateway/send', { userId: 'anna', event: SAID, message: SAID }],
    entry: { action: 'send', target: '@anna', messageId: expect.any(String), count: 1 },
  },
  {
    name: 'an event to several over the gateway',
    request: ['post', '/api/gateway/send-many', { userIds: ['anna', 'ben'], event: SAID, message: SAID }],
    entry: { action: 'send', count: 2 },
  },
  {
    name: 'a batch, without what was refused of it',
    request: [
      'post',
      '/messages/batch',
      {
        messages: [
          { userId: 'anna', ...content },
          { broadcast: true, ...content },
          { topic: 'unknown', ...content },
        ],
      },
    ],
    entry: { action: 'batch', count: 2 },
  },
  {
    name: 'a message for later',
    request: ['post', '/websocket/message/user', { userId: 'anna', id: 'later', delay: 3_600, ...content }],
    status: 202,
    entry: { action: 'schedule', target: '@anna', messageId: 'later', count: 1 },
  },
  {
    name: 'a message for later to several',
    request: ['post', '/websocket/message/users', { userIds: ['anna', 'ben'], delay: 3_600, ...content }],
    status: 202,
    entry: { action: 'schedule', count: 2 },
  },
  {
    name: 'a broadcast for later',
    request: ['post', '/websocket/message/broadcast', { delay: 3_600, ...content }],
    status: 202,
    entry: { action: 'schedule', target: '*', messageId: expect.any(String), count: 1 },
  },
  {
    name: 'cancelling',
    request: ['delete', '/scheduled/later'],
    entry: { action: 'cancel', messageId: 'later', count: 1 },
  },
  {
    name: 'changing a message',
    request: ['patch', '/messages/order-1', { data: SAID }],
    entry: { action: 'update', target: '@anna', messageId: 'order-1', count: 1 },
  },
  {
    name: 'taking a message back',
    request: ['delete', '/messages/order-1'],
    entry: { action: 'retract', target: '@anna', messageId: 'order-1', count: 1 },
  },
  {
    name: 'deleting the topic of somebody else',
    request: ['delete', '/topics/news'],
    entry: { action: 'delete_topic', target: 'news', count: 2 },
  },
  {
    name: 'exporting a user',
    request: ['get', '/users/nobody/export'],
    entry: { action: 'export', target: '@nobody', count: 1 },
  },
  {
    name: 'disconnecting',
    request: ['delete', '/websocket/users/anna/disconnect'],
    entry: { action: 'disconnect', target: '@anna', count: 1 },
  },
  {
    name: 'revoking',
    request: ['post', '/users/ben/revoke', { jti: SAID }],
    entry: { action: 'revoke', target: '@ben', count: 0 },
  },
  {
    name: 'erasing',
    request: ['delete', '/users/ben/data'],
    entry: { action: 'erase', target: '@ben', count: expect.any(Number) },
  },
];

it('actions of services and administrators have an entry, without message content', async () => {
  const service = await startService();
  await as(service, 'anna').post('/topics').send({ name: 'news' }).expect(201);
  await as(service, 'ben').post('/topics/news/members').expect(200);
  await (await service.connect('anna')).next('sync:done');
  const expected: object[] = [];
  for (const { name, request, status = 200, entry } of RECORDED) {
    const [method, path, body] = request;
    const answer = await (body === undefined ? service.api[method](path) : service.api[method](path).send(body));
    expect({ name, status: answer.status }).toEqual({ name, status });
    const requestId = answer.headers['x-request-id'];
    expected.push({ id: expect.any(String), time: ISO_TIME, actor: 'service', outcome: 'done', requestId, ...entry });
    const [latest] = (await list(service, { limit: '1' })).items;
    expect({ name, ...latest }).toEqual({ name, ...(expected.at(-1) as object) });
  }
  const found = await items(service, { limit: '3' });
  expect(found).toEqual(expected.toReversed());
  expect(JSON.stringify(found)).not.toContain(SAID);
  // As it was, in the store too.
  expect(await items(await service.restart())).toEqual(found);
});

it('actions of users, refusals and repeats have none', async () => {
  const service = await startService();
  const anna = as(service, 'anna');
  const ben = await service.connect('ben');
  await anna.post('/topics').send({ name: 'own' }).expect(201);
  const { body: said } = await anna.post('/topics/own/messages').send(content).expect(200);
  await anna.patch(`/messages/${said.id}`).send({ data: 1 }).expect(200);
  await anna.delete(`/messages/${said.id}`).expect(200);
  await anna.get('/users/anna/export').expect(200);
  await anna.delete('/topics/own').expect(200);
  expect(await ben.call('message', { to: 'anna', ...content })).toMatchObject({ ok: true });
  await anna.delete('/users/ben/data').expect(403);
  await anna.delete('/websocket/users/ben/disconnect').expect(403);
  await service.api.post('/users/ben/revoke').send({ issuedBefore: 'now' }).expect(400);
  await service.api.delete(`/users/${'x'.repeat(129)}/data`).expect(400);
  await service.api.get(`/users/${'x'.repeat(129)}/export`).expect(400);
  await service.api.delete(`/websocket/users/${'x'.repeat(129)}/disconnect`).expect(400);
  await service.api.delete('/topics/unknown').expect(404);
  await service.api.delete('/messages/unknown').expect(404);
  await service.api.delete('/scheduled/unknown').expect(404);
  await service.api
    .post('/websocket/message/user')
    .send({ userId: '', ...content })
    .expect(400);
  await service.api.post('/topics').send({ name: 'of-the-service' }).expect(201);
  await service.api.delete('/topics/of-the-service').expect(200);
  await service.api.get('/users/service/export').expect(200);
  expect(await items(service)).toEqual([]);

  const once = () => sendTo(service.api, 'anna', 1, { id: 'order-1' });
  const underKey = () =>
    service.api
      .post('/websocket/message/user')
      .set('Idempotency-Key', 'key-1')
      .send({ userId: 'anna', ...content })
      .expect(200);
  for (const _each of [1, 2]) {
    await once();
    await underKey();
  }
  expect(await items(service)).toHaveLength(2);
});

it('every caller is a service where scopes are off', async () => {
  const service = await startService({ env: { AUTHORIZATION: 'open' } });
  await sendTo(as(service, 'anna'), 'ben', 1);
  expect(await items(service)).toEqual([expect.objectContaining({ actor: 'anna', action: 'send', target: '@ben' })]);
});

describe('GET /audit', () => {
  it('is for the scope admin', async () => {
    const service = await startService();
    await service.anonymous.get('/audit').expect(401);
    const { body } = await as(service, 'caller', 'send broadcast presence').get('/audit').expect(403);
    expect(body).toMatchObject({ code: 'insufficient_scope', detail: expect.stringContaining('admin') });
    const { body: empty } = await as(service, 'caller', 'admin').get('/audit').expect(200);
    expect(empty).toEqual({ items: [], nextCursor: null });
    await service.api.post('/audit').expect(405).expect('Allow', 'GET, HEAD, OPTIONS');
  });

  it('finds by actor, action and time, page by page', async () => {
    const { service, clock } = await startWithClock();
    const billing = as(service, 'billing', 'send admin');
    for (const n of range(1, 3)) {
      for (const api of [service.api, billing]) await sendTo(api, `user ${n}`, n);
      await billing.delete(`/users/${encodeURIComponent(`user ${n}`)}/data`).expect(200);
      clock.shift(1_000);
    }
    const all = await items(service);
    expect(all).toHaveLength(9);
    expect(all.map(({ time }) => time)).toEqual(
      all
        .map(({ time }) => time)
        .toSorted()
        .reverse(),
    );
    const queries: [Record<string, string>, (item: Item) => boolean][] = [
      [{ actor: 'billing' }, ({ actor }) => actor === 'billing'],
      [{ action: 'erase' }, ({ action }) => action === 'erase'],
      [{ actor: 'billing', action: 'send' }, ({ actor, action }) => actor === 'billing' && action === 'send'],
      [{ actor: 'service', action: 'erase' }, () => false],
      [{ since: all[4]?.time ?? '' }, ({ time }) => time >= (all[4]?.time ?? '')],
      [{ since: '1969-01-01T00:00:00Z' }, () => true],
      [{ since: new Date(clock.now() + DAY_MS).toISOString() }, () => false],
    ];
    for (const [query, isWanted] of queries) {
      for (const limit of ['1', '2', '1000']) {
        expect({ query, found: await items(service, { ...query, limit }) }).toEqual({
          query,
          found: all.filter(isWanted),
        });
      }
    }
  });

  it('shares an entry among many simultaneous requests', async () => {
    const service = await startService();
    const sends = range(1, 60).map((n) => sendTo(service.api, `user ${n}`, n));
    await Promise.all(sends);
    const found = await items(service);
    expect(found.reduce((sum, { count = 0 }) => sum + count, 0)).toBe(60);
    expect(found.reduce((sum, { requests = 1 }) => sum + requests, 0)).toBe(60);
  });

  const OTHER_CURSOR = Buffer.from(JSON.stringify(['users', 'anna'])).toString('base64url');
  const FORGED_CURSOR = Buffer.from(JSON.stringify(['audit', { at: '1', id: 1 }])).toString('base64url');
  it.each([
    ['actor', ''],
    ['actor', 'x'.repeat(129)],
    ['actor', 'a\nb'],
    ['action', 'read'],
    ['action', ''],
    ['since', 'now'],
    ['since', '2026-01-01'],
    ['since', '1700000000'],
    ['limit', '0'],
    ['limit', '1001'],
    ['limit', '1.5'],
    ['cursor', 'abc'],
    ['cursor', OTHER_CURSOR],
    ['cursor', FORGED_CURSOR],
  ])('refuses ?%s=%j', async (path, value) => {
    const service = await startService();
    const { body } = await service.api
      .get('/audit')
      .query({ [path]: value })
      .expect(400);
    expectProblem(body, { status: 400, code: 'bad_request', path });
  });
});

describe('retention', () => {
  it('is AUDIT_RETENTION_DAYS: older entries are removed when the service starts', async () => {
    const { service, clock } = await startWithClock({ env: { AUDIT_RETENTION_DAYS: '10' } });
    await sendTo(service.api, 'anna', 1);
    expect(await items(service)).toHaveLength(1);
    clock.shift(6 * DAY_MS);
    const token = forgeClaims({
      sub: 'service',
      scope: 'send admin',
      exp: Math.floor(clock.now() / 1000) + 40 * 86_400,
    });
    const read = async (url: string) => {
      const response = await fetch(`${url}/audit`, { headers: { Authorization: `Bearer ${token}` } });
      return ((await response.json()) as Listed).items.map(({ target }) => target);
    };
    await fetch(`${service.url}/websocket/message/user`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ userId: 'ben', ...content }),
    });
    expect(await read(service.url)).toEqual(['@ben', '@anna']);
    clock.shift(6 * DAY_MS);
    const again = await service.restart();
    expect(
      await eventually(
        () => read(again.url),
        (targets) => targets.length < 2,
      ),
    ).toEqual(['@ben']);
  });

  it('0 switches the log off, and administrators can still act', async () => {
    const service = await startService({ env: { AUDIT_RETENTION_DAYS: '0' } });
    await sendTo(service.api, 'anna', 1);
    await service.api.delete('/websocket/users/anna/disconnect').expect(200);
    await service.api.delete('/users/anna/data').expect(200);
    await service.api.get('/users/anna/export').expect(200);
    expect(await items(service)).toEqual([]);
  });
});

it('an export whose reader leaves is recorded as failed, with what was written', async () => {
  const service = await startService();
  const data = 'x'.repeat(60_000);
  const messages = range(1, 15).map(() => ({ userId: 'anna', type: 'test', data }));
  for (const _part of range(1, 15)) await service.api.post('/messages/batch').send({ messages }).expect(200);
  const headers = { Authorization: `Bearer ${service.token('admin', 'admin')}` };
  await new Promise<void>((resolve, reject) => {
    get(`${service.url}/users/anna/export`, { headers }, (response) => {
      response.once('data', () => {
        response.destroy();
        resolve();
      });
    }).on('error', reject);
  });
  const [entry] = await eventually(
    () => items(service, { action: 'export' }),
    ([found]) => found?.outcome !== 'begun',
  );
  expect(entry).toMatchObject({ actor: 'admin', action: 'export', outcome: 'failed', target: '@anna' });
  expect(entry?.count).toBeLessThan(15 * 15);
});
