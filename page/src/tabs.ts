/** On narrow screens the parts of the page are tabs: page.css shows the one that body names. */
import { byId } from './dom.ts';
import { when } from './session.ts';

const NARROW = matchMedia('(max-width: 40rem)');
const TABS = {
  connection: 'connection-title',
  inbox: 'inbox',
  topics: 'topics-title',
  send: 'send-title',
  log: 'log-title',
} as const;
type Tab = keyof typeof TABS;

function isTab(name: string | undefined): name is Tab {
  return name !== undefined && Object.hasOwn(TABS, name);
}

function links(): HTMLElement[] {
  return [...document.querySelectorAll<HTMLElement>('[data-opens]')];
}

export function openTab(tab: Tab): void {
  document.body.dataset['tab'] = tab;
  showCurrent();
}

/** Side by side no part is more current than another. */
function showCurrent(): void {
  for (const link of links()) {
    if (NARROW.matches && link.dataset['opens'] === document.body.dataset['tab'])
      link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
  }
}

/** Connected, there is nothing more to do on that tab; the focus goes along. */
function leaveConnection(): void {
  if (!NARROW.matches || document.body.dataset['tab'] !== 'connection') return;
  const hadFocus = byId('connection-panel').contains(document.activeElement);
  openTab('inbox');
  if (hadFocus) byId('inbox').focus();
}

export function startTabs(): void {
  for (const link of links()) {
    link.addEventListener('click', () => {
      const { opens } = link.dataset;
      if (isTab(opens)) openTab(opens);
    });
  }
  NARROW.addEventListener('change', showCurrent);
  when('synced', leaveConnection);
  showCurrent();
}
