import { delay, systemClock } from '../../utils/clock';

/** Lets what is for one key happen one after the other in this process; other nodes are held off by the database. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `work` when all that was asked for before under this key has ended. */
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

/** A moment that grows with the attempts, so that nodes that want the same do not keep meeting. */
export async function pauseBefore(attempt: number): Promise<void> {
  if (attempt === 0) return;
  const longest = Math.min(2 ** attempt, 100);
  await delay(systemClock, Math.random() * longest);
}
