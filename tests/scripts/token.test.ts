/** `npm run token`, as people type it. */
import { join } from 'node:path';
import { run } from '../support/process';
import { temporaryDirectory } from '../support/temporary';

const script = join(__dirname, '../../scripts/token.ts');

async function token(
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ output: string; code: number | null }> {
  const program = run(process.execPath, ['--import', 'tsx', script, ...args], env);
  const { code } = await program.end('SIGCONT');
  return { output: program.lines.join('\n'), code };
}

it('makes a token that it then accepts, with the secret of the data directory', async () => {
  const env = { DATA_DIR: temporaryDirectory() };
  const { output } = await token(['--sub', 'user123', '--scope', 'send', '--expires', '1d'], env);
  expect(output).toMatch(/^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
  expect(await token(['--check', output], env)).toEqual({
    output: expect.stringMatching(/^accepted: user user123, scopes send, expires \d{4}-/),
    code: 0,
  });
  const other = await token(['--check', output], { DATA_DIR: temporaryDirectory() });
  expect(other).toEqual({ output: 'refused: The token was refused: invalid signature.', code: 1 });
});

it('makes tokens valid for a day for the four sample users, ready for wscat', async () => {
  const env = { DATA_DIR: temporaryDirectory(), PORT: '8091' };
  const { output } = await token(['--samples'], env);
  const lines = output.split('\n').filter((line) => line !== '');
  expect(lines.filter((_line, index) => index % 2 === 0)).toEqual(['omar', 'diego', 'satoshi', 'memoor']);
  const commands = lines.filter((_line, index) => index % 2 === 1);
  for (const command of commands)
    expect(command).toMatch(/^wscat -c ws:\/\/localhost:8091\/eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
  const { output: checked } = await token(['--check', commands[0]?.split('/').at(-1) ?? ''], env);
  expect(checked).toMatch(/^accepted: user omar, scopes none, expires /);
});

it.each([
  ['nothing', [], 'Usage:'],
  ['an unknown option', ['--who', 'x'], '--who'],
  ['an unknown scope', ['--sub', 'a', '--scope', 'sned'], 'there is no scope sned'],
  ['a lifetime without unit', ['--sub', 'a', '--expires', '10'], '--expires'],
  ['an empty user', ['--sub', ''], '--sub'],
])('says what is wrong with %s', async (_name, args, words) => {
  const { output, code } = await token(args, { DATA_DIR: temporaryDirectory() });
  expect(output).toContain(words);
  expect(output).not.toContain('    at ');
  expect(code).toBe(2);
});
