/** Work of which only one run is in progress at a time: callers during a run share it and its result. */
export class SingleFlight<Result> {
  #running: Promise<Result> | undefined;

  constructor(private readonly work: () => Promise<Result>) {}

  run(): Promise<Result> {
    this.#running ??= this.#start().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** A synchronous throw is a rejection like any other. */
  async #start(): Promise<Result> {
    return this.work();
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when no run is in progress; starts none. A failure is reported only to those who asked for the run. */
  async idle(): Promise<void> {
    await this.#running?.then(ignore, ignore);
  }
}

/**
 * Work of which only one run is in progress at a time, for callers who need a run that begins after their call: all who
 * call during a run share the next one.
 */
export class FollowingFlight<Result = void> {
  #running: Promise<Result> | undefined;
  #next: Promise<Result> | undefined;

  constructor(private readonly work: () => Promise<Result>) {}

  run(): Promise<Result> {
    this.#next ??= this.#runAfter(this.#running);
    return this.#next;
  }

  async #runAfter(running: Promise<Result> | undefined): Promise<Result> {
    // A failed run is no reason for the next one to fail.
    await running?.then(ignore, ignore);
    this.#running = this.#next;
    this.#next = undefined;
    return this.work();
  }
}

function ignore(): void {}
