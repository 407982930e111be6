/** The same on MongoDB: on one node, and on two, each of which is replaced by a cold one now and then. */
import { MONGODB_URL, newDatabase, REDIS_URL, untilLive } from '../support/cluster';
import { describeWith } from '../support/needs';
import { startService } from '../support/service';
import { playInbox } from './play';

/** Fewer than on LMDB: each takes several commands, and another node has to hear of it. TIDINGS_OPERATIONS plays more. */
const OPERATIONS = Number(process.env['TIDINGS_OPERATIONS'] ?? 1_500);
/** Only to end what hangs. */
const TIMEOUT_MS = 3_600_000;

describeWith(
  'MongoDB and Redis (TEST_MONGODB_URL, TEST_REDIS_URL)',
  MONGODB_URL !== undefined && REDIS_URL !== undefined,
)(`${OPERATIONS} random operations leave inbox, counts and devices like those of a model`, () => {
  it.each([1, 2])(
    'on MongoDB, nodes: %i',
    async (nodes) => {
      const STORE_URL = newDatabase();
      await playInbox({
        operations: OPERATIONS,
        nodes,
        start: async (options) => {
          const env = { STORE_URL, REDIS_URL: REDIS_URL ?? '', ...options.env };
          const service = await startService({ ...options, env });
          await untilLive(service);
          return service;
        },
      });
    },
    TIMEOUT_MS,
  );
});
