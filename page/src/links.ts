/** Links to the documents of the service that the page talks to. */
import { isServed, ownBase, readServer } from './fields.ts';
import { PageError } from './page-error.ts';

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
  for (const link of document.querySelectorAll<HTMLElement>('[data-path]')) {
    if (service === undefined) link.removeAttribute('href');
    else link.setAttribute('href', `${service}/${link.dataset['path']}`);
  }
}
