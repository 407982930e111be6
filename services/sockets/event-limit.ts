/**
 * A token bucket for the events of one connection, as three numbers: it costs no timer.
 * Refill: `perSecond`; burst: four times that.
 */
export const BURST_SECONDS = 4;
/** A pause of this length ends a series of refusals. */
const CALM_MS = 1_000;
/** A series of refusals that lasts this long ends the connection. */
const PATIENCE_MS = 5_000;

export type Verdict = 'accepted' | 'refused' | 'abusive';

export class EventLimit {
  #tokens: number;
  #filledAt: number;
  #refusedSince = Number.NEGATIVE_INFINITY;
  #refusedLast = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly perSecond: number,
    now: number,
  ) {
    this.#tokens = perSecond * BURST_SECONDS;
    this.#filledAt = now;
  }

  /**
   * Judges input that counts as `price` events, at `now` (milliseconds). `abusive`: refused for five seconds without a
   * pause.
   */
  judge(price: number, now: number): Verdict {
    const earned = (Math.max(0, now - this.#filledAt) / 1000) * this.perSecond;
    this.#tokens = Math.min(this.perSecond * BURST_SECONDS, this.#tokens + earned);
    this.#filledAt = now;
    // After a pause any single event is allowed, however low the limit is.
    const due = Math.min(price, this.perSecond * BURST_SECONDS);
    if (this.#tokens >= due) {
      this.#tokens -= due;
      return 'accepted';
    }
    if (now - this.#refusedLast > CALM_MS) this.#refusedSince = now;
    this.#refusedLast = now;
    return now - this.#refusedSince >= PATIENCE_MS ? 'abusive' : 'refused';
  }
}
