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

describeChaos('two nodes', () => {
  it.each(range(1, ROUNDS))('chaos, round %d: nothing is lost, doubled, reordered or misdelivered', async (round) => {
    const report = await runRound({ name: `two nodes, round ${round}`, loadMs: LOAD_MS });
    expect({ violations: report.violations, faults: report.faults }).toMatchObject({ violations: [] });
    // A round in which nothing happened would prove nothing.
    expect(report.sends).toBeGreaterThan(100);
    expect(report.deliveries).toBeGreaterThan(report.sends);
  });

  it('a node that is killed: its users are gone from lists within 30 s', async () => {
    const milliseconds = await timeUntilForgotten(30_000);
    // Not before its lease is over either: a node that is only slow keeps its users.
    expect(milliseconds).toBeGreaterThan(LEASE_MS / 2);
  });
});
