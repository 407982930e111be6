/**
 * Rounds of chaos on two nodes until the time is over; ends with 1 when a round has found a violation.
 *   npm run chaos -- --minutes 10 [--load 5] [--patient] [--keep DIRECTORY]
 * TIDINGS_SEED=<seed> makes every round go wrong as the one with that seed.
 */
import '../tests/chaos/without-jest';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MongoClient } from 'mongodb';
import { type RoundOptions, type RoundReport, runRound } from '../tests/chaos/two-nodes';
import { MONGODB_URL } from '../tests/support/cluster';
import { REDIS_SERVER } from '../tests/support/redis';
import { runCleanups } from '../tests/support/temporary';

const USAGE = `Usage:
  npm run chaos -- --minutes N [--load SECONDS] [--patient] [--keep DIRECTORY]
    --minutes  how long; the round that has begun is finished
    --load     seconds of load in a round, 5 if not given
    --patient  wait until the Idempotency-Keys of killed nodes are free by themselves, about a minute a round
    --keep     writes history and logs of each round with a violation to this directory`;

const MINUTE_MS = 60_000;
const MONGODB_PATIENCE_MS = 3_000;

/** A mistake at the terminal, or something that is not there: told in one sentence, without a stack. */
class UsageError extends Error {}

interface Options extends Omit<RoundOptions, 'name'> {
  readonly milliseconds: number;
  readonly keep: string | undefined;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string' },
      load: { type: 'string', default: '5' },
      patient: { type: 'boolean', default: false },
      keep: { type: 'string' },
    },
  });
  if (values.minutes === undefined) throw new UsageError(USAGE);
  return {
    milliseconds: readAmount('--minutes', values.minutes) * MINUTE_MS,
    loadMs: readAmount('--load', values.load) * 1_000,
    waitsForLeases: values.patient,
    keep: values.keep,
  };
}

function readAmount(name: string, text: string): number {
  const amount = /^\d{1,6}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (amount === 0) throw new UsageError(`${name}: expected a number above 0, for example 5`);
  return amount;
}

async function assertNeeds(): Promise<void> {
  if (MONGODB_URL === undefined || MONGODB_URL === '') {
    throw new UsageError(
      'TEST_MONGODB_URL is not set: a MongoDB on which rounds may make databases of their own, ' +
        'for example TEST_MONGODB_URL=mongodb://127.0.0.1:27017',
    );
  }
  if (REDIS_SERVER === undefined) {
    throw new UsageError('redis-server was not found on the PATH: each round starts one of its own. Install Redis.');
  }
  try {
    const client = await MongoClient.connect(MONGODB_URL, { serverSelectionTimeoutMS: MONGODB_PATIENCE_MS });
    await client.close();
  } catch (error) {
    throw new UsageError(`TEST_MONGODB_URL: no MongoDB answers there. ${error instanceof Error ? error.message : ''}`);
  }
}

async function main(): Promise<void> {
  const { milliseconds, keep, ...options } = readOptions();
  await assertNeeds();
  const deadline = performance.now() + milliseconds;
  const reports: RoundReport[] = [];
  do {
    const name = `round ${reports.length + 1}`;
    try {
      const report = await runRound({ ...options, name });
      reports.push(report);
      console.log(describeRound(name, report));
      if (keep !== undefined && report.violations.length > 0) keepEvidence(keep, name, report);
    } finally {
      await runCleanups();
    }
  } while (performance.now() < deadline);
  console.log(summarize(reports));
  process.exitCode = reports.some(({ violations }) => violations.length > 0) ? 1 : 0;
}

function describeRound(name: string, report: RoundReport): string {
  const { seed, sends, tries, deliveries, connections, faults, recovery, violations } = report;
  const verdict = violations.length === 0 ? 'ok' : `${violations.length} VIOLATIONS`;
  const numbers = `${sends} sends in ${tries} tries, ${deliveries} deliveries on ${connections} connections`;
  const line = `${name}: seed ${seed}, ${numbers}, [${faults.join('; ')}], ${describeRecovery(recovery)}: ${verdict}`;
  return [line, ...violations.map((sentence) => `  ${sentence}`)].join('\n');
}

function describeRecovery(recovery: RoundReport['recovery']): string {
  return Object.entries(recovery)
    .map(([stage, milliseconds]) => `${stage} after ${milliseconds} ms`)
    .join(', ');
}

function keepEvidence(directory: string, name: string, report: RoundReport): void {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, `${name.replace(' ', '-')}-${report.seed}.json`);
  writeFileSync(path, JSON.stringify(report, undefined, 1));
  console.log(`  kept in ${path}`);
}

function summarize(reports: readonly RoundReport[]): string {
  const sum = (numberOf: (report: RoundReport) => number) => reports.reduce((all, one) => all + numberOf(one), 0);
  const bad = reports.filter(({ violations }) => violations.length > 0);
  const numbers = `${sum(({ sends }) => sends)} sends, ${sum(({ deliveries }) => deliveries)} deliveries`;
  const verdict =
    bad.length === 0 ? 'no violation' : `violations with the seeds ${bad.map(({ seed }) => seed).join(', ')}`;
  return `${reports.length} rounds, ${numbers}, ${sum(({ faults }) => faults.length)} faults: ${verdict}`;
}

main().catch((error: unknown) => {
  const isParseError = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
  if (error instanceof UsageError) console.error(error.message);
  else if (isParseError) console.error(`${error.message}\n${USAGE}`);
  else console.error(error);
  process.exitCode = 1;
});
