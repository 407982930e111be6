/** The options of `npm run simulate`. */

import { ACTS } from '../../tests/model/acts';
import { SHRINKS, type Simulation } from '../../tests/model/simulate';
import { readCommandLine, UsageError } from '../../utils/command-line';

const USAGE = `Plays random commands against the service and its model, in this process.

Usage:
  npm run simulate -- [--seed N] [--steps M] [--engine lmdb|mongodb] [--nodes 1|2] [--only COMMANDS] [--path PATH] [--shrinks N]
    --seed    the same seed plays the same commands; default: a new one each time
    --steps   about how many commands; default: 10000
    --engine  default: lmdb; mongodb needs TEST_MONGODB_URL
    --nodes   2 share one store, and what they send each other can get lost; default: 1
    --only    commands by name, such as send,connect,reset; default: all
    --path    the place of a failure, as it was printed: play only that
    --shrinks how often to play a failure again, at most, to make it smaller; default: ${SHRINKS}`;

const OPTIONS = {
  seed: { type: 'string' },
  steps: { type: 'string', default: '10000' },
  engine: { type: 'string', default: 'lmdb' },
  nodes: { type: 'string', default: '1' },
  only: { type: 'string' },
  path: { type: 'string' },
  shrinks: { type: 'string', default: String(SHRINKS) },
  help: { type: 'boolean', default: false },
} as const;

/** @returns the usage if it was asked for. @throws UsageError */
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
    shrinks: readNumber('--shrinks', values.shrinks),
  };
}

function readNumber(name: string, text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new UsageError(`${name} must be a whole number, for example 1`);
  return Number(text);
}

function readEngine(text: string): Simulation['engine'] {
  if (text !== 'lmdb' && text !== 'mongodb') throw new UsageError('--engine must be lmdb or mongodb');
  if (text === 'mongodb' && process.env['TEST_MONGODB_URL'] === undefined)
    throw new UsageError('--engine mongodb needs TEST_MONGODB_URL');
  return text;
}

function readOnly(text: string | undefined): readonly string[] | undefined {
  const names = text?.split(',');
  const unknown = names?.find((name) => !Object.hasOwn(ACTS, name));
  if (unknown !== undefined) throw new UsageError(`--only names a command that does not exist: ${unknown}`);
  return names;
}

function readNodes(text: string): number {
  if (text !== '1' && text !== '2') throw new UsageError('--nodes must be 1 or 2');
  return Number(text);
}
