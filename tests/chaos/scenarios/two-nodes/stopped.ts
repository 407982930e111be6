/** Three nodes under a load: one is stopped for longer than its lease, and one is killed: F1, F7. */
import type { Random } from '../../../support/random';
import { testToken } from '../../../support/service';
import { ReconnectingDevice } from '../../device';
import { Findings } from '../../findings';
import { History } from '../../history';
import { request } from '../../http';
import type { ChaosNode } from '../../node';
import { CONNECT_PATIENCE_MS } from '../../round';
import type { Outcome, Scenario } from '../../scenario';
import { type Nodes, runRoundOnNodes, startNodes } from '../../two-nodes';
import { pace, until } from '../../until';

const LOAD_MS = 3_000;
/** How long a silent node counts as alive. */
const LEASE_MS = 10_000;
/** When a node is gone, its users are gone. */
const FORGOTTEN_MS = 30_000;
const PATIENCE_MS = 40_000;
const SCHEDULED = 20;
const SECOND_MS = 1_000;

/** Users who know only one node, and so do not come back elsewhere. */
const LONERS = ['on the stopped node', 'on the killed node'] as const;

async function runStopped(random: Random): Promise<Outcome> {
  const findings = new Findings();
  const times: Record<string, number> = {};
  const outcome = await runRoundOnNodes({
    random,
    loadMs: LOAD_MS,
    start: () => startNodes({ count: 3 }),
    disturb: (all) => disturb(random, { all, findings, times }),
  });
  return {
    ...outcome,
    violations: [...findings.violations, ...outcome.violations],
    figures: { ...outcome.figures, ...times },
  };
}

interface Scene {
  readonly all: Nodes;
  readonly findings: Findings;
  readonly times: Record<string, number>;
}

async function disturb(random: Random, { all, findings, times }: Scene): Promise<void> {
  const [stopped, left, killed] = all.nodes;
  if (killed === undefined) throw new Error('three nodes are needed');
  const scheduled = new Scheduled(left);
  const devices = await openLoners([stopped, killed], scheduled.history);
  await scheduled.plan(random);
  await untilListed(left, [true, true]);
  await pace(random.integer(0, 500));
  const stoppedAt = performance.now();
  const goOn = stop(stopped);
  await killed.end();
  await untilListed(left, [false, false]);
  const forgottenMs = performance.now() - stoppedAt;
  // A node that is only slow keeps its users.
  findings.expect(forgottenMs > LEASE_MS / 2, `users of a silent node were gone after ${Math.round(forgottenMs)} ms`);
  findings.takesAtMost('forgetting the users of silent nodes', forgottenMs, FORGOTTEN_MS);
  goOn();
  const wokenAt = performance.now();
  await untilListed(left, [true, false]);
  await stopped.healthy();
  times['ms until forgotten'] = Math.round(forgottenMs);
  times['ms until listed again'] = Math.round(performance.now() - wokenAt);
  findings.expect(devices[0].connections === 1, 'a client of the stopped node was cut when it went on');
  await killed.startAgain();
  await scheduled.expectOnce(findings);
  for (const device of devices) device.close();
}

/** @returns what continues it. */
function stop({ process: { child } }: ChaosNode): () => void {
  child.kill('SIGSTOP');
  return () => void child.kill('SIGCONT');
}

async function openLoners(
  nodes: readonly [ChaosNode, ChaosNode],
  history: History,
): Promise<readonly [ReconnectingDevice, ReconnectingDevice]> {
  const open = async (index: 0 | 1) => {
    const device = 'phone';
    const loner = new ReconnectingDevice({
      userId: LONERS[index],
      device,
      urls: [nodes[index].url],
      first: 0,
      history,
    });
    await loner.open(CONNECT_PATIENCE_MS);
    return loner;
  };
  return [await open(0), await open(1)];
}

async function untilListed({ name, url }: ChaosNode, expected: readonly boolean[]): Promise<void> {
  const token = testToken('watcher', { scope: 'presence' });
  const ask = async () => {
    const answer = await request(`${url}/websocket/users/connected`, { token, timeoutMs: PATIENCE_MS });
    const listed = (answer?.body['users'] ?? []) as readonly string[];
    return LONERS.map((userId) => listed.includes(userId));
  };
  const isExpected = (listed: readonly boolean[]) => String(listed) === String(expected);
  await until(`${name} lists ${LONERS.join(' and ')}: ${expected.join(' and ')}`, PATIENCE_MS, ask, isExpected);
}

/** Messages that are due while a node is stopped in the middle of whatever it does: any node sends them, once. */
class Scheduled {
  readonly history = new History();

  constructor(private readonly node: ChaosNode) {}

  async plan(random: Random): Promise<void> {
    const token = testToken('planner', { scope: 'send' });
    for (let n = 1; n <= SCHEDULED; n += 1) {
      const sendAt = new Date(Date.now() + random.integer(0, 5) * SECOND_MS).toISOString();
      const body = { userId: LONERS[0], type: 'planned', data: { key: `planned ${n}` }, sendAt };
      const options = { method: 'POST', token, body, timeoutMs: CONNECT_PATIENCE_MS } as const;
      const answer = await request(`${this.node.url}/websocket/message/user`, options);
      if (answer === undefined || answer.status >= 300) throw new Error(`planning: ${JSON.stringify(answer)}`);
    }
  }

  async expectOnce(findings: Findings): Promise<void> {
    // The load sends to everyone, too.
    const planned = () => this.history.deliveries.filter(({ key }) => key.startsWith('planned'));
    await until(
      'what was planned has come',
      CONNECT_PATIENCE_MS,
      async () => new Set(planned().map(({ key }) => key)).size,
      (size) => size === SCHEDULED,
    );
    const ids = new Set(planned().map(({ id }) => id));
    findings.expect(ids.size === SCHEDULED, `${SCHEDULED} planned messages were sent as ${ids.size}`);
  }
}

export const STOPPED: readonly Scenario[] = [
  {
    id: 'F1 F7 (three nodes)',
    fault: 'of three nodes, one is stopped for long, and one is killed',
    injected: `SIGSTOP until its lease of ${LEASE_MS / 1_000} s has ended, and SIGKILL, under a load on all of them`,
    expected:
      'their users leave the lists within 30 s, but not before the lease has ended; those of the stopped node are back when it continues, without a new connection; nothing is lost or sent twice, including what was due meanwhile',
    needs: ['mongodb', 'redis'],
    tells: ['ms until forgotten', 'ms until listed again', 'ms until delivered'],
    run: runStopped,
  },
];
