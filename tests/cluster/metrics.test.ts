/** What several nodes count: of each other, of Redis, and of a store that they share. */

import { sendTo } from '../features/callers';
import { MONGODB_URL, startCluster, untilLive } from '../support/cluster';
import { eventually } from '../support/eventually';
import { scrape } from '../support/metrics';
import { describeWith } from '../support/needs';
import { REDIS_SERVER, startRedis } from '../support/redis';
import type { TestService } from '../support/service';

const describeNodes = describeWith(
  'MongoDB (TEST_MONGODB_URL) and redis-server',
  MONGODB_URL !== undefined && REDIS_SERVER !== undefined,
);

const value = async ({ url }: TestService, series: string) => (await scrape(url)).value(series);

describeNodes('two nodes', () => {
  it('count each other, outages of Redis, and messages that no frame announced', async () => {
    const redis = await startRedis();
    const [here, there] = await startCluster({ redisUrl: redis.url });
    if (here === undefined || there === undefined) throw new Error('two nodes are needed');
    for (const node of [here, there]) {
      await eventually(
        () => value(node, 'tidings_cluster_nodes'),
        (nodes) => nodes === 2,
      );
      await eventually(
        () => value(node, 'tidings_cluster_live'),
        (live) => live === 1,
      );
      expect(await value(node, 'tidings_cluster_frames_received_total')).toBeGreaterThan(0);
    }
    const far = await there.connect('anna', { device: 'far' });
    await far.next('sync:done');
    await sendTo(here.api, 'anna', 1);
    await far.messages(1);

    const [outages, healed] = [
      await value(there, 'tidings_cluster_outages_total'),
      await value(there, 'tidings_gaps_healed_total'),
    ];
    await redis.kill();
    await untilLive(there, 'degraded');
    await sendTo(here.api, 'anna', 2);
    await far.messages(1);
    expect(await value(there, 'tidings_cluster_live')).toBe(0);
    expect(await value(there, 'tidings_cluster_outages_total')).toBeGreaterThan(outages);
    await eventually(
      () => value(there, 'tidings_gaps_healed_total'),
      (now) => now > healed,
    );
  });

  it('count what they insert, each its own', async () => {
    const redis = await startRedis();
    const [here, there] = await startCluster({ redisUrl: redis.url });
    if (here === undefined || there === undefined) throw new Error('two nodes are needed');
    const messages = Array.from({ length: 20 }, (_value, n) => ({ userId: 'anna', type: 'test', data: n }));
    await here.api.post('/messages/batch').send({ messages }).expect(200);
    expect(await value(here, 'tidings_store_flush_writes_sum')).toBe(20);
    const flushes = await value(here, 'tidings_store_flush_writes_count');
    // One topic, one queue: what arrived together is inserted together.
    expect(flushes).toBeLessThan(20);
    expect(await value(here, 'tidings_store_flush_duration_seconds_count')).toBe(flushes);
    expect(await value(here, 'tidings_store_flush_duration_seconds_sum')).toBeGreaterThan(0);
    expect(await value(here, 'tidings_store_queued_writes')).toBe(0);
    expect(await value(there, 'tidings_store_flush_writes_sum')).toBe(0);
  });
});
