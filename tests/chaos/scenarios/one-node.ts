/** Faults of a node that is alone, and of its embedded store. */
import type { Random } from '../../support/random';
import { startOne } from '../one-node';
import { runRound } from '../round';
import type { Outcome, Scenario } from '../scenario';
import { pace } from '../until';
import { DISK } from './one-node/disk';
import { POWER } from './one-node/power';

const LOAD_MS = 2_000;
const KILLS = 4;

/** Killed again and again, each time at another moment of the load. */
async function runKilled(random: Random): Promise<Outcome> {
  const node = await startOne();
  const pauses = Array.from({ length: KILLS }, () => random.integer(20, LOAD_MS / KILLS));
  const disturb = async () => {
    for (const milliseconds of pauses) {
      await pace(milliseconds);
      await node.kill(0);
    }
  };
  return runRound({ random, nodes: [node], loadMs: LOAD_MS, disturb, figures: { kills: KILLS } });
}

export const ONE_NODE: readonly Scenario[] = [
  {
    id: 'F1',
    fault: 'the process is killed',
    injected: `SIGKILL ${KILLS} times a round, at random moments of a load`,
    expected: 'nothing that was answered 2xx is lost; clients come back and catch up',
    needs: [],
    rounds: 5,
    run: runKilled,
  },
  ...POWER,
  ...DISK,
];
