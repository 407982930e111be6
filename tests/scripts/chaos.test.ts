/** `npm run chaos` where something is missing: a sentence that helps, and no stack. The rounds: tests/chaos. */
import { join } from 'node:path';
import { readOptions } from '../../scripts/support/chaos-options';
import { UsageError } from '../../utils/command-line';
import { run } from '../support/process';

const script = join(__dirname, '../../scripts/chaos.ts');
const NOWHERE = 'mongodb://127.0.0.1:27017';

async function chaos(args: readonly string[], env: Record<string, string>) {
  const program = run(process.execPath, ['--import', 'tsx', script, ...args], env);
  const { code } = await program.end('SIGCONT');
  return { output: program.lines.join('\n'), code };
}

describe('what it cannot do', () => {
  it.each<[string, readonly string[], string]>([
    ['without a time', [], 'Usage:'],
    ['with a time and a number of rounds', ['--minutes', '1', '--rounds', '1'], 'Usage:'],
    ['with a time that is none', ['--minutes', 'ten'], '--minutes must be a number'],
    ['with an unknown fault', ['--rounds', '1', '--only', 'F1,F99'], '--only names a fault without a scenario: F99'],
    ['with a table of some only', ['--rounds', '1', '--only', 'F1', '--write'], 'the table holds all scenarios'],
  ])('is refused %s', (_name, args, words) => {
    const read = () => readOptions(args);
    // What the terminal shows without a stack, see below.
    expect(read).toThrow(UsageError);
    expect(read).toThrow(words);
  });

  it.each([
    ['a mistake', ['--rounds', 'ten'], {}, '--rounds must be a number'],
    ['an option that is unknown', ['--hours', '1'], {}, '--hours'],
    ['no MongoDB', ['--minutes', '1'], { TEST_MONGODB_URL: '' }, 'needs MongoDB (TEST_MONGODB_URL)'],
    ['no redis-server', ['--minutes', '1', '--only', 'F20'], { PATH: '' }, 'needs redis-server'],
  ])('is reported without a stack: %s', async (_name, args, env, words) => {
    const { output, code } = await chaos(args, { TEST_MONGODB_URL: NOWHERE, ...env });
    expect(output).toContain(words);
    expect(output).not.toContain('    at ');
    expect(code).toBe(2);
  });
});

it('injects faults, and reports the results', async () => {
  const { output, code } = await chaos(['--rounds', '1', '--only', 'F28'], { TIDINGS_SEED: '7' });
  expect(output).toContain('F28, round 1: TIDINGS_SEED=7');
  expect(output).toMatch(/F28, round 1: held/);
  expect(output).toMatch(/\n\| F28 \|.*\| 1 \| held.*\|\n/);
  expect(output).toContain('1 rounds of 1 scenarios: no violation');
  expect(code).toBe(0);
});
