/** What a start prints for people, and what it must not. */
import { runServer } from '../support/process';
import { temporaryDirectory } from '../support/temporary';

async function printedBy(env: Record<string, string>): Promise<string> {
  const server = runServer({
    DATA_DIR: temporaryDirectory(),
    PORT: '0',
    NODE_ENV: 'development',
    LOG_LEVEL: 'silent',
    ...env,
  });
  await server.line(/^Tokens /);
  await server.end('SIGTERM');
  return server.lines.join('\n');
}

it('prints tokens that are signed with the secret that the service made itself', async () => {
  expect(await printedBy({})).toContain('eyJ');
});

it('prints none that are signed with a configured secret', async () => {
  const text = await printedBy({ JWT_SECRET: 'a secret that somebody has configured' });
  expect(text).toContain('npm run token');
  expect(text).not.toContain('eyJ');
});
