const SHORTEST_MS = 1_000;
const LONGEST_MS = 30_000;

/** 1, 2, 4, … 30 seconds, less up to a half by chance: many clients do not come back in one moment. */
export function backoffMs(attempt: number): number {
  const milliseconds = Math.min(LONGEST_MS, SHORTEST_MS * 2 ** Math.min(attempt, 10));
  return milliseconds * (0.5 + Math.random() / 2);
}

/** Pauses that end together. */
export class Pauses {
  readonly #open = new Set<() => void>();
  #isEnded = false;

  /** Resolves to `true` after this time, or to `false` at once when everything ends. */
  pause(milliseconds: number): Promise<boolean> {
    if (this.#isEnded) return Promise.resolve(false);
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#open.delete(end);
        resolve(!this.#isEnded);
      };
      const timer = setTimeout(end, milliseconds);
      this.#open.add(end);
    });
  }

  end(): void {
    this.#isEnded = true;
    for (const end of [...this.#open]) end();
  }
}
