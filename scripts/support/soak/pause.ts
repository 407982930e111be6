import { setTimeout as delay } from 'node:timers/promises';

/** Waits, at most until the signal. @returns whether the signal is still to come. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<boolean> {
  await delay(milliseconds, undefined, { signal }).catch((fault: unknown) => {
    if (!signal.aborted) throw fault;
  });
  return !signal.aborted;
}
