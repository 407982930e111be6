/** Messages that are appended while connections join: between any two steps, and in a storm of connections. */
import type { Random } from '../../../support/random';
import { runJoining } from '../../joining';
import { WAYS } from '../../line';
import { startOne } from '../../one-node';
import { runRound } from '../../round';
import type { Outcome, Scenario } from '../../scenario';
import { pace } from '../../until';

const ROUNDS = 1_000;
const ROUNDS_WITH_OTHERS = 250;

async function runSteps(random: Random): Promise<Outcome> {
  const alone = await runJoining(random, ROUNDS, false);
  const shared = await runJoining(random, ROUNDS_WITH_OTHERS, true);
  return {
    violations: [...alone.violations, ...shared.violations],
    figures: { joins: Number(alone.figures['joins']) + Number(shared.figures['joins']) },
  };
}

const STORM_MS = 2_500;
const STORM_USERS = ['anna', 'ben', 'carla', 'dan', 'eve'];
const MIN_DROPS = 150;

/** Five users more with a device over each transport; everyone drops connections all the time. */
async function runStorm(random: Random): Promise<Outcome> {
  const node = await startOne();
  const moreDevices = STORM_USERS.flatMap((userId) => WAYS.map((way) => ({ userId, way, device: `storm, ${way}` })));
  let drops = 0;
  const outcome = await runRound({
    random,
    nodes: [node],
    loadMs: STORM_MS,
    moreDevices,
    // A client that leaves by itself loses what is in flight to it, too.
    hasLostBuffers: true,
    disturb: async ({ devices }) => {
      const endsAt = performance.now() + STORM_MS;
      while (performance.now() < endsAt || drops < MIN_DROPS) {
        await pace(random.integer(0, 10));
        if (devices[random.integer(0, devices.length - 1)]?.drop() === true) drops += 1;
      }
    },
  });
  return { ...outcome, figures: { ...outcome.figures, drops } };
}

export const JOINING: readonly Scenario[] = [
  {
    id: 'F19',
    fault: 'a message is appended between “store read” and “joined”',
    injected: `a delay at each step of ${ROUNDS} rounds of joins, and ${ROUNDS_WITH_OTHERS} with messages of other nodes, in the process of the test`,
    expected: 'never lost, never twice, in order',
    needs: [],
    tells: ['joins'],
    run: runSteps,
  },
  {
    id: 'F19 (storm)',
    fault: 'clients come and go while messages are sent',
    injected: `${8 + STORM_USERS.length * WAYS.length} clients over all transports drop their connections at random, one every few milliseconds`,
    expected: 'never lost, never twice, in order',
    needs: [],
    tells: ['drops'],
    run: runStorm,
  },
];
