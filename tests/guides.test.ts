/** The guides, followed to the letter: see tests/support/guide.ts for how. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { openClient } from './support/client';
import { commandsByHand, type Guide, openGuide, openGuideOfProgram } from './support/guide';
import { describeWith, findProgram } from './support/needs';
import { onTestEnd } from './support/temporary';

const ROOT = join(__dirname, '..');
const GUIDES = 'docs/guides';
jest.setTimeout(120_000);

/** A Python that has what the guide installs: that of TEST_PYTHON, or the one on the PATH. */
function findPython(): string | undefined {
  const candidates = [process.env['TEST_PYTHON'], findProgram('python3')];
  return candidates.find(
    (python) => python !== undefined && spawnSync(python, ['-c', 'import socketio, aiohttp']).status === 0,
  );
}

/** The environment that the guide makes. */
function makeVenv(guide: Guide, python: string): void {
  const directory = join(guide.directory, 'playground/.venv/bin');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'python'), `#!/bin/sh\nexec '${python}' "$@"\n`, { mode: 0o755 });
}

/** Guides that have their own tests. */
const ELSEWHERE = /^(?:coming-from-.*|client|terminal)\.md$/;

it('are all followed here, except for what installs and starts', () => {
  const pages = readdirSync(join(ROOT, GUIDES)).filter((name) => !ELSEWHERE.test(name));
  const commands = pages.map((name) => [name, commandsByHand(`${GUIDES}/${name}`)]);
  expect(Object.fromEntries(commands)).toEqual({
    'another-service.md': [],
    'browser.md': [],
    'embedding.md': ['npm install ../tidings'],
    'first-notification.md': ['npm ci\nnpm start'],
    'inbox.md': [],
    'node.md': ['npm install socket.io-client'],
    'python.md': [
      'python3 -m venv playground/.venv\nplayground/.venv/bin/pip install "python-socketio[asyncio-client]"',
    ],
    'wscat.md': [],
  });
  expect(commandsByHand('README.md')).toEqual(['npm ci && npm start', 'npm ci && npm test']);
});

it('README.md', async () => {
  const guide = await openGuide('README.md');
  const page = openClient(guide.service.url, { auth: { token: await guide.token('user123') } });
  await guide.follow();
  expect(await page.messages(1)).toMatchObject([{ type: 'notification', data: { title: 'Hello' } }]);
});

it('the first notification', async () => {
  const guide = await openGuide(`${GUIDES}/first-notification.md`);
  // In place of the page, which has its own tests.
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

const chromiumPath = findProgram('chromium', 'chromium-browser', 'google-chrome');

describeWith('Chromium', chromiumPath !== undefined)('a page', () => {
  it('shows what is sent, including what was sent while it was closed', async () => {
    const guide = await openGuide(`${GUIDES}/browser.md`);
    await guide.follow('The page');
    const address = guide.printed.trim();
    expect(address).toMatch(/^file:\/\/.*#eyJ/);
    const browser = await chromium.launch({
      ...(chromiumPath === undefined ? {} : { executablePath: chromiumPath }),
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
    });
    onTestEnd(() => browser.close());
    const context = await browser.newContext();
    const complaints: string[] = [];
    const openPage = async () => {
      const page = await context.newPage();
      page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
      page.on('pageerror', (error) => complaints.push(String(error)));
      await page.goto(address);
      await page.locator('#status:text-is("Up to date")').waitFor();
      return page;
    };
    const page = await openPage();
    expect(await page.textContent('h1')).toBe('Notifications (0)');
    await guide.follow('Send to it');
    await page.locator('li').waitFor();
    expect(await page.locator('li').allTextContents()).toEqual(['Your order is on its way']);
    expect(await page.textContent('h1')).toBe('Notifications (1)');

    await page.close();
    await guide.follow('Send while it is closed');
    const again = await openPage();
    expect(await again.locator('li').allTextContents()).toEqual(['Order 9 is on its way', 'Order 8 is on its way']);
    expect(await again.textContent('h1')).toBe('Notifications (3)');
    await again.click('#read');
    await again.locator('#unread:text-is("0")').waitFor();
    expect(complaints).toEqual([]);
  });
});

const python = findPython();

describeWith('python3 with python-socketio', python !== undefined)('Python', () => {
  it('receives and sends', async () => {
    const guide = await openGuide(`${GUIDES}/python.md`);
    makeVenv(guide, python ?? '');
    await guide.follow();
  });
});
