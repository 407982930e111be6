/** /docs in a browser: the operations are listed, nothing is fetched from elsewhere, and nothing is wrong. */
import { type Browser, chromium } from 'playwright-core';
import { ERROR_KINDS } from '../utils/errors';
import { describeWith, findProgram } from './support/needs';
import { startReverseProxy } from './support/reverse-proxy';
import { startService } from './support/service';
import { onTestEnd } from './support/temporary';

const CHROMIUM = findProgram('chromium', 'chromium-browser', 'google-chrome');

describe('/docs', () => {
  it('needs nothing but files of the service, and allows nothing else', async () => {
    const { url } = await startService();
    const response = await fetch(`${url}/docs`);
    expect(response.headers.get('content-security-policy')).toMatch(/default-src 'none';script-src 'self'/);
    const page = await response.text();
    const named = Array.from(page.matchAll(/(?:src|href)="([^"]+)"/g), ([, target = '']) => target);
    expect(named.filter((target) => !target.startsWith('./') && !target.startsWith('data:'))).toEqual([]);
    for (const target of named.filter((path) => path.startsWith('./'))) {
      const { status } = await fetch(new URL(target, `${url}/docs`));
      expect({ target, status }).toEqual({ target, status: 200 });
    }
  });

  it('has no other files, not even those beside its own', async () => {
    const { url } = await startService();
    for (const file of [
      'package.json',
      'index.html',
      '..%2fpackage.json',
      '%2e%2e%2f%2e%2e%2fpackage.json',
      'toString',
    ]) {
      expect({ file, status: (await fetch(`${url}/docs/assets/${file}`)).status }).toEqual({ file, status: 404 });
    }
  });
});

describe('/docs/errors', () => {
  it('has one entry for each code, with the code as its id: the `type` of a problem leads there', async () => {
    const page = await (await fetch(`${(await startService()).url}/docs/errors`)).text();
    const ids = Array.from(page.matchAll(/ id="([^"]+)"/g), ([, id]) => id);
    expect(ids.filter((id) => id !== 'Errors').sort()).toEqual(Object.keys(ERROR_KINDS).sort());
  });
});

describeWith('Chromium', CHROMIUM !== undefined)('/docs in Chromium', () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await chromium.launch({
      ...(CHROMIUM === undefined ? {} : { executablePath: CHROMIUM }),
      args: ['--no-sandbox', '--disable-gpu'],
    });
  });
  afterAll(() => browser.close());

  it('shows every operation, and requests nothing from another site', async () => {
    const { url } = await startService();
    const page = await browser.newPage();
    onTestEnd(() => page.close());
    const faults: string[] = [];
    const addresses = new Set<string>();
    page.on('console', (message) => faults.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('request', (request) => addresses.add(new URL(request.url()).origin));
    await page.goto(`${url}/docs`);
    const { paths } = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: Record<string, object> };
    const count = Object.values(paths).flatMap((methods) => Object.keys(methods)).length;
    await page
      .locator('.opblock')
      .nth(count - 1)
      .waitFor();
    expect(await page.locator('.opblock').count()).toBe(count);

    await page.locator('#operations-Sending-sendToUser .opblock-summary-control').click();
    await page.locator('#operations-Sending-sendToUser .responses-table').first().waitFor();
    await page.locator('#operations-Service-isAlive .opblock-summary-control').click();
    await page.locator('#operations-Service-isAlive .try-out__btn').click();
    await page.locator('#operations-Service-isAlive .execute').click();
    const answer = page.locator('#operations-Service-isAlive .live-responses-table .highlight-code').first();
    await answer.waitFor();
    expect(await answer.textContent()).toContain('"status": "ok"');
    expect({ faults, addresses: [...addresses].filter((origin) => origin !== 'null') }).toEqual({
      faults: [],
      addresses: [url],
    });
  });

  it.each(['/docs', '/docs/errors', '/nowhere'])(
    'shows %s in the dark, and never wider than the window',
    async (path) => {
      const { url } = await startService();
      const page = await browser.newPage({ colorScheme: 'dark', viewport: { width: 390, height: 800 } });
      onTestEnd(() => page.close());
      await page.goto(url + path);
      if (path === '/docs') {
        await page.locator('#operations-Sending-sendToUser .opblock-summary-control').click();
        await page.locator('#operations-Sending-sendToUser .headers').first().waitFor();
      }
      // The canvas of a page without a background of its own is dark by its color scheme.
      expect(await page.evaluate('getComputedStyle(document.documentElement).colorScheme')).toMatch(/dark/);
      for (const width of [320, 390, 1_280]) {
        await page.setViewportSize({ width, height: 800 });
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
      }
    },
  );

  it('leads from a problem to its entry', async () => {
    const { url, anonymous } = await startService();
    const { body } = await anonymous.get('/inbox').expect(401);
    const page = await browser.newPage();
    onTestEnd(() => page.close());
    await page.goto((body as { type: string }).type);
    const entry = page.locator(':target');
    expect(await entry.textContent()).toBe('unauthorized');
    expect(new URL(page.url()).origin).toBe(url);
    await page.locator('a[href="../docs"]').first().click();
    await page.waitForURL(`${url}/docs`);
  });

  it('shows and tries operations below a path, which is the only address it uses', async () => {
    const { url } = await startService();
    const proxy = await startReverseProxy(url, { prefix: '/notify' });
    const page = await browser.newPage();
    onTestEnd(() => page.close());
    const addresses: string[] = [];
    page.on('request', (request) => addresses.push(request.url()));
    await page.goto(`${proxy.url}/docs`);
    await page.locator('#operations-Service-isAlive .opblock-summary-control').click();
    await page.locator('#operations-Service-isAlive .try-out__btn').click();
    await page.locator('#operations-Service-isAlive .execute').click();
    const answer = page.locator('#operations-Service-isAlive .live-responses-table .highlight-code').first();
    await answer.waitFor();
    expect(await answer.textContent()).toContain('"status": "ok"');
    expect(addresses.filter((address) => !address.startsWith(proxy.url) && !address.startsWith('data:'))).toEqual([]);
  });
});
