import { setTimeout as delay } from 'node:timers/promises';
import { HttpConnection } from '../support/http-connection';
import { createLanes, sendAtRate } from '../support/load';
import { NamedClient } from '../support/named-client';
import type { BenchOptions } from '../support/options';
import { createProbe, type Probe } from '../support/probe';
import { canOpen, type Memory, readMemory, watchPeakMemory } from '../support/process-stats';
import { createRandom } from '../support/random';
import { connectReceivers, inTurns } from '../support/receivers';
import type { Section } from '../support/report';
import { withDeadline } from '../support/rounds';
import { TIDINGS } from '../support/server-kinds';
import { type RunningServer, withServers } from '../support/servers';
import { ServiceMetrics } from '../support/service-metrics';
import { median, quantile } from '../support/statistics';
import { createServiceToken } from '../support/tokens';

/** The default of MAX_BUFFERED_BYTES. */
const MAX_BUFFERED_MIB = 1;
const BATCHES_PER_SECOND = 20;
/** For some of the readers in each batch, so that a batch fits into one body. */
const BATCHES_PER_READER = 2;
const BROADCASTS_PER_SECOND = 1;
const LARGE_TEXT = 'x'.repeat(32 * 1024);
const TEXT = 'x'.repeat(128);
const TRICKLE_BYTES = 1024;
const TRICKLE_INTERVAL_MS = 1_000;
const POLL_INTERVAL_MS = 250;
/** By then, cut connections and what they held are gone. */
const SETTLING_MS = 1_000;
const RANDOM_STEPS = 1_000_000;
const SEED = 11;

interface Plan {
  readonly rounds: number;
  readonly sockets: number;
  readonly slow: number;
  /** How long everybody reads in a window without slow readers; one with them ends when all are cut. */
  readonly windowMs: number;
}

const FULL_PLAN: Plan = { rounds: 2, sockets: 5_000, slow: 50, windowMs: 10_000 };
const QUICK_PLAN: Plan = { rounds: 1, sockets: 300, slow: 6, windowMs: 3_000 };

/** What the slow readers do meanwhile. */
type Behaviour = 'reading' | 'stopped' | 'trickling';

/** The results of one window. */
interface Window {
  /** Milliseconds from when it was due: a message to one user, a broadcast to each of the others. */
  readonly sends: readonly number[];
  readonly broadcasts: readonly number[];
  readonly before: Memory;
  readonly peak: Memory;
  readonly after: Memory;
  /** Seconds until the first and the last slow reader was cut. */
  readonly cuts: readonly number[];
  /** KiB that each slow reader was sent until all were cut. */
  readonly sentKiB: number;
  readonly told: number;
  /** Seconds from reading again until all of them had everything. */
  readonly caughtUpAfter: number;
}

/** One in a hundred sockets reads nothing, or next to nothing. The others must not notice. */
export async function runSlow(options: BenchOptions): Promise<Section[]> {
  if (options.isPeersOnly) return [];
  const plan = options.isQuick ? QUICK_PLAN : FULL_PLAN;
  const title = `Slow readers: ${plan.slow} of ${plan.sockets} sockets (rounds: ${plan.rounds})`;
  if (!canOpen(plan.sockets * 2)) {
    return [{ title, header: [`skipped: it needs ${plan.sockets * 2} open files`], rows: [], faults: [] }];
  }
  const faults: string[] = [];
  return withServers([TIDINGS], async ([server]) => {
    const stage = await setUp(server as RunningServer, plan, faults);
    const rounds: Round[] = [];
    for (let round = 1; round <= plan.rounds; round += 1) {
      process.stderr.write(`slow: round ${round} of ${plan.rounds}\n`);
      const measured = async (behaviour: Behaviour) => withDeadline('slow', measure(stage, behaviour));
      rounds.push({
        all: await measured('reading'),
        again: await measured('reading'),
        stopped: await measured('stopped'),
        trickling: await measured('trickling'),
      });
    }
    stage.probe.end();
    faults.push(...stage.readers.flatMap((reader) => reader.faults));
    return [createSection(title, rounds, { plan, faults })];
  });
}

/** Consecutive windows: they share the state of the machine at that time. */
interface Round {
  readonly all: Window;
  readonly again: Window;
  readonly stopped: Window;
  readonly trickling: Window;
}

interface Stage {
  readonly server: RunningServer;
  readonly plan: Plan;
  readonly probe: Probe;
  readonly readers: readonly NamedClient[];
  readonly closings: Map<string, number>;
  readonly faults: string[];
  /** When the broadcasts in flight were due. */
  readonly dueAt: Map<number, number>;
  readonly arrivals: { broadcasts: number[] };
  sentToEach: number;
  broadcasts: number;
}

async function setUp(server: RunningServer, plan: Plan, faults: string[]): Promise<Stage> {
  process.stderr.write(`slow: ${plan.sockets} sockets connect\n`);
  const closings = new Map<string, number>();
  const random = createRandom(SEED);
  const readers = Array.from({ length: plan.slow }, (_, i) => {
    const place = { port: server.port, kind: { ...server.kind, wire: wireOf(i) } };
    const next = () => random(RANDOM_STEPS) / RANDOM_STEPS;
    return new NamedClient({ server: place, userId: readerAt(i), ends: new Map(), closings, random: next });
  });
  const stage: Stage = {
    server,
    plan,
    probe: await createProbe(),
    readers,
    closings,
    faults,
    dueAt: new Map(),
    arrivals: { broadcasts: [] },
    sentToEach: 0,
    broadcasts: 0,
  };
  await connectOthers(stage);
  await stage.probe.connect(server);
  return stage;
}

/** Each with a new TCP connection: the kernel's buffers for one grow while it is read fast. */
async function reconnect({ readers, sentToEach }: Stage): Promise<void> {
  await inTurns(readers, async (reader) => {
    reader.leave();
    reader.connect();
    await reader.waitFor(sentToEach);
  });
}

function wireOf(index: number): 'socket.io' | 'plain' {
  return index % 2 === 0 ? 'socket.io' : 'plain';
}

function readerAt(index: number): string {
  return `slow-${index}`;
}

/** Half of them on each endpoint. */
async function connectOthers({ server, plan, dueAt, arrivals }: Stage): Promise<void> {
  const userIds = Array.from({ length: plan.sockets - plan.slow }, (_, i) => `other-${i}`);
  const note = (_index: number, { data }: { data: { n: number } }) => {
    arrivals.broadcasts.push(performance.now() - (dueAt.get(data.n) ?? Number.NaN));
  };
  for (const parity of [0, 1]) {
    const half = userIds.filter((_, i) => i % 2 === parity);
    await connectReceivers({ port: server.port, kind: { ...server.kind, wire: wireOf(parity) } }, half, note);
  }
}

async function measure(stage: Stage, behaviour: Behaviour): Promise<Window> {
  const { server, readers, probe, closings, faults } = stage;
  await reconnect(stage);
  closings.clear();
  stage.arrivals.broadcasts.length = 0;
  await server.collectGarbage();
  const before = readMemory(server.pid);
  const sentBefore = stage.sentToEach;
  const broadcastsBefore = stage.broadcasts;
  const load = startLoad(stage);
  await probe.start();
  let cuts: readonly number[] = [];
  const stopTrickle = slowDown(readers, behaviour);
  const peak = await watchPeakMemory(server.pid, async () => {
    if (behaviour === 'reading') await delay(stage.plan.windowMs);
    else cuts = await watchCuts(stage, load);
  });
  const sentKiB = ((stage.sentToEach - sentBefore) * LARGE_TEXT.length) / 1024;
  if (behaviour !== 'reading' && cuts.length < stage.plan.slow)
    faults.push(`slow: only ${cuts.length} readers were cut`);
  const probed = await probe.stop();
  await load.stop();
  await delay(SETTLING_MS);
  await server.collectGarbage();
  const after = readMemory(server.pid);
  stopTrickle();
  const resumedAt = performance.now();
  for (const reader of readers) reader.resume();
  await Promise.all(readers.map((reader) => reader.waitFor(stage.sentToEach)));
  const due = (stage.broadcasts - broadcastsBefore) * (stage.plan.sockets - stage.plan.slow);
  const broadcasts = [...stage.arrivals.broadcasts];
  faults.push(...probed.faults);
  if (broadcasts.length !== due) faults.push(`slow: ${broadcasts.length} broadcasts delivered of ${due}`);
  return {
    sends: probed.latencies,
    broadcasts,
    before,
    peak,
    after,
    cuts,
    sentKiB,
    told: closings.get('slow_consumer') ?? 0,
    caughtUpAfter: (performance.now() - resumedAt) / 1000,
  };
}

/** Broadcasts to all, and large messages to the readers that may be slow, until it is stopped. */
function startLoad(stage: Stage) {
  const { server, plan, faults } = stage;
  const stop = new AbortController();
  const rate = (perSecond: number) => ({ perSecond, count: Number.POSITIVE_INFINITY, signal: stop.signal });
  const token = createServiceToken();
  const post = async (connection: HttpConnection, path: string, content: unknown) => {
    try {
      const { status, body } = await connection.post(path, content);
      if (status !== 200 || body.includes('"error"')) faults.push(`slow: ${path} was answered ${status}`);
    } catch (error) {
      faults.push(`slow: ${path} was not answered: ${String(error)}`);
      // Nothing more can be sent on it.
      stop.abort();
    }
  };
  const run = async (perSecond: number, send: (connection: HttpConnection, due: number) => Promise<void>) => {
    const connection = await HttpConnection.open(server.port, token);
    await sendAtRate(createLanes([connection]), rate(perSecond), (lane, due) => send(lane.connection, due));
    connection.close();
  };
  const broadcasts = run(BROADCASTS_PER_SECOND, async (connection, due) => {
    stage.broadcasts += 1;
    stage.dueAt.set(stage.broadcasts, due);
    const content = { type: 'bench', data: { n: stage.broadcasts, text: TEXT } };
    await post(connection, server.kind.broadcastPath, content);
  });
  let batches = 0;
  const large = run(BATCHES_PER_SECOND, async (connection) => {
    const part = batches % BATCHES_PER_READER;
    const users = Array.from({ length: plan.slow }, (_, i) => i).filter((i) => i % BATCHES_PER_READER === part);
    const data = { n: batches, text: LARGE_TEXT };
    const messages = users.map((i) => ({ userId: readerAt(i), type: 'bench', data }));
    await post(connection, '/messages/batch', { messages });
    batches += 1;
    if (part === BATCHES_PER_READER - 1) stage.sentToEach += 1;
  });
  return {
    isRunning: () => !stop.signal.aborted,
    async stop(): Promise<void> {
      stop.abort();
      await Promise.all([broadcasts, large]);
    },
  };
}

/** @returns what ends it. */
function slowDown(readers: readonly NamedClient[], behaviour: Behaviour): () => void {
  if (behaviour === 'reading') return () => undefined;
  for (const reader of readers) reader.pause();
  if (behaviour === 'stopped') return () => undefined;
  const timer = setInterval(() => {
    for (const reader of readers) reader.readSome(TRICKLE_BYTES);
  }, TRICKLE_INTERVAL_MS);
  return () => clearInterval(timer);
}

/** Waits until all slow readers are cut. @returns after how many seconds each; fewer if the load has broken off. */
async function watchCuts({ server, plan }: Stage, load: { isRunning(): boolean }): Promise<number[]> {
  const startedAt = performance.now();
  const count = async () => (await ServiceMetrics.read(server.port)).value('tidings_slow_consumers_total');
  const first = await count();
  const cuts: number[] = [];
  // Polled: a client that does not read does not see that it was cut.
  while (cuts.length < plan.slow && load.isRunning()) {
    await delay(POLL_INTERVAL_MS);
    const now = await count();
    while (cuts.length < now - first) cuts.push((performance.now() - startedAt) / 1000);
  }
  return cuts;
}

function createSection(
  title: string,
  rounds: readonly Round[],
  { plan, faults }: { plan: Plan; faults: readonly string[] },
): Section {
  const columns = ['all', 'again', 'stopped', 'trickling'] as const;
  const show = (values: readonly number[], digits: number) => {
    const [low, middle, high] = [Math.min(...values), median(values), Math.max(...values)].map((n) =>
      n.toFixed(digits),
    );
    return `${middle} (${low} … ${high})`;
  };
  const row = (what: string, read: (window: Window) => number, digits = 0) => [
    what,
    ...columns.map((column) =>
      show(
        rounds.map((round) => read(round[column])),
        digits,
      ),
    ),
  ];
  const ratio = (what: string, read: (window: Window) => number) => [
    what,
    '',
    ...(['again', 'stopped', 'trickling'] as const).map((column) =>
      show(
        rounds.map((round) => read(round[column]) / read(round.all)),
        2,
      ),
    ),
  ];
  const ofSlow = (what: string, read: (window: Window) => number, digits = 0) => {
    const [name = '', , , ...values] = row(what, read, digits);
    return [name, '', '', ...values];
  };
  const sendTail = ({ sends }: Window) => quantile(sends, 0.99);
  const broadcastTail = ({ broadcasts }: Window) => quantile(broadcasts, 0.99);
  const bound = plan.slow * MAX_BUFFERED_MIB;
  return {
    title,
    header: ['figure', 'all read', 'all read again', `${plan.slow} read nothing`, `${plan.slow} read 1 KB/s`],
    rows: [
      row('ms of a message to one of the others, median', ({ sends }) => quantile(sends, 0.5), 1),
      row('the same, p99', sendTail, 1),
      ratio('p99, times that of the first window', sendTail),
      row('ms of a broadcast to the others, median', ({ broadcasts }) => quantile(broadcasts, 0.5)),
      row('the same, p99', broadcastTail),
      ratio('p99, times that of the first window', broadcastTail),
      row('MiB of RSS without files, before', ({ before }) => before.anonymousKiB / 1024),
      row('the same, at most', ({ peak }) => peak.anonymousKiB / 1024),
      row('the same, afterwards', ({ after }) => after.anonymousKiB / 1024),
      ['MiB that may be buffered for them', '', '', `${bound}`, `${bound}`],
      ofSlow('readers cut', ({ cuts }) => cuts.length),
      ofSlow('s until the first was cut', ({ cuts }) => quantile(cuts, 0), 1),
      ofSlow('s until the last was cut', ({ cuts }) => quantile(cuts, 1), 1),
      ofSlow('KiB that each was sent until then', ({ sentKiB }) => sentKiB),
      ofSlow('readers that were told `slow_consumer`', ({ told }) => told),
      ofSlow('s from reading again until all have everything', ({ caughtUpAfter }) => caughtUpAfter, 1),
    ],
    faults,
  };
}
