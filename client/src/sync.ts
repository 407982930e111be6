/**
 * Knows when everything that was waiting has arrived and been handled. A listener may ask for that too: then what waits
 * for this listener is left out, or both would wait for ever.
 */
import type { TidingsError } from './errors.ts';
import type { Frame, Intake } from './intake.ts';
import { after, type Timer } from './timing.ts';

/** While a listener holds up what the service would send, nothing comes: after this time, nothing will. */
const STALL_MS = 1_000;

interface Waiter {
  /** What listeners were handling when the wait began: one of them may be the one that waits. */
  readonly atWork: ReadonlySet<Frame>;
  readonly resolve: () => void;
  readonly reject: (error: TidingsError) => void;
}

export class Sync {
  #isDone = false;
  /** `sync:done` has arrived. */
  #isReceived = false;
  /** Nothing will come before a listener finishes that waits for this. */
  #isStalled = false;
  /** Connections so far. */
  #round = 0;
  readonly #waiters = new Set<Waiter>();
  #stallTimer: Timer | undefined;

  constructor(private readonly intake: Pick<Intake, 'atWork' | 'handled'>) {}

  /** Has everything that was waiting arrived, and been handled? */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Resolves then. @throws TidingsError when the client is closed first. */
  wait(): Promise<void> {
    if (this.#isDone) return Promise.resolve();
    const atWork = this.intake.atWork();
    if (this.#isStalled && atWork.size > 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter = { atWork, resolve, reject };
      this.#waiters.add(waiter);
      if (this.#isReceived) void this.#settle(waiter);
      else this.#watch();
    });
  }

  /** Something has arrived. */
  received(): void {
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
    this.#watch();
  }

  #watch(): void {
    if (this.#isReceived || ![...this.#waiters].some(({ atWork }) => atWork.size > 0)) return;
    this.#stallTimer ??= after(STALL_MS, () => this.#stalled());
  }

  #stalled(): void {
    this.#stallTimer = undefined;
    const now = this.intake.atWork();
    const isHolding = ({ atWork }: Waiter) => now.size > 0 && [...now].every((frame) => atWork.has(frame));
    for (const waiter of [...this.#waiters].filter(isHolding)) {
      this.#isStalled = true;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
    this.#watch();
  }

  /** `sync:done` has arrived. */
  async done(): Promise<void> {
    this.#isReceived = true;
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
    const round = this.#round;
    const handled = this.intake.handled(new Set());
    for (const waiter of this.#waiters) void this.#settle(waiter);
    await handled;
    this.#isDone = round === this.#round;
  }

  async #settle(waiter: Waiter): Promise<void> {
    const round = this.#round;
    await this.intake.handled(waiter.atWork);
    // The connection may have ended meanwhile: the next one has its own sync.
    if (round === this.#round && this.#waiters.delete(waiter)) waiter.resolve();
  }

  /** The connection has ended. */
  reset(): void {
    this.#round += 1;
    this.#isDone = false;
    this.#isReceived = false;
    this.#isStalled = false;
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
  }

  close(error: TidingsError): void {
    this.reset();
    for (const { reject } of this.#waiters) reject(error);
    this.#waiters.clear();
  }
}
