/** useInbox() in a page and on a server that renders it. */
import { JSDOM } from 'jsdom';
import { createElement, StrictMode } from 'react';
import { createRoot, hydrateRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import type { TidingsClient } from '../../client/src';
import { useInbox } from '../../client/src/react';
import { range, startService } from '../support/service';
import { onTestEnd } from '../support/temporary';
import { openClient, until } from './support';

let renders = 0;

function Badge({ client }: { client?: TidingsClient | undefined }) {
  const { items, counts, isLoaded } = useInbox(client);
  renders += 1;
  return createElement('b', null, `${counts.unread} of ${items.length}${isLoaded ? '' : ', not loaded'}`);
}

// React finds the page in the global object, even in work that is left when a test has ended.
const { window } = new JSDOM('', { url: 'http://localhost/' });
Object.assign(globalThis, { window, document: window.document });
afterAll(() => window.close());

/** An element to render into. */
function openElement(html = ''): HTMLElement {
  const element = window.document.createElement('div');
  element.innerHTML = html;
  onTestEnd(() => window.localStorage.clear());
  return element;
}

async function shows(element: HTMLElement, text: string): Promise<void> {
  await until(
    () => element.textContent,
    (content) => content === text,
  );
}

it('shows the inbox and follows it, until it is unmounted', async () => {
  const service = await startService();
  await service.send('anna', range(1, 3));
  const client = openClient(service.url, { token: service.token('anna') });
  const element = openElement();
  const root = createRoot(element);
  root.render(createElement(StrictMode, null, createElement(Badge, { client })));
  await shows(element, '3 of 3');
  await service.send('anna', [4]);
  await shows(element, '4 of 4');
  await client.inbox.markRead('all');
  await shows(element, '0 of 4');
  root.unmount();
  const before = renders;
  await service.send('anna', [5]);
  await until(
    () => client.inbox.items.length,
    (length) => length === 5,
  );
  expect([renders, element.textContent]).toEqual([before, '']);
});

it('renders once for each change, and not without one', async () => {
  const service = await startService();
  const client = openClient(service.url, { token: service.token('anna') });
  const element = openElement();
  const root = createRoot(element);
  root.render(createElement(Badge, { client }));
  await shows(element, '0 of 0');
  const before = renders;
  await client.inbox.markSeen('all');
  client.presence.subscribe(() => undefined);
  await until(
    () => client.presence.users.length,
    (length) => length === 1,
  );
  expect(renders).toBe(before);
  await service.send('anna', [1]);
  await shows(element, '1 of 1');
  await client.inbox.markRead({ topic: '@anna', upTo: 1 });
  await shows(element, '0 of 1');
  expect(renders).toBe(before + 2);
  root.unmount();
});

it('renders on a server without a client, and the page takes over from there', async () => {
  const service = await startService();
  await service.send('anna', [1]);
  const html = renderToString(createElement(Badge));
  expect(html).toBe('<b>0 of 0, not loaded</b>');
  const client = openClient(service.url, { token: service.token('anna') });
  client.inbox.subscribe(() => undefined);
  await until(() => client.inbox.snapshot.isLoaded, Boolean);
  const element = openElement(html);
  const complaints: unknown[] = [];
  const onRecoverableError = (error: unknown) => complaints.push(error);
  const root = hydrateRoot(element, createElement(Badge, { client }), { onRecoverableError });
  await shows(element, '1 of 1');
  expect(complaints).toEqual([]);
  root.unmount();
});
