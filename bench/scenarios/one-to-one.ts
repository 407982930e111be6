import { atMostPeerTimes, compareServers, type Figure } from '../support/comparison';
import { chooseContestants } from '../support/contestants';
import { isDataInMemory, timeFlushes } from '../support/flush';
import { openConnections } from '../support/http-connection';
import { createLanes, type Lane, sendAsFastAsAnswered, sendAtRate } from '../support/load';
import type { BenchOptions } from '../support/options';
import { measureUsage } from '../support/process-stats';
import { connectReceivers } from '../support/receivers';
import type { Section } from '../support/report';
import { runRounds, type Sample } from '../support/rounds';
import { type RunningServer, withServers } from '../support/servers';
import { median, quantile } from '../support/statistics';
import { Tally } from '../support/tally';
import { createServiceToken } from '../support/tokens';
import type { Delivery } from '../support/wire';

const LANES = 32;
const PER_SECOND = 500;
/** Spread over the whole scenario: other work on the machine would distort flushes that were timed together. */
const FLUSHES_PER_SAMPLE = 20;
const TEXT = 'x'.repeat(128);

export interface Plan {
  readonly rounds: number;
  readonly warmUp: number;
  /** Requests as fast as they are answered, for CPU. */
  readonly requests: number;
  /** Requests at the fixed rate, for latency. */
  readonly timedRequests: number;
  readonly perSecond: number;
}

export const FULL_PLAN: Plan = {
  rounds: 5,
  warmUp: 5000,
  requests: 8000,
  timedRequests: PER_SECOND * 3,
  perSecond: PER_SECOND,
};
export const QUICK_PLAN: Plan = {
  rounds: 1,
  warmUp: 200,
  requests: 400,
  timedRequests: PER_SECOND / 2,
  perSecond: PER_SECOND,
};

export type Key =
  | 'cpu'
  | 'throughput'
  | 'clientBusy'
  | 'timedCpu'
  | 'answerMedian'
  | 'answerTail'
  | 'deliveryMedian'
  | 'deliveryTail';

/** One server with its receivers: the user of lane i is receiver i. */
export interface Subject {
  readonly label: string;
  readonly server: RunningServer;
  readonly tally: Tally;
  readonly lastSent: number[];
  /** When the messages in flight were due, by receiver and number. */
  readonly dueAt: Map<string, number>;
  readonly deliveryTimes: number[];
}

/** Requests to one connected user each: CPU per request with many in flight, latency at a fixed rate. */
export async function runOneToOne(options: BenchOptions): Promise<Section[]> {
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  const flushTimes: number[] = [];
  const rounds = await withServers(chooseContestants(options), async (servers) => {
    const subjects: Subject[] = [];
    for (const server of servers) subjects.push(await createSubject(server));
    for (const subject of subjects) await measureCpu(subject, plan.warmUp);
    return runRounds('one-to-one', subjects, {
      count: plan.rounds,
      measure: (subject) => {
        flushTimes.push(...timeFlushes(FLUSHES_PER_SAMPLE));
        return measureSends(subject, plan);
      },
    });
  });
  return [compareServers('One-to-one', createFigures(median(flushTimes)), rounds)];
}

function createFigures(flushMs: number): Figure<Key>[] {
  const flushText = ` + a flush (${flushMs.toFixed(2)} ms${isDataInMemory() ? ', in memory: TMPDIR is no disk' : ''})`;
  const tailTarget = atMostPeerTimes(1.5, { extra: flushMs, extraText: flushText });
  const atRate = `at ${PER_SECOND}/s`;
  return [
    { key: 'cpu', title: 'CPU µs per request', digits: 0, comparedBy: 'ratio', target: atMostPeerTimes(1) },
    { key: 'timedCpu', title: `CPU µs per request ${atRate}`, digits: 0, comparedBy: 'ratio' },
    { key: 'answerMedian', title: `ms to the answer ${atRate}, median`, digits: 2, comparedBy: 'ratio' },
    { key: 'answerTail', title: `ms to the answer ${atRate}, p99`, digits: 2, comparedBy: 'ratio', target: tailTarget },
    { key: 'deliveryMedian', title: `ms to the socket ${atRate}, median`, digits: 2, comparedBy: 'ratio' },
    {
      key: 'deliveryTail',
      title: `ms to the socket ${atRate}, p99`,
      digits: 2,
      comparedBy: 'ratio',
      target: tailTarget,
    },
    { key: 'throughput', title: `requests/s, ${LANES} in flight`, digits: 0 },
    { key: 'clientBusy', title: 'clients busy, % of a core', digits: 0 },
  ];
}

export async function createSubject(server: RunningServer): Promise<Subject> {
  const { label } = server;
  const subject: Subject = { label, server, tally: new Tally(), lastSent: [], dueAt: new Map(), deliveryTimes: [] };
  const userIds = Array.from({ length: LANES }, (_, lane) => userOf(lane));
  await connectReceivers(server, userIds, (receiver, delivery) => noteDelivery(subject, receiver, delivery));
  return subject;
}

function userOf(lane: number): string {
  return `user-${lane}`;
}

function noteDelivery({ tally, dueAt, deliveryTimes }: Subject, receiver: number, { data }: Delivery): void {
  const dueKey = `${receiver}/${data.n}`;
  deliveryTimes.push(performance.now() - (dueAt.get(dueKey) ?? Number.NaN));
  dueAt.delete(dueKey);
  tally.noteDelivery(receiver, data.n);
}

export async function measureSends(subject: Subject, plan: Plan): Promise<Sample<Key>> {
  const busy = await measureCpu(subject, plan.requests);
  const timed = await measureLatency(subject, plan);
  return { figures: { ...busy.figures, ...timed.figures }, faults: [...busy.faults, ...timed.faults] };
}

export async function measureCpu(
  subject: Subject,
  count: number,
): Promise<Sample<'cpu' | 'throughput' | 'clientBusy'>> {
  const { usage, faults } = await send(subject, count, async (lanes) => {
    await sendAsFastAsAnswered(lanes, count, (lane, dueAt) => sendOne(subject, lane, dueAt));
  });
  const throughput = (count / usage.elapsedMs) * 1000;
  return { figures: { cpu: usage.cpuMicros / count, throughput, clientBusy: usage.clientShare * 100 }, faults };
}

type LatencyKey = 'timedCpu' | 'answerMedian' | 'answerTail' | 'deliveryMedian' | 'deliveryTail';

export async function measureLatency(
  subject: Subject,
  { timedRequests: count, perSecond }: Plan,
): Promise<Sample<LatencyKey>> {
  const answerTimes: number[] = [];
  const { usage, faults } = await send(subject, count, async (lanes) => {
    await sendAtRate(lanes, { perSecond, count }, async (lane, dueAt) => {
      await sendOne(subject, lane, dueAt);
      answerTimes.push(performance.now() - dueAt);
    });
  });
  const figures = {
    timedCpu: usage.cpuMicros / count,
    answerMedian: quantile(answerTimes, 0.5),
    answerTail: quantile(answerTimes, 0.99),
    deliveryMedian: quantile(subject.deliveryTimes, 0.5),
    deliveryTail: quantile(subject.deliveryTimes, 0.99),
  };
  return { figures, faults };
}

/** Reopens connections: between two rounds, a server may have closed idle ones. */
async function send(subject: Subject, count: number, load: (lanes: readonly Lane[]) => Promise<void>) {
  const connections = await openConnections(LANES, subject.server.port, createServiceToken());
  subject.tally.begin();
  subject.deliveryTimes.length = 0;
  const usage = await measureUsage(subject.server.pid, async () => {
    await load(createLanes(connections));
    await subject.tally.waitForDeliveries(count);
  });
  for (const connection of connections) connection.close();
  return { usage, faults: subject.tally.findFaults(count) };
}

async function sendOne({ server, tally, lastSent, dueAt }: Subject, lane: Lane, due: number): Promise<void> {
  const n = (lastSent[lane.index] ?? 0) + 1;
  lastSent[lane.index] = n;
  dueAt.set(`${lane.index}/${n}`, due);
  const content = { userId: userOf(lane.index), type: 'bench', data: { n, text: TEXT } };
  await tally.noteAnswer(lane.connection.post(server.kind.sendPath, content));
}
