/** Faults of several nodes, of what is between them, and of what they share. */
import type { Scenario } from '../scenario';
import { BETWEEN } from './two-nodes/between';
import { MONGODB_AWAY } from './two-nodes/mongodb';
import { REDIS_AWAY } from './two-nodes/redis';
import { STOPPED } from './two-nodes/stopped';
import { TOGETHER } from './two-nodes/together';
import { VERSIONS } from './two-nodes/versions';

export const TWO_NODES: readonly Scenario[] = [
  ...TOGETHER,
  ...STOPPED,
  ...REDIS_AWAY,
  ...BETWEEN,
  ...MONGODB_AWAY,
  ...VERSIONS,
];
