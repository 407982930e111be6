/** Work of which one run goes on at a time: whoever asks meanwhile shares it, and what it comes to. */
export class SingleFlight<Result> {
  #running: Promise<Result> | undefined;

  constructor(private readonly work: () => Promise<Result>) {}

  run(): Promise<Result> {
    this.#running ??= this.#start().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** What is thrown at once is a rejection like any other. */
  async #start(): Promise<Result> {
    return this.work();
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when no run goes on; begins none. How the run ends is told to those who asked for it. */
  async idle(): Promise<void> {
    await this.#running?.then(ignore, ignore);
  }
}

/**
 * Work of which one run goes on at a time, for callers who need one that begins after they asked: all who ask during a
 * run share the next one.
 */
export class FollowingFlight {
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(private readonly work: () => Promise<void>) {}

  run(): Promise<void> {
    this.#next ??= this.#runAfter(this.#running);
    return this.#next;
  }

  async #runAfter(running: Promise<void> | undefined): Promise<void> {
    // A run that failed is no reason for the next one to fail.
    await running?.then(ignore, ignore);
    this.#running = this.#next;
    this.#next = undefined;
    await this.work();
  }
}

function ignore(): void {}
