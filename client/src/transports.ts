/** Which transport an attempt to connect begins with. */
type Names = ('websocket' | 'polling' | 'webtransport')[];

/** A WebSocket is there after two round trips, or a network lets none through. */
const PATIENCE_MS = 4_000;
/** For the last one: nothing is left to be tried in its place. */
const LAST_PATIENCE_MS = 15_000;

export class Transports {
  readonly #preferred: Names;
  #order: Names;
  /** Transports that were tried since the preferred one was first. */
  #tried = 0;

  constructor(preferred: readonly unknown[]) {
    this.#preferred = [...preferred] as Names;
    this.#order = this.#preferred;
  }

  /** The transports in the order in which they are to be tried. */
  get order(): Names {
    return [...this.#order];
  }

  /** How long the attempt may be silent. */
  get patienceMs(): number {
    return this.#tried < this.#order.length - 1 ? PATIENCE_MS : LAST_PATIENCE_MS;
  }

  /** The first one was silent: another one is first. @returns false when all were, and it begins again. */
  next(): boolean {
    const [first, ...others] = this.#order;
    if (first !== undefined) this.#order = [...others, first];
    this.#tried = (this.#tried + 1) % Math.max(1, this.#order.length);
    return this.#tried > 0;
  }

  /** The connection that began with another one has gone over to a better one: the network lets it through again. */
  upgraded(): void {
    this.#order = this.#preferred;
    this.#tried = 0;
  }
}
