type Listener = (...args: never[]) => unknown;

/** Listeners by name. A name is any text, because custom events have any name. */
export class Listeners {
  readonly #byName = new Map<string, Set<Listener>>();

  /** @returns what removes the listener. */
  add(name: string, listener: Listener): () => void {
    const listeners = this.#byName.get(name) ?? new Set();
    listeners.add(listener);
    this.#byName.set(name, listeners);
    return () => {
      listeners.delete(listener);
    };
  }

  /** The current listeners, in the order in which they were added. */
  of(name: string): ((...args: unknown[]) => unknown)[] {
    return [...(this.#byName.get(name) ?? [])] as ((...args: unknown[]) => unknown)[];
  }
}
