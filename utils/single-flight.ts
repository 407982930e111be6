/** Work of which one run goes on at a time: whoever asks meanwhile shares it, and what it comes to. */
export class SingleFlight<Result> {
  #running: Promise<Result> | undefined;

  constructor(private readonly work: () => Promise<Result>) {}

  run(): Promise<Result> {
    this.#running ??= this.work().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when no run goes on; begins none. */
  async idle(): Promise<void> {
    await this.#running;
  }
}

/**
 * Work of which one run goes on at a time, for callers who need one that begins after they asked: all who ask during a
 * run share the next one.
 */
export class FollowingFlight {
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /** `work` tells its faults itself: it never rejects. */
  constructor(private readonly work: () => Promise<void>) {}

  run(): Promise<void> {
    this.#next ??= this.#runAfter(this.#running);
    return this.#next;
  }

  async #runAfter(running: Promise<void> | undefined): Promise<void> {
    await running;
    this.#running = this.#next;
    this.#next = undefined;
    await this.work();
  }
}
