/**
 * Keeps a service busy for a long time and looks whether anything grows that should not; ends with 1 when it does.
 *   npm run soak -- --minutes 30
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isServiceBuilt } from '../bench/support/servers';
import { readCommandLine, UsageError } from '../utils/command-line';
import { readCount } from './support/arguments';
import type { SoakPlan } from './support/soak/plan';
import { findFaults, renderResult } from './support/soak/report';
import { runSoak } from './support/soak/run';
import { type Command, Failure, runHere } from './support/terminal';

const USAGE = `Starts a service, keeps it busy, and checks whether memory, descriptors or timers grow.

Usage:
  npm run soak -- --minutes N [--rate N] [--users N] [--write]

  --minutes N  how long; the first fifth is warm-up and not judged
  --rate N     requests per second; default: 60
  --users N    users whose messages are counted: half stay connected, half come and go; default: 100
  --write      write the report to docs/evidence/soak.md

NODE_OPTIONS is passed on to the service.
`;

const OPTIONS = {
  minutes: { type: 'string' },
  rate: { type: 'string', default: '60' },
  users: { type: 'string', default: '100' },
  write: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

const PAGE = join(__dirname, '../docs/evidence/soak.md');
const RESULT_HEADING = '## The last run\n';
const MAX_MINUTES = 10_080;

export const soak: Command = async (args, terminal) => {
  const given = readCommandLine(args, { options: OPTIONS, usage: USAGE, env: terminal.env }).values;
  if (given.help) {
    terminal.stdout.write(USAGE);
    return 0;
  }
  const plan = readPlan(given);
  if (!isServiceBuilt()) throw new Failure('dist/server.js is missing: run `npm run build`.');
  const result = await runSoak(plan, terminal);
  const report = renderResult(result);
  terminal.stdout.write(report);
  if (given.write) keep(report);
  return findFaults(result).length === 0 ? 0 : 1;
};

function readPlan({ minutes, rate, users }: { minutes?: string; rate: string; users: string }): SoakPlan {
  return {
    minutes: readMinutes(minutes),
    rate: readCount('--rate', rate, { minimum: 1, maximum: 10_000 }),
    users: readCount('--users', users, { minimum: 20, maximum: 10_000 }),
  };
}

/** Fractions of a minute are for checking that it runs. */
function readMinutes(text: string | undefined): number {
  if (text === undefined) throw new UsageError('--minutes is required, for example --minutes 30.');
  const minutes = /^\d{1,5}(\.\d{1,2})?$/.test(text) ? Number(text) : 0;
  if (minutes > 0 && minutes <= MAX_MINUTES) return minutes;
  throw new UsageError(`--minutes must be a number above 0 and up to ${MAX_MINUTES}.`);
}

function keep(report: string): void {
  const [text = ''] = readFileSync(PAGE, 'utf8').split(RESULT_HEADING);
  writeFileSync(PAGE, `${text}${RESULT_HEADING}\n${report}`);
}

if (require.main === module) void runHere(soak);
