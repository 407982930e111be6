import { type CommandCounter, findListener, startCommandCounter } from '../support/command-counter';
import { atLeastPeerTimes, atMostPeerTimes, compareServers, type Figure, type Layout } from '../support/comparison';
import type { BenchOptions } from '../support/options';
import { readCpuMicros } from '../support/process-stats';
import type { Section } from '../support/report';
import { runRounds, type Sample } from '../support/rounds';
import { type Contestant, createNode, createScaledOut } from '../support/server-kinds';
import { withServers } from '../support/servers';
import { newDatabase, type SharedServices, withSharedServices } from '../support/shared-services';
import {
  createSubject,
  type Key as EmbeddedKey,
  FULL_PLAN,
  measureCpu,
  measureLatency,
  type Plan,
  QUICK_PLAN,
  type Subject,
} from './one-to-one';

/** Below what the slowest server of the table takes: beyond, latency would be the length of a queue. */
const PER_SECOND = 200;
const TITLE = 'One-to-one, MongoDB and Redis';

type Key = EmbeddedKey | 'commands' | 'timedCommands' | 'databaseCpu';

interface CountedSubject extends Subject {
  readonly counter: CommandCounter;
  readonly databasePid: number | undefined;
}

/** One-to-one with what several nodes need: the store in MongoDB, frames over Redis. One node each. */
export async function runOneToOneShared(options: BenchOptions): Promise<Section[]> {
  const plan = options.isQuick
    ? { ...QUICK_PLAN, perSecond: PER_SECOND, timedRequests: PER_SECOND / 2 }
    : { ...FULL_PLAN, warmUp: 2000, requests: 4000, perSecond: PER_SECOND, timedRequests: PER_SECOND * 5 };
  return withSharedServices(TITLE, (services) => compare(services, plan, options));
}

async function compare(services: SharedServices, plan: Plan, { isPeersOnly }: BenchOptions): Promise<Section> {
  const databasePid = findListener(Number(new URL(services.storeUrl).port));
  const counters = await Promise.all(
    ['tidings', 'by hand', 'again'].map(() => startCommandCounter(newDatabase(services.storeUrl))),
  );
  const [own, byHand, again] = counters as [CommandCounter, CommandCounter, CommandCounter];
  const tidings = createNode('tidings', own.url, services.redisUrl);
  const peer = createScaledOut('by hand, scaled out', byHand.url, services.redisUrl);
  const peerAgain = createScaledOut('the same again', again.url, services.redisUrl);
  const contestants: [Contestant, CommandCounter][] = [
    ...(isPeersOnly ? [] : [[tidings, own] as [Contestant, CommandCounter]]),
    [peer, byHand],
    [peerAgain, again],
  ];
  const counterOf = new Map(contestants.map(([{ label }, counter]) => [label, counter]));
  try {
    const rounds = await withServers(
      contestants.map(([contestant]) => contestant),
      async (servers) => {
        const subjects: CountedSubject[] = [];
        for (const server of servers) {
          const counter = counterOf.get(server.label) as CommandCounter;
          subjects.push({ ...(await createSubject(server)), counter, databasePid });
        }
        for (const subject of subjects) await measureCpu(subject, plan.warmUp);
        return runRounds(TITLE, subjects, { count: plan.rounds, measure: (subject) => measure(subject, plan) });
      },
    );
    const layout: Layout = { columns: [tidings, peer], pairs: [[tidings, peer]], noise: [peerAgain, peer] };
    return compareServers(TITLE, figuresAgainst(peer), rounds, layout);
  } finally {
    for (const counter of counters) counter.close();
  }
}

async function measure(subject: CountedSubject, plan: Plan): Promise<Sample<Key>> {
  const { counter, databasePid } = subject;
  const readDatabaseCpu = () => (databasePid === undefined ? Number.NaN : readCpuMicros(databasePid));
  const [commandsBefore, cpuBefore] = [counter.count, readDatabaseCpu()];
  const busy = await measureCpu(subject, plan.requests);
  const commands = (counter.count - commandsBefore) / plan.requests;
  const databaseCpu = (readDatabaseCpu() - cpuBefore) / plan.requests;
  const timedBefore = counter.count;
  const timed = await measureLatency(subject, plan);
  const timedCommands = (counter.count - timedBefore) / plan.timedRequests;
  return {
    figures: { ...busy.figures, ...timed.figures, commands, databaseCpu, timedCommands },
    faults: [...busy.faults, ...timed.faults],
  };
}

function figuresAgainst(peer: Contestant): Figure<Key>[] {
  const atRate = `at ${PER_SECOND}/s`;
  const cpuTarget = atMostPeerTimes(0.6, { peer });
  const msTarget = atMostPeerTimes(1.3, { peer });
  return [
    { key: 'cpu', title: 'node CPU µs per request', digits: 0, comparedBy: 'ratio', target: cpuTarget },
    { key: 'databaseCpu', title: 'CPU µs of the database server per request', digits: 0, comparedBy: 'ratio' },
    { key: 'commands', title: 'database commands per request, 32 in flight', digits: 2, comparedBy: 'difference' },
    {
      key: 'throughput',
      title: 'requests/s, 32 in flight',
      digits: 0,
      comparedBy: 'ratio',
      target: atLeastPeerTimes(1, peer),
    },
    { key: 'timedCpu', title: `node CPU µs per request ${atRate}`, digits: 0, comparedBy: 'ratio' },
    { key: 'timedCommands', title: `database commands per request ${atRate}`, digits: 2, comparedBy: 'difference' },
    { key: 'answerMedian', title: `ms to the answer ${atRate}, median`, digits: 2, comparedBy: 'ratio' },
    { key: 'answerTail', title: `ms to the answer ${atRate}, p99`, digits: 2, comparedBy: 'ratio' },
    {
      key: 'deliveryMedian',
      title: `ms to the socket ${atRate}, median`,
      digits: 2,
      comparedBy: 'ratio',
      target: msTarget,
    },
    { key: 'deliveryTail', title: `ms to the socket ${atRate}, p99`, digits: 2, comparedBy: 'ratio', target: msTarget },
    { key: 'clientBusy', title: 'clients busy, % of a core', digits: 0 },
  ];
}
