/** How calls reach the environment: every read and every write of the store goes through here. */
import type { Clock } from '../../../utils/clock';
import type { Environment } from './environment';
import { type DueKey, numberedFrom, type Trees } from './layout';
import { closedError, toStoreError, type WriteQueue } from './queue';

type DueKind = 'expiry' | 'send' | 'service' | 'answer' | 'revocation' | 'device';

interface DueOptions {
  readonly limit: number;
  /** Now when absent. */
  readonly by?: number;
}

type Several = { readonly length: number } | { readonly size: number };

export class Access {
  #isClosed = false;

  constructor(
    private readonly environment: Environment,
    private readonly queue: WriteQueue,
    readonly clock: Clock,
  ) {}

  get trees(): Trees {
    return this.environment.trees;
  }

  /** A write, skipped when there is nothing to save. */
  saving<Items extends Several>(save: (items: Items) => void): (items: Items) => Promise<void> {
    return (items) => {
      const isNone = 'size' in items ? items.size === 0 : items.length === 0;
      return isNone ? this.reading(() => undefined) : this.write(() => save(items));
    };
  }

  /** What is due by a time, oldest first. */
  due(kind: DueKind, limit: number, by = this.clock.now()): DueKey[] {
    return Array.from(this.trees.due.getKeys({ ...numberedFrom<DueKey>(kind, 0, by), limit }));
  }

  /** A write about what is due. A look comes first: nothing is flushed while nothing is due. */
  async whenDue<Result>(kind: DueKind, apply: () => Result, by?: number): Promise<Result | undefined> {
    const isDue = await this.reading(() => this.due(kind, 1, by).length > 0);
    return isDue ? this.write(apply) : undefined;
  }

  /** A write about each thing that is due. @returns how many there were. */
  async eachDue(kind: DueKind, { limit, by }: DueOptions, apply: (due: DueKey) => void): Promise<number> {
    const applyAll = () => {
      const due = this.due(kind, limit, by);
      for (const one of due) apply(one);
      return due.length;
    };
    return (await this.whenDue(kind, applyAll, by)) ?? 0;
  }

  write<Result>(apply: () => Result): Promise<Result> {
    return this.queue.write(apply);
  }

  async reading<Result>(work: () => Result): Promise<Result> {
    return this.read(work);
  }

  /** Reads at once, or after LMDB was opened again because a write failed: some milliseconds. */
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

  /** A read in slices. It starts over when the environment is opened again in between. */
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

  /** Waits for pending writes. @returns false when it was closed before. */
  async close(): Promise<boolean> {
    if (this.#isClosed) return false;
    this.#isClosed = true;
    await this.queue.close();
    return true;
  }
}
