/** The transport with which an attempt to connect begins. */
type Names = ('websocket' | 'polling' | 'webtransport')[];

/** A WebSocket opens within two round trips, or the network lets none through. */
const PATIENCE_MS = 4_000;
/** For the last one: there is nothing left to try instead. */
const LAST_PATIENCE_MS = 15_000;

export class Transports {
  readonly #preferred: Names;
  #order: Names;
  /** Transports tried since the preferred one was first. */
  #tried = 0;

  constructor(preferred: readonly unknown[]) {
    this.#preferred = [...preferred] as Names;
    this.#order = this.#preferred;
  }

  /** The transports in the order in which to try them. */
  get order(): Names {
    return [...this.#order];
  }

  /** How long the attempt may be silent. */
  get patienceMs(): number {
    return this.#tried < this.#order.length - 1 ? PATIENCE_MS : LAST_PATIENCE_MS;
  }

  /** The first one was silent: another one comes first. @returns false when all were, and it starts again. */
  next(): boolean {
    const [first, ...others] = this.#order;
    if (first !== undefined) this.#order = [...others, first];
    this.#tried = (this.#tried + 1) % Math.max(1, this.#order.length);
    return this.#tried > 0;
  }

  /** A connection that began with another transport has switched to a better one: the network lets it through again. */
  upgraded(): void {
    this.#order = this.#preferred;
    this.#tried = 0;
  }
}
