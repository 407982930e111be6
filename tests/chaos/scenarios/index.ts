/** All scenarios, in the order of the table in docs/evidence/reliability.md. */
import type { Scenario } from '../scenario';
import { CLIENTS } from './clients';
import { HOSTILE } from './clients/hostile';
import { ONE_NODE } from './one-node';
import { TWO_NODES } from './two-nodes';

export const SCENARIOS: readonly Scenario[] = [...ONE_NODE, ...CLIENTS, ...HOSTILE, ...TWO_NODES].sort(
  (one, other) => numberOf(one) - numberOf(other),
);

function numberOf({ id }: Scenario): number {
  return Number(/\d+/.exec(id)?.[0]);
}
