/** How soon things happen between nodes, and waiting for what has no limit. */
import type { Findings } from '../../findings';
import type { Pair } from '../../pair';
import { CONNECT_PATIENCE_MS } from '../../round';
import { until } from '../../until';

/** On the node that was asked, after the answer. */
export const LOCAL_MS = 500;
/** On another node, which receives the frame. By comparison, one after the other, each would take about 3 s. */
const FRAME_MS = 1_500;

/** @param times of messages that were sent one after the other, each when the previous one had arrived. */
export function expectByFrames(findings: Findings, what: string, times: readonly number[]): void {
  const sum = times.reduce((all, one) => all + one, 0);
  const told = times.map(Math.round).join(', ');
  findings.expect(sum <= FRAME_MS * times.length, `${what} did not come by frames: after ${told} ms`);
}

/** On another node, which does not receive it: a comparison every 3 s, plus its duration. */
export const COMPARED_MS = 5_000;

export async function untilListed(pair: Pair, userId: string, node: 0 | 1): Promise<void> {
  await until(
    `node-${node + 1} lists ${userId}, who came to the other one`,
    CONNECT_PATIENCE_MS,
    () => pair.isListed(userId, node),
    (isListed) => isListed === true,
  );
}
