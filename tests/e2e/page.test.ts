/** The test page in a real browser: what people do with it, and what it shows when something is wrong. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import axe from 'axe-core';
import type { BrowserContextOptions, Locator, Page } from 'playwright-core';
import { eventually } from '../support/eventually';
import { describeWith } from '../support/needs';
import { freePort } from '../support/process';
import { startReverseProxy } from '../support/reverse-proxy';
import { type ServiceOptions, startService, testToken } from '../support/service';
import { shareService } from '../support/shared-service';
import { onTestEnd } from '../support/temporary';
import { chromiumPath, openIn, shareBrowser } from './browser';

const run = promisify(execFile);
const ALL_SCOPES = 'send broadcast presence admin';
const ROOT = join(__dirname, '../..');
const FILE = `file://${ROOT}/websocket-client.html`;
/** Runs the program that is its first argument. */
const GO_RUN = 'dir=$(mktemp -d) && printf %s "$1" > "$dir/main.go" && go run "$dir/main.go"; rm -rf "$dir"';
const CLIPBOARD = { permissions: ['clipboard-read', 'clipboard-write'] };

/** An empty secret counts as none: the service makes its own, as on a first start. */
const FIRST_START: ServiceOptions = { env: { JWT_SECRET: '' } };

const hasText = (place: Locator, text: string | RegExp) => place.filter({ hasText: text }).waitFor();
const item = (page: Page, title: string) => page.locator('.item', { hasText: title });
const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true });

/** Pastes the tokens of a user and of a service into the page, and connects. */
async function connectAs(page: Page, userId: string): Promise<void> {
  await page.fill('#token', testToken(userId));
  await page.fill('#service-token', testToken('shop', { scope: ALL_SCOPES }));
  await page.click('#connect');
  await hasText(page.locator('#state[data-state=connected]'), /Up to date|Caught up/);
}

async function choose(page: Page, operation: string, fields: Record<string, string> = {}): Promise<void> {
  await page.selectOption('#operation', operation);
  for (const [name, value] of Object.entries(fields)) await page.fill(`#send-field-${name}`, value);
}

/** Sends, and waits for the answer. @returns status and time, or the sentence where there is no answer. */
async function send(page: Page, operation: string, fields: Record<string, string> = {}): Promise<string> {
  await choose(page, operation, fields);
  await page.click('#send-submit');
  await page.locator('#answer-status:not(:empty), #answer-sentence:not(:empty)').first().waitFor();
  return (await page.locator('#answer-status').textContent()) ?? '';
}

describeWith('Chromium', chromiumPath !== undefined)('the test page', () => {
  const open = shareBrowser();
  const service = shareService();

  async function openAs(userId: string, options?: BrowserContextOptions): Promise<Page> {
    const { page } = await open(service.url, options);
    await connectAs(page, userId);
    return page;
  }

  /** A second tab of the same browser profile. */
  async function secondTab(page: Page, userId: string): Promise<Page> {
    const opened = await openIn(await page.context().newPage(), service.url);
    await connectAs(opened.page, userId);
    return opened.page;
  }

  describe('on the first start of a service', () => {
    it('connects with one click, loads nothing from elsewhere, and its policy refuses nothing', async () => {
      const fresh = await startService(FIRST_START);
      const { page, requests, complaints } = await open(fresh.url);
      await button(page, 'user123').click();
      await hasText(page.locator('#state'), 'Connected as user123. Up to date.');
      await hasText(page.locator('#claims'), /Expiresin 23 h 59 min.*Useruser123.*Scopesnone/);
      await page.click('#send-submit');
      await item(page, 'Your order has shipped').waitFor();
      const hosts = requests.filter((url) => !url.startsWith('data:')).map((url) => new URL(url).host);
      expect([...new Set(hosts)]).toEqual([new URL(fresh.url).host]);
      expect(complaints).toEqual([]);
    });

    it('can be used from the keyboard alone', async () => {
      const fresh = await startService(FIRST_START);
      const { page } = await open(fresh.url);
      const focus = page.locator(':focus');
      const tabTo = async (place: Locator) => {
        for (let presses = 0; presses < 60; presses += 1) {
          await page.keyboard.press('Tab');
          if ((await place.and(focus).count()) === 1) return;
        }
        throw new Error(`the keyboard does not get to ${place}`);
      };
      await tabTo(page.getByText('Skip to the inbox'));
      await page.keyboard.press('Enter');
      expect(await focus.getAttribute('id')).toBe('inbox');
      await page.reload();
      await tabTo(button(page, 'user456'));
      await page.keyboard.press('Enter');
      await hasText(page.locator('#state'), 'Up to date.');
      await tabTo(page.locator('#send-field-title'));
      await page.keyboard.press('Enter');
      await item(page, 'Your order').waitFor();
      await page.locator('#all-read').focus();
      await tabTo(button(page, 'Mark read: Your order has shipped'));
      await page.keyboard.press('Space');
      await button(page, 'Mark unread: Your order has shipped').waitFor();
      expect(await focus.textContent()).toBe('Mark unread');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await item(page, 'Your order').waitFor({ state: 'detached' });
      expect(await focus.getAttribute('id')).toBe('inbox');
    });
  });

  it.each(['/notify/', '/notify', '/notify/websocket-client.html'])(
    'works below a path, opened at %s',
    async (path) => {
      const proxy = await startReverseProxy(service.url, { prefix: '/notify' });
      const { page, complaints, requests } = await open(new URL(path, proxy.url).href);
      await connectAs(page, 'below');
      expect(await page.inputValue('#server-url')).toBe(proxy.url);
      expect(await send(page, 'healthz')).toContain('200');
      const elsewhere = requests.filter((address) => !address.replace(/^ws/, 'http').startsWith(proxy.url));
      expect({ elsewhere, complaints }).toEqual({ elsewhere: [], complaints: [] });
    },
  );

  it('has no handlers in its markup, and no address of another site', () => {
    const html = readFileSync(join(ROOT, 'websocket-client.html'), 'utf8');
    const markup = html.replace(/<script>[\s\S]*<\/script>/, '');
    expect(markup).not.toMatch(/\son\w+=|javascript:|\sstyle=/i);
    expect(html.match(/https?:\/\/(?!localhost)[\w.-]+/g)).toBeNull();
  });

  describe('at a glance', () => {
    it('offers development users first, and keeps server and tokens out of the way', async () => {
      const fresh = await startService(FIRST_START);
      const { page } = await open(fresh.url);
      expect(await page.locator('#settings').getAttribute('open')).toBeNull();
      expect(await page.locator('button.primary:visible').allTextContents()).toEqual([
        ...['user123', 'user456', 'user789'],
        'Send',
      ]);
      await page.locator('#settings summary').click();
      await page.locator('#connect.primary').waitFor();
      const other = await open(service.url);
      expect(await other.page.locator('#settings').getAttribute('open')).toBe('');
    });

    it.each([
      [1_280, 900],
      [900, 900],
    ])('shows the newest event beside its cause, in a window of %d by %d', async (width, height) => {
      const page = await openAs('paula', { viewport: { width, height } });
      await page.click('#send-submit');
      await hasText(page.locator('#answer-status'), '200 OK');
      const newest = page.locator('.event').last();
      await page.waitForFunction('document.querySelector("#log").scrollTop > 0');
      const [box, button] = [await newest.boundingBox(), await page.locator('#send-submit').boundingBox()];
      for (const place of [box, button]) {
        expect(place?.y).toBeGreaterThan(0);
        expect((place?.y ?? height) + (place?.height ?? 0)).toBeLessThanOrEqual(height);
      }
      await page.click('#fold-log');
      expect(await page.locator('#log').isVisible()).toBe(false);
      expect(await page.locator('#fold-log').getAttribute('aria-expanded')).toBe('false');
    });

    it('shows the reason of a failed connect beside the button', async () => {
      const { page } = await open(service.url, { viewport: { width: 1_280, height: 900 } });
      await page.fill('#token', testToken('quentin', { lifetimeSeconds: -90 }));
      await page.click('#connect');
      await hasText(page.locator('#state[data-state=refused]'), 'The token has expired');
      const [button, reason] = [
        await page.locator('#connect').boundingBox(),
        await page.locator('#state').boundingBox(),
      ];
      expect((reason?.y ?? 0) - (button?.y ?? 0) - (button?.height ?? 0)).toBeLessThan(20);
    });

    it('numbers messages and says how old they are', async () => {
      const page = await openAs('rita');
      for (const title of ['One', 'Two']) await send(page, 'notification', { userId: 'rita', title });
      await hasText(page.locator('.item').first(), /#2 · (?:just now|\d+ (?:s|min) ago)/);
      expect(await page.locator('.item time').first().getAttribute('title')).toMatch(/\d\d:\d\d/);
    });

    it('leads to the documents of the service, wherever it is itself', async () => {
      const proxy = await startReverseProxy(service.url, { prefix: '/notify' });
      const { page } = await open(FILE);
      await page.fill('#server-url', proxy.url);
      const links = page.locator('.links a');
      expect(await links.evaluateAll((all) => all.map((link) => link.getAttribute('href')))).toEqual([
        `${proxy.url}/docs`,
        `${proxy.url}/docs/errors`,
      ]);
    });

    it('has tabs in a narrow window: one part at a time, which axe finds nothing wrong with', async () => {
      const { page } = await open(service.url, { viewport: { width: 390, height: 800 }, reducedMotion: 'reduce' });
      await page.evaluate(axe.source);
      const panels = page.locator('[data-tab-panel]:visible');
      const shown = () => panels.evaluateAll((all) => all.map(({ id }) => id));
      expect(await shown()).toEqual(['connection-panel', 'online-users-panel']);
      await page.fill('#token', testToken('sven'));
      await page.click('#connect');
      await hasText(page.locator('#pill'), 'Connected as sven');
      await page.locator('#inbox').waitFor();
      expect(await shown()).toEqual(['inbox']);
      for (const [tab, expected] of [
        ['Topics', 'topics-panel'],
        ['Send', 'send-panel'],
        ['Events', 'log-panel'],
        ['Inbox', 'inbox'],
      ] as const) {
        await page.getByRole('link', { name: tab }).last().click();
        expect(await shown()).toEqual([expected]);
        expect(await page.locator('nav [aria-current]').textContent()).toContain(tab);
        const { violations } = (await page.evaluate('axe.run()')) as axe.AxeResults;
        expect(violations.map(({ id, nodes }) => [id, nodes[0]?.html])).toEqual([]);
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
      }
      await page.setViewportSize({ width: 1_280, height: 900 });
      expect(await panels.count()).toBe(6);
    });
  });

  describe('live', () => {
    it('shows a notification from one user to another, with a badge, and acknowledges it', async () => {
      const ann = await openAs('ann');
      const ben = await openAs('ben');
      await ann.locator('#online-users button', { hasText: 'ben' }).click();
      await ann.fill('#send-field-title', 'Tea at five');
      await ann.click('#send-submit');
      await hasText(ann.locator('#answer-status'), /^200 OK in [\d.]+ ms$/);
      await hasText(item(ben, 'Tea at five'), 'new');
      expect(await ben.locator('#counts').textContent()).toBe('1 unread, 1 not seen');
      expect(await ben.title()).toBe('(1) ben · tidings test page');
      expect(await ben.locator('#announcer').textContent()).toBe('New from shop: Tea at five, It arrives on Monday.');
      const device = await ben.locator('#device-name').textContent();
      await eventually(
        async () => {
          await send(ann, 'receipts');
          return ann.locator('#answer').textContent();
        },
        (receipts) => receipts?.includes(`"device": "${device}"`) === true,
      );
    });

    it('shows on one tab what was read and archived on another', async () => {
      const first = await openAs('cleo');
      const second = await secondTab(first, 'cleo');
      await first.bringToFront();
      const [device, other] = [first, second].map((page) => page.locator('#device-name'));
      expect(await device?.textContent()).not.toBe(await other?.textContent());
      await send(first, 'notification', { userId: 'cleo', title: 'One' });
      await send(first, 'notification', { userId: 'cleo', title: 'Two' });
      await item(second, 'Two').waitFor();
      await button(first, 'Mark read: One').click();
      await hasText(second.locator('.item[data-item-state=read]'), 'One');
      await hasText(second.locator('#counts'), '1 unread');
      await first.getByText('Archived', { exact: true }).click();
      // A tab in the background is drawn about once a second, and clicks wait for that.
      await second.bringToFront();
      await button(second, 'Archive: Two').click();
      await item(first, 'Two').waitFor();
      await button(second, 'Mark unread: One').click();
      await hasText(first.locator('#counts'), '1 unread');
      await second.click('#all-read');
      await hasText(first.locator('#counts'), '0 unread');
    });

    it('catches up after it was offline, with what was read elsewhere', async () => {
      const page = await openAs('dora');
      const other = await openAs('dora');
      await send(other, 'notification', { userId: 'dora', title: 'Before' });
      await item(page, 'Before').waitFor();
      await page.check('#offline');
      await hasText(page.locator('#state[data-state=offline]'), 'Nothing arrives here.');
      for (const title of ['Missed one', 'Missed two']) await send(page, 'notification', { userId: 'dora', title });
      await item(other, 'Missed two').waitFor();
      await button(other, 'Mark read: Before').click();
      await hasText(other.locator('.item[data-item-state=read]'), 'Before');
      expect(await page.locator('.item').count()).toBe(1);
      await page.uncheck('#offline');
      await hasText(page.locator('#state[data-state=connected]'), 'Caught up: 2 messages arrived.');
      await hasText(page.locator('.item').first(), 'Missed two');
      await hasText(page.locator('.item[data-item-state=read]'), 'Before');
      await page.check('#offline');
      await page.click('#connect');
      await hasText(page.locator('#state[data-state=connected]'), 'Up to date.');
      expect(await page.isChecked('#offline')).toBe(false);
    });

    it('shows topics with members, typing and history', async () => {
      const ann = await openAs('ann');
      await ann.fill('#topic-name', 'garden');
      await ann.check('#topic-private');
      await button(ann, 'Create topic').click();
      await hasText(ann.locator('#topics'), 'garden');
      const ben = await openAs('ben');
      expect(await ben.locator('#topics li').count()).toBe(0);
      await ann.fill('#topic-invitee', 'ben');
      await button(ann, 'Invite').click();
      await hasText(ann.locator('#members .online'), 'ben');
      await ann.fill('#topic-text', 'Who waters?');
      await button(ann, 'Send to topic').click();
      // The first message announces the invitation.
      await ben.locator('#topics button', { hasText: 'garden' }).click();
      await hasText(ben.locator('#history'), 'Who waters?');
      await ben.locator('#topic-text').pressSequentially('Me');
      await hasText(ann.locator('#typing'), 'ben is typing');
      await ben.keyboard.press('Enter');
      await hasText(ann.locator('#history li').last(), 'ben Me');
      await hasText(ann.locator('#typing'), /^$/);
      await ben.click('#topic-leave');
      await hasText(ben.locator('#topics-empty'), 'No topics yet.');
    });

    it('removes changed and retracted messages from the screen', async () => {
      const page = await openAs('emil');
      await send(page, 'user', { userId: 'emil', data: '{"text": "first words"}' });
      await item(page, 'first words').waitFor();
      await send(page, 'update', { data: '{"text": "second thoughts"}' });
      await item(page, 'second thoughts').waitFor();
      await send(page, 'retract');
      await item(page, 'second thoughts').waitFor({ state: 'detached' });
      await hasText(page.locator('#inbox-empty'), 'Nothing here yet.');
    });

    it('continues with a new token, on the same socket', async () => {
      const page = await openAs('finn');
      const socketId = await page.locator('#socket-id').textContent();
      await page.locator('#settings summary').click();
      await page.fill('#token', testToken('finn', { lifetimeSeconds: 7_200 }));
      await page.click('#refresh-token');
      await hasText(page.locator('#connection-result'), 'now uses the new token');
      expect(await page.locator('#socket-id').textContent()).toBe(socketId);
    });
  });

  describe('the send panel', () => {
    it('has every route of the reference but the pages', async () => {
      const { page } = await open(service.url);
      const routes: string[] = [];
      for (const option of await page.locator('#operation option').all()) {
        await page.selectOption('#operation', (await option.getAttribute('value')) ?? '');
        const note = (await page.locator('#operation-note').textContent()) ?? '';
        routes.push(...(/^[A-Z]+ \/\S*(?=: )/.exec(note) ?? []));
      }
      const reference = readFileSync(join(ROOT, 'docs/reference/http.md'), 'utf8').split('\n## ');
      const sections = reference.filter((section) => !section.startsWith('Pages\n')).join('\n');
      const documented = Array.from(sections.matchAll(/^### ([A-Z]+ \/.*)$/gm), ([, route = '']) => route);
      const named = (route: string) => route.replace(/(\/topics\/):\w+/, '$1:name');
      expect([...new Set(routes.map(named))].sort()).toEqual(documented.sort());
    });

    it('copies curl lines that work in a shell, whatever they contain, and does not show the token', async () => {
      const { page } = await open(service.url, CLIPBOARD);
      const token = testToken('shop', { scope: ALL_SCOPES });
      await page.fill('#token', testToken('gina'));
      await page.fill('#service-token', token);
      const curl = async (operation: string, fields: Record<string, string> = {}) => {
        await choose(page, operation, fields);
        expect(await page.locator('#request').textContent()).not.toContain(token);
        await page.click('#copy-request');
        await hasText(page.locator('#copy-result'), 'Copied');
        const line = (await page.evaluate('navigator.clipboard.readText()')) as string;
        return JSON.parse((await run('sh', ['-c', line])).stdout) as unknown;
      };
      const awkward = `it's $HOME \`id\` "x" \\ !`;
      const { id } = (await curl('notification', { userId: `o'hara "x"`, title: awkward })) as { id: string };
      expect(await service.stored(`@o'hara "x"`)).toMatchObject([{ id, data: { title: awkward } }]);
      expect(await curl('users', { userIds: 'a, b' })).toMatchObject({ results: [{ userId: 'a' }, { userId: 'b' }] });
      expect(await curl('status', { userId: `x y/z?'` })).toMatchObject({ userId: `x y/z?'`, connected: false });
      expect(await curl('inbox', { limit: '3' })).toMatchObject({ items: [], nextCursor: null });
      expect(await curl('livez')).toEqual({ status: 'ok' });
    });

    it.each([
      ['fetch', 'node', ['--input-type=module', '-e']],
      ['Python', 'python3', ['-c']],
      // Compiles its library first, which takes half a minute.
      ...(process.env['TEST_GO'] === 'true' ? [['Go', 'sh', ['-c', GO_RUN, 'go-run']] as const] : []),
    ] as const)('copies programs for %s that run', async (language, program, options) => {
      const { page } = await open(service.url, CLIPBOARD);
      const userId = `${language} "o'hara" \\ $HOME`;
      await page.fill('#token', testToken('gina'));
      await page.fill('#service-token', testToken('shop', { scope: ALL_SCOPES }));
      await page.getByText(language, { exact: true }).click();
      const answerTo = async (operation: string, fields: Record<string, string>) => {
        await choose(page, operation, fields);
        await hasText(page.locator('#request'), '$TOKEN');
        await page.click('#copy-request');
        await hasText(page.locator('#copy-result'), 'Copied');
        const text = (await page.evaluate('navigator.clipboard.readText()')) as string;
        return JSON.parse((await run(program, [...options, text])).stdout) as unknown;
      };
      const data = '{"yes": true, "no": null, "list": [1, {"deep": "ü\\n"}]}';
      expect(await answerTo('user', { userId, data })).toMatchObject({ success: true, seq: 1 });
      expect(await service.stored(`@${userId}`)).toMatchObject([{ data: JSON.parse(data) as unknown }]);
      expect(await answerTo('status', { userId })).toMatchObject({ userId, connected: false });
    });

    it('shows answers with status and time, over REST and the socket', async () => {
      const page = await openAs('hugo');
      page.on('dialog', (dialog) => void dialog.accept());
      const outcome = async (operation: string, fields?: Record<string, string>) =>
        `${operation}: ${(await send(page, operation, fields)).replace(/ in [\d.]+ ms$/, '')}`;
      expect([
        await outcome('topic-create', { topicName: 'news' }),
        await outcome('topic', { topic: 'news' }),
        await outcome('topic-socket', { topic: 'news' }),
        await outcome('history', { topic: 'news' }),
        await outcome('direct', { to: 'ben' }),
        await outcome('broadcast'),
        await outcome('batch'),
        await outcome('later', { userId: 'hugo' }),
        await outcome('scheduled'),
        await outcome('cancel'),
        await outcome('user', { userId: 'hugo' }),
        await outcome('mark'),
        await outcome('export', { userId: 'hugo' }),
        await outcome('topic-delete', { topic: 'news' }),
        await outcome('erase', { userId: 'user456' }),
        await outcome('metrics'),
      ]).toEqual([
        'topic-create: 201 Created',
        'topic: 200 OK',
        'topic-socket: Answered',
        'history: Answered',
        'direct: Answered',
        'broadcast: 200 OK',
        'batch: 200 OK',
        'later: 202 Accepted',
        'scheduled: 200 OK',
        'cancel: 200 OK',
        'user: 200 OK',
        'mark: 200 OK',
        'export: 200 OK',
        'topic-delete: 200 OK',
        'erase: 200 OK',
        'metrics: 200 OK',
      ]);
    });
  });

  it('filters, pauses and copies events, with times and without tokens', async () => {
    const page = await openAs('ines', CLIPBOARD);
    await page.click('#ping');
    await hasText(page.locator('#connection-result'), /^Round trip [\d.]+ ms$/);
    await page.fill('#log-text', 'pong');
    expect(await page.locator('.event:visible').count()).toBe(1);
    await page.fill('#log-text', '');
    await page.selectOption('#log-kind', 'sent');
    await hasText(page.locator('.event:visible', { hasText: 'ping' }), /[\d.]+ ms/);
    expect(await page.locator('.event[data-kind=received]:visible').count()).toBe(0);
    await page.selectOption('#log-kind', '');
    await page.click('#pause-log');
    const before = await page.locator('.event').count();
    await send(page, 'user', { userId: 'ines', data: JSON.stringify({ text: testToken('ines') }) });
    await item(page, '[token]').waitFor();
    await hasText(page.locator('#log-result'), /Paused, \d+ events waiting/);
    expect(await page.locator('.event').count()).toBe(before);
    await page.click('#pause-log');
    await page.click('#copy-log');
    await hasText(page.locator('#log-result'), 'copied');
    const copied = (await page.evaluate('navigator.clipboard.readText()')) as string;
    expect(copied).toMatch(/HTTP POST \/websocket\/message\/user → 200, [\d.]+ ms/);
    expect(copied).toContain('[token]');
    expect(copied).not.toContain('eyJ');
  });

  describe('says what to do about', () => {
    /** Presses Connect with this input. @returns the displayed state once it is final. */
    async function stateAfter(page: Page, url: string, token: string): Promise<string> {
      await page.fill('#server-url', url);
      await page.fill('#token', token);
      await page.click('#connect');
      await hasText(page.locator('#state:not([data-state=connecting]) #state-detail'), /^(?!Looking for the reason)\S/);
      return (await page.locator('#state').textContent()) ?? '';
    }

    it('an invalid server URL, no token, and an invalid token', async () => {
      const { page } = await open(service.url);
      for (const url of ['', 'http://', 'ftp://localhost', 'http://localhost:99999', 'not an address']) {
        expect(await stateAfter(page, url, testToken('jana'))).toBe(
          'Not connected. The server URL is not an address. Correct it: it looks like http://localhost:8090.',
        );
      }
      expect(await stateAfter(page, service.url, '')).toBe('Not connected. There is no token. Paste one into Token.');
      expect(await stateAfter(page, service.url, 'tökén')).toContain('Copy it again and paste it whole.');
      expect(await stateAfter(page, service.url, 'abc')).toMatch(/^Refused\. .*Paste a valid token.*401 unauthorized/);
      await hasText(page.locator('#claims-hint'), 'This does not look like a token');
    });

    it('a token that has expired', async () => {
      const { page } = await open(service.url);
      expect(await stateAfter(page, service.url, testToken('jana', { lifetimeSeconds: -90 }))).toBe(
        'Refused. The token has expired. Paste a fresh token. (401 token_expired)',
      );
      await hasText(page.locator('#expiry.late'), /^expired 1 min 3\d s ago$/);
    });

    it('a dead server, a server that is another one, and one that does not allow the page', async () => {
      const { page } = await open(FILE);
      const dead = `http://127.0.0.1:${await freePort()}`;
      const token = testToken('jana');
      expect(await stateAfter(page, dead, token)).toBe(
        `Not connected. Nothing answers at ${dead}. Start the service there (npm start), or correct the server URL.`,
      );
      const other = createServer((_request, response) => response.writeHead(404).end('not here')).listen(
        0,
        '127.0.0.1',
      );
      onTestEnd(() => void other.close());
      await once(other, 'listening');
      const address = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
      expect(await stateAfter(page, address, token)).toMatch(
        /Something answers at .*Correct the server URL if that is another server/,
      );
      const strict = await startService({ env: { CORS_ORIGIN: 'https://app.example.com' } });
      expect(await stateAfter(page, strict.url, token)).toMatch(/its CORS_ORIGIN must allow the page \(\*, because it/);
    });

    it('a server that dies and comes back', async () => {
      const mortal = await startService();
      const { page } = await open(mortal.url);
      await connectAs(page, 'kim');
      await mortal.stop();
      await hasText(page.locator('#state[data-state=reconnecting]'), /Nothing answers at .* Start the service/);
      await startService({ directory: mortal.directory, env: { PORT: new URL(mortal.url).port } });
      await hasText(page.locator('#state[data-state=connected]'), 'Up to date.');
      // The second service ends before the browser does.
      await page.close();
    });

    it('a missing scope', async () => {
      const page = await openAs('lars');
      await page.selectOption('#send-as', 'own');
      await page.click('#send-submit');
      await hasText(
        page.locator('#answer-sentence'),
        /scope.*send.*Paste a token that has this scope into "Service token", .*\(403 insufficient_scope\)/,
      );
      await hasText(page.locator('#answer-status'), /^403 Forbidden in [\d.]+ ms$/);
    });

    it('a message that is too large', async () => {
      const page = await openAs('mia');
      const sentenceAfter = async (operation: string, characters: number) => {
        await send(page, operation, { data: JSON.stringify('x'.repeat(characters)) });
        return page.locator('#answer-sentence').textContent();
      };
      expect(await sentenceAfter('user', 70_000)).toMatch(/Send less data.*\(413 message_too_large\)/);
      expect(await sentenceAfter('direct', 70_000)).toMatch(/Send less data.*\(413 message_too_large\)/);
      // Whether the refusal comes through while the browser still sends is a matter of luck.
      expect(await sentenceAfter('user', 1_100_000)).toMatch(
        /Send less data.*\(413 body_too_large\)|A body over MAX_BODY_BYTES/,
      );
      expect(await sentenceAfter('direct', 1_100_000)).toMatch(/A frame over MAX_BODY_BYTES .* send less/);
    });

    it('fields that are wrong, with the focus on them', async () => {
      const page = await openAs('nils');
      await send(page, 'user', { userId: 'nils', data: '{message: 1}' });
      await hasText(page.locator('#answer-sentence'), 'Data is not valid JSON');
      expect(await page.locator('#send-field-data:focus').getAttribute('aria-invalid')).toBe('true');
      await send(page, 'user', { userId: '', data: '1' });
      await hasText(page.locator('#answer-sentence'), /userId.*\(400 bad_request\)/);
      expect(await page.locator('#send-field-userId:focus').getAttribute('aria-invalid')).toBe('true');
      await send(page, 'status', { userId: '' });
      await hasText(page.locator('#answer-sentence'), 'User id is empty: the address of the request needs it.');
    });

    it('users who may not see who is online, and a service that refuses as older ones do', async () => {
      const strict = await startService({ env: { PRESENCE_PUBLIC: 'false', AUTH_ERROR_EVENT: 'true' } });
      const { page } = await open(strict.url);
      await connectAs(page, 'tom');
      await hasText(page.locator('#online-users-result'), /\(403 insufficient_scope\)/);
      await page.click('#disconnect');
      await page.fill('#token', testToken('tom', { lifetimeSeconds: -90 }));
      await page.click('#connect');
      await hasText(page.locator('#state[data-state=refused]'), 'Paste a valid token');
    });

    it('being disconnected, and actions without a connection', async () => {
      const page = await openAs('olga');
      const Authorization = `Bearer ${testToken('shop', { scope: ALL_SCOPES })}`;
      await service.exchange({
        method: 'DELETE',
        path: '/websocket/users/olga/disconnect',
        headers: { Authorization },
      });
      await hasText(page.locator('#state[data-state=disconnected]'), /\(disconnected\) Press Connect to come back\./);
      await page.click('#ping');
      await hasText(page.locator('#connection-result'), 'There is no connection. Press Connect first.');
      await page.click('#all-read');
      await hasText(page.locator('#inbox-result'), 'There is no connection. Press Connect first.');
    });
  });

  it('passes axe in light and dark, narrow and wide, empty and full, and is never wider than the window', async () => {
    const fresh = await startService(FIRST_START);
    const { page } = await open(fresh.url, { reducedMotion: 'reduce' });
    await page.evaluate(axe.source);
    const overflow = async () => {
      const widths: number[] = [];
      for (const width of [320, 360, 900, 1_600]) {
        await page.setViewportSize({ width, height: 900 });
        widths.push((await page.evaluate('document.documentElement.scrollWidth')) as number);
      }
      return widths;
    };
    const faults = async (colorScheme: 'light' | 'dark', width: number) => {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      const { violations } = (await page.evaluate('axe.run()')) as axe.AxeResults;
      return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
    };
    expect(await faults('light', 360)).toEqual([]);
    expect(await faults('dark', 1_600)).toEqual([]);
    await button(page, 'user123').click();
    await hasText(page.locator('#state'), 'Up to date.');
    await send(page, 'broadcast', { data: JSON.stringify({ text: 'W'.repeat(500) }) });
    await item(page, 'to everyone').getByRole('button', { name: 'Mark read' }).click();
    await send(page, 'notification', { userId: 'user123' });
    await page.fill('#topic-name', 'news');
    await button(page, 'Create topic').click();
    await page.fill('#topic-text', 'Hello');
    await button(page, 'Send to topic').click();
    await hasText(page.locator('#history'), 'Hello');
    await page.locator('#settings summary').click();
    await page.locator('#log-rows summary').last().click();
    await send(page, 'status', { userId: '' });
    await page.locator('[aria-invalid=true]').waitFor();
    expect(await faults('light', 1_600)).toEqual([]);
    expect(await faults('dark', 360)).toEqual([]);
    expect(await overflow()).toEqual([320, 360, 900, 1_600]);
  });
});
