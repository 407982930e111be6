/** What nodes publish while Redis answers nothing, and how they treat frames of another version. */
import { createSecretKey, type KeyObject, randomUUID } from 'node:crypto';
import { RedisCluster } from '../../../services/cluster/redis';
import { systemClock } from '../../../utils/clock';
import type { ClusterFrame } from '../../../utils/cluster-protocol';
import { captureLog } from '../../support/captured-log';
import { eventually } from '../../support/eventually';
import { describeWith } from '../../support/needs';
import { REDIS_SERVER, startRedis } from '../../support/redis';
import { range } from '../../support/service';
import { startTcpProxy } from '../../support/tcp-proxy';
import { onTestEnd } from '../../support/temporary';

const MAX_LENGTH_IN_FLIGHT = 64 * 1024;

describeWith('redis-server', REDIS_SERVER !== undefined)('a node', () => {
  const name = randomUUID();
  let log = captureLog();

  beforeEach(() => {
    log = captureLog();
  });

  async function join(
    url: string,
    listener: (frame: ClusterFrame) => void = () => {},
    secret?: KeyObject,
  ): Promise<RedisCluster> {
    const cluster = new RedisCluster({
      clock: systemClock,
      ...{ url, name, isRequired: true, nodeId: 'node', logger: log.logger },
      maxLengthInFlight: MAX_LENGTH_IN_FLIGHT,
      secret,
    });
    onTestEnd(() => cluster.close());
    await cluster.open(listener);
    return cluster;
  }

  it('keeps no more for a silent Redis than its limit, and everything that nothing can make up for', async () => {
    const redis = await startRedis();
    const { hostname, port } = new URL(redis.url);
    const proxy = await startTcpProxy({ host: hostname, port: Number(port) });
    const heard: ClusterFrame[] = [];
    await join(redis.url, (frame) => heard.push(frame));
    const teller = await join(`redis://127.0.0.1:${proxy.port}`);
    proxy.loseAnswers();
    const data = 'x'.repeat(4 * 1024);
    for (const n of range(1, 40)) {
      const message = { id: String(n), topic: '@anna', type: 'test', data, timestamp: '', from: 'service' };
      teller.publish({ kind: 'live', message });
    }
    teller.publish({ kind: 'unfollow', userId: 'anna', topic: 'club' });
    await eventually(
      async () => heard.some(({ kind }) => kind === 'unfollow'),
      (isThere) => isThere,
    );
    const length = heard.filter(({ kind }) => kind === 'live').length * data.length;
    expect(length).toBeGreaterThan(MAX_LENGTH_IN_FLIGHT / 2);
    expect(length).toBeLessThanOrEqual(MAX_LENGTH_IN_FLIGHT + data.length);
  });

  it('logs once what it does not understand, however often it receives that and whatever else', async () => {
    const redis = await startRedis();
    const heard: ClusterFrame[] = [];
    const cluster = await join(redis.url, (frame) => heard.push(frame));
    const teller = await join(redis.url);
    const publish = (frame: unknown) => cluster.command(['PUBLISH', `${cluster.prefix}frames`, JSON.stringify(frame)]);
    cluster.publish({ kind: 'beat', version: 0 });
    await eventually(
      async () => cluster.live,
      (live) => live === 'ok',
    );
    for (const _again of range(1, 3)) await publish({ v: 2, node: 'n', frame: { kind: 'bye' } });
    for (const n of range(1, 100)) await publish({ v: 1, node: 'n', frame: { kind: `moved ${n}` } });
    teller.publish({ kind: 'bye' });
    await eventually(
      async () => heard.length,
      (length) => length === 1,
    );
    const foreign = log.lines.flatMap((line) => (JSON.parse(line) as { foreign?: string }).foreign ?? []);
    // Twenty sorts on each of the two nodes.
    expect(foreign.filter((words) => words === 'version 2')).toHaveLength(2);
    expect(foreign).toHaveLength(40);
  });

  it('with a secret accepts those who have it, counts the others, and logs them once', async () => {
    const { url } = await startRedis();
    const [own, other] = [createSecretKey(Buffer.alloc(32, 1)), createSecretKey(Buffer.alloc(32, 2))];
    const heard: ClusterFrame[] = [];
    const unsigned: ClusterFrame[] = [];
    const listener = await join(url, (frame) => heard.push(frame), own);
    await join(url, (frame) => unsigned.push(frame));
    const [friend, stranger, open] = [
      await join(url, () => {}, own),
      await join(url, () => {}, other),
      await join(url),
    ];
    const tell = (cluster: RedisCluster, userId: string) => cluster.publish({ kind: 'renew', userId });
    for (const cluster of [stranger, open]) for (const _each of [1, 2]) tell(cluster, 'mallory');
    tell(friend, 'anna');
    await eventually(
      async () => heard.length,
      (count) => count > 0,
    );
    await eventually(
      async () => listener.refusedFrames,
      (count) => count === 4,
    );
    expect(heard).toEqual([{ kind: 'renew', userId: 'anna' }]);
    expect(log.lines.filter((line) => line.includes('CLUSTER_SECRET')).length).toBeGreaterThan(0);
    expect(listener.live).toBe('degraded');
    // A node without the secret, as during an upgrade, accepts all of them.
    await eventually(
      async () => unsigned.length,
      (count) => count === 5,
    );
    tell(listener, 'own');
    await eventually(
      async () => listener.live,
      (live) => live === 'ok',
    );
  });
});
