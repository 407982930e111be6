/**
 * Work whose length a user chooses is done in slices: all of it together holds the event loop for at most 5 ms of each
 * turn, in the order in which it was asked for, and whatever else waits comes in between.
 */
import { systemClock } from './clock';

const SLICE_MS = 5;

let endsAt: number | undefined;
const waiting: (() => void)[] = [];

/** Has such work had its share of this turn of the event loop? To be asked between two steps. */
export function isSliceOver(): boolean {
  endsAt ??= beginSlice();
  return systemClock.steady() >= endsAt;
}

function beginSlice(): number {
  setImmediate(() => {
    endsAt = undefined;
  });
  return systemClock.steady() + SLICE_MS;
}

/** Resolves when it is this work's turn again. */
export function nextSlice(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    setImmediate(wakeNext);
  });
}

/** One call for each that waits; what one of them does ends before the next call. */
function wakeNext(): void {
  if (isSliceOver()) setImmediate(wakeNext);
  else waiting.shift()?.();
}
