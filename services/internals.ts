/**
 * What this service relies on in other packages beyond what they document: docs/decisions/internals.md has a row for
 * each, with the reason. Internals change without notice, so each is checked at start: better a sentence than a
 * connection without a limit.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { withDeadline } from '../utils/deadline';

interface Internal {
  /** The package; for one that is not a direct dependency, BROUGHT_BY says whose it is. */
  readonly package: PackageName;
  /** What is lost without it. Absent if nothing is safe without it: then the service does not start. */
  readonly without?: string;
}

type PackageName = keyof typeof SERIES;

/** The versions that were examined, as package.json names them. */
export const SERIES = {
  'socket.io': '4.8',
  'engine.io': '6.6',
  ws: '8.23',
  express: '5.3',
  'sonic-boom': '4.2',
  lmdb: '3.5',
  mongodb: '7.9',
  node: '20.19 or later',
} as const;

/** Packages that another package brings. */
const BROUGHT_BY: Readonly<Partial<Record<PackageName, string>>> = { 'engine.io': 'socket.io', 'sonic-boom': 'pino' };

export const INTERNALS = {
  'engine.io: request fields': { package: 'engine.io' },
  'engine.io: sessions': { package: 'engine.io' },
  'engine.io: listeners of data': { package: 'engine.io' },
  'engine.io: write buffer': { package: 'engine.io' },
  'engine.io: encoded frames': { package: 'engine.io' },
  'engine.io: transport': { package: 'engine.io' },
  'engine.io: payload parser': { package: 'engine.io' },
  'engine.io: closing by polling': { package: 'engine.io' },
  'engine.io: reasons': { package: 'engine.io' },
  'socket.io: request listener': { package: 'socket.io' },
  'socket.io: _onpacket': { package: 'socket.io' },
  'socket.io: decoder': { package: 'socket.io' },
  'socket.io: ack': { package: 'socket.io' },
  'ws: _socket': { package: 'ws' },
  'ws: _receiver': { package: 'ws' },
  'ws: words of faults': { package: 'ws', without: 'frames that are too large are counted under another code' },
  'express: prototypes': { package: 'express', without: 'requests and responses change their shape, and are slower' },
  'express: unanswered': { package: 'express' },
  'node: _httpMessage': { package: 'node' },
  'node: socket of a response': { package: 'node' },
  'node: upgrade': { package: 'node' },
  'node: gc': { package: 'node', without: 'memory is taken for full before it was collected' },
  'sonic-boom: fd': { package: 'sonic-boom', without: 'a full disk below the log may hold up the end of the process' },
  'lmdb: data file': { package: 'lmdb' },
  'lmdb: reader list': { package: 'lmdb' },
  'mongodb: connection type': { package: 'mongodb' },
} as const satisfies Record<string, Internal>;

export type InternalName = keyof typeof INTERNALS;

/** Checks some of them, where they are used. Costs a few milliseconds. */
export interface SelfCheck {
  readonly names: readonly InternalName[];
  /** @returns those that are as expected. */
  readonly run: () => Iterable<InternalName> | Promise<Iterable<InternalName>>;
}

/** A look takes some milliseconds; what has not come by then never comes. */
const PATIENCE_MS = 5_000;

/** Notes whether an internal is as it has to be. */
export type Note = (name: InternalName, isThere: boolean) => void;

/**
 * Runs looks side by side, each by itself: what one of them misses is not missing to the others. What a look has not
 * noted, because it failed or was late, is not found.
 */
export async function runLooks(looks: readonly ((note: Note) => Promise<void>)[]): Promise<ReadonlySet<InternalName>> {
  const found = new Set<InternalName>();
  const note: Note = (name, isThere) => {
    if (isThere) found.add(name);
  };
  const late = () => new Error('a look at internals is late');
  await Promise.allSettled(looks.map((look) => withDeadline(look(note), PATIENCE_MS, late)));
  return found;
}

/** A package is not as this service needs it. */
export class InternalsError extends Error {}

/** By check: packages do not change within a process. */
const missing = new Map<SelfCheck, Promise<readonly InternalName[]>>();

interface Warner {
  warn(details: object, sentence: string): void;
}

/**
 * @throws InternalsError with a sentence for each that the service cannot start without; others are logged as warnings.
 */
export async function checkInternals(checks: readonly SelfCheck[], logger: Warner): Promise<void> {
  const gone = (await Promise.all(checks.map(findMissing))).flat();
  const isNeeded = (name: InternalName) => !('without' in INTERNALS[name]);
  for (const name of gone) if (!isNeeded(name)) logger.warn({ internal: name }, describeMissing(name));
  const needed = gone.filter(isNeeded);
  if (needed.length > 0) throw new InternalsError(needed.map(describeMissing).join('\n'));
}

function findMissing(check: SelfCheck): Promise<readonly InternalName[]> {
  const known = missing.get(check);
  if (known !== undefined) return known;
  const found = lookFor(check);
  missing.set(check, found);
  return found;
}

async function lookFor({ names, run }: SelfCheck): Promise<readonly InternalName[]> {
  const found = new Set(await run());
  return names.filter((name) => !found.has(name));
}

/** Says which package has changed, and which version is expected. */
export function describeMissing(name: InternalName): string {
  const internal: Internal = INTERNALS[name];
  const { package: moved, without } = internal;
  const [, what] = name.split(': ');
  const advice =
    moved === 'node' ? 'Use a version of Node.js that is supported' : 'Install what package-lock.json names (npm ci)';
  const consequence = without === undefined ? '' : ` Without it ${without}.`;
  return (
    `${moved} ${versionOf(moved)} is installed, and its internal “${what}” is not as in ${SERIES[moved]}, which this ` +
    `service was made for.${consequence} ${advice}; docs/decisions/internals.md says what it is for.`
  );
}

function versionOf(name: PackageName): string {
  if (name === 'node') return process.versions.node;
  const brought = BROUGHT_BY[name];
  const paths = brought === undefined ? {} : { paths: [require.resolve(brought)] };
  return versionAt(dirname(require.resolve(name, paths)), name);
}

/** Not every package exports its package.json. */
function versionAt(directory: string, name: string): string {
  try {
    const found = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
      name?: string;
      version?: string;
    };
    if (found.name === name && found.version !== undefined) return found.version;
  } catch {
    // Not here: it is in a parent directory.
  }
  const above = dirname(directory);
  return above === directory ? 'of an unknown version' : versionAt(above, name);
}
