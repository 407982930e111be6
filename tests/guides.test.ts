/** The guides, followed to the letter: see tests/support/guide.ts for how. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openClient } from './support/client';
import { type Guide, openGuide, openGuideOfProgram } from './support/guide';
import { describeWith, findProgram } from './support/needs';

const GUIDES = 'docs/guides';
jest.setTimeout(90_000);

/** A Python that has what the guide installs: that of TEST_PYTHON, or the one on the PATH. */
function findPython(): string | undefined {
  const candidates = [process.env['TEST_PYTHON'], findProgram('python3')];
  return candidates.find(
    (python) => python !== undefined && spawnSync(python, ['-c', 'import socketio, websocket']).status === 0,
  );
}

/** The environment that the guide makes. */
function makeVenv(guide: Guide, python: string): void {
  const directory = join(guide.directory, '.venv/bin');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'python'), `#!/bin/sh\nexec '${python}' "$@"\n`, { mode: 0o755 });
}

it('the first notification', async () => {
  const guide = await openGuide(`${GUIDES}/first-notification.md`);
  // In place of the page, which has tests of its own.
  const page = openClient(guide.service.url, { auth: { token: await guide.token('user123') } });
  await page.next('sync:done');
  await guide.follow();
  expect((await page.messages(3)).map(({ type }) => type)).toEqual(['notification', 'notification', 'notification']);
});

it.each(['node', 'inbox', 'wscat'])('%s', async (name) => {
  const guide = await openGuide(`${GUIDES}/${name}.md`);
  await guide.follow();
});

it('embedding', async () => {
  const guide = await openGuideOfProgram(`${GUIDES}/embedding.md`);
  await guide.follow();
});

const python = findPython();

describeWith('python3 with python-socketio', python !== undefined)('Python', () => {
  it('receives and sends', async () => {
    const guide = await openGuide(`${GUIDES}/python.md`);
    makeVenv(guide, python ?? '');
    await guide.follow();
  });
});
