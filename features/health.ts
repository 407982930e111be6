/** /livez, /readyz, /healthz and /metrics. */

import type { HeapGuard } from '../services/admission/heap-guard';
import type { Live } from '../services/cluster/contract';
import type { Metrics } from '../services/observability/metrics';
import { type Store, StoreError } from '../services/storage/contract';
import { SingleFlight } from '../utils/single-flight';
import type { Route } from './routes';

export interface HealthParts {
  readonly store: Store;
  /** Do hints reach all nodes at once? If not, the node serves all the same. */
  readonly live: () => Live;
  readonly metrics: Metrics;
  readonly heap: HeapGuard;
  /** Has the stop begun? Then load balancers should use other nodes. */
  readonly isStopping: () => boolean;
  readonly uptimeSeconds: () => number;
}

type Check = 'ok' | 'unavailable';

export function healthRoutes(parts: HealthParts): Route[] {
  // Shared by concurrent requests, so asking often costs little.
  const check = new SingleFlight(() => checkStore(parts.store));
  const scrape = new SingleFlight(() => parts.metrics.scrape());
  const routes: Route[] = [
    { method: 'get', path: '/livez', handlers: [(_request, response) => void response.json({ status: 'ok' })] },
    {
      method: 'get',
      path: '/readyz',
      handlers: [
        async (_request, response) => {
          const { status, ...rest } = await readiness(parts, check);
          response.status(status === 'ok' ? 200 : 503).json({ status, ...rest });
        },
      ],
    },
    {
      method: 'get',
      path: '/healthz',
      handlers: [
        async (_request, response) => {
          const { status, ...rest } = await readiness(parts, check);
          response.status(status === 'ok' ? 200 : 503).json({ status, ...rest, uptimeSeconds: parts.uptimeSeconds() });
        },
      ],
    },
    {
      method: 'get',
      path: '/metrics',
      handlers: [
        async (_request, response) => {
          response.type(parts.metrics.registry.contentType).send(await scrape.run());
        },
      ],
    },
  ];
  return routes;
}

async function readiness(
  { isStopping, live, heap }: HealthParts,
  check: SingleFlight<Check>,
): Promise<{ status: string; store: Check; live: Live }> {
  const store = await check.run();
  const status = heap.isShort() ? 'overloaded' : store;
  return { status: isStopping() ? 'stopping' : status, store, live: live() };
}

/** Writes to the store to see whether that works. */
async function checkStore(store: Store): Promise<Check> {
  try {
    await store.probe();
    return 'ok';
  } catch (error) {
    if (error instanceof StoreError) return 'unavailable';
    throw error;
  }
}
