import { setTimeout as delay } from 'node:timers/promises';
import { sendBatches } from '../support/batches';
import { type Arrival, NamedClient } from '../support/named-client';
import type { BenchOptions } from '../support/options';
import { createProbe, type Probe, type Probed } from '../support/probe';
import { canOpen, type Memory, readMemory, watchPeakMemory } from '../support/process-stats';
import { createRandom } from '../support/random';
import { inTurns } from '../support/receivers';
import type { Section } from '../support/report';
import { withDeadline } from '../support/rounds';
import { type Contestant, createConfigured, TIDINGS } from '../support/server-kinds';
import {
  createDataDirectory,
  findFreePort,
  type RunningServer,
  removeDataDirectory,
  startServer,
} from '../support/servers';
import { type LoopDelay, ServiceMetrics } from '../support/service-metrics';
import { median, quantile } from '../support/statistics';

const MAX_LOOP_DELAY_MS = 200;
const MAX_MEMORY_RATIO = 2;
/** Cursors are written later, and a crash loses those of the last second. */
const SETTLING_MS = 1_500;
const SEED = 17;
const RANDOM_STEPS = 1_000_000;

interface Plan {
  readonly rounds: number;
  readonly clients: number;
  readonly waiting: number;
}

const FULL_PLAN: Plan = { rounds: 3, clients: 5_000, waiting: 10 };
const QUICK_PLAN: Plan = { rounds: 1, clients: 300, waiting: 10 };

/** The results of one storm. */
interface Storm {
  /** Milliseconds from its beginning until a client had everything, and from its successful attempt. */
  readonly waits: readonly number[];
  readonly servings: readonly number[];
  readonly attempts: number;
  readonly ends: ReadonlyMap<string, number>;
  readonly loopDelay: LoopDelay;
  readonly steady: Memory;
  readonly peak: Memory;
  readonly probed: Probed;
  /** Share of a core that the clients used. */
  readonly clientShare: number;
}

/** Thousands of clients that come back at once, each with messages waiting. The peers store nothing. */
export async function runStorm(options: BenchOptions): Promise<Section[]> {
  if (options.isPeersOnly) return [];
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  if (!canOpen(plan.clients * 2)) {
    return [{ title: 'Storm', header: [`skipped: it needs ${plan.clients * 2} open files`], rows: [], faults: [] }];
  }
  const faults: string[] = [];
  const restarts = await withPlace(createConfigured(TIDINGS.label, { HANDSHAKES_PER_SECOND: '500' }), (place) =>
    runStorms(place, plan, { faults, begin: killAndStart }),
  );
  const moments = await withPlace(TIDINGS, (place) => runStorms(place, plan, { faults, begin: leaveAndReturn }));
  return [
    {
      title: `Storm: ${plan.clients} clients, ${plan.waiting} messages waiting for each (rounds: ${plan.rounds})`,
      header: ['figure', 'after kill -9, default limits', 'all at one moment, no limit', 'target', 'met'],
      rows: createRows(restarts, moments),
      faults,
    },
  ];
}

/** Where the server of a storm is, whichever process it is at the moment. */
interface Place {
  readonly contestant: Contestant;
  readonly directory: string;
  readonly port: number;
  server: RunningServer;
}

async function withPlace<Result>(contestant: Contestant, use: (place: Place) => Promise<Result>): Promise<Result> {
  const directory = createDataDirectory();
  const port = await findFreePort();
  const server = await startServer(contestant, { directory, port });
  const place: Place = { contestant, directory, port, server };
  try {
    return await use(place);
  } finally {
    await place.server.stop();
    removeDataDirectory(directory);
  }
}

interface Crowd {
  readonly clients: readonly NamedClient[];
  readonly ends: Map<string, number>;
  readonly probe: Probe;
  /** Messages that each has been sent. */
  sent: number;
  /** Sends each of them the number that should wait. */
  fill(): Promise<void>;
}

interface Beginning {
  readonly startedAt: number;
  readonly arrivals: Promise<readonly Arrival[]>;
}

interface Kind {
  readonly faults: string[];
  /** Takes everybody offline with messages waiting, and lets them come. Resolves when the storm has begun. */
  begin(place: Place, crowd: Crowd): Promise<Beginning>;
}

async function runStorms(place: Place, plan: Plan, { faults, begin }: Kind): Promise<Storm[]> {
  const ends = new Map<string, number>();
  const random = createRandom(SEED);
  const clients = Array.from({ length: plan.clients }, (_, i) => {
    const wire = i % 2 === 0 ? ('socket.io' as const) : ('plain' as const);
    const server = { port: place.port, kind: { ...place.contestant.kind, wire } };
    return new NamedClient({ server, userId: userAt(i), ends, random: () => random(RANDOM_STEPS) / RANDOM_STEPS });
  });
  const storms: Storm[] = [];
  process.stderr.write(`storm: ${plan.clients} clients connect\n`);
  await inTurns(clients, async (client) => {
    client.connect();
    await client.waitFor(0);
  });
  for (let round = 1; round <= plan.rounds; round += 1) {
    process.stderr.write(`storm: round ${round} of ${plan.rounds}\n`);
    const probe = await createProbe();
    const crowd: Crowd = {
      clients,
      ends,
      probe,
      sent: (round - 1) * plan.waiting,
      async fill() {
        const count = plan.clients * plan.waiting;
        await sendBatches(place.server, { title: 'storm', count, userOf: (n) => userAt(n % plan.clients), faults });
        crowd.sent += plan.waiting;
      },
    };
    storms.push(await withDeadline('storm', measure(place, crowd, { faults, begin })));
    probe.end();
    faults.push(...clients.flatMap((client) => client.faults.splice(0)));
  }
  for (const client of clients) client.leave();
  return storms;
}

function userAt(index: number): string {
  return `user-${index}`;
}

async function measure(place: Place, crowd: Crowd, { faults, begin }: Kind): Promise<Storm> {
  const { ends, probe } = crowd;
  await delay(SETTLING_MS);
  await place.server.collectGarbage();
  const steady = readMemory(place.server.pid);
  const beginning = await begin(place, crowd);
  const { startedAt } = beginning;
  const cpuBefore = process.cpuUsage();
  const peak = await watchPeakMemory(place.server.pid, () => beginning.arrivals);
  const arrivals = await beginning.arrivals;
  const { loopDelay } = await ServiceMetrics.read(place.port);
  const lastedMs = Math.max(...arrivals.map(({ at }) => at)) - startedAt;
  const cpu = process.cpuUsage(cpuBefore);
  const probed = await probe.stop();
  faults.push(...probed.faults);
  const storm = {
    waits: arrivals.map(({ at }) => at - startedAt),
    servings: arrivals.map(({ at, attemptedAt }) => at - attemptedAt),
    attempts: arrivals.reduce((sum, { attempts }) => sum + attempts, 0) / arrivals.length,
    ends: new Map(ends),
    loopDelay,
    steady,
    peak,
    probed,
    clientShare: (cpu.user + cpu.system) / 1000 / lastedMs,
  };
  ends.clear();
  return storm;
}

/** Everybody is connected and has acknowledged nothing when the server dies and is restarted. */
async function killAndStart(place: Place, crowd: Crowd): Promise<Beginning> {
  for (const client of crowd.clients) client.isAcknowledging = false;
  await crowd.fill();
  await everybody(crowd);
  for (const client of crowd.clients) client.isAcknowledging = true;
  crowd.ends.clear();
  await place.server.kill();
  const arrivals = everybody(crowd);
  place.server = await startServer(place.contestant, { directory: place.directory, port: place.port });
  const startedAt = performance.now();
  await crowd.probe.connect(place.server);
  await ServiceMetrics.read(place.port);
  await crowd.probe.start();
  return { startedAt, arrivals };
}

/** Everybody leaves, and comes back at the same moment. */
async function leaveAndReturn(place: Place, crowd: Crowd): Promise<Beginning> {
  for (const client of crowd.clients) client.leave();
  await crowd.fill();
  crowd.ends.clear();
  await crowd.probe.connect(place.server);
  await ServiceMetrics.read(place.port);
  await crowd.probe.start();
  const arrivals = everybody(crowd);
  const startedAt = performance.now();
  for (const client of crowd.clients) client.connect();
  return { startedAt, arrivals };
}

/** When each of them has everything. */
function everybody({ clients, sent }: Crowd): Promise<readonly Arrival[]> {
  return Promise.all(clients.map((client) => client.waitFor(sent)));
}

function createRows(restarts: readonly Storm[], moments: readonly Storm[]): string[][] {
  const show = (storms: readonly Storm[], read: (storm: Storm) => number, digits = 0) => {
    const values = storms.map(read);
    const [low, middle, high] = [Math.min(...values), median(values), Math.max(...values)].map((n) =>
      n.toFixed(digits),
    );
    return `${middle} (${low} … ${high})`;
  };
  const row = (title: string, read: (storm: Storm) => number, digits = 0) => [
    title,
    show(restarts, read, digits),
    show(moments, read, digits),
    '',
    '',
  ];
  const below = (title: string, limit: number, read: (storm: Storm) => number, digits = 0) => [
    ...row(title, read, digits).slice(0, 3),
    `< ${limit}`,
    [...restarts, ...moments].every((storm) => read(storm) < limit) ? 'yes' : 'NO',
  ];
  const mib = (kib: number) => kib / 1024;
  return [
    row('s until the last one has everything', ({ waits }) => quantile(waits, 1) / 1000, 1),
    row('the same, median of the clients', ({ waits }) => quantile(waits, 0.5) / 1000, 1),
    row('attempts of a client to connect, mean', ({ attempts }) => attempts, 1),
    ['what ended attempts', listEnds(restarts), listEnds(moments), '', ''],
    row('ms from getting in to having everything, median', ({ servings }) => quantile(servings, 0.5)),
    row('the same, p99', ({ servings }) => quantile(servings, 0.99)),
    row('the same, the last one', ({ servings }) => quantile(servings, 1)),
    row('ms of event-loop delay, median', ({ loopDelay }) => loopDelay.median),
    below('the same, p99', MAX_LOOP_DELAY_MS, ({ loopDelay }) => loopDelay.p99),
    row('the same, longest', ({ loopDelay }) => loopDelay.max),
    row('ms of a message to somebody who is connected, median', ({ probed }) => quantile(probed.latencies, 0.5), 1),
    row('the same, p99', ({ probed }) => quantile(probed.latencies, 0.99)),
    row('the same, longest', ({ probed }) => quantile(probed.latencies, 1)),
    row('MiB of RSS before', ({ steady }) => mib(steady.rssKiB)),
    row('the same, at most', ({ peak }) => mib(peak.rssKiB)),
    below('how many times as much', MAX_MEMORY_RATIO, ({ peak, steady }) => peak.rssKiB / steady.rssKiB, 2),
    row('clients busy, % of a core', ({ clientShare }) => clientShare * 100),
  ];
}

function listEnds(storms: readonly Storm[]): string {
  const all = new Map<string, number>();
  for (const { ends } of storms) for (const [reason, count] of ends) all.set(reason, (all.get(reason) ?? 0) + count);
  return all.size === 0 ? 'nothing' : [...all].map(([reason, count]) => `${count} × ${reason}`).join(', ');
}
