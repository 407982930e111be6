/** Times of messages: how long ago, kept right, with the exact time as the title. */
import { h } from './dom.ts';
import { formatAge } from './format.ts';

const REFRESH_MS = 10_000;

export function ageOf(timestamp: string): HTMLTimeElement {
  const title = new Date(timestamp).toLocaleString();
  return h('time', { datetime: timestamp, title, 'data-age': '' }, formatAge(timestamp));
}

function refresh(): void {
  for (const time of document.querySelectorAll<HTMLTimeElement>('time[data-age]')) {
    const text = formatAge(time.dateTime);
    if (time.textContent !== text) time.textContent = text;
  }
}

export function keepAges(): void {
  setInterval(refresh, REFRESH_MS);
}
