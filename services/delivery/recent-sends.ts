/**
 * When the last messages of a topic were sent, to measure the time until they are acknowledged. Kept only for topics
 * whose readers acknowledge, and only a few.
 */

/** For a device that lags by more than this, only the newest messages are measured. */
export const MAX_RECENT_SENDS = 64;

export class RecentSends {
  readonly #seqs: number[] = [];
  readonly #times: number[] = [];

  /** `at`: milliseconds since the epoch. `seq` only grows. */
  add(seq: number, at: number): void {
    if (this.#seqs.push(seq) > MAX_RECENT_SENDS) {
      this.#seqs.shift();
      this.#times.shift();
    }
    this.#times.push(at);
  }

  /** When the messages after `after` and up to `upTo` were sent, newest first. */
  *between(after: number, upTo: number): Generator<number> {
    for (let index = this.#seqs.length - 1; index >= 0; index -= 1) {
      const seq = this.#seqs[index] ?? 0;
      if (seq <= after) return;
      if (seq <= upTo) yield this.#times[index] ?? 0;
    }
  }
}
