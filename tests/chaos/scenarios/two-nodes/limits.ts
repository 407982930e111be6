/** How soon things happen between nodes, and waiting for what has no limit of its own. */
import type { Pair } from '../../pair';
import { CONNECT_PATIENCE_MS } from '../../round';
import { until } from '../../until';

/** On the node that was asked, after the answer. */
export const LOCAL_MS = 500;
/** On another node, which is told: sooner than by comparison, again and again. */
export const FRAME_MS = 1_000;
/** On another node, which is not: a comparison every 3 s, and what it takes. */
export const COMPARED_MS = 5_000;

export async function untilListed(pair: Pair, userId: string, node: 0 | 1): Promise<void> {
  await until(
    `node-${node + 1} lists ${userId}, who came to the other one`,
    CONNECT_PATIENCE_MS,
    () => pair.isListed(userId, node),
    (isListed) => isListed === true,
  );
}
