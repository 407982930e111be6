/** A log that nobody reads, or that a full disk does not take: it holds up neither the service nor its end. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from './support/eventually';
import { freePort } from './support/process';
import { onTestEnd, temporaryDirectory } from './support/temporary';

const SECRET = 'a secret that is long enough for HS256';
/** More than a pipe holds, in lines of LOG_LEVEL=debug. */
const REQUESTS = 150;
const LONG_PATH = `/livez?x=${'y'.repeat(8_000)}`;

interface Unread {
  readonly env: string;
  /** A reader that does not read, one that has gone, or a file on a disk without room. */
  readonly output: 'unread' | 'closed' | 'full';
}

async function startUnread({ env, output }: Unread) {
  const stdout = output === 'full' ? openSync('/dev/full', 'w') : 'pipe';
  const port = await freePort();
  const child = spawn(process.execPath, [join(__dirname, '../dist/server.js')], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOST: '127.0.0.1',
      PORT: String(port),
      DATA_DIR: temporaryDirectory(),
      JWT_SECRET: SECRET,
      NODE_ENV: env,
      LOG_LEVEL: 'debug',
    },
    stdio: ['ignore', stdout, 'ignore'],
  });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  onTestEnd(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  if (typeof stdout === 'number') closeSync(stdout);
  if (output === 'closed') child.stdout?.destroy();
  else child.stdout?.pause();
  const ask = (path: string) => fetch(`http://127.0.0.1:${port}${path}`).then(({ status }) => status);
  await eventually(
    () => ask('/livez').catch(() => 0),
    (status) => status === 200,
  );
  return { child, ended, ask };
}

it.each([
  { env: 'production', output: 'unread' },
  { env: 'production', output: 'closed' },
  { env: 'production', output: 'full' },
  { env: 'development', output: 'unread' },
  { env: 'development', output: 'closed' },
  { env: 'development', output: 'full' },
] as const)('the service answers, and stops with exit code 0: %j', async (unread) => {
  const { child, ended, ask } = await startUnread(unread);
  for (let n = 0; n < REQUESTS; n += 1) expect(await ask(LONG_PATH)).toBe(200);
  child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
});
