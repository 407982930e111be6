import { setTimeout as delay } from 'node:timers/promises';
import { compareServers, type Figure } from '../support/comparison';
import { chooseContestants } from '../support/contestants';
import type { BenchOptions } from '../support/options';
import { readMemory } from '../support/process-stats';
import { connectReceivers } from '../support/receivers';
import type { Section } from '../support/report';
import { runRounds, type Sample } from '../support/rounds';
import { BY_HAND, type Contestant } from '../support/server-kinds';
import { type RunningServer, startServer } from '../support/servers';

const MAX_EXTRA_KIB = 2;
/** By then, what a server writes later for its connections (cursors, presence) is done, and not counted as theirs. */
const SETTLING_MS = 1000;

interface Plan {
  readonly rounds: number;
  /** Opened before the first reading: they bring compiled code and first buffers, which are not per connection. */
  readonly warmUp: number;
  readonly connections: number;
}

const FULL_PLAN: Plan = { rounds: 5, warmUp: 200, connections: 2000 };
const QUICK_PLAN: Plan = { rounds: 1, warmUp: 50, connections: 300 };

type Key = 'rss' | 'anonymous';

const FIGURES: Figure<Key>[] = [
  {
    key: 'rss',
    title: 'KiB per connection (RSS)',
    digits: 1,
    comparedBy: 'difference',
    target: {
      text: `≤ ${BY_HAND.label} + ${MAX_EXTRA_KIB} KiB`,
      isMet: (ours, peers) => ours <= peers + MAX_EXTRA_KIB,
    },
  },
  { key: 'anonymous', title: 'of it without mapped files', digits: 1, comparedBy: 'difference' },
];

/** Connections that do nothing: the server's memory for each. Every sample has a new process. */
export async function runIdle(options: BenchOptions): Promise<Section[]> {
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  const rounds = await runRounds('idle', chooseContestants(options), {
    count: plan.rounds,
    measure: (contestant) => measure(contestant, plan),
  });
  return [compareServers('Idle connections', FIGURES, rounds)];
}

async function measure(contestant: Contestant, { warmUp, connections }: Plan): Promise<Sample<Key>> {
  const server = await startServer(contestant);
  try {
    const before = await readAfter(server, () => connectUsers(server, 'early', warmUp));
    const after = await readAfter(server, () => connectUsers(server, 'user', connections));
    const rss = (after.rssKiB - before.rssKiB) / connections;
    const anonymous = (after.anonymousKiB - before.anonymousKiB) / connections;
    return { figures: { rss, anonymous }, faults: [] };
  } finally {
    await server.stop();
  }
}

async function readAfter(server: RunningServer, work: () => Promise<unknown>) {
  await work();
  await delay(SETTLING_MS);
  await server.collectGarbage();
  return readMemory(server.pid);
}

function connectUsers(server: RunningServer, name: string, count: number) {
  const userIds = Array.from({ length: count }, (_, i) => `${name}-${i}`);
  return connectReceivers(server, userIds, () => undefined);
}
