/** One run, from the start of the service to the report. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { createRandom } from '../../../bench/support/random';
import { type Contestant, TIDINGS } from '../../../bench/support/server-kinds';
import {
  createDataDirectory,
  logPath,
  type RunningServer,
  removeDataDirectory,
  startServer,
} from '../../../bench/support/servers';
import { Failure, type Terminal } from '../terminal';
import { Crowd } from './crowd';
import { Ledger } from './ledger';
import { findKept, type Reading, readAll } from './measures';
import { pause } from './pause';
import { heartbeatMs, type SoakPlan } from './plan';
import { growthOf, type Sample, type SoakResult } from './report';
import { Traffic } from './traffic';

const MAX_SAMPLE_INTERVAL_MS = 10_000;
const MIN_SAMPLES = 12;
const HOUR_MS = 3_600_000;
/** For what is in flight when the load ends, and what is scheduled. */
const ARRIVAL_PATIENCE_MS = 30_000;
/**
 * For everything that the service keeps about connections for a while. Engine.IO keeps a timer of a refused poll for 30
 * s.
 */
const BASELINE_PATIENCE_MS = 60_000;
const LOOK_INTERVAL_MS = 250;
const SEED = 1;
/** Lines at level error, and Node's warnings about unhandled errors. */
const SERIOUS = /"level":(50|60)\b|unhandled|uncaught/i;
const MAX_LOG_FAULTS = 5;

/** @throws Error when the service does not start or ends by itself, Failure when it is interrupted. */
export async function runSoak(plan: SoakPlan, { env, stderr, interrupted }: Terminal): Promise<SoakResult> {
  const directory = createDataDirectory();
  const server = await startServer(soaked(plan, env['NODE_OPTIONS']), { directory });
  try {
    return await soak({ plan, server, directory, stderr, interrupted });
  } finally {
    await server.stop();
    removeDataDirectory(directory);
  }
}

/** `nodeOptions`: further options for Node, such as another heap size. */
function soaked(plan: SoakPlan, nodeOptions = ''): Contestant {
  const milliseconds = String(heartbeatMs(plan));
  const environment = (directory: string) => ({
    ...TIDINGS.kind.environment(directory),
    PING_INTERVAL_MS: milliseconds,
    PING_TIMEOUT_MS: milliseconds,
    NODE_OPTIONS: nodeOptions,
  });
  return { label: 'the service', kind: { ...TIDINGS.kind, environment } };
}

interface Setting extends Pick<Terminal, 'stderr' | 'interrupted'> {
  readonly plan: SoakPlan;
  readonly server: RunningServer;
  readonly directory: string;
}

async function soak(setting: Setting): Promise<SoakResult> {
  const { plan, server, directory } = setting;
  const origin = `http://127.0.0.1:${server.port}`;
  const ledger = new Ledger();
  const random = createRandom(SEED);
  const traffic = new Traffic({ origin, plan, ledger, random });
  const crowd = new Crowd({ origin, plan, ledger, random });
  // The first scrape starts watching the event loop: that belongs to the baseline.
  await readAll(server, { directory, isThorough: false });
  const before = await readAll(server, { directory, isThorough: true });
  await traffic.open();
  await crowd.open();

  const running = traffic.run();
  crowd.start();
  const samples = await takeSamples(setting);
  traffic.stop();
  await running;
  await crowd.settle();
  await untilArrived(ledger);
  const counts = {
    requests: traffic.requests,
    heldBack: traffic.heldBack,
    accepted: ledger.accepted,
    expected: ledger.expected,
    delivered: ledger.delivered,
    connects: crowd.connects,
    lostConnections: crowd.lost,
  };
  const faults = ledger.findFaults();
  crowd.close();
  traffic.close();
  // What grows does not come back: nobody has to wait for it.
  const after = await untilBaseline(setting, before, growthOf(samples).length > 0 ? 0 : BASELINE_PATIENCE_MS);
  return { plan, before, samples, after, counts, faults: [...faults, ...findSerious(directory)] };
}

async function takeSamples({ plan, server, directory, stderr, interrupted }: Setting): Promise<Sample[]> {
  const totalMs = plan.minutes * 60_000;
  const intervalMs = Math.min(MAX_SAMPLE_INTERVAL_MS, totalMs / MIN_SAMPLES);
  const samples: Sample[] = [];
  const startedAt = performance.now();
  while (performance.now() - startedAt < totalMs || samples.length < MIN_SAMPLES) {
    if (!(await pause(intervalMs, interrupted))) throw new Failure('Interrupted: nothing was judged.');
    const hours = (performance.now() - startedAt) / HOUR_MS;
    samples.push({ hours, reading: await readAll(server, { directory, isThorough: false }) });
    stderr.write(`${describeSample(samples.at(-1) as Sample)}\n`);
  }
  return samples;
}

function describeSample({ hours, reading }: Sample): string {
  const { heapMiB, anonymousMiB, descriptors, timers, connections } = reading;
  const memory = `heap ${heapMiB.toFixed(1)} MiB, RssAnon ${anonymousMiB.toFixed(0)} MiB`;
  const time = `${(hours * 60).toFixed(1)} min`.padStart(9);
  return `${time}: ${memory}, ${descriptors} descriptors, ${timers} timers, ${connections} connections`;
}

async function untilArrived(ledger: Ledger): Promise<void> {
  const deadline = performance.now() + ARRIVAL_PATIENCE_MS;
  while (ledger.missing > 0 && performance.now() < deadline) await delay(LOOK_INTERVAL_MS);
}

/** Waits until everything that should return has returned, or patience ends. All timers are checked last. */
async function untilBaseline({ server, directory }: Setting, before: Reading, patienceMs: number): Promise<Reading> {
  const deadline = performance.now() + patienceMs;
  const wait = async (isThorough: boolean): Promise<Reading> => {
    let now = await readAll(server, { directory, isThorough });
    while (findKept(before, now).length > 0 && performance.now() < deadline) {
      await delay(LOOK_INTERVAL_MS);
      now = await readAll(server, { directory, isThorough });
    }
    return now;
  };
  await wait(false);
  return wait(true);
}

function findSerious(directory: string): string[] {
  const lines = readFileSync(logPath(directory), 'utf8').split('\n');
  const serious = lines.filter((line) => SERIOUS.test(line)).map((line) => `the service logged ${line}`);
  return serious.slice(0, MAX_LOG_FAULTS);
}
