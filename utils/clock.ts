/**
 * The only source of time, and the only maker of timers. Code that needs the time or waits takes a Clock, so a test can
 * set it back an hour or forward a day (fault F27), or let an hour pass in an instant.
 */

/** Work that waits for its time. */
export interface Timer {
  /** Cancels it; a second call does nothing. */
  cancel(): void;
}

export interface AfterOptions {
  readonly isAwaited?: boolean;
}

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Milliseconds that only increase, whatever happens to the clock: for measuring durations. */
  steady(): number;
  /** Does the work repeatedly. Does not keep the process alive. */
  every(milliseconds: number, work: () => void): Timer;
  /**
   * Does the work once; delays of more than 24 days are cut to that. `isAwaited`: keeps the process alive until it is
   * done.
   */
  after(milliseconds: number, work: () => void, options?: AfterOptions): Timer;
}

/** Node treats longer delays as 1 ms. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/**
 * The machine's own time: for the service, and for anything that concerns the machine whatever time the service has.
 */
export const systemClock: Clock = {
  now: () => Date.now(),
  steady: () => performance.now(),
  every: (milliseconds, work) => {
    const timer = setInterval(work, Math.min(milliseconds, MAX_DELAY_MS)).unref();
    return { cancel: () => clearInterval(timer) };
  },
  after: (milliseconds, work, { isAwaited = false } = {}) => {
    const timer = setTimeout(work, Math.min(milliseconds, MAX_DELAY_MS));
    if (!isAwaited) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Resolves in the next turn of the event loop, after pending input has been handled. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Resolves after this time. */
export function delay(clock: Clock, milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(milliseconds, resolve, { isAwaited: true });
  });
}

/** A clock that knows which of its timers are pending. */
export class CountingClock implements Clock {
  readonly #repeating = new Set<Timer>();
  readonly #waiting = new Set<Timer>();

  constructor(private readonly clock: Clock) {}

  now(): number {
    return this.clock.now();
  }

  steady(): number {
    return this.clock.steady();
  }

  every(milliseconds: number, work: () => void): Timer {
    return count(this.#repeating, this.clock.every(milliseconds, work));
  }

  after(milliseconds: number, work: () => void, options?: AfterOptions): Timer {
    const once = () => {
      this.#waiting.delete(timer);
      work();
    };
    const timer = count(this.#waiting, this.clock.after(milliseconds, once, options));
    return timer;
  }

  /** Timers of repeated work. */
  get repeating(): number {
    return this.#repeating.size;
  }

  /** Timers of work that is done once. */
  get waiting(): number {
    return this.#waiting.size;
  }
}

function count(timers: Set<Timer>, inner: Timer): Timer {
  const timer = {
    cancel: () => {
      timers.delete(timer);
      inner.cancel();
    },
  };
  timers.add(timer);
  return timer;
}

/** The milliseconds of a time as it appears on the wire; NaN if it is not one. */
export function fromIsoTime(text: string): number {
  return Date.parse(text);
}

/** Formats a time as ISO 8601 UTC, the only form that appears on the wire. */
export function toIsoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
