/** Users as buttons: clicking one makes it the recipient in the send panel. */
import { arrange, childrenOf, h } from './dom.ts';
import { shownUser } from './session.ts';

export const MAX_PEOPLE = 200;

let choose = (_userId: string): void => undefined;

export function whenChosen(listener: (userId: string) => void): void {
  choose = listener;
}

export function showPeople(list: HTMLElement, users: readonly string[], online: ReadonlySet<string>): void {
  const kept = new Map(childrenOf(list).map((child) => [child.dataset['user'], child]));
  arrange(
    list,
    users.slice(0, MAX_PEOPLE).map((user) => kept.get(user) ?? personOf(user)),
  );
  markOnline(list, online);
}

export function markOnline(list: HTMLElement, online: ReadonlySet<string>): void {
  for (const child of childrenOf(list)) child.classList.toggle('online', online.has(child.dataset['user'] ?? ''));
}

function personOf(user: string): HTMLElement {
  const name = user === shownUser() ? `${user} (you)` : user;
  const button = h('button', { type: 'button', click: () => choose(user) }, name);
  return h('li', { 'data-user': user }, button);
}
