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

it('reports every fault, naming the variables, and nothing of their values', async () => {
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

it.each([
  'mongodb://user:hunter2@localhost/a b',
  'mongodb://user:hunter2@localhost/x?serverSelectionTimeoutMS=abc',
  'mongodb://user:hunter2@localhost/x?noSuchOption=1',
  'mongodb://user:hunter2@localhost',
])('an address that the driver cannot read is one sentence: %s', async (url) => {
  const { code, lines } = await check({ STORE_URL: url }, ['--check-config']);
  expect({ code, lines: lines.length }).toEqual({ code: 1, lines: 1 });
  expect(lines[0]).toContain('STORE_URL');
  expect(lines[0]).not.toContain('hunter2');
});

it('warns of sizes that contradict each other', async () => {
  const env = { MAX_BODY_BYTES: '2048', MAX_MESSAGE_BYTES: '4096', MAX_BUFFERED_BYTES: '1024' };
  const { code, lines } = await check(env, ['--check-config']);
  expect(code).toBe(0);
  expect(lines.slice(1)).toEqual([
    expect.stringMatching(/^MAX_MESSAGE_BYTES is above MAX_BODY_BYTES/),
    expect.stringMatching(/^MAX_BUFFERED_BYTES is less than one message/),
  ]);
});
