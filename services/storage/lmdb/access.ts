/** The ways in which calls reach the environment: every read and every write of the store takes one of them. */
import type { Clock } from '../../../utils/clock';
import type { Environment } from './environment';
import type { DueKey, RangeOf } from './layout';
import { closedError, toStoreError, type WriteQueue } from './queue';

type DueKind = 'expiry' | 'send' | 'answer' | 'revocation' | 'device';

/** Something of which there may be none. */
type Several = { readonly length: number } | { readonly size: number };

export class Access {
  #isClosed = false;

  constructor(
    private readonly environment: Environment,
    private readonly queue: WriteQueue,
    private readonly clock: Clock,
  ) {}

  /** A write that is none where there is nothing to save. */
  saving<Items extends Several>(save: (items: Items) => void): (items: Items) => Promise<void> {
    return (items) => {
      const isNone = 'size' in items ? items.size === 0 : items.length === 0;
      return isNone ? this.reading(() => undefined) : this.write(() => save(items));
    };
  }

  /** A look before a write: nothing is flushed while nothing is due. */
  isDue(kind: DueKind, by = this.clock.now()): Promise<boolean> {
    return this.reading(() => {
      const range = { start: [kind, 0], end: [kind, by + 1] } as unknown as RangeOf<DueKey>;
      return this.environment.trees.due.getKeysCount({ ...range, limit: 1 }) > 0;
    });
  }

  write<Result>(apply: () => Result): Promise<Result> {
    return this.queue.write(apply);
  }

  /** Whatever LMDB throws becomes a StoreError. */
  async reading<Result>(work: () => Result): Promise<Result> {
    return this.read(work);
  }

  /**
   * At once, but for one case: when a write fails the engine may give up, and reads too fail until it is opened again.
   * A read then waits for that; it takes milliseconds.
   */
  read<Result>(work: () => Result): Result | Promise<Result> {
    const { underWay, isUsable } = this.environment;
    if (underWay === undefined) return this.#readNowOrThrow(work);
    try {
      if (isUsable) return this.#readNowOrThrow(work);
    } catch (error) {
      if (this.#isClosed) throw error;
    }
    return underWay.then(() => this.#readNowOrThrow(work));
  }

  #readNowOrThrow<Result>(work: () => Result): Result {
    if (this.#isClosed) throw closedError();
    try {
      return work();
    } catch (error) {
      throw toStoreError(error);
    }
  }

  /** A read in slices. It is begun again when the engine gave up under it. */
  async walking<Result>(work: () => Promise<Result>): Promise<Result> {
    if (!this.environment.isUsable) await this.environment.underWay;
    try {
      return await this.#failing(work);
    } catch (error) {
      const { underWay } = this.environment;
      if (underWay === undefined || this.#isClosed) throw error;
      await underWay;
      return this.#failing(work);
    }
  }

  async #failing<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#isClosed) throw closedError();
    try {
      return await work();
    } catch (error) {
      throw this.#isClosed ? closedError() : toStoreError(error);
    }
  }

  /** Waits for the writes that were asked for. @returns false when it was closed before. */
  async close(): Promise<boolean> {
    if (this.#isClosed) return false;
    this.#isClosed = true;
    await this.queue.close();
    return true;
  }
}
