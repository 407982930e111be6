/**
 * What catch-up has put on the way to one device and the device has not acknowledged, over all its topics. A client can
 * acknowledge only what it has seen, so a page is done with the last message that was written of it; the places after
 * that one hold nothing for this device, and are acknowledged with it.
 */

/** Unacknowledged messages that catch-up puts on the way to one device. */
export const CATCH_UP_WINDOW_MESSAGES = 200;

interface SentPage {
  readonly topic: string;
  /** The last message of it. */
  readonly seq: number;
  readonly count: number;
  /** Up to there the log holds nothing more for the device. */
  upTo: number;
}

export class Window {
  #pages: SentPage[] = [];
  #waiting: (() => void)[] = [];

  /** Messages on the way. */
  get inFlight(): number {
    return this.#pages.reduce((sum, { count }) => sum + count, 0);
  }

  /** Who waits for room. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Takes note of a page that is about to be written. */
  add(page: SentPage): void {
    this.#pages.push(page);
  }

  /**
   * Takes note of places without a message. @returns false when they come after messages that are on the way: then they
   * are acknowledged together with those.
   */
  pass(topic: string, upTo: number): boolean {
    const last = this.#pages.findLast((page) => page.topic === topic);
    if (last !== undefined) last.upTo = upTo;
    return last === undefined;
  }

  /** Takes an acknowledgement. @returns up to where the device has everything. */
  acknowledge(topic: string, seq: number): number {
    const done = this.#pages.filter((page) => page.topic === topic && page.seq <= seq);
    this.#pages = this.#pages.filter((page) => !done.includes(page));
    this.#wake();
    return Math.max(seq, done.at(-1)?.upTo ?? 0);
  }

  /** Nothing of the topic is waited for any more. */
  drop(topic: string): void {
    this.#pages = this.#pages.filter((page) => page.topic !== topic);
    this.#wake();
  }

  /** Waits until there is room, or nobody waits for it any more. @returns how many messages fit. */
  async room(isWanted: () => boolean): Promise<number> {
    while (this.inFlight >= CATCH_UP_WINDOW_MESSAGES && isWanted()) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    return CATCH_UP_WINDOW_MESSAGES - this.inFlight;
  }

  /** Nobody acknowledges any more. */
  close(): void {
    this.#pages = [];
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
