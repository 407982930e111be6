/** /livez, /readyz, /healthz and /metrics. */
import type { Live } from '../services/cluster';
import type { Metrics } from '../services/metrics';
import { type Store, StoreError } from '../services/storage/contract';
import type { Route } from './routes';

export interface HealthParts {
  readonly store: Store;
  /** Do live frames reach all nodes at once? When not, the node serves all the same. */
  readonly live: () => Live;
  readonly metrics: Metrics;
  /** Has stopping begun? Then load balancers should look elsewhere. */
  readonly isStopping: () => boolean;
  readonly uptimeSeconds: () => number;
}

type Check = 'ok' | 'unavailable';

export function healthRoutes(parts: HealthParts): Route[] {
  const check = createCheck(parts.store);
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
          response.type(parts.metrics.registry.contentType).send(await parts.metrics.registry.metrics());
        },
      ],
    },
  ];
  return routes;
}

async function readiness(
  { isStopping, live }: HealthParts,
  check: () => Promise<Check>,
): Promise<{ status: string; store: Check; live: Live }> {
  const store = await check();
  return { status: isStopping() ? 'stopping' : store, store, live: live() };
}

/** Writes to the store, one check at a time: whoever asks meanwhile gets the same answer, so asking often costs little. */
function createCheck(store: Store): () => Promise<Check> {
  let running: Promise<Check> | undefined;
  const run = async (): Promise<Check> => {
    try {
      await store.probe();
      return 'ok';
    } catch (error) {
      if (error instanceof StoreError) return 'unavailable';
      throw error;
    } finally {
      running = undefined;
    }
  };
  return () => {
    running ??= run();
    return running;
  };
}
