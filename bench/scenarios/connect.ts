import { atMostPeerTimes, compareServers, type Figure } from '../support/comparison';
import { chooseContestants } from '../support/contestants';
import type { BenchOptions } from '../support/options';
import { measureUsage } from '../support/process-stats';
import { connectReceivers } from '../support/receivers';
import type { Section } from '../support/report';
import { runRounds, type Sample } from '../support/rounds';
import { type RunningServer, withServers } from '../support/servers';

interface Plan {
  readonly rounds: number;
  readonly connections: number;
}

const FULL_PLAN: Plan = { rounds: 7, connections: 2_000 };
const QUICK_PLAN: Plan = { rounds: 1, connections: 100 };

type Key = 'cpu' | 'perSecond' | 'clientBusy';

const FIGURES: Figure<Key>[] = [
  {
    key: 'cpu',
    title: 'CPU µs per connection, opened and closed',
    digits: 0,
    comparedBy: 'ratio',
    target: atMostPeerTimes(1),
  },
  { key: 'perSecond', title: 'connections/s, 32 at once', digits: 0, comparedBy: 'ratio' },
  { key: 'clientBusy', title: 'clients busy, % of a core', digits: 0 },
];

/** Users who come back with nothing waiting: each connects, gets its first events, and leaves. */
export async function runConnect(options: BenchOptions): Promise<Section[]> {
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  const rounds = await withServers(chooseContestants(options), async (servers) => {
    // They have connected before.
    for (const server of servers) await measure(server, plan);
    return runRounds('connect', servers, { count: plan.rounds, measure: (server) => measure(server, plan) });
  });
  return [compareServers('Connect', FIGURES, rounds)];
}

/** A refused connection breaks the scenario off. */
async function measure(server: RunningServer, { connections }: Plan): Promise<Sample<Key>> {
  const userIds = Array.from({ length: connections }, (_, index) => `user-${index}`);
  const { cpuMicros, elapsedMs, clientShare } = await measureUsage(server.pid, async () => {
    const receivers = await connectReceivers(server, userIds, () => undefined);
    for (const receiver of receivers) receiver.close();
  });
  return {
    figures: {
      cpu: cpuMicros / connections,
      perSecond: (connections / elapsedMs) * 1_000,
      clientBusy: clientShare * 100,
    },
    faults: [],
  };
}
