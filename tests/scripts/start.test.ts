/**
 * What keeps the service from starting is reported in a sentence that names the variable; suspicious values are
 * reported too.
 */
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { run, runServer } from '../support/process';
import { onTestEnd, temporaryDirectory } from '../support/temporary';

const ROOT = join(__dirname, '../..');
const SECRET = 'a secret of more than thirty-two bytes';

async function failOf(
  env: Record<string, string>,
  args: readonly string[] = [],
): Promise<{ code: number | null; text: string }> {
  const server = runServer(
    { DATA_DIR: temporaryDirectory(), PORT: '0', LOG_LEVEL: 'silent', NODE_ENV: 'test', ...env },
    { args },
  );
  const { code } = await server.end('SIGCONT');
  return { code, text: server.lines.join('\n') };
}

function makeFile(): string {
  const path = join(temporaryDirectory(), 'file');
  writeFileSync(path, '');
  return path;
}

it.each<[name: string, variable: string, env: () => Record<string, string>]>([
  ['a HOST that does not resolve', 'HOST', () => ({ HOST: 'nosuch.invalid' })],
  ['a HOST of another machine', 'HOST', () => ({ HOST: '192.0.2.1' })],
  ['a DATA_DIR that is a file', 'DATA_DIR', () => ({ DATA_DIR: makeFile() })],
  ['a DATA_DIR below a file', 'DATA_DIR', () => ({ DATA_DIR: join(makeFile(), 'x') })],
  ['a DATA_DIR where nothing can be made', 'DATA_DIR', () => ({ DATA_DIR: '/proc/x' })],
  ['a DATA_DIR that takes no files', 'DATA_DIR', () => ({ DATA_DIR: '/proc' })],
  ['a DATA_DIR that is a file, with a secret', 'DATA_DIR', () => ({ DATA_DIR: makeFile(), JWT_SECRET: SECRET })],
  ['a store where nothing can be made', 'STORE_URL', () => ({ STORE_URL: 'lmdb:/proc/x' })],
  ['a store that takes no files', 'STORE_URL', () => ({ STORE_URL: 'lmdb:/proc' })],
])('%s', async (...[, variable, env]) => {
  const { code, text } = await failOf(env());
  expect(text).toContain(variable);
  expect(text).not.toContain('    at ');
  expect(text.split('\n').length).toBeLessThanOrEqual(2);
  expect(code).toBe(1);
});

it('a PORT that is taken', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  onTestEnd(() => void other.close());
  const { port } = other.address() as AddressInfo;
  const { code, text } = await failOf({ PORT: String(port) });
  expect({ code, text }).toEqual({ code: 1, text: expect.stringMatching(new RegExp(`^PORT ${port} is in use`)) });
});

describe('the command line', () => {
  it.each([
    ['--check-confg', 'did you mean --check-config?'],
    ['--port=1', 'There is no option --port'],
    ['start', 'Every value belongs to an option'],
    ['--check-config=yes', 'takes no value'],
  ])('%s is refused with the usage', async (argument, words) => {
    const { code, text } = await failOf({}, [argument]);
    expect(text).toContain(words);
    expect(text).toContain('Usage:');
    expect(code).toBe(2);
  });

  it('options that npm has taken for itself are reported', async () => {
    const { code, text } = await failOf({ npm_config_check_config: 'true' });
    expect(text).toContain('npm needs --');
    expect(code).toBe(2);
  });

  it.each([
    'server.ts',
    'scripts/token.ts',
    'scripts/send.ts',
    'scripts/listen.ts',
    'scripts/load.ts',
    'scripts/backup.ts',
    'scripts/soak.ts',
    'scripts/chaos.ts',
    'scripts/generate-docs.ts',
    'bench/run.ts',
  ])('%s has --help, and refuses what it does not know', async (script) => {
    const call = async (argument: string) => {
      const program = run(process.execPath, ['--import', 'tsx', join(ROOT, script), argument]);
      const { code } = await program.end('SIGCONT');
      return { code, text: program.lines.join('\n') };
    };
    const [help, unknown] = await Promise.all([call('--help'), call('--nonsense')]);
    expect(help).toEqual({ code: 0, text: expect.stringContaining('Usage:') });
    expect(unknown).toEqual({ code: 2, text: expect.stringContaining('Usage:') });
    expect(unknown.text).toContain('--nonsense');
  });
});

describe('suspicious values', () => {
  it('variables that resemble those of the service are reported, in the log too', async () => {
    const { code, text } = await failOf({ JWT_ISUER: 'x', jwt_audience: 'x', RATE_LIMIT: '1' }, ['--check-config']);
    expect(code).toBe(0);
    expect(text.split('\n')).toEqual([
      'The configuration is valid.',
      'JWT_ISUER is not known; did you mean JWT_ISSUER?',
      'jwt_audience is not known; did you mean JWT_AUDIENCE?',
    ]);
    const env = { JWT_ISUER: 'x', DATA_DIR: temporaryDirectory(), PORT: '0', NODE_ENV: 'test', LOG_LEVEL: 'warn' };
    const server = runServer(env);
    expect(await server.line(/JWT_ISUER/)).toContain('"level":40');
    await server.end('SIGTERM');
  });

  async function checkFile(text: string, env: Record<string, string> = {}): Promise<string> {
    const directory = temporaryDirectory();
    mkdirSync(directory, { recursive: true });
    const path = join(directory, 'env');
    writeFileSync(path, text);
    const program = run(process.execPath, [`--env-file=${path}`, join(ROOT, 'dist/server.js'), '--check-config'], env);
    await program.end('SIGCONT');
    return program.lines.join('\n');
  }

  it('a value that a # has cut, and a file with a byte order mark', async () => {
    expect(await checkFile('JWT_SECRET=abc#def\nPORT=8090 # the port\nHOST="a#b"\n')).toMatch(
      /^The configuration is valid\.\nJWT_SECRET in \S+ is cut off at its #\. Quote the value .*\.$/,
    );
    expect(await checkFile('JWT_SECRET=abc#def\n', { JWT_SECRET: 'given otherwise' })).toBe(
      'The configuration is valid.',
    );
    expect(await checkFile('\ufeffJWT_SECRET=abc\n')).toContain(
      'JWT_SECRET is ignored: its file begins with a byte order mark',
    );
    expect(await checkFile('\ufeffJWT_SECRET=abc\n', { NODE_ENV: 'production' })).toContain('byte order mark');
  });
});
