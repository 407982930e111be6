/** Several nodes of one service in this process, on one MongoDB and one Redis. */
import { randomUUID } from 'node:crypto';
import { MongoClient } from 'mongodb';
import { eventually } from './eventually';
import { type ServiceOptions, startService, type TestService } from './service';
import { onTestEnd } from './temporary';

export const MONGODB_URL = process.env['TEST_MONGODB_URL'];
export const REDIS_URL = process.env['TEST_REDIS_URL'];

/** The address of a new database, which is removed after the test. */
export function newDatabase(): string {
  const url = new URL(MONGODB_URL ?? '');
  url.pathname = `/test-${randomUUID()}`;
  onTestEnd(async () => {
    const client = new MongoClient(url.href);
    await client.db().dropDatabase();
    await client.close();
  });
  return url.href;
}

export interface ClusterOptions extends ServiceOptions {
  readonly nodes?: number;
  readonly redisUrl?: string;
  readonly storeUrl?: string;
}

/** Starts nodes that know each other. */
export async function startCluster(options: ClusterOptions = {}): Promise<TestService[]> {
  const { nodes = 2, redisUrl = REDIS_URL ?? '', storeUrl = newDatabase(), ...rest } = options;
  const env = { STORE_URL: storeUrl, REDIS_URL: redisUrl, ...rest.env };
  const services: TestService[] = [];
  for (let node = 0; node < nodes; node += 1) services.push(await startService({ ...rest, env }));
  for (const service of services) await untilLive(service);
  return services;
}

/** Frames of this node reach the others. */
export async function untilLive(service: TestService, live: 'ok' | 'degraded' = 'ok'): Promise<void> {
  await eventually(
    () => service.anonymous.get('/readyz'),
    ({ body }) => body.live === live,
  );
}
