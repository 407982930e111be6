/** F1, F7, F20, F22 at once, on two nodes: whatever is killed and stopped, everybody gets everything, once, in order. */
import { MONGODB_URL } from '../support/cluster';
import { describeWith } from '../support/needs';
import { REDIS_SERVER } from '../support/redis';
import { range } from '../support/service';
import { runRound, timeUntilForgotten } from './two-nodes';

const ROUNDS = 20;
const LOAD_MS = 3_000;
const LEASE_MS = 10_000;

const describeChaos = describeWith(
  'MongoDB (TEST_MONGODB_URL) and redis-server',
  MONGODB_URL !== undefined && REDIS_SERVER !== undefined,
);

const carryOutRound = (round: number) => runRound({ name: `two nodes, round ${round}`, loadMs: LOAD_MS });

describeChaos('two nodes', () => {
  // Two rounds side by side: most of a round is waiting.
  it.each(range(1, ROUNDS / 2))(
    'chaos, pair %d of rounds: nothing is lost, doubled, reordered or misdelivered',
    async (pair) => {
      const reports = await Promise.all([2 * pair - 1, 2 * pair].map(carryOutRound));
      for (const report of reports) {
        expect({ violations: report.violations, faults: report.faults }).toMatchObject({ violations: [] });
        // A round in which nothing happened would prove nothing.
        expect(report.sends).toBeGreaterThan(100);
        expect(report.deliveries).toBeGreaterThan(report.sends);
      }
    },
  );

  it('a node that is killed: its users are gone from lists within 30 s', async () => {
    const milliseconds = await timeUntilForgotten(30_000);
    // Not before its lease is over either: a node that is only slow keeps its users.
    expect(milliseconds).toBeGreaterThan(LEASE_MS / 2);
  });
});
