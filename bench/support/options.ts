import { parseArgs } from 'node:util';

export const SCENARIO_NAMES = [
  'one-to-one',
  'broadcast',
  'topic',
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
  /** Leaves the service out: tries the benchmark itself. */
  readonly isPeersOnly: boolean;
  /** Keeps the report in RESULTS.md. */
  readonly writesResults: boolean;
  readonly scenarios: readonly ScenarioName[];
}

/** @throws Error when a flag or the name of a scenario is not known, or flags contradict each other. */
export function parseOptions(argv: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      full: { type: 'boolean', default: false },
      'peers-only': { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
      only: { type: 'string' },
    },
  });
  const isPart = values.quick || values['peers-only'] || values.only !== undefined;
  if (values.write && isPart) throw new Error('--write: only the report of a whole run is kept');
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
  if (name === undefined) throw new Error(`--only: expected one of ${SCENARIO_NAMES.join(', ')}`);
  return name;
}
