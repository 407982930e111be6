/**
 * What is suspicious in a valid environment: variables that nobody reads, and values that a file continues. Reported at
 * start; values are never shown.
 */
import { nearestName } from './near-names';

type Environment = Readonly<Record<string, string | undefined>>;

/** A file of variables, in the format of Node's --env-file. */
export interface EnvironmentFile {
  readonly path: string;
  readonly text: string;
}

const BYTE_ORDER_MARK = '\ufeff';

/** Sizes that are valid separately, but together leave less than they promise. */
export function findContradictions({
  MAX_BODY_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_BUFFERED_BYTES,
}: Readonly<Record<'MAX_BODY_BYTES' | 'MAX_MESSAGE_BYTES' | 'MAX_BUFFERED_BYTES', number>>): string[] {
  const largest = Math.min(MAX_BODY_BYTES, MAX_MESSAGE_BYTES);
  return [
    ...(MAX_MESSAGE_BYTES > MAX_BODY_BYTES
      ? ['MAX_MESSAGE_BYTES is above MAX_BODY_BYTES: a message cannot be larger than the body that carries it.']
      : []),
    ...(MAX_BUFFERED_BYTES < largest
      ? ['MAX_BUFFERED_BYTES is less than one message may have: a larger one closes the connection of its recipient.']
      : []),
  ];
}

/** @param known the variables that the service reads. */
export function findHints(
  environment: Environment,
  files: readonly EnvironmentFile[],
  known: readonly string[],
): string[] {
  const isGiven = (name: string) => environment[name] !== undefined;
  const names = Object.keys(environment).filter((name) => !known.includes(name));
  return [
    ...names.map((name) => describeUnknown(name, known, isGiven)),
    ...files.flatMap((file) => findCutValues(file, environment, known)),
  ].filter((hint) => hint !== undefined);
}

/** If the similar variable is set too, this one belongs to something else. */
function describeUnknown(
  name: string,
  known: readonly string[],
  isGiven: (name: string) => boolean,
): string | undefined {
  if (name.startsWith(BYTE_ORDER_MARK)) {
    return `${name.slice(1)} is ignored: its file begins with a byte order mark. Save the file as UTF-8 without one.`;
  }
  if (!/^\w+$/.test(name)) return undefined;
  const nearest = nearestName(name, known);
  return nearest === undefined || isGiven(nearest) ? undefined : `${name} is not known; did you mean ${nearest}?`;
}

const LINE = /^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=[ \t]*([^\s"'`#][^\n"'`#]*)#/;

/** A # begins a comment, even within a value that is not quoted. */
function findCutValues({ path, text }: EnvironmentFile, environment: Environment, known: readonly string[]): string[] {
  return text.split('\n').flatMap((line) => {
    const [, name = '', value = ''] = LINE.exec(line) ?? [];
    const isCut = known.includes(name) && /\S$/.test(value) && environment[name] === value.trim();
    return isCut ? [`${name} in ${path} is cut off at its #. Quote the value if the # belongs to it.`] : [];
  });
}
