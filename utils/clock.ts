/**
 * The one source of time, and the one maker of timers. Whatever asks for the time or waits takes a Clock, so a test can
 * put it an hour back, a day forward (fault F27), or let an hour pass in a moment.
 */

/** Work that waits for its time. */
export interface Timer {
  /** Nothing happens any more; once more does nothing. */
  cancel(): void;
}

export interface AfterOptions {
  readonly isAwaited?: boolean;
}

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Milliseconds that only grow, whatever is done to the clock: for how long something is ago. */
  steady(): number;
  /** Does the work again and again. It does not keep the process alive. */
  every(milliseconds: number, work: () => void): Timer;
  /** Does the work once; after more than 24 days, then. `isAwaited`: the process lives on until it is done. */
  after(milliseconds: number, work: () => void, options?: AfterOptions): Timer;
}

/** Node takes what is longer for 1 ms. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** The time of this machine: for the service, and for what is about the machine whatever time the service has. */
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

/** Resolves in the next turn of the event loop, when what has come in meanwhile has had its share. */
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

/** A clock that knows which of its timers wait. */
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

  /** Timers of what is done again and again. */
  get repeating(): number {
    return this.#repeating.size;
  }

  /** Timers of what is done once. */
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

/** The milliseconds of a time as it appears on the wire; NaN for what is none. */
export function fromIsoTime(text: string): number {
  return Date.parse(text);
}

/** Formats a time as ISO 8601 UTC, the only form that appears on the wire. */
export function toIsoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
