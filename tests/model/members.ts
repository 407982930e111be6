/** Who is in the named topic, as far as it is certain. */
import type { Audience } from './history';

export class Members {
  /** Members for certain. */
  readonly #inside = new Set<string>();
  /** Possible members, and users who may still receive messages. */
  readonly #unsure = new Set<string>();
  /** Changes of this burst. */
  readonly #moving = new Map<string, ('in' | 'out' | 'unsure')[]>();
  #isGone = false;

  /** @param isSlow until all nodes know who has left, messages may still reach them. */
  constructor(private readonly isSlow: boolean) {}

  has(userId: string): boolean {
    return this.#inside.has(userId);
  }

  isUnsure(userId: string): boolean {
    return this.#unsure.has(userId) || this.#moving.has(userId);
  }

  move(userId: string, how: 'in' | 'out' | 'unsure'): void {
    this.#moving.set(userId, [...(this.#moving.get(userId) ?? []), how]);
  }

  /** The topic has been deleted, and made again. */
  clear(): void {
    this.#isGone = true;
    for (const userId of this.#inside) this.move(userId, 'out');
  }

  /** Messages of this burst. */
  audience(): Audience {
    const must = this.#isGone ? [] : [...this.#inside].filter((userId) => !this.#moving.has(userId));
    return { must: new Set(must), may: new Set([...this.#inside, ...this.#unsure, ...this.#moving.keys()]) };
  }

  settle(): void {
    for (const [userId, moves] of this.#moving) {
      const [last] = moves;
      const isCertain = moves.length === 1 && last !== 'unsure';
      if (isCertain && last === 'in') this.#inside.add(userId);
      else this.#inside.delete(userId);
      if (!isCertain || (last === 'out' && this.isSlow)) this.#unsure.add(userId);
      else if (last === 'out') this.#unsure.delete(userId);
    }
    this.#moving.clear();
    this.#isGone = false;
  }
}
