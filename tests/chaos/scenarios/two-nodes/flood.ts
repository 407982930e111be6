/** Much to publish to other nodes. */
import { testToken } from '../../../support/service';
import { request } from '../../http';
import type { ChaosNode } from '../../node';
import { CONNECT_PATIENCE_MS } from '../../round';
import { until } from '../../until';

/** What cannot be published, and is kept, would keep it overloaded for ever. */
const OVERLOAD_PATIENCE_MS = 60_000;
const PARALLEL = 4;
const ITEMS_PER_BATCH = 16;
const ITEM = 'x'.repeat(60_000);

/**
 * Sends batches of live messages that no store has to take and nobody waits for: they are published to other nodes, or
 * lost.
 * @returns MiB of them.
 */
export async function flood(node: ChaosNode, batches: number): Promise<number> {
  const token = testToken('flood', { scope: 'send' });
  const item = { userId: 'nobody', type: 'flood', data: ITEM, persist: false };
  const body = { messages: Array.from({ length: ITEMS_PER_BATCH }, () => item) };
  const options = { method: 'POST', token, body, timeoutMs: CONNECT_PATIENCE_MS } as const;
  const sender = async () => {
    for (let batch = 0; batch < batches / PARALLEL; batch += 1) {
      // With a heap this small, a node takes few of them at once, and refuses the others as `overloaded`.
      const answer = await until(
        'a batch of the flood is taken',
        OVERLOAD_PATIENCE_MS,
        () => request(`${node.url}/messages/batch`, options),
        (one) => one?.body['code'] !== 'overloaded',
      );
      if (answer?.status !== 200) throw new Error(`the flood was answered ${JSON.stringify(answer)}`);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, sender));
  return Math.round((batches * ITEMS_PER_BATCH * ITEM.length) / 2 ** 20);
}
