import { delay, systemClock } from '../../utils/clock';

/** Runs work for one key one by one within this process; the database coordinates nodes. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `work` after all earlier work for this key. */
  async take<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#last.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#last.get(key) === turn) this.#last.delete(key);
    }
  }
}

/** Waits longer with each attempt, and at random, so that nodes do not keep colliding. */
export async function pauseBefore(attempt: number): Promise<void> {
  if (attempt <= 0) return;
  const longest = Math.min(2 ** attempt, 100);
  await delay(systemClock, Math.random() * longest);
}
