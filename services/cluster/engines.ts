/** Which cluster the configuration names: Redis where several nodes may share a store, else this node alone. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../utils/clock';
import type { Config } from '../../utils/config';
import type { Logger } from '../observability/logger';
import type { Store } from '../storage/contract';
import { type Cluster, createSingleNode } from './contract';

export async function createCluster(
  config: Config,
  store: Store,
  parts: { readonly logger: Logger; readonly clock: Clock },
): Promise<Cluster> {
  const { redisUrl, REDIS_REQUIRED, NODE_ID, CLUSTER_SECRET: secret } = config;
  const nodeId = NODE_ID ?? randomUUID();
  if (redisUrl === undefined || !store.isShared) return createSingleNode(nodeId);
  // Loading the Redis client takes a fifth of the whole start-up: a single node does without.
  const { RedisCluster } = await import('./redis.ts');
  return new RedisCluster({
    secret,
    url: redisUrl,
    name: store.identity,
    isRequired: REDIS_REQUIRED,
    nodeId,
    ...parts,
  });
}
