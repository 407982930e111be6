/**
 * The one source of the current time. Whatever asks for the time takes a Clock,
 * so a test can put it an hour back or a day forward (fault F27).
 */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
}

export const systemClock: Clock = { now: () => Date.now() };

/** Formats a time as ISO 8601 UTC, the only form that appears on the wire. */
export function toIsoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
