/** One message of the inbox on the screen. */
import type { MessageState } from '../../client/src/index.ts';
import { ageOf } from './ages.ts';
import type { Arrival } from './arrival.ts';
import { h } from './dom.ts';
import { type Wordable, wordsOf } from './message-words.ts';
import { formatPayload, hideTokens, shorten } from './secrets.ts';
import { shownUser } from './session.ts';

const MAX_TITLE_CHARACTERS = 200;
const MAX_TEXT_CHARACTERS = 2_000;

/** `live`: sent with `persist: false`, so it is in no log and has no state. */
export type ShownState = MessageState | 'live';
export type Item = Arrival & { readonly state: ShownState };
export type Change = 'read' | 'unread' | 'archived';

const STATE_WORDS: Readonly<Record<ShownState, string>> = {
  unseen: 'new',
  seen: 'seen',
  read: 'read',
  archived: 'archived',
  live: 'live only, not stored',
};

export class InboxRow {
  readonly element: HTMLLIElement;
  #item: Item | undefined;
  readonly #title = h('h3');
  readonly #chip = h('span', { class: 'chip' });
  readonly #text = h('p', { class: 'text' });
  readonly #about = h('p', { class: 'hint' });
  readonly #raw = h('pre');
  readonly #details = h('details', { toggle: () => this.#showRaw() }, h('summary', {}, 'As JSON'), this.#raw);
  readonly #read: HTMLButtonElement;
  readonly #archive: HTMLButtonElement;

  constructor(item: Item, onChange: (item: Item, change: Change) => void) {
    const button = (change: (item: Item) => Change) => {
      const click = () => this.#item !== undefined && onChange(this.#item, change(this.#item));
      return h('button', { type: 'button', class: 'small', click });
    };
    this.#read = button((shown) => (isRead(shown) ? 'unread' : 'read'));
    this.#archive = button((shown) => (shown.state === 'archived' ? 'unread' : 'archived'));
    const head = h('div', { class: 'row spread head' }, this.#title, this.#chip);
    const actions = h('div', { class: 'row' }, this.#read, this.#archive, this.#details);
    this.element = h('li', { class: 'item' }, head, this.#text, this.#about, actions);
    this.show(item);
  }

  show(item: Item): void {
    if (this.#item === item) return;
    this.#item = item;
    const { title, text } = wordsOf(item);
    this.element.dataset['itemState'] = item.state;
    this.element.dataset['id'] = item.id;
    this.#title.textContent = shorten(title, MAX_TITLE_CHARACTERS);
    this.#text.textContent = shorten(text, MAX_TEXT_CHARACTERS);
    this.#chip.textContent = STATE_WORDS[item.state];
    this.#about.replaceChildren(...aboutOf(item));
    this.#showRaw();
    this.#nameButtons(item);
  }

  #nameButtons(item: Item): void {
    const title = this.#title.textContent;
    this.#read.textContent = isRead(item) ? 'Mark unread' : 'Mark read';
    this.#archive.textContent = item.state === 'archived' ? 'Back to the inbox' : 'Archive';
    for (const button of [this.#read, this.#archive])
      button.setAttribute('aria-label', `${button.textContent}: ${title}`);
    this.#read.hidden = item.state === 'archived' || item.state === 'live';
    this.#archive.hidden = item.state === 'live';
  }

  /** Made when it is opened: most never are. */
  #showRaw(): void {
    if (this.#details.open) this.#raw.textContent = formatPayload(this.#item);
  }
}

function isRead({ state }: Item): boolean {
  return state === 'read' || state === 'archived';
}

/** Kind, sender, place and time: chat · from ben · to you · #2 · 2 min ago */
function aboutOf(item: Item & Wordable): (HTMLElement | string)[] {
  const { topic, seq, type, event, from, timestamp } = item;
  // The kind is in the title where the message has none.
  const kind = wordsOf(item).title === (event ?? type) ? undefined : type;
  const parts = [kind, `from ${from}`, placeOf(topic), seq === undefined ? undefined : `#${seq}`];
  const known = parts.filter((part) => part !== undefined);
  return [`${hideTokens(known.join(' · '))} · `, ageOf(timestamp)];
}

function placeOf(topic: string): string {
  if (topic === '*') return 'to everyone';
  return topic === `@${shownUser()}` ? 'to you' : `in ${topic}`;
}
