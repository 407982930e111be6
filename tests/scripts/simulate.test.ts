/** `npm run simulate`, as people type it: wrong options are refused in one sentence, before anything is played. */
import { join } from 'node:path';
import { readSimulation } from '../../scripts/support/simulate-options';
import { EXIT_USAGE, UsageError } from '../../utils/command-line';
import { run } from '../support/process';

afterEach(() => {
  delete process.env['TEST_MONGODB_URL'];
});

const mongoDbUrl = process.env['TEST_MONGODB_URL'];

beforeEach(() => {
  if (mongoDbUrl !== undefined) process.env['TEST_MONGODB_URL'] = mongoDbUrl;
});

it('by default plays 10000 commands over LMDB on one node, with a new seed', () => {
  expect(readSimulation(['--steps', '10000'])).toEqual({
    seed: expect.any(Number),
    steps: 10_000,
    engine: 'lmdb',
    nodes: 1,
    only: undefined,
    path: undefined,
    shrinks: 150,
  });
});

it('takes its options', () => {
  const typed = '--seed 7 --steps 50 --nodes 2 --only send,connect --path 3:1 --shrinks 0';
  expect(readSimulation(typed.split(' '))).toEqual({
    ...{ seed: 7, steps: 50, engine: 'lmdb', nodes: 2 },
    ...{ only: ['send', 'connect'], path: '3:1', shrinks: 0 },
  });
});

it('shows its usage', () => {
  expect(readSimulation(['--help'])).toMatch(/^Plays random commands/);
});

it.each([
  ['--seed x', '--seed must be a whole number, for example 1'],
  ['--seed=-1', '--seed must be a whole number, for example 1'],
  ['--steps 1.5', '--steps must be a whole number, for example 1'],
  ['--steps 99999999999', '--steps must be a whole number, for example 1'],
  ['--shrinks few', '--shrinks must be a whole number, for example 1'],
  ['--engine sqlite', '--engine must be lmdb or mongodb'],
  ['--nodes 3', '--nodes must be 1 or 2'],
  ['--only send,dance', '--only names a command that does not exist: dance'],
  ['--only constructor', '--only names a command that does not exist: constructor'],
])('refuses %s in one sentence', (typed, sentence) => {
  expect(() => readSimulation(typed.split(' '))).toThrow(new UsageError(sentence));
});

it('refuses options that it does not know', () => {
  expect(() => readSimulation(['--sead', '1'])).toThrow(UsageError);
});

it('says what MongoDB needs', () => {
  delete process.env['TEST_MONGODB_URL'];
  const sentence = '--engine mongodb needs TEST_MONGODB_URL';
  expect(() => readSimulation(['--engine', 'mongodb'])).toThrow(new UsageError(sentence));
});

it('ends with the exit code for wrong options, and plays nothing', async () => {
  const script = join(__dirname, '../../scripts/simulate.ts');
  const program = run(process.execPath, ['--import', 'tsx', script, '--nodes', '3'], {});
  const { code } = await program.end('SIGCONT');
  expect({ code, lines: program.lines }).toEqual({ code: EXIT_USAGE, lines: ['--nodes must be 1 or 2'] });
});
