/** The commands as processes, as people start them: through npm, with signals, and with a file `.env`. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { verify } from 'jsonwebtoken';
import { run } from '../support/process';
import { startService, TEST_SECRET } from '../support/service';
import { temporaryDirectory } from '../support/temporary';

const SCRIPTS = join(__dirname, '../../scripts');

function npm(script: string, args: readonly string[], env: Record<string, string>) {
  return run('npm', ['run', '--silent', script, '--', ...args], env);
}

it('listen prints what send sends, and Ctrl-C ends it with 0', async () => {
  const service = await startService();
  const env = { PORT: new URL(service.url).port, JWT_SECRET: TEST_SECRET };
  const listening = run(process.execPath, ['--import', 'tsx', join(SCRIPTS, 'listen.ts'), '--sub', 'anna'], env);
  const sending = npm('send', ['--to', 'anna', '--title', 'Hello', '--body', 'World'], env);
  await listening.line(/Z {2}@anna {2}1 {2}notification {2}\{"title":"Hello","body":"World"\}$/);
  expect(await listening.end('SIGINT')).toEqual({ code: 0, signal: null });
  expect(await sending.end('SIGCONT')).toEqual({ code: 0, signal: null });
  expect(sending.lines).toContain('Message sent to user anna');
});

it('load measures, mistakes end with 2 and failures with 1', async () => {
  const service = await startService();
  const env = { PORT: new URL(service.url).port, JWT_SECRET: TEST_SECRET };
  const loading = npm('load', ['--users', '2', '--rate', '5', '--duration', '1s'], env);
  const mistaken = npm('send', ['--to', 'anna'], env);
  const refused = npm('send', ['--to', 'anna', '--title', 'A'], { ...env, JWT_SECRET: 'another' });
  expect(await loading.end('SIGCONT')).toEqual({ code: 0, signal: null });
  expect(loading.lines.join('\n')).toMatch(/^Delivered {4}5 of 5 expected: none lost/m);
  expect(await mistaken.end('SIGCONT')).toEqual({ code: 2, signal: null });
  expect(await refused.end('SIGCONT')).toEqual({ code: 1, signal: null });
  for (const { lines } of [mistaken, refused]) expect(lines.join('\n')).not.toMatch(/^ {4}at /m);
});

it('a file .env is read, silently', async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, '.env'), 'JWT_SECRET=a secret in a file\n');
  const preloads = ['--import', require.resolve('tsx'), '--require', join(SCRIPTS, 'support/env-file.ts')];
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [...preloads, join(SCRIPTS, 'token.ts'), '--sub', 'anna'],
    { cwd: directory, env: { PATH: process.env['PATH'] } },
  );
  expect(stderr).toBe('');
  expect(verify(stdout.trim(), 'a secret in a file')).toMatchObject({ sub: 'anna' });
});
