/** The one connection of this tab, and what parts of the page are notified of. */
import type { SyncDone, TidingsClient } from '../../client/src/index.ts';
import type { Arrival } from './arrival.ts';
import { inputOf } from './dom.ts';
import { PageError } from './page-error.ts';

export interface Session {
  readonly client: TidingsClient;
  readonly base: string;
  readonly device: string | undefined;
  /** What the client uses now. */
  token: string;
  userId: string | undefined;
  /** Has it been online? A failure before that is a failed connect, a later one a lost connection. */
  wasOnline: boolean;
  isSynced: boolean;
  /** Messages since it was last online. */
  arrived: number;
  /** What the service sent just before it closed the connection. */
  farewell: string;
}

interface PageEvents {
  /** There is another client: time to listen to it. */
  opened: [session: Session];
  /** Another user than the one whose messages are on the screen. */
  user: [userId: string];
  online: [session: Session];
  synced: [session: Session, sync: SyncDone];
  /** The connection is gone, for now or for good. */
  gone: [];
  message: [message: Arrival, session: Session];
  /** Something in the fields of the connection has changed. */
  fields: [];
}

type Listeners = { readonly [Name in keyof PageEvents]: ((...args: PageEvents[Name]) => void)[] };

const listeners: Listeners = { opened: [], user: [], online: [], synced: [], gone: [], message: [], fields: [] };

export function when<Name extends keyof PageEvents>(name: Name, listener: (...args: PageEvents[Name]) => void): void {
  listeners[name].push(listener);
}

export function notify<Name extends keyof PageEvents>(name: Name, ...args: PageEvents[Name]): void {
  for (const listener of listeners[name]) listener(...args);
}

let current: Session | undefined;
let user: string | undefined;

export function currentSession(): Session | undefined {
  return current;
}

export function setSession(session: Session | undefined): void {
  current = session;
}

/** The user whose inbox and topics are on the screen. */
export function shownUser(): string | undefined {
  return user;
}

export function showUser(userId: string): void {
  if (user === userId) return;
  user = userId;
  notify('user', userId);
}

export function isOnline(): boolean {
  return current?.client.status === 'online';
}

/** @throws PageError when there is no connection. */
export function connectedClient(): TidingsClient {
  if (inputOf('offline').checked) {
    throw new PageError('This tab is offline. Switch "Simulate being offline" off first.');
  }
  if (current === undefined || !isOnline()) throw new PageError('There is no connection. Press Connect first.');
  return current.client;
}
