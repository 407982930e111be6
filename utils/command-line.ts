/** Reads the arguments of a program. Nothing is guessed: an unknown argument is refused, with the usage. */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { nearestName } from './near-names';

/** A mistake in the arguments, found before anything was done. The message is for people. */
export class UsageError extends Error {}

/** A program was called with unknown arguments. */
export const EXIT_USAGE = 2;

type Options = NonNullable<ParseArgsConfig['options']>;

/** The arguments of a program, and the text that describes them. */
export interface Syntax<Known extends Options> {
  readonly options: Known;
  readonly usage: string;
  /** Where options appear that npm has taken for itself. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** How many values without an option are allowed; none if absent. */
  readonly maxValues?: number;
}

type Read<Known extends Options> = ReturnType<
  typeof parseArgs<{ args: string[]; options: Known; strict: true; allowPositionals: true }>
>;

/** Options that npm has too. */
const NPM_OPTIONS = new Set(['help', 'json', 'token', 'url', 'yes']);

const NEEDS_DASHES = 'npm needs -- before the first option, as in npm run send -- --to user123 --title Hello.';

/** @throws UsageError that names the mistake and has the usage. */
export function readCommandLine<const Known extends Options>(
  args: readonly string[],
  syntax: Syntax<Known>,
): Read<Known> {
  const { options, usage, env = {}, maxValues = 0 } = syntax;
  if (args.length === 0 && Object.keys(options).some((name) => isTakenByNpm(name, env))) {
    throw new UsageError(`The options did not get here: ${NEEDS_DASHES}`);
  }
  try {
    const read = parseArgs({ args: [...args], options, strict: true, allowPositionals: true });
    if (read.positionals.length <= maxValues) return read;
  } catch (error) {
    throw new UsageError(`${explain(error, options)}\n\n${usage.trimEnd()}`);
  }
  const rule = maxValues === 0 ? 'Every value belongs to an option' : 'There are too many values';
  throw new UsageError(`${rule}, and ${NEEDS_DASHES}\n\n${usage.trimEnd()}`);
}

/** Without `--`, npm treats options as its own and puts them into the environment. It sets some by itself. */
function isTakenByNpm(name: string, env: Readonly<Record<string, string | undefined>>): boolean {
  return !NPM_OPTIONS.has(name) && env[`npm_config_${name.replaceAll('-', '_')}`] !== undefined;
}

function explain(error: unknown, options: Options): string {
  const { code, message } = error as Error & { code?: string };
  const name = /'(?:-\w, )?(-[^' ]*)/.exec(message)?.[1] ?? '';
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') return `There is no option ${name}${suggest(name, options)}`;
  if (code !== 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE') throw error;
  if (message.includes('does not take')) return `${name} takes no value.`;
  return `${name} needs a value; one that begins with a dash is written ${name}=-value.`;
}

function suggest(name: string, options: Options): string {
  const nearest = nearestName(name.replace(/^-+/, ''), Object.keys(options));
  return nearest === undefined ? '.' : `; did you mean --${nearest}?`;
}
