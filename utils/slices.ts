/**
 * Work on one thread holds up everybody while it runs, so work whose length a user chooses is done in slices, by the
 * clock of the machine. What can pause shares the slice of a turn: all of it together holds the event loop for at most
 * 5 ms of each turn, in the order in which it was asked for, and whatever else waits comes in between. What cannot, such
 * as a transaction, has a slice for itself, and does the rest in another one.
 */
import { systemClock } from './clock';

const TURN_MS = 5;
/** Of work that cannot pause. */
export const SLICE_MS = 4;
/** So many are done in any case: a machine that is slow gets on, too. */
const MIN_UNITS = 20;

export class Slice {
  readonly #endsAt: number;
  #units = 0;

  /** `minUnits`: fewer where one unit may be much. */
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

/** Work that takes longer than so many slices lets what waits behind it go first, again and again. */
const SLICES_IN_A_ROW = 4;

interface Waiting {
  readonly wake: () => void;
  /** Slices that it has had in a row. */
  readonly slices: number;
}

/** The slice of this turn. */
let turn: Slice | undefined;
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
