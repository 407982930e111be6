import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Clock, systemClock, type Timer } from '../../utils/clock';

/** A separate time, with timers that run in real time. */
export abstract class ClockWithRealTimers implements Clock {
  abstract now(): number;

  steady(): number {
    return this.now();
  }

  readonly every = systemClock.every;
  readonly after = systemClock.after;
}

/** Returns this time. Its timers run in real time. */
export function clockAt(now: () => number): Clock {
  return { ...systemClock, now, steady: now };
}

/** A clock that runs with the real one, and can be set forward or back. */
export class ShiftedClock extends ClockWithRealTimers {
  #shiftMs = 0;

  now(): number {
    return Date.now() + this.#shiftMs;
  }

  shift(milliseconds: number): void {
    this.#shiftMs += milliseconds;
  }
}

/** Stands still until it is moved forward: no rate and no delay depends on how fast the machine is. */
export class StillClock extends ClockWithRealTimers {
  #now = Date.now();

  now(): number {
    return this.#now;
  }

  shift(milliseconds: number): void {
    this.#now += milliseconds;
  }
}

interface Waiting {
  dueAt: number;
  /** Of two that are due together, the one that was started first comes first. */
  readonly order: number;
  readonly everyMs: number | undefined;
  readonly work: () => void;
}

/** Stands still, and so do its timers: they run when it is moved forward, in the order in which they are due. */
export class VirtualClock implements Clock {
  #now: number;
  #steady = 0;
  #order = 0;
  /** Steady time that passes with each reading, as when work takes long. */
  perLook = 0;
  readonly #waiting = new Set<Waiting>();

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  steady(): number {
    this.#steady += this.perLook;
    return this.#steady;
  }

  every(milliseconds: number, work: () => void): Timer {
    return this.#add(milliseconds, work, Math.max(1, milliseconds));
  }

  after(milliseconds: number, work: () => void): Timer {
    return this.#add(milliseconds, work, undefined);
  }

  #add(milliseconds: number, work: () => void, everyMs: number | undefined): Timer {
    this.#order += 1;
    const waiting = { dueAt: this.#steady + Math.max(0, milliseconds), order: this.#order, everyMs, work };
    this.#waiting.add(waiting);
    return { cancel: () => void this.#waiting.delete(waiting) };
  }

  /** Timers that wait. */
  get timers(): number {
    return this.#waiting.size;
  }

  /** Lets this time pass: everything due runs at its moment, and what it started in turns of the loop in between. */
  async advance(milliseconds: number): Promise<void> {
    const until = this.#steady + milliseconds;
    for (let next = this.#nextUntil(until); next !== undefined; next = this.#nextUntil(until)) {
      if (next.dueAt > this.#steady) await nextTurn();
      this.#moveTo(Math.max(next.dueAt, this.#steady));
      this.#run(next);
    }
    this.#moveTo(until);
    await nextTurn();
  }

  /** Lets this time pass as for a stopped process: everything due meanwhile runs once. */
  jump(milliseconds: number): void {
    this.#moveTo(this.#steady + milliseconds);
    const due = [...this.#waiting].filter(({ dueAt }) => dueAt <= this.#steady).toSorted(byTime);
    for (const waiting of due) if (this.#waiting.has(waiting)) this.#run(waiting);
  }

  /** Sets only the time of day, as an operator does. */
  set(now: number): void {
    this.#now = now;
  }

  #moveTo(steady: number): void {
    this.#now += steady - this.#steady;
    this.#steady = steady;
  }

  #nextUntil(until: number): Waiting | undefined {
    const due = [...this.#waiting].filter(({ dueAt }) => dueAt <= until);
    return due.toSorted(byTime)[0];
  }

  #run(waiting: Waiting): void {
    if (waiting.everyMs === undefined) this.#waiting.delete(waiting);
    else waiting.dueAt = this.#steady + waiting.everyMs;
    waiting.work();
  }
}

function byTime(one: Waiting, other: Waiting): number {
  return one.dueAt - other.dueAt || one.order - other.order;
}
