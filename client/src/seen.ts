/**
 * Which messages this device has handled: the last thousand, kept across reloads. A message is known by topic, `seq`
 * and `id` together: two senders may use one `id`, and a service restored from a backup may use a `seq` again.
 *
 * The record is kept in pages, so that one message writes little.
 */
import type { Shelf } from './storage.ts';

const PAGES = 16;
const PAGE_SIZE = 64;

export interface MessageKey {
  readonly topic: string;
  readonly seq: number;
  readonly id: string;
}

/** So that the parts cannot run into each other: ids and topics may contain blanks. */
export function keyOf({ topic, seq, id }: MessageKey): string {
  return JSON.stringify([seq, id, topic]);
}

/** Up to version 0.1, a key was the parts with blanks in between. Ambiguous keys are forgotten. */
const KEY_OF_0_1 = /^(\d+) ([^ ]+) ([^ ]+)$/;

function upgradeKey(key: string): string[] {
  if (key.startsWith('[')) return [key];
  const [, seq, id, topic] = KEY_OF_0_1.exec(key) ?? [];
  return seq === undefined || id === undefined || topic === undefined ? [] : [keyOf({ seq: Number(seq), id, topic })];
}

interface Page {
  /** 0, 1, 2, …: page `n` is in slot `n % PAGES`, where it replaces an older one. */
  readonly number: number;
  readonly keys: string[];
}

export class Seen {
  readonly #known = new Set<string>();
  readonly #pages = new Map<number, Page>();
  #newest: Page = { number: 0, keys: [] };

  #shelf: Shelf | undefined;

  /** To be called before anything else. */
  async load(shelf: Shelf): Promise<void> {
    this.#shelf = shelf;
    const slots = Array.from({ length: PAGES }, (_value, slot) => shelf.getJson(nameOf(slot)));
    for (const kept of await Promise.all(slots)) if (isPage(kept)) this.#open(upgrade(kept));
  }

  #open(page: Page): void {
    const slot = page.number % PAGES;
    for (const key of this.#pages.get(slot)?.keys ?? []) this.#known.delete(key);
    for (const key of page.keys) this.#known.add(key);
    this.#pages.set(slot, page);
    if (page.number >= this.#newest.number) this.#newest = page;
  }

  has(key: string): boolean {
    return this.#known.has(key);
  }

  /** With a synchronous storage, it is kept when this returns. */
  add(key: string): void | Promise<void> {
    if (this.#newest.keys.length >= PAGE_SIZE) this.#open({ number: this.#newest.number + 1, keys: [] });
    this.#newest.keys.push(key);
    this.#known.add(key);
    return this.#shelf?.set(nameOf(this.#newest.number % PAGES), JSON.stringify(this.#newest));
  }

  /** Forgets everything, here and in the storage. */
  async clear(): Promise<void> {
    this.#known.clear();
    this.#pages.clear();
    this.#newest = { number: 0, keys: [] };
    await Promise.all(Array.from({ length: PAGES }, (_value, slot) => this.#shelf?.remove(nameOf(slot))));
  }
}

function nameOf(slot: number): string {
  return `seen.${slot}`;
}

function upgrade({ number, keys }: Page): Page {
  return { number, keys: keys.flatMap(upgradeKey) };
}

function isPage(value: unknown): value is Page {
  if (typeof value !== 'object' || value === null || !('number' in value) || !('keys' in value)) return false;
  return typeof value.number === 'number' && Array.isArray(value.keys) && value.keys.every(isText);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
