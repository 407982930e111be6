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

/** Stands still until it is set forward: no rate and no delay depends on how fast the machine is. */
export class StillClock implements Clock {
  #now = Date.now();

  now(): number {
    return this.#now;
  }

  shift(milliseconds: number): void {
    this.#now += milliseconds;
  }
}
