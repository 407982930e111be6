/**
 * Keeps the heap from its end. V8 ends a process whose heap is full, and with it every connection: so whatever asks for
 * more is refused before that. Garbage and what is in use look the same until they are told apart by a collection, which
 * V8 would begin itself a little later.
 */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Balance, Lender } from '../utils/balance';
import { systemClock } from '../utils/clock';
import { AppError } from '../utils/errors';
import type { Logger } from './logger';

/** What young objects may take of the limit that V8 tells; the process ends when the old ones have none of the rest. */
const YOUNG_BYTES = 48 * 1024 * 1024;
/** Of the limit: what is under way when the refusals begin still has to fit. */
const RESERVE_SHARE = 0.1;
/** A body becomes so many bytes of objects at worst: of `{},{},…` three bytes are an object of 56 and its place. */
const BYTES_PER_BODY_BYTE = 24;
/** The same with all that is made of it until it is on disk. */
const BYTES_PER_BYTE_UNDER_WAY = 32;
/** A collection of a large heap takes seconds. */
const COLLECTION_INTERVAL_MS = 2_000;

export interface HeapGuardParts {
  readonly maxBodyBytes: number;
  readonly logger: Logger;
  readonly readHeap?: () => { readonly used: number; readonly limit: number };
  /** Collects all garbage, at once. */
  readonly collect?: () => void;
  /** Milliseconds by a clock that never jumps. */
  readonly monotonicNow?: () => number;
}

export class HeapGuard implements Lender {
  readonly #readHeap: () => { readonly used: number; readonly limit: number };
  readonly #collect: () => void;
  readonly #now: () => number;
  #collectedAt = Number.NEGATIVE_INFINITY;
  #isShort = false;
  /** Bytes of bodies that are being worked on: what they will need does not show yet. */
  #underWay = 0;

  constructor(private readonly parts: HeapGuardParts) {
    this.#readHeap = parts.readHeap ?? readHeap;
    this.#collect = parts.collect ?? findCollector();
    this.#now = parts.monotonicNow ?? systemClock.steady;
  }

  get balance(): Balance {
    return { bodyBytes: this.#underWay };
  }

  /** Is there so little left that whatever asks for more must be refused? Costs microseconds. */
  isShort(): boolean {
    return !this.#hasRoomFor(0);
  }

  /** @throws AppError `overloaded` when memory is short. */
  assertRoom(): void {
    if (this.isShort()) throw overloaded();
  }

  /**
   * Takes what the work on a body of this size may need, until the returned function is called. One body has room
   * whenever anything has.
   * @throws AppError `overloaded` when there is none.
   */
  take(bodyBytes: number): () => void {
    const bytes = this.#underWay === 0 ? 0 : this.#underWay + bodyBytes;
    if (!this.#hasRoomFor(bytes * BYTES_PER_BYTE_UNDER_WAY)) throw overloaded();
    this.#underWay += bodyBytes;
    let isTaken = true;
    return () => {
      if (isTaken) this.#underWay -= bodyBytes;
      isTaken = false;
    };
  }

  #hasRoomFor(bytes: number): boolean {
    let heap = this.#readHeap();
    const reserve = Math.max(heap.limit * RESERVE_SHARE, this.parts.maxBodyBytes * BYTES_PER_BODY_BYTE);
    const line = heap.limit - Math.min(reserve, heap.limit / 2);
    if (heap.used + bytes > line && this.#mayCollect()) {
      this.#collect();
      heap = this.#readHeap();
    }
    this.#tell(heap.used > line, heap);
    return heap.used + bytes <= line;
  }

  #mayCollect(): boolean {
    const now = this.#now();
    if (now - this.#collectedAt < COLLECTION_INTERVAL_MS) return false;
    this.#collectedAt = now;
    return true;
  }

  /** A line when it begins and one when it is over. */
  #tell(isShort: boolean, heap: { used: number; limit: number }): void {
    if (isShort === this.#isShort) return;
    this.#isShort = isShort;
    if (isShort) this.parts.logger.error(heap, 'the heap is nearly full: what asks for more is refused');
    else this.parts.logger.warn(heap, 'the heap has room again');
  }
}

export function overloaded(): AppError {
  return new AppError('overloaded', 'The service is short of memory; nothing was sent.');
}

function readHeap() {
  const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
  return { used, limit: limit - YOUNG_BYTES };
}

/** V8's own function: Node shows it to programs that were started with the flag, and this one is not. */
function findCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  return collect;
}
