/** Two nodes, or three, on one MongoDB and one Redis. */
import { MongoClient } from 'mongodb';
import { newDatabase } from '../support/cluster';
import type { Random } from '../support/random';
import { type RedisServer, startRedis } from '../support/redis';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy';
import { request } from './http';
import { ChaosNode } from './node';
import { type RoundParts, runRound, type Stage } from './round';
import type { Outcome } from './scenario';
import { until } from './until';

export interface Nodes {
  readonly nodes: readonly [ChaosNode, ChaosNode, ...ChaosNode[]];
  readonly redis: RedisServer;
  /** Directly to the database, whatever is between it and the nodes. */
  readonly storeUrl: string;
}

export interface NodesParts {
  readonly count?: 2 | 3;
  readonly env?: Readonly<Record<string, string>>;
  /** For each of them, from 0. */
  readonly envOf?: (index: number) => Readonly<Record<string, string>>;
  readonly redis?: RedisServer;
  readonly storeUrl?: string;
}

/** Nodes that reach each other, on a database and a Redis of their own. */
export async function startNodes(parts: NodesParts = {}): Promise<Nodes> {
  const { count = 2, env = {}, envOf = () => ({}) } = parts;
  const { redis = await startRedis(), storeUrl = newDatabase() } = parts;
  // A node may be started again while Redis is down.
  const shared = { STORE_URL: storeUrl, REDIS_URL: redis.url, REDIS_REQUIRED: 'false', ...env };
  const start = (index: number) => ChaosNode.start({ name: `node-${index + 1}`, env: { ...shared, ...envOf(index) } });
  const [first, second, ...more] = await Promise.all(Array.from({ length: count }, (_, index) => start(index)));
  if (first === undefined || second === undefined) throw new Error('two nodes are needed');
  const nodes = [first, second, ...more] as const;
  await Promise.all(nodes.map((node) => node.healthy()));
  return { nodes, redis, storeUrl };
}

/** A path to a server that can fail, and the address of that path. */
export async function startWay(url: string): Promise<{ readonly proxy: TcpProxy; readonly url: string }> {
  const { hostname, port } = new URL(url);
  const proxy = await startTcpProxy({ host: hostname, port: Number(port) });
  return { proxy, url: url.replace(`${hostname}:${port}`, `127.0.0.1:${proxy.port}`) };
}

/** Resolves when the node says so, to how long that has taken. */
export async function untilLive(
  { name, url }: ChaosNode,
  live: 'ok' | 'degraded',
  patienceMs = 20_000,
): Promise<number> {
  const startedAt = performance.now();
  await until(
    `${name} says live: ${live}`,
    patienceMs,
    () => request(`${url}/readyz`, { timeoutMs: patienceMs }),
    (answer) => answer?.body['live'] === live,
  );
  return performance.now() - startedAt;
}

export interface NodesRound extends Pick<RoundParts, 'random' | 'loadMs' | 'figures'> {
  readonly start?: () => Promise<Nodes>;
  readonly disturb: (nodes: Nodes, stage: Stage) => Promise<void>;
  /** Are the last messages sent while Redis is down? Then other nodes find them only by comparing heads. */
  readonly endsWithoutRedis?: boolean;
}

export async function runRoundOnNodes({ start = startNodes, ...parts }: NodesRound): Promise<Outcome> {
  const all = await start();
  const { nodes, redis, storeUrl } = all;
  const withoutRedis = async (sayLastWords: () => Promise<void>) => {
    await redis.kill();
    await sayLastWords();
    await redis.start();
  };
  return runRound({
    ...parts,
    nodes,
    disturb: (stage) => parts.disturb(all, stage),
    beforeAnswers: ({ load }) => endLeases(storeUrl, load.unanswered),
    ...(parts.endsWithoutRedis === true ? { atTheEnd: withoutRedis } : {}),
  });
}

/**
 * A killed node's work stays claimed for a minute: ends that now. A running send on a live node loses its claim as
 * well, as it would after a long stop, and must be one message all the same.
 */
async function endLeases(storeUrl: string, unanswered: number): Promise<void> {
  if (unanswered === 0) return;
  const client = new MongoClient(storeUrl);
  await client
    .db()
    .collection('answers')
    .updateMany({ status: { $exists: false } }, { $set: { freeAt: 0 } });
  await client.close();
}

/** A whole number of milliseconds between two shares of a time. */
export function moment(random: Random, lengthMs: number, [from, to]: readonly [number, number]): number {
  return random.integer(Math.round(lengthMs * from), Math.round(lengthMs * to));
}
