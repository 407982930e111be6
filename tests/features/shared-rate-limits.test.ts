import type { Options } from 'express-rate-limit';
import { SharedRateLimits } from '../../features/guards/shared-rate-limits';
import type { Cluster } from '../../services/cluster/contract';

const WINDOW_MS = 60_000;

/** As much of Redis as the counts need, with a switch that takes it down. */
function fakeRedis() {
  const counts = new Map<string, number>();
  const redis = { isAway: false, counts };
  const add = (key: string, count: number) => {
    const total = (counts.get(key) ?? 0) + count;
    counts.set(key, total);
    return total;
  };
  const command = async ([name, ...words]: readonly string[]): Promise<unknown> => {
    if (redis.isAway) throw new Error('Redis is away');
    if (name === 'SCRIPT') return 'sha';
    if (name === 'EVALSHA') return [add(String(words[2]), 1), WINDOW_MS];
    if (name === 'INCRBY') return add(String(words[0]), Number(words[1]));
    throw new Error(`${name} is not expected`);
  };
  const cluster = { isShared: true, prefix: 'tidings:test:', command } as unknown as Cluster;
  return { redis, cluster };
}

function limitsOf(cluster: Cluster): SharedRateLimits {
  const limits = new SharedRateLimits(cluster);
  limits.init({ windowMs: WINDOW_MS } as Options);
  return limits;
}

it('added counts are shared with the requests of all nodes', async () => {
  const { redis, cluster } = fakeRedis();
  const [one, other] = [limitsOf(cluster), limitsOf(cluster)];
  expect((await one.increment('anna')).totalHits).toBe(1);
  expect(await one.add('anna', 5)).toBe(6);
  expect(await other.add('anna', 1)).toBe(7);
  expect((await other.increment('anna')).totalHits).toBe(8);
  expect([...redis.counts]).toEqual([['tidings:test:rate:anna', 8]]);
});

it('while Redis is down each node counts by itself, and together again afterwards', async () => {
  const { redis, cluster } = fakeRedis();
  const limits = limitsOf(cluster);
  expect(await limits.add('anna', 5)).toBe(5);
  redis.isAway = true;
  expect((await limits.increment('anna')).totalHits).toBe(1);
  expect(await limits.add('anna', 3)).toBe(4);
  redis.isAway = false;
  expect(await limits.add('anna', 1)).toBe(6);
});
