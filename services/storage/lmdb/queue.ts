/** All writes go through one queue. Those that gather during a flush share the next one (group commit). */
import { statfsSync } from 'node:fs';
import { nextTurn, systemClock } from '../../../utils/clock';
import { Slice } from '../../../utils/slices';
import { type FlushListener, StoreError } from '../contract';
import type { Environment } from './environment';

interface QueuedWrite {
  /** Runs inside the transaction, sees all earlier writes, checks first and writes last. */
  readonly apply: () => () => void;
  readonly fail: (error: StoreError) => void;
}

/** Flushed within a few milliseconds; with more, the first waiter would wait for the last. */
const MAX_WRITES_PER_TRANSACTION = 2_000;
/** Applying writes blocks everything else: the rest goes into the next transaction. */
const MAX_APPLYING_MS = 20;
/**
 * Below this nothing is written: more than one transaction needs. LMDB must never find the disk full itself: its error
 * message may overflow a buffer and end the process. See docs/decisions/0020-room-is-kept.md.
 */
const MIN_FREE_BYTES = 32 * 1024 * 1024;

export class WriteQueue {
  #queue: QueuedWrite[] = [];
  #committing = 0;
  #isCommitting = false;
  #isClosed = false;
  #whenIdle: (() => void)[] = [];

  /** `path`: the directory of the store. */
  constructor(
    private readonly environment: Environment,
    private readonly path: string,
    private readonly onFlush: FlushListener,
  ) {}

  /** Writes that are waiting or being flushed. */
  get length(): number {
    return this.#queue.length + this.#committing;
  }

  /** Resolves with the result of `apply` once it is on disk. @throws StoreError; then nothing was written. */
  write<Result>(apply: () => Result): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      if (this.#isClosed) return reject(closedError());
      this.#queue.push({
        apply: () => {
          const result = apply();
          return () => resolve(result);
        },
        fail: reject,
      });
      if (!this.#isCommitting) void this.#commitQueue();
    });
  }

  /** Refuses new writes, and resolves when all others are on disk. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#isCommitting) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  async #commitQueue(): Promise<void> {
    this.#isCommitting = true;
    while (this.#queue.length > 0) {
      // Requests that were read in the same turn of the event loop share a flush.
      await nextTurn();
      await this.#commit(this.#queue.splice(0, MAX_WRITES_PER_TRANSACTION));
    }
    this.#isCommitting = false;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  async #commit(writes: QueuedWrite[]): Promise<void> {
    let settle: (() => void)[] = [];
    let isDone = true;
    const startedAt = systemClock.steady();
    this.#committing = writes.length;
    try {
      this.assertSpace();
      await this.environment.transaction(() => {
        settle = applyInTime(writes);
        this.#queue.unshift(...writes.splice(settle.length));
        this.#committing = writes.length;
      });
    } catch (error) {
      isDone = false;
      const failure = this.#failureOf(error);
      settle = writes.map((write) => () => write.fail(failure));
    }
    this.#committing = 0;
    this.onFlush({ writes: writes.length, durationMs: systemClock.steady() - startedAt, isDone });
    for (const tell of settle) tell();
  }

  /** @throws StoreError when the disk is full or the directory is missing. */
  assertSpace(): void {
    if (this.#freeBytes() < MIN_FREE_BYTES) throw new StoreError('the disk is full', { isFull: true });
  }

  #freeBytes(): number {
    try {
      const { bavail, bsize } = statfsSync(this.path);
      return bavail * bsize;
    } catch (error) {
      throw new StoreError(`the directory of the store is away: ${messageOf(error)}`, { cause: error });
    }
  }

  /** When another process fills the disk, commits fail with I/O errors: only the file system tells why. */
  #failureOf(error: unknown): StoreError {
    if (error instanceof StoreError) return error;
    try {
      this.assertSpace();
      return toStoreError(error);
    } catch (refusal) {
      return toStoreError(refusal);
    }
  }
}

/** Applies writes in order, at least one. */
function applyInTime(writes: readonly QueuedWrite[]): (() => void)[] {
  // One write may replace a hundred messages.
  const slice = new Slice(MAX_APPLYING_MS, 1);
  const settle: (() => void)[] = [];
  for (const write of writes) {
    settle.push(applyOne(write));
    if (slice.isOver) break;
  }
  return settle;
}

/** A failing write has written nothing yet: the others of its transaction continue. */
function applyOne({ apply, fail }: QueuedWrite): () => void {
  try {
    return apply();
  } catch (error) {
    const failure = toStoreError(error);
    return () => fail(failure);
  }
}

export function toStoreError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const reason = messageOf(error);
  return new StoreError(reason, { isFull: /no space left|MDB_MAP_FULL|quota/i.test(reason), cause: error });
}

export function closedError(): StoreError {
  return new StoreError('the store is closed');
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
