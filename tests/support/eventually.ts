/** For effects on the server that no client is notified of: asks until the answer is the expected one. */
import { setImmediate as nextTurn } from 'node:timers/promises';

const PATIENCE_MS = 30_000;

/**
 * Asks again as soon as the answer is there and other work has had its turn. Fails with the last answer when patience
 * ends.
 */
export async function eventually<Value>(
  ask: () => Promise<Value>,
  isExpected: (value: Value) => boolean,
): Promise<Value> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const value = await ask();
    if (isExpected(value)) return value;
    if (performance.now() > deadline) throw new Error(`still ${JSON.stringify(value)} after ${PATIENCE_MS} ms`);
    await nextTurn();
  }
}
