/** The list of events: everything that went over the socket, over HTTP, or happened in this page. */
import { copyText } from './clipboard.ts';
import { buttonOf, byId, childrenOf, fieldValue, h, isAtEnd, textOf } from './dom.ts';
import { formatClock, plural } from './format.ts';
import { formatPayload, hideTokens, shorten } from './secrets.ts';

const MAX_ROWS = 500;
const MAX_PREVIEW_CHARACTERS = 200;
const KIND_WORDS = { received: 'in', sent: 'out', rest: 'HTTP', page: 'page', error: 'error' } as const;

/** `received` from the socket, `sent` over it, `rest`, `page` for what happened here, or `error`. */
export type Kind = keyof typeof KIND_WORDS;

export interface Entry {
  readonly kind: Kind;
  readonly note?: string;
  readonly payloads?: readonly unknown[];
}

let isFollowing = true;
let isScrollPlanned = false;
let shownSize = '';
/** Rows that wait while the log is paused; `undefined` when it is not. */
let heldRows: HTMLElement[] | undefined;

export function log(event: string, entry: Entry): void {
  const row = rowOf(event, entry);
  if (heldRows === undefined) appendRow(row);
  else holdRow(heldRows, row);
}

function rowOf(event: string, { kind, note = '', payloads = [] }: Entry): HTMLElement {
  const line = lineOf(event, kind, note);
  const shown = payloads.filter((payload) => payload !== undefined);
  const row = h('li', { class: 'event', 'data-event': event, 'data-kind': kind });
  row.append(shown.length === 0 ? h('div', { class: 'line' }, ...line) : detailsOfRow(line, shown));
  return row;
}

function lineOf(event: string, kind: Kind, note: string): HTMLElement[] {
  const now = new Date();
  const line: HTMLElement[] = [
    h('time', { datetime: now.toISOString() }, formatClock(now)),
    h('span', { class: 'kind' }, KIND_WORDS[kind]),
    h('strong', {}, hideTokens(event)),
  ];
  if (note !== '') line.push(h('span', { class: 'event-note' }, hideTokens(note)));
  return line;
}

function detailsOfRow(line: readonly HTMLElement[], payloads: readonly unknown[]): HTMLElement {
  const preview = shorten(payloads.map((payload) => JSON.stringify(payload)).join(' '), MAX_PREVIEW_CHARACTERS);
  const summary = h('summary', { class: 'line' }, ...line);
  summary.append(h('span', { class: 'preview', 'aria-hidden': 'true' }, preview));
  const bodies = payloads.map((payload) => h('pre', {}, formatPayload(payload)));
  return h('details', { class: 'log-row' }, summary, ...bodies);
}

function appendRow(row: HTMLElement): void {
  const rows = byId('log-rows');
  row.hidden = !isWanted(row);
  rows.append(row);
  while (rows.childElementCount > MAX_ROWS) rows.firstElementChild?.remove();
  planScroll();
}

function holdRow(held: HTMLElement[], row: HTMLElement): void {
  held.push(row);
  if (held.length > MAX_ROWS) held.shift();
  byId('log-result').textContent = `Paused, ${plural(held.length, 'event')} waiting.`;
}

function isWanted(row: HTMLElement): boolean {
  const kind = fieldValue('log-kind');
  const text = textOf('log-text').toLowerCase();
  return (kind === '' || row.dataset['kind'] === kind) && row.textContent.toLowerCase().includes(text);
}

export function filterLog(): void {
  const rows = childrenOf(byId('log-rows'));
  for (const row of rows) row.hidden = !isWanted(row);
  const shown = rows.filter((row) => !row.hidden).length;
  byId('log-result').textContent = shown === rows.length ? '' : `${shown} of ${plural(rows.length, 'event')} shown.`;
  planScroll();
}

export function pauseLog(): void {
  const waiting = heldRows;
  heldRows = waiting === undefined ? [] : undefined;
  const isPaused = heldRows !== undefined;
  const button = buttonOf('pause-log');
  button.setAttribute('aria-pressed', String(isPaused));
  button.textContent = isPaused ? 'Resume' : 'Pause';
  byId('log-result').textContent = isPaused ? 'Paused, nothing waiting.' : '';
  for (const row of waiting ?? []) appendRow(row);
}

export function clearLog(): void {
  byId('log-rows').replaceChildren();
  if (heldRows !== undefined) heldRows = [];
  byId('log-result').textContent = '';
  isFollowing = true;
}

export async function copyLog(): Promise<string> {
  const rows = childrenOf(byId('log-rows')).filter((row) => !row.hidden);
  await copyText(rows.map(textOfRow).join('\n'));
  return `${plural(rows.length, 'event')} copied; tokens are hidden in them.`;
}

function textOfRow(row: HTMLElement): string {
  const parts = ['time', '.kind', 'strong', '.event-note'].map((part) => row.querySelector(part)?.textContent ?? '');
  const payloads = Array.from(row.querySelectorAll('pre'), (pre) => pre.textContent);
  return [parts.join(' ').trim(), ...payloads].join('\n');
}

/** Scrolling forces a layout: once in a frame is enough, however many events arrive. */
function planScroll(): void {
  if (!isFollowing || isScrollPlanned) return;
  isScrollPlanned = true;
  requestAnimationFrame(() => {
    isScrollPlanned = false;
    const box = byId('log');
    box.scrollTop = box.scrollHeight;
  });
}

/** A user who has scrolled up to read is not disturbed until they are back at the end. */
function noticeScroll(): void {
  const box = byId('log');
  // Another size moves the text too, and nobody has scrolled: noticeResize comes next.
  if (!isScrollPlanned && sizeOf(box) === shownSize) isFollowing = isAtEnd(box);
}

function noticeResize(): void {
  shownSize = sizeOf(byId('log'));
  planScroll();
}

function sizeOf({ clientWidth, clientHeight }: HTMLElement): string {
  return `${clientWidth} ${clientHeight}`;
}

/** The events are docked at the lower edge of the window; folded, only their heading shows. */
export function foldLog(): void {
  const isOpen = !document.body.classList.toggle('log-folded');
  const button = buttonOf('fold-log');
  button.setAttribute('aria-expanded', String(isOpen));
  button.textContent = isOpen ? 'Hide' : 'Show';
}

export function followLog(): void {
  byId('log').addEventListener('scroll', noticeScroll, { passive: true });
  new ResizeObserver(noticeResize).observe(byId('log'));
}
