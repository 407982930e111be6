/** Everything that can happen to two nodes and their Redis, at once. */
import type { Random } from '../../../support/random';
import type { Outcome, Scenario } from '../../scenario';
import { moment, type Nodes, runRoundOnNodes } from '../../two-nodes';
import { pace } from '../../until';

type Fault =
  | { readonly kind: 'kill' | 'pause'; readonly node: 0 | 1; readonly at: number; readonly length: number }
  | { readonly kind: 'redis'; readonly at: number; readonly length: number };

const LOAD_MS = 3_000;

/** Moments in milliseconds since the load began. */
function planFaults(random: Random): Fault[] {
  const at = (from: number, to: number) => moment(random, LOAD_MS, [from, to]);
  const node = () => (random.integer(0, 1) === 0 ? 0 : 1);
  const faults: Fault[] = [
    { kind: 'redis', at: at(0.05, 0.35), length: random.integer(100, 800) },
    { kind: 'redis', at: at(0.5, 1), length: random.integer(100, 1_200) },
    { kind: 'kill', node: node(), at: at(0.1, 0.6), length: random.integer(0, 600) },
    { kind: 'pause', node: node(), at: at(0.1, 0.9), length: random.integer(1_000, 3_000) },
  ];
  const isKilledAgain = random.integer(0, 1) === 1;
  const second = { kind: 'kill', node: node(), at: at(0.6, 0.95), length: 0 } as const;
  return isKilledAgain ? [...faults, second] : faults;
}

function describeFault(fault: Fault): string {
  const who = fault.kind === 'redis' ? 'redis' : `${fault.kind} node ${fault.node + 1}`;
  return `${who} at ${fault.at} for ${fault.length}`;
}

/** Carries out a plan. Resolves when every fault has ended. */
async function carryOut(faults: readonly Fault[], { nodes, redis }: Nodes): Promise<void> {
  // What is killed has to be up again before it can be killed again.
  const turns = new Map<unknown, Promise<void>>();
  const inTurn = (victim: unknown, work: () => Promise<void>) => {
    const turn = (turns.get(victim) ?? Promise.resolve()).then(work);
    turns.set(victim, turn);
    return turn;
  };
  const begin = async (fault: Fault) => {
    await pace(fault.at);
    if (fault.kind === 'redis') return inTurn(redis, () => redis.restart(fault.length));
    const node = nodes[fault.node];
    return fault.kind === 'kill' ? inTurn(node, () => node.kill(fault.length)) : node.pause(fault.length);
  };
  await Promise.all(faults.map(begin));
}

function runTogether(random: Random): Promise<Outcome> {
  const faults = planFaults(random);
  const endsWithoutRedis = random.integer(1, 3) === 1;
  const told = [...faults.map(describeFault), ...(endsWithoutRedis ? ['redis at the end'] : [])].join('; ');
  return runRoundOnNodes({
    random,
    loadMs: LOAD_MS,
    disturb: (two) => carryOut(faults, two),
    endsWithoutRedis,
    figures: { faults: told },
  });
}

export const TOGETHER: readonly Scenario[] = [
  {
    id: 'F1 F7 F20 F22',
    fault: 'nodes are killed and stopped while Redis dies and comes back empty',
    injected: 'SIGKILL, SIGSTOP and SIGCONT, Redis killed twice, at random moments during a load on both nodes',
    expected: 'nothing is lost, duplicated, reordered or misdelivered',
    needs: ['mongodb', 'redis'],
    run: runTogether,
  },
];
