/**
 * Injects faults, scenario by scenario, until the time has elapsed; exits with 1 if a round has found a violation.
 *
 *     npm run chaos -- --minutes 10 [--only F1,F6] [--keep DIRECTORY] [--write]
 *
 * TIDINGS_SEED=<seed> repeats every round with that seed.
 */
import '../tests/chaos/without-jest';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Results, renderTable, replaceTable } from '../tests/chaos/report';
import type { Outcome, Scenario } from '../tests/chaos/scenario';
import { seededRandom } from '../tests/support/random';
import { runCleanups } from '../tests/support/temporary';
import { EXIT_USAGE, UsageError } from '../utils/command-line';
import { assertNeeds, readOptions } from './support/chaos-options';

const PAGE = join(__dirname, '../docs/evidence/reliability.md');

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (typeof options === 'string') {
    console.log(options);
    return;
  }
  const { goesOn, scenarios, keep, isWriting } = options;
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

// Otherwise what a round has started would continue without it.
process.once('SIGINT', () => void runCleanups().finally(() => process.exit(130)));

main().catch((error: unknown) => {
  const isUsage = error instanceof UsageError;
  console.error(isUsage ? error.message : error);
  process.exitCode = isUsage ? EXIT_USAGE : 1;
});
