/** Who is online. */
import { byId } from './dom.ts';
import { showOutcome } from './outcome.ts';
import { MAX_PEOPLE, markOnline, showPeople } from './people.ts';
import { isOnline, type Session, when } from './session.ts';

let online: ReadonlySet<string> = new Set();
let stopFollowing = (): void => undefined;

export function onlineUsers(): ReadonlySet<string> {
  return online;
}

function show(users: readonly string[]): void {
  online = new Set(users);
  byId('online-users-count').textContent = String(online.size);
  const unlisted = online.size - MAX_PEOPLE;
  byId('online-users-hint').textContent = `${unlisted > 0 ? `And ${unlisted} more. ` : ''}Choose somebody to write to.`;
  showPeople(byId('online-users'), [...online].sort(), online);
  markOnline(byId('members'), online);
}

/** Without a connection the list is not known. */
function hide(): void {
  show([]);
  byId('online-users-count').textContent = '–';
  byId('online-users-hint').textContent = 'Connect to see who is online.';
}

function follow({ client }: Session): void {
  stopFollowing();
  stopFollowing = client.presence.subscribe((users) => {
    if (isOnline()) show(users);
  });
}

export function startOnlineUsers(): void {
  when('opened', follow);
  when('online', () => {
    showOutcome('online-users-result', 'good', '');
    byId('online-users-hint').textContent = '';
  });
  when('gone', hide);
}
