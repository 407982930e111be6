/** Reads what was typed behind the name of a command. */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { AppError } from '../../utils/errors';
import { parseJson } from '../../utils/json';
import { type Terminal, UsageError } from './terminal';

type Options = NonNullable<ParseArgsConfig['options']>;
type Values<Known extends Options> = ReturnType<
  typeof parseArgs<{ args: string[]; options: Known; strict: true }>
>['values'];

/** Options that every command has. */
export const COMMON_OPTIONS = {
  url: { type: 'string' },
  token: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const satisfies Options;

/** Options of commands that npm has too. */
const NPM_OPTIONS = new Set([...Object.keys(COMMON_OPTIONS), 'yes']);

const UNIT_SECONDS = new Map([
  ['s', 1],
  ['m', 60],
  ['h', 3_600],
  ['d', 86_400],
]);

const NEEDS_DASHES = 'npm needs -- before the first option, as in npm run send -- --to user123 --title Hello.';

/**
 * Reads the options of a command.
 * @throws UsageError in one sentence that names the option.
 */
export function readArguments<const Known extends Options>(
  args: readonly string[],
  options: Known,
  env: Terminal['env'] = {},
): Values<Known> {
  if (args.length === 0 && Object.keys(options).some((name) => isTakenByNpm(name, env))) {
    throw new UsageError(`The options did not get here: ${NEEDS_DASHES}`);
  }
  try {
    return parseArgs({ args: [...args], options, strict: true }).values;
  } catch (error) {
    throw new UsageError(explainParseError(error));
  }
}

/** Without `--` npm takes options for its own, and puts them into the environment. Some it has itself. */
function isTakenByNpm(name: string, env: Terminal['env']): boolean {
  return !NPM_OPTIONS.has(name) && env[`npm_config_${name.replaceAll('-', '_')}`] !== undefined;
}

function explainParseError(error: unknown): string {
  const { code, message } = error as Error & { code?: string };
  const name = /'(?:-\w, )?(-[^' ]*)/.exec(message)?.[1] ?? '';
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return `There is no option ${name}: --help lists those there are.`;
  if (code === 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL') {
    return `Every value belongs to an option, and ${NEEDS_DASHES}`;
  }
  if (code !== 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE') throw error;
  if (message.includes('does not take')) return `${name} takes no value.`;
  return `${name} needs a value; one that begins with a dash is written ${name}=-value.`;
}

/** A whole number of at least `minimum`. */
export function readCount(name: string, text: string, { minimum, maximum }: { minimum: number; maximum: number }) {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= minimum && count <= maximum) return count;
  throw new UsageError(`${name}: expected a whole number from ${minimum} to ${maximum}.`);
}

/** Seconds of `90`, `90s`, `15m`, `12h` or `1d`. */
export function readSeconds(name: string, text: string): number {
  const seconds = parseDuration(/^\d+$/.test(text) ? `${text}s` : text);
  if (seconds === undefined) throw new UsageError(`${name}: expected seconds, or a time as in 90s, 15m, 12h or 1d.`);
  return seconds;
}

/** Seconds of a number with its unit; `undefined` when it has another form. */
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
    // What the parser says quotes the text: the sentence shows the form instead.
    throw new UsageError(`${name}: expected JSON, for example '{"text":"Hello"}'.`);
  }
}
