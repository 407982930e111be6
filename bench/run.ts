/** Entry of `npm run bench`: runs the scenarios and prints the report. README.md has the method. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT_USAGE, UsageError } from '../utils/command-line';
import { runAbsent } from './scenarios/absent';
import { runBatch } from './scenarios/batch';
import { runBroadcast } from './scenarios/broadcast';
import { runConnect } from './scenarios/connect';
import { runIdle } from './scenarios/idle';
import { runInbox } from './scenarios/inbox';
import { runOneToOne } from './scenarios/one-to-one';
import { runOneToOneShared } from './scenarios/one-to-one-shared';
import { runSlow } from './scenarios/slow';
import { runStorm } from './scenarios/storm';
import { runTopic } from './scenarios/topic';
import { runTwoNodes } from './scenarios/two-nodes';
import { type BenchOptions, parseOptions, type ScenarioName } from './support/options';
import { renderReport, type Section } from './support/report';
import { isServiceBuilt } from './support/servers';

const SCENARIOS: Record<ScenarioName, (options: BenchOptions) => Promise<Section[]>> = {
  'one-to-one': runOneToOne,
  'one-to-one-shared': runOneToOneShared,
  broadcast: runBroadcast,
  topic: runTopic,
  connect: runConnect,
  idle: runIdle,
  absent: runAbsent,
  batch: runBatch,
  inbox: runInbox,
  'two-nodes': runTwoNodes,
  slow: runSlow,
  storm: runStorm,
};

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (typeof options === 'string') {
    process.stdout.write(options);
    return;
  }
  if (!options.isPeersOnly && !isServiceBuilt()) throw new Error('dist/server.js is missing: run `npm run build`');
  const sections: Section[] = [];
  for (const name of options.scenarios) sections.push(...(await runScenario(name, options)));
  const report = renderReport(sections, options);
  process.stdout.write(report);
  if (options.writesResults) writeFileSync(join(__dirname, 'RESULTS.md'), report);
  process.exit(sections.some((section) => section.faults.length > 0) ? 1 : 0);
}

/** A scenario that breaks off is a fault in the report; the others still have results. */
async function runScenario(name: ScenarioName, options: BenchOptions): Promise<Section[]> {
  try {
    return await SCENARIOS[name](options);
  } catch (error) {
    return [{ title: name, header: [], rows: [], faults: [`${name} broke off: ${String(error)}`] }];
  }
}

process.once('SIGINT', () => process.exit(130));

main().catch((error: unknown) => {
  const isUsage = error instanceof UsageError;
  process.stderr.write(`${isUsage ? error.message : String(error)}\n`);
  process.exit(isUsage ? EXIT_USAGE : 1);
});
