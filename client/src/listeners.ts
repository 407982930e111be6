type Listener = (...args: never[]) => unknown;

/** Listeners by name. A name is any text: that of a custom event too. */
export class Listeners {
  readonly #byName = new Map<string, Set<Listener>>();

  /** @returns what takes the listener off again. */
  add(name: string, listener: Listener): () => void {
    const listeners = this.#byName.get(name) ?? new Set();
    listeners.add(listener);
    this.#byName.set(name, listeners);
    return () => {
      listeners.delete(listener);
    };
  }

  /** Those of this moment, in the order in which they came. */
  of(name: string): ((...args: unknown[]) => unknown)[] {
    return [...(this.#byName.get(name) ?? [])] as ((...args: unknown[]) => unknown)[];
  }
}
