/** An address that does not exist: a page for people, with ways on; a problem for programs. */
import { startReverseProxy } from '../support/reverse-proxy';
import { startService } from '../support/service';

const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8';

function ask(url: string, accept?: string, method = 'GET'): Promise<Response> {
  return fetch(url, { method, headers: accept === undefined ? {} : { accept } });
}

it('is a page in a browser, which loads nothing and leads to the real pages', async () => {
  const { url } = await startService();
  const response = await ask(`${url}/a/b/nowhere`, BROWSER);
  expect(response.status).toBe(404);
  expect(response.headers.get('content-type')).toMatch(/^text\/html/);
  expect(response.headers.get('content-security-policy')).toContain("default-src 'none'");
  expect(response.headers.get('vary')).toMatch(/\bAccept\b/);
  const page = await response.text();
  expect(page).toContain('Page not found');
  const links = Array.from(
    page.matchAll(/<a href="([^"]+)"/g),
    ([, target = '']) => new URL(target, response.url).href,
  );
  expect(links).toEqual([`${url}/`, `${url}/docs`, `${url}/docs/errors`]);
  for (const link of links) expect({ link, status: (await ask(link, BROWSER)).status }).toEqual({ link, status: 200 });
});

it('leads to the same places below a path', async () => {
  const { url } = await startService();
  const proxy = await startReverseProxy(url, { prefix: '/notify' });
  const response = await ask(`${proxy.url}/nowhere/at/all`, BROWSER);
  const links = Array.from((await response.text()).matchAll(/<a href="([^"]+)"/g), ([, target = '']) => target);
  expect(links.map((target) => new URL(target, response.url).href)).toEqual([
    `${proxy.url}/`,
    `${proxy.url}/docs`,
    `${proxy.url}/docs/errors`,
  ]);
});

it.each([
  ['accepts anything', '*/*', 'GET'],
  ['asks for JSON', 'application/json', 'GET'],
  ['prefers JSON', 'application/json, text/html;q=0.5', 'GET'],
  ['says nothing', undefined, 'GET'],
  ['sends something', BROWSER, 'POST'],
])('stays a problem for a program that %s', async (_case, accept, method) => {
  const { url } = await startService();
  const response = await ask(`${url}/nowhere`, accept, method);
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(await response.json()).toMatchObject({ status: 404, code: 'not_found' });
});

it('stays a problem where a browser is refused for another reason', async () => {
  const { url } = await startService();
  const response = await ask(`${url}/inbox`, BROWSER);
  expect([response.status, (await response.json()) as object]).toMatchObject([401, { code: 'unauthorized' }]);
});

it('stays a problem where the address exists and what it names does not', async () => {
  const service = await startService();
  const headers = { accept: BROWSER, authorization: `Bearer ${service.token('shop', 'send')}` };
  const response = await fetch(`${service.url}/messages/nope/receipts`, { headers });
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(await response.json()).toMatchObject({ status: 404, code: 'not_found' });
});
