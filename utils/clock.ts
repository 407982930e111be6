/**
 * The one source of the current time. Whatever asks for the time takes a Clock,
 * so a test can put it an hour back or a day forward (fault F27).
 */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Milliseconds that only grow, whatever is done to the clock. Left out, `now` is what only grows. */
  steady?(): number;
}

export const systemClock: Clock = { now: () => Date.now(), steady: () => performance.now() };

/** For durations: how long something is ago must not change when the clock is set. */
export function steadyTime(clock: Clock): number {
  return clock.steady?.() ?? clock.now();
}

/** Formats a time as ISO 8601 UTC, the only form that appears on the wire. */
export function toIsoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
