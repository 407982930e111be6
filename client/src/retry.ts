/** Which errors of the service are worth a retry, and when. */
import type { TidingsError } from './errors.ts';
import type { ProblemCode } from './protocol.ts';

/**
 * Seconds after which a retry helps, for refusals before anything was done. It follows the service's error catalogue; a
 * test compares the two.
 */
export const RETRY_SECONDS: Readonly<Partial<Record<ProblemCode, number>>> = {
  request_timeout: 1,
  request_in_progress: 1,
  rate_limited: 1,
  too_many_connections: 5,
  going_away: 5,
  overloaded: 5,
  store_full: 5,
};
/** Clients that were refused together do not come back at the same moment. */
const SPREAD = 0.1;
/** The shortest in the catalogue. */
const SHORTEST_PAUSE_MS = 1_000;
/** Longer than the service ever asks for, and short enough to recover from a mistake. */
const LONGEST_WAIT_MS = 3_600_000;

/** A time from the service, in milliseconds; `undefined` if it is not one. */
export function readWait(said: unknown): number | undefined {
  if (typeof said !== 'number' || !(said >= 0)) return undefined;
  return Math.min(said, LONGEST_WAIT_MS);
}

/**
 * When to repeat, in milliseconds; `undefined` if that does not help.
 * @param mayRepeat is it safe to do twice? Otherwise only what was not done is repeated.
 */
export function retryIn({ code, problem }: TidingsError, mayRepeat: boolean): number | undefined {
  const seconds = Object.hasOwn(RETRY_SECONDS, code) ? RETRY_SECONDS[code as ProblemCode] : undefined;
  const isUndone = seconds !== undefined;
  const milliseconds = readWait(problem?.retryInMs) ?? (isUndone ? seconds * 1_000 : undefined);
  if (milliseconds === undefined || !(isUndone || mayRepeat)) return undefined;
  return Math.max(SHORTEST_PAUSE_MS, milliseconds) * (1 + Math.random() * SPREAD);
}
