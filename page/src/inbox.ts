/** The inbox: the snapshots of the client, drawn. Archived messages are fetched, live messages are kept here. */
import type { Counts, InboxItem, InboxSnapshot, TidingsClient } from '../../client/src/index.ts';
import type { Arrival } from './arrival.ts';
import { arrange, buttonOf, byId } from './dom.ts';
import { type Change, InboxRow, type Item } from './inbox-row.ts';
import { wordsOf } from './message-words.ts';
import { announce, run } from './outcome.ts';
import { connectedClient, isOnline, type Session, shownUser, when } from './session.ts';

const MAX_BADGE = 99;
const MAX_LIVE_ONLY = 100;
const MAX_ANNOUNCED_CHARACTERS = 200;

const EMPTY_WORDS = {
  all: 'Nothing here yet. Send yourself a notification.',
  unread: 'Everything is read.',
  archived: 'Nothing is archived.',
} as const;
type View = keyof typeof EMPTY_WORDS;

const rows = new Map<string, InboxRow>();
let snapshot: InboxSnapshot | undefined;
let archived: readonly InboxItem[] = [];
let archivedCursor: string | null = null;
let liveOnly: readonly Item[] = [];
let stopFollowing = (): void => undefined;

function view(): View {
  return (document.querySelector<HTMLInputElement>('input[name="inbox-view"]:checked')?.value ?? 'all') as View;
}

function keyOf({ topic, seq, id }: Item): string {
  return `${topic} ${seq ?? id}`;
}

function itemsOf(shown: View): readonly Item[] {
  if (shown === 'archived') return archived;
  const items: readonly Item[] = snapshot?.items ?? [];
  const wanted = shown === 'all' ? items : items.filter(({ state }) => state === 'unseen' || state === 'seen');
  if (liveOnly.length === 0) return wanted;
  return [...liveOnly, ...wanted].sort((one, other) => other.timestamp.localeCompare(one.timestamp));
}

function hasMore(shown: View): boolean {
  return shown === 'archived' ? archivedCursor !== null : snapshot?.hasMore === true;
}

function draw(): void {
  const shown = view();
  const items = itemsOf(shown);
  const drawn = items.map((item) => rowOf(item).element);
  moveFocus(new Set(drawn));
  arrange(byId('inbox-items'), drawn);
  const keys = new Set(items.map(keyOf));
  for (const key of [...rows.keys()]) if (!keys.has(key)) rows.delete(key);
  buttonOf('inbox-older').hidden = !hasMore(shown);
  byId('inbox-empty').hidden = items.length > 0;
  byId('inbox-empty').textContent = shownUser() === undefined ? 'Connect to see your inbox.' : EMPTY_WORDS[shown];
}

function rowOf(item: Item): InboxRow {
  const key = keyOf(item);
  const row =
    rows.get(key) ?? new InboxRow(item, (shown, change) => void run('inbox-result', () => mark(shown, change)));
  rows.set(key, row);
  row.show(item);
  return row;
}

/** When the focused row disappears, the focus moves to its neighbour. */
function moveFocus(staying: ReadonlySet<Element>): void {
  const focused = document.activeElement?.closest('#inbox-items .item');
  if (focused === null || focused === undefined || staying.has(focused)) return;
  const neighbour = focused.nextElementSibling ?? focused.previousElementSibling;
  (neighbour?.querySelector<HTMLElement>('button:not([hidden])') ?? byId('inbox')).focus();
}

async function mark({ id }: Item, change: Change): Promise<void> {
  const { inbox } = connectedClient();
  if (change === 'read') await inbox.markRead(id);
  else if (change === 'unread') await inbox.markUnread(id);
  else await inbox.archive(id);
  if (view() === 'archived') await loadArchived();
}

export async function markAll(state: 'seen' | 'read'): Promise<void> {
  const { inbox } = connectedClient();
  await (state === 'seen' ? inbox.markSeen('all') : inbox.markRead('all'));
}

export async function showOlder(): Promise<void> {
  const { inbox } = connectedClient();
  if (view() !== 'archived') {
    await inbox.loadMore();
    return;
  }
  if (archivedCursor === null) return;
  const page = await inbox.fetch({ state: 'archived', cursor: archivedCursor });
  archived = [...archived, ...page.items];
  archivedCursor = page.nextCursor;
  draw();
}

async function loadArchived(): Promise<void> {
  const page = await connectedClient().inbox.fetch({ state: 'archived' });
  archived = page.items;
  archivedCursor = page.nextCursor;
  draw();
}

export async function changeView(): Promise<void> {
  draw();
  if (view() === 'archived' && isOnline()) await loadArchived();
}

function showCounts({ unseen, unread }: Counts): void {
  byId('counts').textContent = `${unread} unread, ${unseen} not seen`;
  byId('badge').hidden = unread === 0;
  byId('badge-count').textContent = unread > MAX_BADGE ? `${MAX_BADGE}+` : String(unread);
  document.title = `${unread === 0 ? '' : `(${unread}) `}${shownUser()} · tidings test page`;
}

function clear(): void {
  snapshot = undefined;
  archived = [];
  archivedCursor = null;
  liveOnly = [];
  draw();
}

function follow({ client }: Session): void {
  stopFollowing();
  stopFollowing = client.inbox.subscribe(receive);
  client.on('state', () => reloadArchived(client));
}

/** Until the new list has been read the last one stays: another client of the same user begins with nothing. */
function receive(next: InboxSnapshot): void {
  if (!isOnline()) return;
  showCounts(next.counts);
  if (!next.isLoaded && next.items.length === 0) return;
  const newest = snapshot?.isLoaded === true ? (snapshot.items[0]?.timestamp ?? '') : undefined;
  snapshot = next;
  draw();
  if (newest !== undefined) highlight(next.items, newest);
}

/** Those that arrived after everything that was there. */
function highlight(items: readonly InboxItem[], newest: string): void {
  for (const item of items) {
    if (item.timestamp <= newest) return;
    rows.get(keyOf(item))?.element.classList.add('new');
  }
}

/** Marked on another device: what was archived or restored there is not in the snapshot. */
function reloadArchived(client: TidingsClient): void {
  if (view() === 'archived' && client.status === 'online') void run('inbox-result', loadArchived);
}

function receiveMessage(message: Arrival, { isSynced }: Session): void {
  if (message.seq === undefined) {
    liveOnly = [{ ...message, state: 'live' as const }, ...liveOnly].slice(0, MAX_LIVE_ONLY);
    draw();
  }
  if (isSynced) announceMessage(message);
}

function announceMessage(message: Arrival): void {
  const { title, text } = wordsOf(message);
  const rest = text === '' ? '' : `, ${text.slice(0, MAX_ANNOUNCED_CHARACTERS)}`;
  announce(`New from ${message.from}: ${title}${rest}`);
}

export function startInbox(): void {
  when('user', clear);
  when('opened', follow);
  when('message', receiveMessage);
  when('synced', (session) => reloadArchived(session.client));
  draw();
}
