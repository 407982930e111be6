/** What may be repeated after an error of the service, and when. */
import type { TidingsError } from './errors.ts';
import type { ProblemCode } from './protocol.ts';

/**
 * Seconds after which repeating helps, by what the service refuses before it does anything. The service's own catalogue
 * of errors, held against it by a test.
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
/** Clients that were refused together do not come back in one moment. */
const SPREAD = 0.1;
/** The shortest of the catalogue. */
const SHORTEST_PAUSE_MS = 1_000;
/** Longer than the service ever asks for, and short enough to come back from a mistake. */
const LONGEST_WAIT_MS = 3_600_000;

/** A time that the service says, in milliseconds; `undefined`: it is none. */
export function readWait(said: unknown): number | undefined {
  if (typeof said !== 'number' || !(said >= 0)) return undefined;
  return Math.min(said, LONGEST_WAIT_MS);
}

/**
 * When to repeat, in milliseconds; `undefined`: it does not help.
 * @param mayRepeat does a second time change nothing? Otherwise only what was not done is repeated.
 */
export function retryIn({ code, problem }: TidingsError, mayRepeat: boolean): number | undefined {
  const seconds = Object.hasOwn(RETRY_SECONDS, code) ? RETRY_SECONDS[code as ProblemCode] : undefined;
  const isUndone = seconds !== undefined;
  const milliseconds = readWait(problem?.retryInMs) ?? (isUndone ? seconds * 1_000 : undefined);
  if (milliseconds === undefined || !(isUndone || mayRepeat)) return undefined;
  return Math.max(SHORTEST_PAUSE_MS, milliseconds) * (1 + Math.random() * SPREAD);
}
