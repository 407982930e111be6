'use client';

/** The inbox in React. The line above makes this file client code where components run on servers, as in Next.js. */
import { useCallback, useSyncExternalStore } from 'react';
import { EMPTY_INBOX, type Inbox, type InboxSnapshot } from './inbox.ts';

/**
 * The inbox of a client, kept up to date. `undefined` is a client that does not exist yet, as on a server that renders
 * the page: then the inbox is empty, and so it is in the first render in the browser.
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
