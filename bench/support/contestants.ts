import type { BenchOptions } from './options';
import { BY_HAND, BY_HAND_AGAIN, type Contestant, RAW_WS, TIDINGS } from './server-kinds';

/** The servers of a comparison, in the order of the first round. */
export function chooseContestants({ isPeersOnly }: BenchOptions): Contestant[] {
  return [...(isPeersOnly ? [] : [TIDINGS]), BY_HAND, RAW_WS, BY_HAND_AGAIN];
}
