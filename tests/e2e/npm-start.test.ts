/** `npm start` as people and supervisors end it: what it has started ends with it, and stops as it should. */
import { run } from '../support/process';
import { temporaryDirectory } from '../support/temporary';

it.each(['SIGTERM', 'SIGINT'] as const)('%s to npm stops the service', async (signal) => {
  // Without `prestart`, which would build again.
  const npm = run('npm', ['start', '--ignore-scripts', '--silent'], {
    NODE_ENV: 'test',
    HOST: '127.0.0.1',
    PORT: '0',
    DATA_DIR: temporaryDirectory(),
    LOG_LEVEL: 'info',
    SHUTDOWN_TIMEOUT_MS: '1000',
  });
  const { pid } = JSON.parse(await npm.line(/"listening"/)) as { pid: number };
  await npm.end(signal);
  // Its output was a pipe of npm's: it has ended, and all that it wrote is there.
  expect(npm.lines.join('\n')).toContain('"stopped"');
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});
