/** A fault that the service must survive, as something that can be caused any number of times. */
import { MONGODB_URL } from '../support/cluster';
import type { Random } from '../support/random';
import { REDIS_SERVER } from '../support/redis';
import { CAN_ATTACH } from './strace';

export interface Scenario {
  /** `F1`, `F2` …; several scenarios of one fault add a word in brackets. */
  readonly id: string;
  /** What happens, in a few words. The table in docs/evidence/reliability.md has these three sentences. */
  readonly fault: string;
  /** How it is made to happen. */
  readonly injected: string;
  /** What must hold. */
  readonly expected: string;
  readonly needs: readonly Need[];
  /** Names of the figures that belong in the table. */
  readonly tells?: readonly string[];
  /** Causes it once. Moments and amounts come from `random`, so that the same seed goes wrong in the same way. */
  run(random: Random): Promise<Outcome>;
}

export type Figures = Readonly<Record<string, number | string>>;

export interface Outcome {
  /** Sentences; none if all is well. A round in which nothing was injected counts as one. */
  readonly violations: readonly string[];
  readonly figures: Figures;
  /** For those who investigate a violation. */
  readonly evidence?: unknown;
}

const NEEDS = {
  mongodb: { name: 'MongoDB (TEST_MONGODB_URL)', isMet: MONGODB_URL !== undefined && MONGODB_URL !== '' },
  redis: { name: 'redis-server', isMet: REDIS_SERVER !== undefined },
  strace: { name: 'strace that may attach to a process', isMet: CAN_ATTACH },
} as const;

export type Need = keyof typeof NEEDS;

/** What this machine lacks for a scenario. */
export function missingNeeds({ needs }: Scenario): string[] {
  return needs.filter((need) => !NEEDS[need].isMet).map((need) => NEEDS[need].name);
}

/** What a scenario needs, in words. */
export function describeNeeds({ needs }: Scenario): string {
  return needs.map((need) => NEEDS[need].name).join(' and ');
}
