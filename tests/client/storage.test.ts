/** A storage may fail, be full or contain foreign data: the client reports it and works without. */
import type { StorageAdapter } from '../../client/src';
import { openDevice } from '../../client/src/device';
import { keyOf, Seen } from '../../client/src/seen';
import { defaultStorage, memoryStorage, Shelf } from '../../client/src/storage';
import { range, startService } from '../support/service';
import { openClient, slowStorage, until } from './support';

function failing(works: Partial<StorageAdapter>): StorageAdapter {
  const fail = () => {
    throw new Error('there is no place');
  };
  return { getItem: fail, setItem: fail, removeItem: fail, ...works };
}

describe.each([
  ['at once', failing({})],
  ['later', failing({ getItem: async () => Promise.reject(new Error('locked')) })],
  ['in writing', failing({ getItem: () => null, setItem: async () => Promise.reject(new Error('full')) })],
  ['by what it holds', failing({ getItem: () => '{', setItem: () => undefined })],
])('a storage that fails %s', (_name, storage) => {
  it('is reported, and messages come all the same', async () => {
    const service = await startService();
    const client = openClient(service.url, { token: service.token('anna'), storage });
    const handled: string[] = [];
    client.on('message', ({ id }) => handled.push(id));
    const sent = await service.send('anna', [1, 2]);
    await until(
      () => handled.length,
      (length) => length === 2,
    );
    expect(handled).toEqual(sent.map(({ id }) => id));
    expect(new Set(client.errors)).toEqual(new Set(['storage_failed']));
  });
});

describe('the record of handled messages', () => {
  const placeOf = (n: number) => keyOf({ topic: '@anna', seq: n, id: `m${n}` });

  async function open(storage: StorageAdapter): Promise<Seen> {
    const report = (error: Error) => {
      throw error;
    };
    const seen = new Seen();
    await seen.load(new Shelf(storage, 'test ', report));
    return seen;
  }

  it('survives reloads, for the last thousand, and takes little space', async () => {
    const sizes = new Map<string, number>();
    const items = memoryStorage();
    const storage: StorageAdapter = {
      ...items,
      setItem: (key, value) => {
        sizes.set(key, value.length);
        return items.setItem(key, value);
      },
    };
    let seen = await open(storage);
    for (const n of range(1, 3_000)) {
      await seen.add(placeOf(n));
      if (n % 700 === 0) seen = await open(storage);
    }
    const known = range(1, 3_000).filter((n) => seen.has(placeOf(n)));
    expect(known).toEqual(range(3_001 - known.length, 3_000));
    expect(known.length).toBeGreaterThanOrEqual(960);
    expect(known.length).toBeLessThanOrEqual(1_024);
    expect(sizes.size).toBe(16);
    expect(Math.max(...sizes.values())).toBeLessThan(2_000);
  });

  it('distinguishes by topic, seq and id', async () => {
    const seen = await open(memoryStorage());
    await seen.add(keyOf({ topic: 'a', seq: 1, id: 'x' }));
    const others = [
      { topic: 'b', seq: 1, id: 'x' },
      { topic: 'a', seq: 2, id: 'x' },
      { topic: 'a', seq: 1, id: 'y' },
    ];
    expect(others.map((place) => seen.has(keyOf(place)))).toEqual([false, false, false]);
  });

  it('distinguishes whatever the parts contain', () => {
    const texts = ['x', 'x @a', '@a b', 'b', '" ,', '\\', ''];
    const places = texts.flatMap((topic) => texts.map((id) => ({ topic, seq: 1, id })));
    expect(new Set(places.map(keyOf)).size).toBe(places.length);
  });

  it('is read as version 0.1 wrote it, except for ambiguous keys', async () => {
    const storage = memoryStorage();
    const keys = ['1 x @a', '2 x @a b', '3 m3 news'];
    await storage.setItem('test seen.0', JSON.stringify({ number: 0, keys }));
    const seen = await open(storage);
    const places = [
      { topic: '@a', seq: 1, id: 'x' },
      { topic: '@a b', seq: 2, id: 'x' },
      { topic: 'news', seq: 3, id: 'm3' },
    ];
    expect(places.map((place) => seen.has(keyOf(place)))).toEqual([true, false, true]);
  });

  it('is empty after clear(), in the storage too', async () => {
    const storage = memoryStorage();
    const seen = await open(storage);
    await seen.add(placeOf(1));
    await seen.clear();
    expect([seen.has(placeOf(1)), (await open(storage)).has(placeOf(1))]).toEqual([false, false]);
  });
});

describe('the name of the device', () => {
  it.each([
    ['at once', memoryStorage],
    ['later', slowStorage],
  ])('is one for all concurrent clients, with a storage that answers %s', async (_name, newStorage) => {
    const service = await startService();
    const storage = newStorage();
    const clients = [1, 2, 3].map(() => openClient(service.url, { token: service.token('anna'), storage }));
    await Promise.all(clients.map((client) => client.synced()));
    const { body } = await service.api.get('/websocket/users/anna/status').expect(200);
    expect([new Set(clients.map(({ device }) => device)).size, body.devices]).toEqual([1, 1]);
  });

  it('is made under a lock that tabs share, where there is one', async () => {
    const storage = memoryStorage();
    const names: string[] = [];
    const locks = {
      request: async (name: string, work: () => Promise<string>) => {
        names.push(name);
        // Another tab was first.
        await storage.setItem('test device', 'theirs');
        return work();
      },
    };
    Object.defineProperty(globalThis, 'navigator', { value: { locks }, configurable: true });
    const shelf = new Shelf(storage, 'test ', () => undefined);
    expect([await openDevice(shelf), names]).toEqual(['theirs', ['test device']]);
  });
});

it('is memory where a page has no storage', () => {
  const page = globalThis as { window?: object };
  for (const localStorage of [null, undefined]) {
    page.window = { document: {}, localStorage };
    const storage = defaultStorage();
    expect([storage.setItem('a', 'b'), storage.getItem('a')]).toEqual([undefined, 'b']);
  }
  page.window = {
    document: {},
    get localStorage(): never {
      throw new Error('denied');
    },
  };
  expect(defaultStorage().getItem('a')).toBeUndefined();
  delete page.window;
});

it('is not used when it never answers', async () => {
  jest.useFakeTimers();
  try {
    const never = () => new Promise<never>(() => undefined);
    const errors: string[] = [];
    const storage = { getItem: never, setItem: never, removeItem: never };
    const shelf = new Shelf(storage, 'test ', ({ code }) => errors.push(code));
    const all = Promise.all([shelf.get('a'), shelf.set('a', 'b'), shelf.remove('a')]);
    await jest.advanceTimersByTimeAsync(5_000);
    expect([await all, errors]).toEqual([[undefined, undefined, undefined], Array(3).fill('storage_failed')]);
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
  }
});
