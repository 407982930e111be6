/** Reads the arguments of a command. */
import { UsageError } from '../../utils/command-line';
import { AppError } from '../../utils/errors';
import { parseJson } from '../../utils/json';

/** Options that every command has. */
export const COMMON_OPTIONS = {
  url: { type: 'string' },
  token: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

const UNIT_SECONDS = new Map([
  ['s', 1],
  ['m', 60],
  ['h', 3_600],
  ['d', 86_400],
]);

/** A whole number of at least `minimum`. */
export function readCount(name: string, text: string, { minimum, maximum }: { minimum: number; maximum: number }) {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= minimum && count <= maximum) return count;
  throw new UsageError(`${name} must be a whole number from ${minimum} to ${maximum}.`);
}

/** Seconds of `90`, `90s`, `15m`, `12h` or `1d`. */
export function readSeconds(name: string, text: string): number {
  const seconds = parseDuration(/^\d+$/.test(text) ? `${text}s` : text);
  if (seconds === undefined)
    throw new UsageError(`${name} must be a number of seconds, or a time like 90s, 15m, 12h or 1d.`);
  return seconds;
}

/** Seconds of a number with its unit; `undefined` if it has another form. */
export function parseDuration(text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,9}(?=s)|\d{1,6})([smhd])$/.exec(text) ?? [];
  const factor = UNIT_SECONDS.get(unit);
  return factor === undefined ? undefined : Number(amount) * factor;
}

/** Any JSON value. */
export function readJson(name: string, text: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    if (error instanceof AppError) throw new UsageError(`${name}: ${error.message}`);
    // The parser's message quotes the text: the sentence shows the form instead.
    throw new UsageError(`${name} must be JSON, for example '{"text":"Hello"}'.`);
  }
}
