import type { Clock } from '../../utils/clock';

/** A clock that runs with the real one, and can be set forward or back. */
export class ShiftedClock implements Clock {
  #shiftMs = 0;

  now(): number {
    return Date.now() + this.#shiftMs;
  }

  shift(milliseconds: number): void {
    this.#shiftMs += milliseconds;
  }
}
