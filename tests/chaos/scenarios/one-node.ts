/** Faults of a single node, and of its embedded store. */
import type { Scenario } from '../scenario';
import { CLOCK } from './one-node/clock';
import { DAMAGE } from './one-node/damage';
import { DISK } from './one-node/disk';
import { ENDING } from './one-node/ending';
import { EXHAUSTED } from './one-node/exhausted';
import { HANDLERS } from './one-node/handlers';
import { POWER } from './one-node/power';
import { STALLS } from './one-node/stalls';

export const ONE_NODE: readonly Scenario[] = [
  ...ENDING,
  ...POWER,
  ...DAMAGE,
  ...DISK,
  ...STALLS,
  ...CLOCK,
  ...EXHAUSTED,
  ...HANDLERS,
];
