/**
 * Messages that catch-up has written to one device and the device has not acknowledged, over all its topics. A client
 * can only acknowledge what it has seen, so its last message completes a page; the entries after that message hold
 * nothing for this device, and are acknowledged with it.
 */

/** How many unacknowledged messages catch-up writes to one device. */
export const CATCH_UP_WINDOW_MESSAGES = 200;

interface SentPage {
  readonly topic: string;
  /** Its last message. */
  readonly seq: number;
  readonly count: number;
  /** Up to here, the log holds nothing more for the device. */
  upTo: number;
}

export class Window {
  #pages: SentPage[] = [];
  #waiting: (() => void)[] = [];

  /** Messages that are not acknowledged yet. */
  get inFlight(): number {
    return this.#pages.reduce((sum, { count }) => sum + count, 0);
  }

  /** Catch-ups that wait for room. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Notes a page that is about to be written. */
  add(page: SentPage): void {
    this.#pages.push(page);
  }

  /**
   * Notes entries that hold no message. @returns false if unacknowledged messages come before them: then they are
   * acknowledged together with those.
   */
  pass(topic: string, upTo: number): boolean {
    const last = this.#pages.findLast((page) => page.topic === topic);
    if (last !== undefined) last.upTo = upTo;
    return last === undefined;
  }

  /** Takes an acknowledgement. @returns the `seq` up to which the device has everything. */
  acknowledge(topic: string, seq: number): number {
    const done = this.#pages.filter((page) => page.topic === topic && page.seq <= seq);
    this.#pages = this.#pages.filter((page) => !done.includes(page));
    this.#wake();
    return Math.max(seq, done.at(-1)?.upTo ?? 0);
  }

  /** Stops waiting for acknowledgements in the topic. */
  drop(topic: string): void {
    this.#pages = this.#pages.filter((page) => page.topic !== topic);
    this.#wake();
  }

  /** Waits until there is room, or it is no longer wanted. @returns how many messages fit. */
  async room(isWanted: () => boolean): Promise<number> {
    while (this.inFlight >= CATCH_UP_WINDOW_MESSAGES && isWanted()) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    return CATCH_UP_WINDOW_MESSAGES - this.inFlight;
  }

  /** The connection has ended: no acknowledgement will come. */
  close(): void {
    this.#pages = [];
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
