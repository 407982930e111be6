/**
 * Plays random commands against the service and its model, in this process; ends with 1 when they differ.
 *   npm run simulate -- --seed 1 --steps 100000 --engine lmdb --nodes 2
 */
import '../tests/chaos/without-jest';
import { type Simulation, simulate, type Verdict } from '../tests/model/simulate';
import { EXIT_USAGE, UsageError } from '../utils/command-line';
import { readSimulation } from './support/simulate-options';

async function main(): Promise<number> {
  const simulation = readSimulation(process.argv.slice(2));
  if (typeof simulation === 'string') {
    console.log(simulation);
    return 0;
  }
  const startedAt = performance.now();
  const { seed, engine, nodes } = simulation;
  console.log(`seed ${seed}, ${engine}, ${nodes} ${nodes === 1 ? 'node' : 'nodes'}`);
  const verdict = await simulate({
    ...simulation,
    onRun: progress(startedAt),
    onFound: (violations) => console.log(violations.join('\n')),
  });
  console.log(describe(verdict, simulation, (performance.now() - startedAt) / 1_000));
  return verdict.failure === undefined ? 0 : 1;
}

const TOLD_EVERY_MS = 10_000;

function progress(startedAt: number): (steps: number) => void {
  let toldAt = startedAt;
  return (steps) => {
    const now = performance.now();
    if (now - toldAt < TOLD_EVERY_MS) return;
    toldAt = now;
    console.log(`${steps} steps, ${Math.round((steps / (now - startedAt)) * 1_000)} a second`);
  };
}

function describe(verdict: Verdict, { seed, engine, nodes }: Simulation, seconds: number): string {
  const { steps, runs, failure } = verdict;
  if (failure === undefined) return `${steps} steps in ${runs} runs held, in ${seconds.toFixed(1)} s`;
  const { commands, path } = failure;
  return [
    `found after ${steps} steps:`,
    ...failure.violations.map((sentence) => `  ${sentence}`),
    `${commands.length} commands are enough:`,
    ...commands.map((command) => `  ${JSON.stringify(command)}`),
    `again: npm run simulate -- --seed ${seed} --engine ${engine} --nodes ${nodes} --path ${path}`,
  ].join('\n');
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const isUsage = error instanceof UsageError;
    console.error(isUsage ? error.message : error);
    process.exit(isUsage ? EXIT_USAGE : 1);
  },
);
