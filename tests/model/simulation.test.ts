/** The model over both engines, alone and with two nodes. `npm run simulate` plays more, and makes a failure smaller. */
import { MONGODB_URL } from '../support/cluster';
import { seededRandom } from '../support/random';
import { simulate } from './simulate';
import type { Engine } from './world';

const STEPS = Number(process.env['TIDINGS_STEPS'] ?? 15_000);
const TIMEOUT_MS = 1_800_000;
const isMongoDb = MONGODB_URL !== undefined;

/** What a step costs differs by as much. */
const STAGES: [engine: Engine, nodes: number, share: number][] = [
  ['lmdb', 1, 1],
  ['lmdb', 2, 1],
];
if (isMongoDb) STAGES.push(['mongodb', 1, 0.03], ['mongodb', 2, 0.03]);

it.each(STAGES)(
  '%s, nodes: %d',
  async (engine, nodes, share) => {
    const { seed } = seededRandom(`model, ${engine}, ${nodes}`, 20_260_101);
    const { failure } = await simulate({ seed, engine, nodes, steps: STEPS * share });
    expect(failure).toBeUndefined();
  },
  TIMEOUT_MS,
);
