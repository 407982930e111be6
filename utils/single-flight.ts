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
