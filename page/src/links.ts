/** Links to the documents of the service that the page talks to, which may not be the one that served the page. */
import { byId, h } from './dom.ts';
import { isServed, ownBase, readServer } from './fields.ts';
import { PageError } from './page-error.ts';

const DOCUMENTS = [
  ['docs', 'API'],
  ['docs/errors', 'Errors'],
] as const;

function base(): string | undefined {
  try {
    return readServer();
  } catch (error) {
    if (!(error instanceof PageError)) throw error;
    return isServed() ? ownBase() : undefined;
  }
}

export function showLinks(): void {
  const service = base();
  const links = DOCUMENTS.map(([path, name]) => h('a', { href: `${service}/${path}` }, name));
  byId('links').replaceChildren(...(service === undefined ? [] : links));
}
