/** `node dist/server.js --check-config`, and starts that have to fail. */
import { runServer } from '../support/process';
import { temporaryDirectory } from '../support/temporary';

async function check(
  env: Record<string, string>,
  args: readonly string[],
): Promise<{ code: number | null; lines: readonly string[] }> {
  const server = runServer({ DATA_DIR: temporaryDirectory(), ...env }, { args });
  const { code } = await server.end('SIGCONT');
  return { code, lines: server.lines };
}

it('says that a configuration is valid, and does not start', async () => {
  const { code, lines } = await check({}, ['--check-config']);
  expect({ code, lines }).toEqual({ code: 0, lines: ['The configuration is valid.'] });
});

it('tells every fault, naming the variables, and nothing of their values', async () => {
  const { code, lines } = await check({ NODE_ENV: 'production', PORT: 'x', JWT_SECRET: 'hunter2' }, ['--check-config']);
  const text = lines.join('\n');
  expect(code).toBe(1);
  for (const variable of ['PORT', 'JWT_SECRET']) expect(text).toContain(variable);
  expect(text).not.toContain('hunter2');
  expect(text).not.toContain('    at ');
});

it('production without a key does not start', async () => {
  const { code, lines } = await check({ NODE_ENV: 'production' }, []);
  expect(code).toBe(1);
  expect(lines.join('\n')).toContain('JWT_SECRET');
});
