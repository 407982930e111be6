/** What one page of a list may hold, and how much may be looked at for it. */
import { MAX_PAGE_BYTES } from '../contract';

/** Messages or rows that one page looks at in vain: removed or filtered ones must not make a read long. */
const LOOKS_PER_PAGE = 2_000;

/** Messages may be large: few fill a page. */
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

  /** Has the page looked at as much in vain as it may? */
  get isSpent(): boolean {
    return this.#looks >= LOOKS_PER_PAGE;
  }

  /** Messages to fetch: first as many as the page takes, then more. */
  nextFetch(): number {
    this.#fetch = Math.min(MAX_FETCH, this.#fetch === 0 ? Math.min(this.limit + 1, FIRST_FETCH) : this.#fetch * 2);
    return this.#fetch;
  }

  lookInVain(count = 1): void {
    this.#looks += count;
  }

  /** Takes an item if it fits; the first always does. @returns whether it was taken. */
  take(bytes: number): boolean {
    if (this.#items >= this.limit || (this.#items > 0 && this.#bytes + bytes > MAX_PAGE_BYTES)) return false;
    this.#items += 1;
    this.#bytes += bytes;
    return true;
  }
}
