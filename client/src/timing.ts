import { TidingsError } from './errors.ts';

const SHORTEST_MS = 1_000;
const LONGEST_MS = 30_000;
/** The longest delay that timers support. A longer one would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export type Timer = ReturnType<typeof setTimeout>;

/** `setTimeout` for any delay: even `Infinity` waits, for 24 days. */
export function after(milliseconds: number, work: () => void): Timer {
  return setTimeout(work, Math.min(milliseconds, LONGEST_TIMER_MS));
}

/** 1, 2, 4, … 30 seconds, less up to half of it at random: many clients do not come back at the same moment. */
export function backoffMs(attempt: number): number {
  const milliseconds = Math.min(LONGEST_MS, SHORTEST_MS * 2 ** Math.min(attempt, 10));
  return milliseconds * (0.5 + Math.random() / 2);
}

/** Pauses that end together. */
export class Pauses {
  readonly #open = new Set<() => void>();
  #isEnded = false;

  /** Resolves to `true` after this time, or at once to `false` when everything ends. */
  pause(milliseconds: number): Promise<boolean> {
    if (this.#isEnded) return Promise.resolve(false);
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#open.delete(end);
        resolve(!this.#isEnded);
      };
      const timer = after(milliseconds, end);
      this.#open.add(end);
    });
  }

  end(): void {
    this.#isEnded = true;
    for (const end of [...this.#open]) end();
  }
}

/** Waits for the application's code, which may never answer. */
export class Patience {
  readonly #open = new Set<() => void>();

  /** @throws Error when `work` has not settled in time, TidingsError `closed` when everything ends first. */
  wait<Result>(work: Promise<Result>, milliseconds: number): Promise<Result> {
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void) => {
        clearTimeout(timer);
        this.#open.delete(end);
        finish();
      };
      const end = () => settle(() => reject(new TidingsError('closed', 'The client was closed.')));
      const late = `there was no answer within ${milliseconds / 1_000} s`;
      const timer = after(milliseconds, () => settle(() => reject(new Error(late))));
      this.#open.add(end);
      work.then(
        (result) => settle(() => resolve(result)),
        (error: unknown) => settle(() => reject(error)),
      );
    });
  }

  end(): void {
    for (const end of [...this.#open]) end();
  }
}
