/**
 * Work whose length a user chooses is done in slices: all of it together holds the event loop for at most 5 ms of each
 * turn, in the order in which it was asked for, and whatever else waits comes in between.
 */
import { systemClock } from './clock';

const SLICE_MS = 5;

let endsAt: number | undefined;
/** Does the work that waited longest go on at this moment? */
let isWoken = false;
const waiting: (() => void)[] = [];

/**
 * Has such work had its share of this turn of the event loop? To be asked between two steps. Who comes while others
 * wait has had it: nobody overtakes them.
 */
export function isSliceOver(): boolean {
  return isTimeUp() || (waiting.length > 0 && !isWoken);
}

function isTimeUp(): boolean {
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
    callWaker();
  });
}

/** One call for each that waits; what one of them does ends before the next call. */
function callWaker(): void {
  setImmediate(wakeNext);
  setImmediate(() => {
    isWoken = false;
  });
}

function wakeNext(): void {
  if (isTimeUp()) {
    callWaker();
    return;
  }
  isWoken = true;
  waiting.shift()?.();
}
