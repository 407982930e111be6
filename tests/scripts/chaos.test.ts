/** `npm run chaos` where something is missing: a sentence that helps, and no stack. The rounds: tests/chaos. */
import { join } from 'node:path';
import { run } from '../support/process';

const script = join(__dirname, '../../scripts/chaos.ts');
const NOWHERE = 'mongodb://127.0.0.1:27017';

async function chaos(args: readonly string[], env: Record<string, string>) {
  const program = run(process.execPath, ['--import', 'tsx', script, ...args], env);
  const { code } = await program.end('SIGCONT');
  return { output: program.lines.join('\n'), code };
}

it.each([
  ['without a time', [], {}, 'Usage:'],
  ['with an unknown option', ['--hours', '1'], {}, '--hours'],
  ['with a time that is none', ['--minutes', 'ten'], {}, '--minutes: expected a number'],
  ['without a MongoDB', ['--minutes', '1'], { TEST_MONGODB_URL: '' }, 'TEST_MONGODB_URL is not set'],
  ['without redis-server', ['--minutes', '1'], { PATH: '' }, 'redis-server was not found'],
])('%s it says what is wrong', async (_name, args, env, words) => {
  const { output, code } = await chaos(args, { TEST_MONGODB_URL: NOWHERE, ...env });
  expect(output).toContain(words);
  expect(output).not.toContain('    at ');
  expect(code).toBe(1);
});
