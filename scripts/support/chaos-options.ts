/** What `npm run chaos` is told at the terminal, and whether that can be done here. */
import { MongoClient } from 'mongodb';
import { missingNeeds, type Scenario } from '../../tests/chaos/scenario';
import { SCENARIOS } from '../../tests/chaos/scenarios/index';
import { MONGODB_URL } from '../../tests/support/cluster';
import { readCommandLine, UsageError } from '../../utils/command-line';

const USAGE = `Makes faults happen, scenario by scenario, and looks whether anything is lost.

Usage:
  npm run chaos -- --minutes N [--only FAULTS] [--keep DIRECTORY] [--write]
  npm run chaos -- --rounds N  [--only FAULTS] [--keep DIRECTORY] [--write]
    --minutes  how long: the scenarios take turns, and the round that has begun is finished
    --rounds   how often each scenario, instead of a time
    --only     some of them, by fault: --only F1,F6
    --keep     writes what is known of each round with a violation to this directory
    --write    puts the table into docs/operations/reliability.md`;

const MINUTE_MS = 60_000;
const MONGODB_PATIENCE_MS = 3_000;

const OPTIONS = {
  minutes: { type: 'string' },
  rounds: { type: 'string' },
  only: { type: 'string' },
  keep: { type: 'string' },
  write: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

export interface Options {
  /** Is there time for another turn, after so many? */
  readonly goesOn: (turns: number) => boolean;
  readonly scenarios: readonly Scenario[];
  readonly keep: string | undefined;
  readonly isWriting: boolean;
}

/** @returns the usage where it was asked for. @throws UsageError */
export function readOptions(args: readonly string[]): Options | string {
  const { minutes, rounds, only, keep, write, help } = readCommandLine(args, { options: OPTIONS, usage: USAGE }).values;
  if (help) return USAGE;
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

/**
 * Every scenario must be able to run: a table with holes would say more than was seen.
 * @throws UsageError
 */
export async function assertNeeds(scenarios: readonly Scenario[]): Promise<void> {
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
