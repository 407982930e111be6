import { readCommandLine, UsageError } from '../../utils/command-line';

export const SCENARIO_NAMES = [
  'one-to-one',
  'one-to-one-shared',
  'broadcast',
  'topic',
  'connect',
  'idle',
  'absent',
  'batch',
  'inbox',
  'two-nodes',
  'slow',
  'storm',
] as const;
export type ScenarioName = (typeof SCENARIO_NAMES)[number];

export interface BenchOptions {
  /** One round with small counts: shows that everything works, its figures mean nothing. */
  readonly isQuick: boolean;
  /** Adds what takes long: a broadcast to 5,000 sockets. */
  readonly isFull: boolean;
  /** Leaves out the service: tries the benchmark itself. */
  readonly isPeersOnly: boolean;
  /** Stores the report in RESULTS.md. */
  readonly writesResults: boolean;
  readonly scenarios: readonly ScenarioName[];
}

const USAGE = `Measures the service beside others. README.md has the method.

Usage:
  npm run bench -- [--quick] [--full] [--peers-only] [--only SCENARIO] [--write]

  --quick       one round with small counts: shows that everything works
  --full        adds what takes long
  --peers-only  leaves the service out
  --only        one scenario of ${SCENARIO_NAMES.join(', ')}
  --write       keeps the report of a whole run in RESULTS.md
`;

const OPTIONS = {
  quick: { type: 'boolean', default: false },
  full: { type: 'boolean', default: false },
  'peers-only': { type: 'boolean', default: false },
  write: { type: 'boolean', default: false },
  only: { type: 'string' },
  help: { type: 'boolean', default: false },
} as const;

/** @returns the usage if it was asked for. @throws UsageError when an option is unknown, or contradicts another. */
export function parseOptions(argv: readonly string[]): BenchOptions | string {
  const { values } = readCommandLine(argv, { options: OPTIONS, usage: USAGE });
  if (values.help) return USAGE;
  const isPart = values.quick || values['peers-only'] || values.only !== undefined;
  if (values.write && isPart) throw new UsageError('--write: only the report of a whole run is kept');
  return {
    isQuick: values.quick,
    isFull: values.full,
    isPeersOnly: values['peers-only'],
    writesResults: values.write,
    scenarios: values.only === undefined ? SCENARIO_NAMES : [parseScenario(values.only)],
  };
}

function parseScenario(text: string): ScenarioName {
  const name = SCENARIO_NAMES.find((known) => known === text);
  if (name === undefined) throw new UsageError(`--only must be one of ${SCENARIO_NAMES.join(', ')}`);
  return name;
}
