/** A storage may fail, be full or hold what somebody else has written: the client says so and does without. */
import type { StorageAdapter } from '../../client/src';
import { keyOf, Seen } from '../../client/src/seen';
import { memoryStorage, Shelf } from '../../client/src/storage';
import { range, startService } from '../support/service';
import { openClient, until } from './support';

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
  it('is told, and messages come all the same', async () => {
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

describe('what was handled', () => {
  const placeOf = (n: number) => keyOf({ topic: '@anna', seq: n, id: `m${n}` });

  async function open(storage: StorageAdapter): Promise<Seen> {
    const report = (error: Error) => {
      throw error;
    };
    const seen = new Seen();
    await seen.load(new Shelf(storage, 'test ', report));
    return seen;
  }

  it('is known through reloads, the last thousand of it, and is kept in little', async () => {
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

  it('is told apart by topic, seq and id', async () => {
    const seen = await open(memoryStorage());
    await seen.add(keyOf({ topic: 'a', seq: 1, id: 'x' }));
    const others = [
      { topic: 'b', seq: 1, id: 'x' },
      { topic: 'a', seq: 2, id: 'x' },
      { topic: 'a', seq: 1, id: 'y' },
    ];
    expect(others.map((place) => seen.has(keyOf(place)))).toEqual([false, false, false]);
  });

  it('is gone after clear(), in the storage too', async () => {
    const storage = memoryStorage();
    const seen = await open(storage);
    await seen.add(placeOf(1));
    await seen.clear();
    expect([seen.has(placeOf(1)), (await open(storage)).has(placeOf(1))]).toEqual([false, false]);
  });
});
