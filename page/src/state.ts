/** The state of the connection, where it is shown: beside the buttons, in the bar, and on the buttons themselves. */

import { DEVELOPMENT_USERS } from './development-users.ts';
import { buttonOf, byId, childrenOf, detailsOf, inputOf } from './dom.ts';
import { bareToken } from './fields.ts';
import { hideTokens } from './secrets.ts';
import { currentSession, shownUser } from './session.ts';

const STATE_NAMES = {
  disconnected: 'Disconnected',
  connecting: 'Connecting',
  connected: 'Connected',
  reconnecting: 'Reconnecting',
  refused: 'Refused',
  failed: 'Not connected',
  offline: 'Offline, simulated',
} as const;

export type State = keyof typeof STATE_NAMES;

/** In these states, there is a connection, or one is being made. */
const UNDER_WAY: ReadonlySet<State> = new Set(['connecting', 'connected', 'reconnecting', 'offline']);

export function shownState(): State {
  return byId('state').dataset['state'] as State;
}

export function showState(state: State, detail = ''): void {
  const name = state === 'connected' ? `Connected as ${shownUser()}` : STATE_NAMES[state];
  for (const id of ['state', 'pill']) byId(id).dataset['state'] = state;
  byId('state-name').textContent = detail === '' ? name : `${name}.`;
  byId('state-detail').textContent = hideTokens(detail);
  byId('pill').textContent = name;
  if (state !== 'connected') showIdentity('–', '–');
  foldSettings(state);
  allowButtons(state);
}

/** What is no longer needed makes room for incoming messages; what has to be corrected is opened. */
function foldSettings(state: State): void {
  if (state === 'connected') closeSettings();
  else if (!UNDER_WAY.has(state) && DEVELOPMENT_USERS.length === 0) detailsOf('settings').open = true;
}

/** The keyboard's focus must not vanish with them. */
export function closeSettings(): void {
  const settings = detailsOf('settings');
  const hadFocus = settings.contains(document.activeElement);
  settings.open = false;
  if (hadFocus) byId('disconnect').focus();
}

export function showIdentity(device: string, socketId: string): void {
  byId('device-name').textContent = device;
  byId('socket-id').textContent = socketId;
}

function allowButtons(state: State): void {
  const button = buttonOf('disconnect');
  const mayDisconnect = UNDER_WAY.has(state);
  // A button that is disabled under the keyboard's focus would lose the place in the page.
  if (!mayDisconnect && document.activeElement === button) byId('connect').focus();
  button.disabled = !mayDisconnect;
  if (state === 'refused' || state === 'disconnected') inputOf('offline').checked = false;
  inputOf('offline').disabled = state !== 'connected' && state !== 'offline';
  showTokenButton();
  showPrimary();
}

/** Highlights the next step: a development user if there are some, otherwise Connect; once connected, neither. */
export function showPrimary(): void {
  const isConnected = shownState() === 'connected';
  const isOffered = DEVELOPMENT_USERS.length > 0 && !detailsOf('settings').open;
  byId('connect').classList.toggle('primary', !isConnected && !isOffered);
  for (const button of childrenOf(byId('development-users'))) {
    button.classList.toggle('primary', !isConnected && isOffered);
  }
}

/** A token that was pasted while connected can be used at once. */
export function showTokenButton(): void {
  const session = currentSession();
  const isOther = session !== undefined && bareToken('token') !== session.token;
  buttonOf('refresh-token').hidden = shownState() !== 'connected' || !isOther;
}
