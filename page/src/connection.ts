/** From the buttons of the connection to a client of the package, and from its status to what the page shows. */
import {
  connect as openClient,
  type Status,
  type SyncDone,
  type TidingsClient,
  type TidingsError,
} from '../../client/src/index.ts';
import { byId, inputOf, textOf } from './dom.ts';
import { asSentence, explainError, explainNoConnection, OR_CHOOSE_ONE } from './explain.ts';
import { readServer, readToken } from './fields.ts';
import { formatMs, formatTime, plural } from './format.ts';
import { log } from './log.ts';
import { announce, showOutcome } from './outcome.ts';
import { PageError, sentenceOf } from './page-error.ts';
import { connectedClient, currentSession, notify, type Session, setSession, showUser } from './session.ts';
import { closeSettings, showState, showTokenButton } from './state.ts';
import { storageOf } from './storage.ts';
import { watchTraffic } from './traffic.ts';

type Target = Pick<Session, 'base' | 'device' | 'token' | 'wasOnline'>;

export function connect(): void {
  closeConnection();
  byId('connection-result').textContent = '';
  try {
    const target = readTarget();
    showState('connecting', `To ${target.base}.`);
    open(target);
  } catch (error) {
    reportFailure(sentenceOf(error));
  }
}

function readTarget(): Target {
  const base = readServer();
  const token = readToken('token');
  if (token === '') throw new PageError(`There is no token. Paste one into Token${OR_CHOOSE_ONE}.`);
  return { base, token, device: textOf('device') || undefined, wasOnline: false };
}

export function reportFailure(sentence: string): void {
  showState('failed', sentence);
  log('connect_error', { kind: 'error', note: sentence });
}

function open(target: Target): void {
  const { base, token, device } = target;
  // If the field is empty, the client makes a name.
  const options = device === undefined ? {} : { device };
  const client = openClient(base, { token, storage: storageOf(device ?? ''), ...options });
  const session: Session = { ...target, client, userId: undefined, isSynced: false, arrived: 0, farewell: '' };
  setSession(session);
  listen(session);
  notify('opened', session);
}

function listen(session: Session): void {
  const { client } = session;
  watchTraffic(session);
  client.onStatus((status) => {
    if (session === currentSession() && !inputOf('offline').checked) STATUS_HANDLERS[status](session);
  });
  client.on('sync:done', (sync) => onSynced(session, sync));
  client.on('sync:reset', ({ topic, reason }) => announce(resetSentence(topic, reason)));
  client.on('auth:expiring', ({ expiresAt }) => onExpiring(expiresAt));
  client.on('error', (error) => {
    if (session === currentSession()) void onError(session, error);
  });
}

const STATUS_HANDLERS: Readonly<Record<Status, (session: Session) => void>> = {
  connecting: () => undefined,
  online: onOnline,
  offline: onOffline,
  closed: onClosed,
};

function onOnline(session: Session): void {
  Object.assign(session, { wasOnline: true, isSynced: false, arrived: 0, farewell: '' });
  session.userId = session.client.userId;
  if (session.userId !== undefined) showUser(session.userId);
  showState('connected', 'Catching up.');
  notify('online', session);
}

function onSynced(session: Session, sync: SyncDone): void {
  session.isSynced = true;
  const { arrived } = session;
  showState('connected', arrived === 0 ? 'Up to date.' : `Caught up: ${plural(arrived, 'message')} arrived.`);
  notify('synced', session, sync);
}

function onOffline(session: Session): void {
  const reason = session.farewell || 'The connection was lost.';
  log('disconnect', { kind: 'error', note: reason });
  session.isSynced = false;
  notify('gone');
  showState('reconnecting', reason);
}

/** By the service: the page itself gives up a session before it closes it. */
function onClosed({ client, wasOnline, farewell }: Session): void {
  const sentence = client.error === undefined ? farewell : explainError(client.error);
  notify('gone');
  if (wasOnline) {
    log('disconnect', { kind: 'error', note: sentence });
    showState('disconnected', `${sentence || 'The service closed the connection.'} Press Connect to come back.`);
  } else {
    log('connect_error', { kind: 'error', note: sentence, payloads: [client.error?.problem] });
    showState('refused', sentence);
  }
}

async function onError(session: Session, error: TidingsError): Promise<void> {
  // The service has closed the client, and onClosed says so.
  if (error === session.client.error) return;
  if (session.client.status === 'online') showRefusal(error);
  else if (error.code === 'unreachable') await onUnreachable(session, error);
  else onDelay(explainError(error));
}

/** While connected: what the client asks for by itself was refused or got no answer. */
function showRefusal(error: TidingsError): void {
  const sentence = explainError(error);
  log(error.code, { kind: 'error', note: sentence });
  // Only watching who is online needs a scope.
  showOutcome(error.code === 'insufficient_scope' ? 'online-users-result' : 'inbox-result', 'bad', sentence);
}

/** Explaining takes a moment, in which the connection may have opened or been given up. */
async function onUnreachable(session: Session, error: TidingsError): Promise<void> {
  if (session.wasOnline) showState('reconnecting', 'Looking for the reason.');
  const sentence = await explainNoConnection(session.base, error);
  if (session !== currentSession() || session.client.status === 'online') return;
  if (session.wasOnline) onDelay(sentence);
  else {
    giveUp(session.client);
    reportFailure(sentence);
  }
}

function onDelay(sentence: string): void {
  log('connect_error', { kind: 'error', note: sentence });
  showState('reconnecting', `${sentence} The page keeps trying.`);
}

function onExpiring(expiresAt: string): void {
  const sentence = `The token expires at ${formatTime(expiresAt)}. Paste a fresh one and press "Use the new token" to stay connected.`;
  byId('settings').setAttribute('open', '');
  byId('state-detail').textContent = sentence;
}

function resetSentence(topic: string | undefined, reason: string): string {
  if (reason === 'forgotten') return 'The service no longer knew this device: it sends what is unread.';
  const why = reason === 'erased' ? "this user's data was erased" : 'it was older than the service keeps messages';
  return `Some messages of ${topic} are gone for good: ${asSentence(why)}`;
}

function giveUp(client: TidingsClient): void {
  setSession(undefined);
  void client.close();
}

export function closeConnection(): void {
  const session = currentSession();
  if (session !== undefined) giveUp(session.client);
  inputOf('offline').checked = false;
  notify('gone');
}

export function disconnect(): void {
  closeConnection();
  log('disconnect', { kind: 'page' });
  showState('disconnected');
}

/** Offline, as far as this tab's socket is concerned; and back, to see catch-up. */
export async function switchOffline(): Promise<void> {
  const session = currentSession();
  if (session === undefined) return;
  if (inputOf('offline').checked) {
    showState('offline', 'Nothing arrives here. Send something to yourself, then switch back.');
    notify('gone');
    // The session stays: requests over HTTP are made with its token.
    await session.client.close();
  } else {
    showState('connecting', 'Coming back.');
    open(session);
  }
}

export async function ping(): Promise<string> {
  const client = connectedClient();
  const sentAt = performance.now();
  await client.request('ping');
  return `Round trip ${formatMs(performance.now() - sentAt)}`;
}

export async function useNewToken(): Promise<string> {
  const token = readToken('token');
  await connectedClient().useToken(token);
  const session = currentSession();
  if (session !== undefined) session.token = token;
  showTokenButton();
  closeSettings();
  return 'The connection now uses the new token.';
}
