/**
 * Work whose length a user chooses is done in slices: all of it together holds the event loop for at most 5 ms of each
 * turn, in the order in which it was asked for, and whatever else waits comes in between.
 */
import { systemClock } from './clock';

const SLICE_MS = 5;
/** Work that takes longer than so many slices lets what waits behind it go first, again and again. */
const SLICES_IN_A_ROW = 4;

interface Waiting {
  readonly wake: () => void;
  /** Slices that it has had in a row. */
  readonly slices: number;
}

let endsAt: number | undefined;
/** Goes on at this moment, since it had waited longest. */
let woken: Waiting | undefined;
const waiting: Waiting[] = [];

/**
 * Has such work had its share of this turn of the event loop? To be asked between two steps. Who comes while others
 * wait has had it: nobody overtakes them.
 */
export function isSliceOver(): boolean {
  return isTimeUp() || (waiting.length > 0 && woken === undefined);
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
  return new Promise((wake) => {
    const slices = woken?.slices ?? SLICES_IN_A_ROW;
    if (slices < SLICES_IN_A_ROW) waiting.unshift({ wake, slices: slices + 1 });
    else waiting.push({ wake, slices: 1 });
    woken = undefined;
    callWaker();
  });
}

/** One call for each that waits; what one of them does ends before the next call. */
function callWaker(): void {
  setImmediate(wakeNext);
  setImmediate(() => {
    woken = undefined;
  });
}

function wakeNext(): void {
  if (isTimeUp()) {
    callWaker();
    return;
  }
  woken = waiting.shift();
  woken?.wake();
}
