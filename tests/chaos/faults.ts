/** What goes wrong in a round, and when: chosen before it begins, so that the same seed goes wrong in the same way. */
import type { Random } from '../support/random';
import type { RedisServer } from '../support/redis';
import type { ChaosNode } from './node';
import { pace } from './until';

type Fault =
  | { readonly kind: 'kill' | 'pause'; readonly node: number; readonly at: number; readonly length: number }
  | { readonly kind: 'redis'; readonly at: number; readonly length: number };

/** Moments in milliseconds since the load began. */
export function planFaults(random: Random, loadMs: number): Fault[] {
  const moment = (from: number, to: number) => random.integer(Math.round(loadMs * from), Math.round(loadMs * to));
  const faults: Fault[] = [
    { kind: 'redis', at: moment(0.05, 0.35), length: random.integer(100, 800) },
    { kind: 'redis', at: moment(0.5, 1), length: random.integer(100, 1_200) },
    { kind: 'kill', node: random.integer(0, 1), at: moment(0.1, 0.6), length: random.integer(0, 600) },
    { kind: 'pause', node: random.integer(0, 1), at: moment(0.1, 0.9), length: random.integer(1_000, 3_000) },
  ];
  const isKilledAgain = random.integer(0, 1) === 1;
  const second = { kind: 'kill', node: random.integer(0, 1), at: moment(0.6, 0.95), length: 0 } as const;
  return isKilledAgain ? [...faults, second] : faults;
}

export function describeFault(fault: Fault): string {
  const who = fault.kind === 'redis' ? 'redis' : `${fault.kind} node ${fault.node + 1}`;
  return `${who} at ${fault.at} for ${fault.length}`;
}

/** Carries out a plan. Resolves when every fault is over. */
export async function carryOut(
  faults: readonly Fault[],
  { nodes, redis }: { readonly nodes: readonly ChaosNode[]; readonly redis: RedisServer },
): Promise<void> {
  // What is killed has to be up again before it can be killed again.
  const turns = new Map<unknown, Promise<void>>();
  const inTurn = (victim: unknown, work: () => Promise<void>) => {
    const turn = (turns.get(victim) ?? Promise.resolve()).then(work);
    turns.set(victim, turn);
    return turn;
  };
  const begin = async (fault: Fault) => {
    await pace(fault.at);
    if (fault.kind === 'redis') return inTurn(redis, () => restart(redis, fault.length));
    const node = nodes[fault.node];
    if (node === undefined) throw new Error(`there is no node ${fault.node}`);
    return fault.kind === 'kill' ? inTurn(node, () => node.kill(fault.length)) : node.pause(fault.length);
  };
  await Promise.all(faults.map(begin));
}

async function restart(redis: RedisServer, downMs: number): Promise<void> {
  await redis.kill();
  await pace(downMs);
  await redis.start();
}
