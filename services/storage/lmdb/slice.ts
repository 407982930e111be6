/**
 * Work on one thread holds everybody up while it runs. What is done to a number of rows that somebody else chooses is
 * done in slices: a slice ends by the clock of the machine, and other work gets its turn before the next one.
 */
import { systemClock } from '../../../utils/clock';

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
