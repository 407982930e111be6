/** Faults of a node that is alone, and of its embedded store. */
import type { Scenario } from '../scenario';
import { DISK } from './one-node/disk';
import { ENDING } from './one-node/ending';
import { POWER } from './one-node/power';

export const ONE_NODE: readonly Scenario[] = [...ENDING, ...POWER, ...DISK];
