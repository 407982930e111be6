/** What `npm run simulate` is told at the terminal. */

import { ACTS } from '../../tests/model/acts';
import type { Simulation } from '../../tests/model/simulate';
import { readCommandLine, UsageError } from '../../utils/command-line';

const USAGE = `Plays random commands against the service and its model, in this process.

Usage:
  npm run simulate -- [--seed N] [--steps M] [--engine lmdb|mongodb] [--nodes 1|2] [--only COMMANDS] [--path PATH]
    --seed    the same seed plays the same commands; another one each time when left out
    --steps   about so many commands: 10000 when left out
    --engine  lmdb when left out; mongodb needs TEST_MONGODB_URL
    --nodes   two share the store, and tell each other what can get lost: 1 when left out
    --only    commands by name, such as send,connect,reset: all when left out
    --path    where a failure is, as it was printed: only that is played`;

const OPTIONS = {
  seed: { type: 'string' },
  steps: { type: 'string', default: '10000' },
  engine: { type: 'string', default: 'lmdb' },
  nodes: { type: 'string', default: '1' },
  only: { type: 'string' },
  path: { type: 'string' },
  help: { type: 'boolean', default: false },
} as const;

/** @returns the usage where it was asked for. @throws UsageError */
export function readSimulation(args: readonly string[]): Simulation | string {
  const { values } = readCommandLine(args, { options: OPTIONS, usage: USAGE, env: process.env });
  if (values.help) return USAGE;
  const seed = readNumber('--seed', values.seed ?? String(Math.floor(Math.random() * 2 ** 31)));
  return {
    seed,
    steps: readNumber('--steps', values.steps),
    engine: readEngine(values.engine),
    nodes: readNodes(values.nodes),
    only: readOnly(values.only),
    path: values.path,
  };
}

function readNumber(name: string, text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new UsageError(`${name}: expected a whole number, for example 1`);
  return Number(text);
}

function readEngine(text: string): Simulation['engine'] {
  if (text !== 'lmdb' && text !== 'mongodb') throw new UsageError('--engine: expected lmdb or mongodb');
  if (text === 'mongodb' && process.env['TEST_MONGODB_URL'] === undefined)
    throw new UsageError('--engine mongodb needs TEST_MONGODB_URL');
  return text;
}

function readOnly(text: string | undefined): readonly string[] | undefined {
  const names = text?.split(',');
  const unknown = names?.find((name) => !Object.hasOwn(ACTS, name));
  if (unknown !== undefined) throw new UsageError(`--only: there is no command ${unknown}`);
  return names;
}

function readNodes(text: string): number {
  if (text !== '1' && text !== '2') throw new UsageError('--nodes: expected 1 or 2');
  return Number(text);
}
