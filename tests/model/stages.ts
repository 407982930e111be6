/** What the suites of the model play: together as many steps as TIDINGS_STEPS says, divided by what a step costs. */
import { MONGODB_URL } from '../support/cluster';
import { seededRandom } from '../support/random';
import { simulate } from './simulate';
import type { Engine } from './world';

const STEPS = Number(process.env['TIDINGS_STEPS'] ?? 30_000);
const TIMEOUT_MS = 1_800_000;
const SHARES: Readonly<Record<number, Readonly<Record<Engine, number>>>> = {
  1: { lmdb: 0.6, mongodb: 0.005 },
  2: { lmdb: 0.39, mongodb: 0.005 },
};

/** Plays on this many nodes, over each available engine. */
export function playOn(nodes: number): void {
  const engines: readonly Engine[] = MONGODB_URL === undefined ? ['lmdb'] : ['lmdb', 'mongodb'];
  it.each(engines)(
    'what happens over %s is what the model says, and nothing stays taken',
    async (engine) => {
      const { seed } = seededRandom(`model, ${engine}, ${nodes}`, 20_260_101);
      const steps = Math.ceil(STEPS * (SHARES[nodes]?.[engine] ?? 0));
      const { failure } = await simulate({ seed, engine, nodes, steps });
      expect(failure).toBeUndefined();
    },
    TIMEOUT_MS,
  );
}
