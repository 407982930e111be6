/**
 * Makes faults happen, scenario by scenario, until the time is over; ends with 1 when a round has found a violation.
 *   npm run chaos -- --minutes 10 [--only F1,F6] [--keep DIRECTORY] [--write]
 * TIDINGS_SEED=<seed> makes every round go wrong as the one with that seed.
 */
import '../tests/chaos/without-jest';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MongoClient } from 'mongodb';
import { type Results, renderTable, replaceTable } from '../tests/chaos/report';
import { missingNeeds, type Outcome, type Scenario } from '../tests/chaos/scenario';
import { SCENARIOS } from '../tests/chaos/scenarios/index';
import { MONGODB_URL } from '../tests/support/cluster';
import { seededRandom } from '../tests/support/random';
import { runCleanups } from '../tests/support/temporary';

const USAGE = `Usage:
  npm run chaos -- --minutes N [--only FAULTS] [--keep DIRECTORY] [--write]
  npm run chaos -- --rounds N  [--only FAULTS] [--keep DIRECTORY] [--write]
    --minutes  how long: the scenarios take turns, and the round that has begun is finished
    --rounds   how often each scenario, instead of a time
    --only     some of them, by fault: --only F1,F6
    --keep     writes what is known of each round with a violation to this directory
    --write    puts the table into docs/operations/reliability.md`;

const PAGE = join(__dirname, '../docs/operations/reliability.md');
const MINUTE_MS = 60_000;
const MONGODB_PATIENCE_MS = 3_000;

/** A mistake at the terminal, or something that is not there: told in one sentence, without a stack. */
class UsageError extends Error {}

interface Options {
  /** Is there time for another turn, after so many? */
  readonly goesOn: (turns: number) => boolean;
  readonly scenarios: readonly Scenario[];
  readonly keep: string | undefined;
  readonly isWriting: boolean;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string' },
      rounds: { type: 'string' },
      only: { type: 'string' },
      keep: { type: 'string' },
      write: { type: 'boolean', default: false },
    },
  });
  const { minutes, rounds, only, keep, write } = values;
  if ((minutes === undefined) === (rounds === undefined)) throw new UsageError(USAGE);
  if (write && only !== undefined)
    throw new UsageError('--write: the table holds all scenarios, so --only is not possible');
  return { goesOn: readEnd(minutes, rounds), scenarios: choose(only), keep, isWriting: write };
}

function readEnd(minutes: string | undefined, rounds: string | undefined): Options['goesOn'] {
  if (minutes === undefined) {
    const most = readAmount('--rounds', rounds ?? '');
    return (turns) => turns < most;
  }
  const deadline = performance.now() + readAmount('--minutes', minutes) * MINUTE_MS;
  return (turns) => turns === 0 || performance.now() < deadline;
}

function readAmount(name: string, text: string): number {
  const amount = /^\d{1,6}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (amount === 0) throw new UsageError(`${name}: expected a number above 0, for example 5`);
  return amount;
}

/** `F1` means every scenario in which that fault happens. */
function choose(only: string | undefined): readonly Scenario[] {
  if (only === undefined) return SCENARIOS;
  const names = only.split(',');
  const unknown = names.find((name) => !SCENARIOS.some(({ id }) => id.split(' ').includes(name)));
  if (unknown !== undefined) throw new UsageError(`--only: there is no scenario of the fault ${unknown}`);
  return SCENARIOS.filter(({ id }) => names.some((name) => id.split(' ').includes(name)));
}

/** Every scenario must be able to run: a table with holes would say more than was seen. */
async function assertNeeds(scenarios: readonly Scenario[]): Promise<void> {
  const missing = new Map(scenarios.flatMap((scenario) => missingNeeds(scenario).map((need) => [need, scenario.id])));
  for (const [need, id] of missing) {
    throw new UsageError(`${id} needs ${need}, which was not found. Choose others with --only, or install it.`);
  }
  if (scenarios.some(({ needs }) => needs.includes('mongodb'))) await assertMongoDb(MONGODB_URL ?? '');
}

async function assertMongoDb(url: string): Promise<void> {
  try {
    const client = await MongoClient.connect(url, { serverSelectionTimeoutMS: MONGODB_PATIENCE_MS });
    await client.close();
  } catch (error) {
    throw new UsageError(`TEST_MONGODB_URL: no MongoDB answers there. ${error instanceof Error ? error.message : ''}`);
  }
}

async function main(): Promise<void> {
  const { goesOn, scenarios, keep, isWriting } = readOptions();
  await assertNeeds(scenarios);
  const results = scenarios.map((scenario) => ({ scenario, outcomes: [] as Outcome[] }));
  for (let turn = 0; goesOn(turn); turn += 1) {
    for (const { scenario, outcomes } of results) {
      if (!goesOn(turn)) break;
      outcomes.push(await runOnce(scenario, turn + 1, keep));
    }
  }
  const table = renderTable(results);
  console.log(`\n${table}\n\n${summarize(results)}`);
  if (isWriting) writeFileSync(PAGE, replaceTable(readFileSync(PAGE, 'utf8'), table));
  process.exitCode = results.some(({ outcomes }) => outcomes.some(isBad)) ? 1 : 0;
}

async function runOnce(scenario: Scenario, round: number, keep: string | undefined): Promise<Outcome> {
  const name = `${scenario.id}, round ${round}`;
  const random = seededRandom(name);
  try {
    const outcome = await scenario.run(random).catch(toOutcome);
    console.log(describeRound(name, outcome));
    if (keep !== undefined && isBad(outcome)) keepEvidence(keep, `${name} ${random.seed}`, outcome);
    return outcome;
  } finally {
    await runCleanups();
  }
}

/** A scenario that breaks off has not shown that anything held. */
function toOutcome(error: unknown): Outcome {
  return { violations: [`broke off: ${error instanceof Error ? error.message : String(error)}`], figures: {} };
}

function describeRound(name: string, { figures, violations }: Outcome): string {
  const verdict = violations.length === 0 ? 'held' : `${violations.length} VIOLATIONS`;
  const numbers = Object.entries(figures).map(([what, value]) => `${what} ${value}`);
  return [`${name}: ${[verdict, ...numbers].join(', ')}`, ...violations.map((sentence) => `  ${sentence}`)].join('\n');
}

function keepEvidence(directory: string, name: string, outcome: Outcome): void {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, `${name.replaceAll(/[^A-Za-z0-9]+/g, '-')}.json`);
  writeFileSync(path, JSON.stringify(outcome, undefined, 1));
  console.log(`  kept in ${path}`);
}

function summarize(results: readonly Results[]): string {
  const all = results.flatMap(({ outcomes }) => outcomes);
  const bad = all.filter(isBad).length;
  return `${all.length} rounds of ${results.length} scenarios: ${bad === 0 ? 'no violation' : `violations in ${bad}`}`;
}

function isBad({ violations }: Outcome): boolean {
  return violations.length > 0;
}

// What a round has started would go on without it.
process.once('SIGINT', () => void runCleanups().finally(() => process.exit(130)));

main().catch((error: unknown) => {
  const isParseError = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
  if (error instanceof UsageError) console.error(error.message);
  else if (isParseError) console.error(`${error.message}\n${USAGE}`);
  else console.error(error);
  process.exitCode = 1;
});
