/**
 * A person's first minute with the service, end to end: real processes, real sockets, a real browser. The page receives
 * what the printed curl line sends; messages to an offline user survive kill -9.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Message } from '../../utils/protocol';
import { openClient } from '../support/client';
import { describeWith } from '../support/needs';
import { freePort, type RunningProcess, runServer } from '../support/process';
import { range } from '../support/service';
import { temporaryDirectory } from '../support/temporary';
import { chromiumPath, shareBrowser } from './browser';

const shell = promisify(execFile);

async function tokenFromBanner(server: RunningProcess, user: string): Promise<string> {
  const line = await server.line(new RegExp(`^ +${user} +eyJ`));
  return line.trim().split(/\s+/)[1] ?? '';
}

async function send(url: string, token: string, n: number): Promise<string> {
  const response = await fetch(`${url}/websocket/notification`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ userId: 'user123', title: `Number ${n}`, body: 'While you were away', data: { n } }),
  });
  expect(response.status).toBe(200);
  return ((await response.json()) as { id: string }).id;
}

it('five notifications to nobody survive kill -9 and arrive in order, once', async () => {
  const port = await freePort();
  const env = { PORT: String(port), DATA_DIR: temporaryDirectory() };
  const url = `http://127.0.0.1:${port}`;
  const server = runServer(env);
  await server.line(/^curl /);
  const service = await tokenFromBanner(server, 'service');
  const user = await tokenFromBanner(server, 'user123');
  const ids: string[] = [];
  for (const n of range(1, 5)) ids.push(await send(url, service, n));
  expect(await server.end('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });

  const again = runServer(env);
  await again.line(/^curl /);
  const client = openClient(url, { auth: { token: user } });
  await client.next('sync:done');
  expect(client.allMessages.map(({ id }) => id)).toEqual(ids);
  expect(client.allMessages.map(({ seq }) => seq)).toEqual(range(1, 5));
  client.close();
  const later = openClient(url, { auth: { token: user } });
  await later.next('sync:done');
  expect(later.allMessages).toEqual([] satisfies Message[]);
});

describeWith('Chromium', chromiumPath !== undefined)('the test page in a browser', () => {
  const open = shareBrowser();

  it.each(['from the service', 'from a file'])(
    'receives the notification of the printed curl line, opened %s',
    async (from) => {
      const port = await freePort();
      const server = runServer({ PORT: String(port), DATA_DIR: temporaryDirectory() });
      const curlLine = await server.line(/^curl /);
      const { page, complaints } = await open(
        from === 'from a file' ? `file://${process.cwd()}/websocket-client.html` : `http://localhost:${port}/`,
      );
      // Closed where the page offers development tokens.
      if (from === 'from the service') await page.click('#settings summary');
      await page.fill('#server-url', `http://localhost:${port}`);
      await page.fill('#token', await tokenFromBanner(server, 'user123'));
      await page.click('#connect');
      await page.waitForSelector('[data-event="connected"]');

      const { stdout } = await shell('sh', ['-c', curlLine]);
      expect(JSON.parse(stdout)).toMatchObject({
        success: true,
        topic: '@user123',
        seq: 1,
        connected: true,
        live: 'ok',
      });
      const row = page.locator('[data-event="message"]');
      await row.waitFor();
      expect(await row.count()).toBe(1);
      expect(await row.textContent()).toContain('Your first notification');
      expect(complaints).toEqual([]);
    },
  );

  it('shows who is online, and who comes and goes', async () => {
    const server = runServer({ PORT: '0', DATA_DIR: temporaryDirectory(), PRESENCE_GRACE_MS: '0' });
    const url = (await server.line(/test page/)).trim().split(/\s+/).at(-1) ?? '';
    const { page } = await open(url);
    await page.click('#settings summary');
    await page.fill('#token', await tokenFromBanner(server, 'user123'));
    await page.click('#connect');
    await page.waitForSelector('#online-users button:text-is("user123 (you)")');
    const other = openClient(url, { auth: { token: await tokenFromBanner(server, 'user456') } });
    await page.waitForSelector('#online-users button:text-is("user456")');
    expect(await page.textContent('#online-users-count')).toBe('2');
    other.close();
    await page.waitForSelector('#online-users button:text-is("user456")', { state: 'detached' });
    expect(await page.textContent('#online-users-count')).toBe('1');
  });
});
