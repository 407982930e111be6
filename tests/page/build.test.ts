/** The page is made from page/ and the client package: the file at the root is that, and nothing else. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

it('websocket-client.html is what page/ builds to', async () => {
  const build = join(__dirname, '../../page/build.mjs');
  await promisify(execFile)(process.execPath, [build, '--check']);
});
