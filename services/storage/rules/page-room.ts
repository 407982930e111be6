/** What one page of a list may hold, and what may be looked at for it: the same for every engine. */
import { MAX_PAGE_BYTES } from '../contract';

/** Messages, or rows of slots, that one page looks at in vain: what is gone or filtered out must not make a read long. */
const LOOKS_PER_PAGE = 2_000;

/** Messages may be large: a page of large ones is full after few. */
const FIRST_FETCH = 100;
const MAX_FETCH = 500;

export class PageRoom {
  #items = 0;
  #bytes = 0;
  #looks = 0;
  #fetch = 0;

  constructor(private readonly limit: number) {}

  get isFull(): boolean {
    return this.#items >= this.limit || this.#bytes >= MAX_PAGE_BYTES;
  }

  /** Has as much been looked at in vain as one page may? */
  get isSpent(): boolean {
    return this.#looks >= LOOKS_PER_PAGE;
  }

  /** How many messages a fetch asks for: at first what the page may take, and more where that was not enough. */
  nextFetch(): number {
    this.#fetch = Math.min(MAX_FETCH, this.#fetch === 0 ? Math.min(this.limit + 1, FIRST_FETCH) : this.#fetch * 2);
    return this.#fetch;
  }

  lookInVain(count = 1): void {
    this.#looks += count;
  }

  /** Takes an item of so many bytes where it fits; the first one always does. @returns whether it was taken. */
  take(bytes: number): boolean {
    if (this.#items >= this.limit || (this.#items > 0 && this.#bytes + bytes > MAX_PAGE_BYTES)) return false;
    this.#items += 1;
    this.#bytes += bytes;
    return true;
  }
}
