/** The inbox of the client shows what the service has, on every device, through cuts and reloads. */
import { memoryStorage, type RequestedState, type StorageAdapter, type TidingsClient } from '../../client/src';
import { as, broadcast, sendTo } from '../features/callers';
import { eventually } from '../support/eventually';
import { type Random, seededRandom } from '../support/random';
import { range, startService, type TestService } from '../support/service';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy';
import { numberIn, openClient, until } from './support';

type Client = ReturnType<typeof openClient>;

/** Opens a client that keeps its inbox, and waits until it has it. */
async function openInbox(service: TestService, userId: string, options: object = {}): Promise<Client> {
  const client = openClient(service.url, { token: service.token(userId), ...options });
  client.inbox.subscribe(() => undefined);
  await until(() => client.inbox.snapshot.isLoaded, Boolean);
  return client;
}

/** What the service has for a user: the list, and counts that were asked for on their own. */
async function truth(service: TestService, userId: string): Promise<{ items: object[]; counts: object }> {
  const api = as(service, userId);
  const [list, counts] = await Promise.all([api.get('/inbox?limit=200'), api.get('/inbox/counts')]);
  return { items: list.body.items, counts: counts.body };
}

function viewOf({ inbox: { items, counts } }: Pick<TidingsClient, 'inbox'>): { items: object[]; counts: object } {
  return { items: [...items], counts };
}

/** Waits until all clients of a user show what the service has. */
async function inStep(service: TestService, userId: string, clients: readonly Client[]): Promise<void> {
  const isSame = (one: object, other: object) => JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
  const look = async () => {
    for (const { inbox } of clients) if (inbox.snapshot.hasMore) await inbox.loadMore();
    return { there: await truth(service, userId), here: clients.map(viewOf) };
  };
  const { there, here } = await eventually(look, (now) => now.here.every((view) => isSame(view, now.there))).catch(
    look,
  );
  // Says what differs when patience has ended.
  for (const view of here) expect(view).toEqual(there);
}

/** The same value with its keys in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([key, part]) => [key, sorted(part)]),
  );
}

it('shows on each device what was read, archived or restored on another', async () => {
  const service = await startService();
  await service.send('anna', range(1, 6));
  const [phone, laptop] = await Promise.all([openInbox(service, 'anna'), openInbox(service, 'anna')]);
  const devices = [phone, laptop];
  await inStep(service, 'anna', devices);
  const ids = phone.inbox.items.map(({ id }) => id);
  const [newest = '', second = '', third = ''] = ids;

  expect(await phone.inbox.markSeen('all')).toEqual({ unseen: 0, unread: 6 });
  await inStep(service, 'anna', devices);
  expect(await phone.inbox.markRead([newest, second])).toEqual({ unseen: 0, unread: 4 });
  await inStep(service, 'anna', devices);
  expect(await laptop.inbox.archive(third)).toEqual({ unseen: 0, unread: 3 });
  await inStep(service, 'anna', devices);
  expect(await laptop.inbox.markRead({ topic: '@anna', upTo: 2 })).toEqual({ unseen: 0, unread: 1 });
  await inStep(service, 'anna', devices);
  expect(await laptop.inbox.markUnread([newest, third])).toEqual({ unseen: 0, unread: 3 });
  await inStep(service, 'anna', devices);
  expect(phone.inbox.items).toHaveLength(6);
  await as(service, 'anna').patch('/inbox').send({ state: 'archived', all: true }).expect(200);
  await inStep(service, 'anna', devices);
  expect([phone.inbox.items, phone.inbox.counts]).toEqual([[], { unseen: 0, unread: 0 }]);
  expect((await phone.inbox.fetch({ state: 'archived', limit: 4 })).items).toHaveLength(4);
});

it('counts what comes without counts: broadcasts, messages to topics, and their retractions', async () => {
  const service = await startService();
  const anna = await openInbox(service, 'anna');
  const ben = await openInbox(service, 'ben');
  await anna.topics.create('news');
  await anna.topics.invite('news', 'ben');
  const { id } = await broadcast(service.api, 'first');
  await broadcast(service.api, 'second', { type: 'announcement', event: 'announcement' });
  const own = await anna.send({ topic: 'news', type: 'test', data: 'own' });
  await inStep(service, 'anna', [anna]);
  await inStep(service, 'ben', [ben]);
  expect([anna.inbox.counts, ben.inbox.counts]).toEqual([
    { unseen: 2, unread: 2 },
    { unseen: 3, unread: 3 },
  ]);
  await ben.inbox.markRead(own.id);
  await service.api.delete(`/messages/${id}`).expect(200);
  await inStep(service, 'anna', [anna]);
  await inStep(service, 'ben', [ben]);
});

it('removes what expires, and replaces what collapses or changes', async () => {
  const service = await startService();
  const anna = await openInbox(service, 'anna');
  await sendTo(service.api, 'anna', 'offer', { ttl: 1 });
  await sendTo(service.api, 'anna', 10, { collapseKey: 'upload' });
  await sendTo(service.api, 'anna', 60, { collapseKey: 'upload' });
  const { id } = await sendTo(service.api, 'anna', 'old');
  await service.api.patch(`/messages/${id}`).send({ data: 'new' }).expect(200);
  await until(
    () => anna.inbox.items.map(({ data }) => data).join(),
    (texts) => texts === 'new,60',
  );
  await inStep(service, 'anna', [anna]);
});

describe('a stranger has sent a message with the id of a service', () => {
  const ORDERS = ['the stranger first', 'the service first'] as const;
  const ID = 'order-42';

  async function sendBoth(service: TestService, order: (typeof ORDERS)[number]): Promise<void> {
    const mallory = openClient(service.url, { token: service.token('mallory') });
    const sends = [
      () => mallory.send({ to: 'anna', type: 'chat', data: 'spam', id: ID }),
      () => sendTo(service.api, 'anna', 'paid', { id: ID }),
    ];
    for (const send of order === 'the stranger first' ? sends : sends.toReversed()) await send();
  }

  it.each(ORDERS)('and changes it: only the message of the stranger is another, %s', async (order) => {
    const service = await startService();
    const anna = await openInbox(service, 'anna');
    await sendBoth(service, order);
    await inStep(service, 'anna', [anna]);
    await as(service, 'mallory').patch(`/messages/${ID}`).send({ data: 'not paid' }).expect(200);
    await inStep(service, 'anna', [anna]);
    expect(anna.inbox.items.map(({ from, data }) => [from, data]).toSorted()).toEqual([
      ['mallory', 'not paid'],
      ['service', 'paid'],
    ]);
  });

  it.each(ORDERS)('and retracts it: the message of the service stays, %s', async (order) => {
    const service = await startService();
    const anna = await openInbox(service, 'anna');
    await sendBoth(service, order);
    await inStep(service, 'anna', [anna]);
    await as(service, 'mallory').delete(`/messages/${ID}`).expect(200);
    await inStep(service, 'anna', [anna]);
    expect(anna.inbox.items.map(({ from, data }) => [from, data])).toEqual([['service', 'paid']]);
  });

  it('and an older service does not say which of the two is gone: the list is read again', async () => {
    const service = await startService();
    const anna = await openInbox(service, 'anna');
    await sendBoth(service, 'the stranger first');
    await inStep(service, 'anna', [anna]);
    const views: unknown[] = [];
    anna.inbox.subscribe(({ items }) => views.push(items.length));
    // What the list lacks, so that reading it again can be seen.
    anna.inbox.receive({
      kind: 'removed',
      topic: '@anna',
      ref: ID,
      refSeq: 2,
      reason: 'retracted',
      counts: anna.inbox.counts,
    });
    anna.inbox.receive({ kind: 'removed', topic: '@anna', ref: ID, reason: 'retracted', counts: anna.inbox.counts });
    await inStep(service, 'anna', [anna]);
    expect(views).toEqual([2, 1, 2]);
  });
});

it('shows what was kept before there is a connection, and the current list after it', async () => {
  const service = await startService();
  const storage = memoryStorage();
  const client = await openInbox(service, 'anna', { storage });
  await service.send('anna', [1, 2]);
  await inStep(service, 'anna', [client]);
  const view = viewOf(client);
  await client.close();
  await service.send('anna', [3]);

  const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
  const storageOfProxy = rename(storage, service.url, `http://127.0.0.1:${proxy.port}`);
  proxy.cut();
  const reloaded = openClient(`http://127.0.0.1:${proxy.port}`, {
    token: service.token('anna'),
    storage: storageOfProxy,
  });
  reloaded.inbox.subscribe(() => undefined);
  await until(
    () => reloaded.inbox.items.length,
    (length) => length === 2,
  );
  expect([viewOf(reloaded), reloaded.inbox.snapshot.isLoaded]).toEqual([view, false]);
  proxy.restore();
  await until(() => reloaded.inbox.snapshot.isLoaded, Boolean);
  await inStep(service, 'anna', [reloaded]);
  expect(reloaded.inbox.items).toHaveLength(3);
});

/** The same storage for the same service under another address. */
function rename(storage: ReturnType<typeof memoryStorage>, from: string, to: string): ReturnType<typeof memoryStorage> {
  const nameOf = (key: string) => key.replace(to, from);
  return {
    getItem: (key) => storage.getItem(nameOf(key)),
    setItem: (key, value) => storage.setItem(nameOf(key), value),
    removeItem: (key) => storage.removeItem(nameOf(key)),
  };
}

describe('a mark without an answer', () => {
  async function setUp() {
    const service = await startService();
    await service.send('anna', range(1, 4));
    const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
    const storage = memoryStorage();
    const open = async (timeoutMs = 50) => {
      const options = { token: service.token('anna'), storage, timeoutMs };
      const client = openClient(proxy.url, options);
      client.inbox.subscribe(() => undefined);
      await until(() => client.inbox.items.length, Boolean);
      return client;
    };
    const isOffline = (client: Client) =>
      until(
        () => client.status,
        (status) => status === 'offline',
      );
    const unread = (count: number) =>
      eventually(
        async () => (await as(service, 'anna').get('/inbox/counts')).body.unread as number,
        (now) => now === count,
      );
    return { service, proxy, open, isOffline, unread };
  }

  it('is kept and repeated, in order, when there is a connection again', async () => {
    const { proxy, open, isOffline, unread } = await setUp();
    const client = await open();
    proxy.cut();
    await isOffline(client);
    const [first = '', second = ''] = client.inbox.items.map(({ id }) => id);
    const marks = [client.inbox.markRead([first, second]), client.inbox.markUnread(second)];
    for (const mark of marks) await expect(mark).rejects.toMatchObject({ code: 'timeout' });
    proxy.restore();
    await unread(3);
    await until(
      () => client.inbox.items.map(({ state }) => state),
      ([state, other]) => state === 'read' && other === 'seen',
    );
    expect(client.errors.filter((code) => code !== 'unreachable')).toEqual([]);
  });

  it('is kept across a reload', async () => {
    const { proxy, open, isOffline, unread } = await setUp();
    const client = await open();
    proxy.cut();
    await isOffline(client);
    const mark = expect(client.inbox.archive({ topic: '@anna', upTo: 2 })).rejects.toMatchObject({ code: 'closed' });
    await client.close();
    await mark;
    proxy.restore();
    await open(15_000);
    await unread(2);
  });

  it('affects, when it was for all, what was shown and nothing newer', async () => {
    const { service, proxy, open, isOffline, unread } = await setUp();
    const client = await open();
    proxy.cut();
    await isOffline(client);
    await expect(client.inbox.markRead('all')).rejects.toMatchObject({ code: 'timeout' });
    await service.send('anna', [5]);
    proxy.restore();
    await unread(1);
  });

  it('is given up, and reported, when the service refuses it', async () => {
    const { proxy, open, isOffline, unread } = await setUp();
    const client = await open();
    proxy.cut();
    await isOffline(client);
    const marks = [client.inbox.markRead('unknown'), client.inbox.markRead({ topic: '@anna', upTo: 1 })];
    for (const mark of marks) await expect(mark).rejects.toMatchObject({ code: 'timeout' });
    proxy.restore();
    await unread(3);
    expect(client.errors.filter((code) => code !== 'unreachable')).toEqual(['not_found']);
  });
});

it('shows nothing of what another user has kept on the same machine', async () => {
  const service = await startService();
  const storage = memoryStorage();
  const anna = await openInbox(service, 'anna', { storage });
  await service.send('anna', [1]);
  await inStep(service, 'anna', [anna]);
  await anna.close();
  const ben = openClient(service.url, { token: service.token('ben'), storage });
  const seen: number[] = [];
  ben.inbox.subscribe(({ items }) => seen.push(items.length));
  await until(() => ben.inbox.snapshot.isLoaded, Boolean);
  expect(new Set(seen)).toEqual(new Set([0]));
});

it('is the same in two tabs, which share a device, and is gone from both after a logout', async () => {
  const service = await startService();
  const kept = new Map<string, string>();
  const storage: StorageAdapter = {
    getItem: (key) => kept.get(key),
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
  const tabs = [await openInbox(service, 'anna', { storage }), await openInbox(service, 'anna', { storage })] as const;
  const handled: string[] = [];
  tabs.forEach((tab, index) => {
    tab.on('message', ({ data }) => handled.push(`${index}: ${numberIn(data)}`));
  });
  expect(tabs[0].device).toBe(tabs[1].device);
  await service.send('anna', [1, 2]);
  await inStep(service, 'anna', tabs);
  await tabs[0].inbox.markRead('all');
  await inStep(service, 'anna', tabs);
  await until(
    () => handled.length,
    (length) => length === 4,
  );
  expect([...handled].sort()).toEqual(['0: 1', '0: 2', '1: 1', '1: 2']);
  await tabs[0].logout();
  await until(
    () => tabs[1].inbox.items.length,
    (length) => length === 0,
  );
  expect([tabs[1].status, tabs[1].errors]).toEqual(['closed', ['logged_out']]);
  expect([...kept.keys()].filter((key) => key.endsWith('inbox'))).toEqual([]);
});

it('reads older messages page by page', async () => {
  const service = await startService();
  const messages = range(1, 120).map((n) => ({ userId: 'anna', type: 'test', data: n }));
  await service.api.post('/messages/batch').send({ messages }).expect(200);
  const anna = await openInbox(service, 'anna');
  expect([anna.inbox.items.length, anna.inbox.snapshot.hasMore]).toEqual([50, true]);
  const [first, twice] = await Promise.all([anna.inbox.loadMore(), anna.inbox.loadMore()]);
  expect([first, twice, anna.inbox.items.length]).toEqual([true, true, 100]);
  await service.send('anna', [121]);
  await until(
    () => anna.inbox.items.length,
    (length) => length === 101,
  );
  expect(await anna.inbox.loadMore()).toBe(false);
  expect(await anna.inbox.loadMore()).toBe(false);
  await inStep(service, 'anna', [anna]);
  expect(anna.inbox.items).toHaveLength(121);
});

describe('whatever happens', () => {
  const STATES: readonly RequestedState[] = ['seen', 'read', 'unread', 'archived'];

  interface World {
    readonly service: TestService;
    readonly random: Random;
    readonly devices: readonly Client[];
    readonly proxy: TcpProxy;
    /** Ids of the messages so far. */
    readonly ids: string[];
  }

  function pick<Value>(random: Random, values: readonly Value[]): Value | undefined {
    return values[random.integer(0, values.length - 1)];
  }

  const send = async ({ service, ids }: World) => {
    ids.push((await sendTo(service.api, 'anna', ids.length)).id);
  };
  const sendToAll = async ({ service, ids }: World) => {
    ids.push((await broadcast(service.api, ids.length)).id);
  };
  const markOnDevice = async ({ random, devices, ids }: World) => {
    const [id, state] = [pick(random, ids), pick(random, STATES)];
    const inbox = pick(random, devices)?.inbox;
    if (id === undefined || inbox === undefined) return;
    if (state === 'seen') await inbox.markSeen(id);
    else if (state === 'read') await inbox.markRead(id);
    else if (state === 'unread') await inbox.markUnread(id);
    else await inbox.archive(id);
  };
  const markElsewhere = async ({ service, random, ids }: World) => {
    const id = pick(random, ids);
    const selector = id === undefined || random.integer(1, 6) === 1 ? { all: true } : { ids: [id] };
    const change = { state: pick(random, STATES), ...selector };
    await as(service, 'anna').patch('/inbox').send(change).expect(200);
  };
  const edit = async ({ service, random, ids }: World) => {
    const id = pick(random, ids);
    if (id !== undefined) await service.api.patch(`/messages/${id}`).send({ data: 'edited' }).expect(200);
  };
  const retract = async ({ service, random, ids }: World) => {
    const [id] = ids.splice(random.integer(0, Math.max(0, ids.length - 1)), 1);
    if (id !== undefined) await service.api.delete(`/messages/${id}`).expect(200);
  };
  const cut = async ({ proxy, devices }: World) => {
    proxy.cut();
    await until(
      () => devices[0]?.status,
      (status) => status === 'offline',
    );
    proxy.restore();
  };
  const STEPS = [send, send, send, sendToAll, sendToAll, markOnDevice, markOnDevice, markElsewhere, edit, retract, cut];

  it('both devices end with the state of the service', async () => {
    const random = seededRandom('client: inbox');
    const service = await startService();
    const proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(new URL(service.url).port) });
    const url = `http://127.0.0.1:${proxy.port}`;
    const devices = [openClient(url, { token: service.token('anna') }), await openInbox(service, 'anna')] as const;
    devices[0].inbox.subscribe(() => undefined);
    const world: World = { service, random, devices, proxy, ids: [] };
    await devices[0].synced();
    for (const _step of range(1, 120)) await pick(random, STEPS)?.(world);
    await inStep(service, 'anna', devices);
    expect(devices.flatMap(({ errors }) => errors).filter((code) => code !== 'unreachable')).toEqual([]);
  });
});
