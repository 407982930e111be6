'use client';

/** The inbox in React. The line above makes it part of the page where components run on servers, as in Next.js. */
import { useCallback, useSyncExternalStore } from 'react';
import { EMPTY_INBOX, type Inbox, type InboxSnapshot } from './inbox.ts';

/**
 * The inbox of a client, kept up to date. `undefined` is a client that is not there yet, as on a server that renders
 * the page: the inbox is empty then, and so it is in the first render of the browser.
 */
export function useInbox(client: { readonly inbox: Pick<Inbox, 'subscribe' | 'snapshot'> } | undefined): InboxSnapshot {
  const inbox = client?.inbox;
  const subscribe = useCallback((onChange: () => void) => inbox?.subscribe(onChange) ?? noMatter, [inbox]);
  return useSyncExternalStore(subscribe, () => inbox?.snapshot ?? EMPTY_INBOX, getEmpty);
}

function getEmpty(): InboxSnapshot {
  return EMPTY_INBOX;
}

function noMatter(): void {
  // There was nothing to subscribe to.
}
