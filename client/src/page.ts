/** Events of the page around a client; elsewhere there are none. */
interface Target {
  addEventListener?(event: string, listener: () => void): void;
  removeEventListener?(event: string, listener: () => void): void;
}

export interface PageParts {
  /** The page may be gone in a moment. */
  readonly onHide: () => void;
  /** The network is back, or somebody looks at the page again: it may have slept for long. */
  readonly onWake: () => void;
}

export class Page {
  readonly #window = globalThis as Target;
  readonly #document = (globalThis as { document?: Target & { readonly visibilityState?: string } }).document;
  readonly #onHide: () => void;
  readonly #onWake: () => void;
  readonly #onVisibility = () => {
    if (this.#document?.visibilityState === 'visible') this.#onWake();
  };

  constructor({ onHide, onWake }: PageParts) {
    this.#onHide = onHide;
    this.#onWake = onWake;
    this.#window.addEventListener?.('pagehide', onHide);
    this.#window.addEventListener?.('online', onWake);
    this.#document?.addEventListener?.('visibilitychange', this.#onVisibility);
  }

  close(): void {
    this.#window.removeEventListener?.('pagehide', this.#onHide);
    this.#window.removeEventListener?.('online', this.#onWake);
    this.#document?.removeEventListener?.('visibilitychange', this.#onVisibility);
  }
}
