/** Waiting for an effect of a round, with patience that suits faults. */
const PACE_MS = 50;

/** Lets a moment pass: the interval at which something is tried or asked. */
export function pace(milliseconds = PACE_MS): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Asks repeatedly until the answer is the expected one.
 * @throws Error with the last answer when the time has elapsed.
 */
export async function until<Value>(
  what: string,
  patienceMs: number,
  ask: () => Promise<Value>,
  isExpected: (value: Value) => boolean,
): Promise<Value> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const value = await ask();
    if (isExpected(value)) return value;
    if (performance.now() > deadline) {
      throw new Error(`${what}: not within ${patienceMs} ms; last: ${JSON.stringify(value)}`);
    }
    await pace();
  }
}
