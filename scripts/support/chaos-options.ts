/** The options of `npm run chaos`, and whether they can be carried out here. */
import { MongoClient } from 'mongodb';
import { missingNeeds, type Scenario } from '../../tests/chaos/scenario';
import { SCENARIOS } from '../../tests/chaos/scenarios/index';
import { MONGODB_URL } from '../../tests/support/cluster';
import { readCommandLine, UsageError } from '../../utils/command-line';

const USAGE = `Injects faults, scenario by scenario, and checks that nothing is lost.

Usage:
  npm run chaos -- --minutes N [--only FAULTS] [--keep DIRECTORY] [--write]
  npm run chaos -- --rounds N  [--only FAULTS] [--keep DIRECTORY] [--write]
    --minutes  how long: scenarios take turns, and the current one is finished
    --rounds   how often each scenario runs, instead of a time
    --only     only scenarios of these faults: --only F1,F6
    --keep     write what is known of each violation to this directory
    --write    write the table to docs/evidence/reliability.md`;

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
  /** Is there time for another turn, after this many? */
  readonly goesOn: (turns: number) => boolean;
  readonly scenarios: readonly Scenario[];
  readonly keep: string | undefined;
  readonly isWriting: boolean;
}

/** @returns the usage if it was asked for. @throws UsageError */
export function readOptions(args: readonly string[]): Options | string {
  const { minutes, rounds, only, keep, write, help } = readCommandLine(args, { options: OPTIONS, usage: USAGE }).values;
  if (help) return USAGE;
  if ((minutes === undefined) === (rounds === undefined)) throw new UsageError(USAGE);
  if (write && only !== undefined)
    throw new UsageError('--write and --only exclude each other: the table holds all scenarios');
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
  if (amount === 0) throw new UsageError(`${name} must be a number above 0, for example 5`);
  return amount;
}

/** `F1` means every scenario with that fault, `F1 F7 (three nodes)` the one with that id. */
function choose(only: string | undefined): readonly Scenario[] {
  if (only === undefined) return SCENARIOS;
  const names = only.split(',');
  const isMeant = ({ id }: Scenario, name: string) => id === name || id.split(' ').includes(name);
  const unknown = names.find((name) => !SCENARIOS.some((scenario) => isMeant(scenario, name)));
  if (unknown !== undefined) throw new UsageError(`--only names a fault without a scenario: ${unknown}`);
  return SCENARIOS.filter((scenario) => names.some((name) => isMeant(scenario, name)));
}

/**
 * Every scenario must be able to run: a table with holes would claim more than was seen.
 * @throws UsageError
 */
export async function assertNeeds(scenarios: readonly Scenario[]): Promise<void> {
  const missing = new Map(scenarios.flatMap((scenario) => missingNeeds(scenario).map((need) => [need, scenario.id])));
  for (const [need, id] of missing) {
    throw new UsageError(
      `${id} needs ${need}, which was not found: install it, or choose other scenarios with --only.`,
    );
  }
  if (scenarios.some(({ needs }) => needs.includes('mongodb'))) await assertMongoDb(MONGODB_URL ?? '');
}

async function assertMongoDb(url: string): Promise<void> {
  try {
    const client = await MongoClient.connect(url, { serverSelectionTimeoutMS: MONGODB_PATIENCE_MS });
    await client.close();
  } catch (error) {
    throw new UsageError(
      `TEST_MONGODB_URL names a MongoDB that does not answer. ${error instanceof Error ? error.message : ''}`,
    );
  }
}
