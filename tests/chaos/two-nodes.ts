/** Two nodes on one MongoDB and one Redis. */
import { MongoClient } from 'mongodb';
import { newDatabase } from '../support/cluster';
import type { Random } from '../support/random';
import { type RedisServer, startRedis } from '../support/redis';
import { ChaosNode } from './node';
import { type RoundParts, runRound, type Stage } from './round';
import type { Outcome } from './scenario';

export interface TwoNodes {
  readonly nodes: readonly [ChaosNode, ChaosNode];
  readonly redis: RedisServer;
  readonly storeUrl: string;
}

/** Two that reach each other, on a database and a Redis of their own. */
export async function startTwo(env: Readonly<Record<string, string>> = {}): Promise<TwoNodes> {
  const redis = await startRedis();
  const storeUrl = newDatabase();
  // A node may be started again while Redis is down.
  const shared = { STORE_URL: storeUrl, REDIS_URL: redis.url, REDIS_REQUIRED: 'false', ...env };
  const start = (name: string) => ChaosNode.start({ name, env: shared });
  const nodes = await Promise.all([start('node-1'), start('node-2')]);
  await Promise.all(nodes.map((node) => node.healthy()));
  return { nodes, redis, storeUrl };
}

export interface TwoNodesRound extends Pick<RoundParts, 'random' | 'loadMs' | 'figures'> {
  readonly disturb: (two: TwoNodes, stage: Stage) => Promise<void>;
  /** Are the last messages sent while Redis is down? Other nodes find them only by comparing heads then. */
  readonly endsWithoutRedis?: boolean;
}

export async function runRoundOnTwo(parts: TwoNodesRound): Promise<Outcome> {
  const two = await startTwo();
  const { nodes, redis, storeUrl } = two;
  const withoutRedis = async (sayLastWords: () => Promise<void>) => {
    await redis.kill();
    await sayLastWords();
    await redis.start();
  };
  return runRound({
    ...parts,
    nodes,
    disturb: (stage) => parts.disturb(two, stage),
    beforeAnswers: ({ load }) => endLeases(storeUrl, load.unanswered),
    ...(parts.endsWithoutRedis === true ? { atTheEnd: withoutRedis } : {}),
  });
}

/**
 * What a killed node was working on stays taken for a minute: lets that be over now. A send that is under way on a node
 * that lives loses its claim as well, as it would after a long stop, and is to be one message all the same.
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
