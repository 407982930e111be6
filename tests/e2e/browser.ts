/** A real Chromium for the tests of the page. */
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { findProgram } from '../support/needs';
import { onTestEnd } from '../support/temporary';

export const chromiumPath = findProgram('chromium', 'chromium-browser', 'google-chrome');

const PATIENCE_MS = 30_000;

export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    ...(chromiumPath === undefined ? {} : { executablePath: chromiumPath }),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

export interface OpenedPage {
  readonly page: Page;
  /** Console errors and uncaught exceptions. */
  readonly complaints: readonly string[];
  /** Addresses of all requests so far, WebSockets too. */
  readonly requests: readonly string[];
}

/** One browser for a suite; each page has its own profile, which ends with its test. */
export function shareBrowser() {
  let browser: Browser | undefined;
  beforeAll(async () => {
    browser = await launchChromium();
  });
  afterAll(() => browser?.close());
  return async (url: string, options: BrowserContextOptions = {}): Promise<OpenedPage> => {
    if (browser === undefined) throw new Error('The browser has not been started.');
    const context = await browser.newContext(options);
    onTestEnd(() => context.close());
    return openIn(await context.newPage(), url);
  };
}

/** Opens an address in a page, and keeps its complaints and what it loads. */
export async function openIn(page: Page, url: string): Promise<OpenedPage> {
  const complaints: string[] = [];
  const requests: string[] = [];
  page.setDefaultTimeout(PATIENCE_MS);
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => requests.push(request.url()));
  page.on('websocket', (webSocket) => requests.push(webSocket.url()));
  await page.goto(url);
  return { page, complaints, requests };
}
