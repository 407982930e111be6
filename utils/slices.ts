/**
 * Work on one thread holds up everybody while it runs, so work whose length a user determines is done in slices, by the
 * machine's clock. Work that can pause shares the slice of a turn: all of it together holds the event loop for at most
 * 5 ms of each turn, in the order of asking, and everything else runs in between. Work that cannot, such as a
 * transaction, has its own slice, and does the rest in another one.
 */
import { systemClock } from './clock';

const TURN_MS = 5;
/** For work that cannot pause. */
export const SLICE_MS = 4;
/** This many are done in any case, so that a slow machine makes progress, too. */
const MIN_UNITS = 20;

export class Slice {
  readonly #endsAt: number;
  #units = 0;

  /** `minUnits`: fewer where one unit may be large. */
  constructor(
    milliseconds = SLICE_MS,
    private readonly minUnits = MIN_UNITS,
  ) {
    this.#endsAt = systemClock.steady() + milliseconds;
  }

  /** To be asked after each unit of the work. */
  get isOver(): boolean {
    this.#units += 1;
    return this.#units >= this.minUnits && systemClock.steady() >= this.#endsAt;
  }
}

/** Work that takes longer than this many slices lets the work that waits behind it go first, repeatedly. */
const SLICES_IN_A_ROW = 4;

interface Waiting {
  readonly wake: () => void;
  /** Consecutive slices that it has had. */
  readonly slices: number;
}

/** The slice of this turn. */
let turn: Slice | undefined;
/** Running now, because it had waited longest. */
let woken: Waiting | undefined;
const waiting: Waiting[] = [];

/**
 * Has this work had its share of this turn of the event loop? To be asked between two steps. Work that arrives while
 * other work waits has had it: nobody overtakes.
 */
export function isSliceOver(): boolean {
  return isTimeUp() || (waiting.length > 0 && woken === undefined);
}

function isTimeUp(): boolean {
  turn ??= beginTurn();
  return turn.isOver;
}

function beginTurn(): Slice {
  setImmediate(() => {
    turn = undefined;
  });
  return new Slice(TURN_MS, 0);
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

/** One call for each waiting work; what one of them does ends before the next call. */
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
