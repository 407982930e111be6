/**
 * Keeps the process from running out of memory. V8 kills a process whose heap is full, and a container kills one that
 * exceeds its limit, with every connection: so requests for more are refused before that. Only a collection tells
 * garbage from memory in use; it is one that V8 would begin itself a little later.
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Balance, Lender } from '../../utils/balance';
import { type Clock, systemClock } from '../../utils/clock';
import { AppError } from '../../utils/errors';
import type { SelfCheck } from '../internals';
import type { Logger } from '../observability/logger';

/**
 * The part of the limit reported by V8 that young objects may take; the process dies when old ones exhaust the rest.
 */
const YOUNG_BYTES = 48 * 1024 * 1024;
/** What may lie outside a full heap: buffers that any node has, and frames that wait for Redis. */
const OUTSIDE_BYTES = 64 * 1024 * 1024;
/** Share of the limit: work in progress must still fit when refusals begin. */
const RESERVE_SHARE = 0.1;
/**
 * Bytes of objects that one byte of a body becomes at worst: in `{},{},…` three bytes make an object of 56 and its
 * slot.
 */
const BYTES_PER_BODY_BYTE = 24;
/** The same, with everything made from it until it is on disk. */
const BYTES_PER_BYTE_UNDER_WAY = 32;
/** Share of the usable memory for all large bodies that are arriving. */
const GATHERED_SHARE = 1 / 8;
/** A collection of a large heap takes seconds. */
const COLLECTION_INTERVAL_MS = 2_000;
/** A look costs a fifth of a send. Within this time less is allocated than is held in reserve. */
const SAMPLE_MS = 50;
/** A larger body could use up the reserve alone, so a look is worth its cost. */
const LARGE_BODY_BYTES = 64 * 1024;

/** Use of a resource whose exhaustion ends the process. */
export interface Measure {
  readonly used: number;
  readonly limit: number;
}

export interface HeapGuardParts {
  readonly maxBodyBytes: number;
  readonly logger: Logger;
  readonly readMemory?: () => readonly Measure[];
  /** Collects all garbage, synchronously. */
  readonly collect?: () => void;
  readonly clock?: Pick<Clock, 'steady' | 'after'>;
}

export class HeapGuard implements Lender {
  readonly #readMemory: () => readonly Measure[];
  readonly #collect: () => void;
  readonly #clock: Pick<Clock, 'steady' | 'after'>;
  /** The last reading, while it is fresh. */
  #sample: readonly Measure[] | undefined;
  #collectedAt = Number.NEGATIVE_INFINITY;
  #isShort = false;
  /** Bytes of bodies being processed, whose needs do not show in the heap yet. */
  #underWay = 0;
  /** Bytes of bodies that have not fully arrived. */
  #gathered = 0;

  constructor(private readonly parts: HeapGuardParts) {
    this.#readMemory = parts.readMemory ?? readMemory;
    this.#collect = parts.collect ?? findCollector() ?? (() => undefined);
    this.#clock = parts.clock ?? systemClock;
  }

  get balance(): Balance {
    return { bodyBytes: this.#underWay, gatheredBytes: this.#gathered };
  }

  /** Is so little left that requests for more must be refused? Costs next to nothing. */
  isShort(): boolean {
    return !this.#hasRoomFor(0);
  }

  /** @throws AppError `overloaded` when memory is short. */
  assertRoom(): void {
    if (this.isShort()) throw overloaded();
  }

  /**
   * Reserves what processing a body of this size may need, until the returned function is called. A single body has
   * room whenever anything has.
   * @throws AppError `overloaded` when there is none.
   */
  take(bodyBytes: number): () => void {
    if (bodyBytes >= LARGE_BODY_BYTES) this.#sample = undefined;
    const bytes = this.#underWay === 0 ? 0 : this.#underWay + bodyBytes;
    if (!this.#hasRoomFor(bytes * BYTES_PER_BYTE_UNDER_WAY)) throw overloaded();
    this.#underWay += bodyBytes;
    let isTaken = true;
    return () => {
      if (isTaken) this.#underWay -= bodyBytes;
      isTaken = false;
    };
  }

  /**
   * Reserves what a body may need until it has arrived, up to a share of memory for all of them: slow senders must not
   * lock out the others. Small bodies always have room.
   * @throws AppError `overloaded` when there is none.
   */
  gather(bodyBytes: number): () => void {
    const { line } = this.#tightest(this.#sample ?? this.#look());
    const isTooMuch = this.#gathered > 0 && this.#gathered + bodyBytes > line * GATHERED_SHARE;
    if (bodyBytes >= LARGE_BODY_BYTES && isTooMuch) throw overloaded();
    this.#gathered += bodyBytes;
    return () => {
      this.#gathered -= bodyBytes;
    };
  }

  #hasRoomFor(bytes: number): boolean {
    let tightest = this.#tightest(this.#sample ?? this.#look());
    if (tightest.used + bytes > tightest.line && this.#mayCollect()) {
      this.#collect();
      tightest = this.#tightest(this.#look());
    }
    this.#logChange(tightest.used > tightest.line, tightest);
    return tightest.used + bytes <= tightest.line;
  }

  #look(): readonly Measure[] {
    const sample = this.#readMemory();
    this.#sample = sample;
    // On demand instead of by a timer: an idle service costs nothing.
    this.#clock.after(SAMPLE_MS, () => {
      if (this.#sample === sample) this.#sample = undefined;
    });
    return sample;
  }

  /** The resource with the least room left, and the line up to which it may be used. */
  #tightest(measures: readonly Measure[]): Measure & { readonly line: number } {
    const withLines = measures.map((measure) => ({ ...measure, line: this.#lineOf(measure.limit) }));
    return withLines.reduce((one, other) => (other.line - other.used < one.line - one.used ? other : one));
  }

  #lineOf(limit: number): number {
    const reserve = Math.max(limit * RESERVE_SHARE, this.parts.maxBodyBytes * BYTES_PER_BODY_BYTE);
    return limit - Math.min(reserve, limit / 2);
  }

  #mayCollect(): boolean {
    const now = this.#clock.steady();
    if (now - this.#collectedAt < COLLECTION_INTERVAL_MS) return false;
    this.#collectedAt = now;
    return true;
  }

  /** Logs when the shortage begins and when it ends. */
  #logChange(isShort: boolean, { used, limit }: Measure): void {
    if (isShort === this.#isShort) return;
    this.#isShort = isShort;
    if (isShort) this.parts.logger.error({ used, limit }, 'memory is nearly full: requests that need more are refused');
    else this.parts.logger.warn({ used, limit }, 'memory has room again');
  }
}

export function overloaded(): AppError {
  return new AppError('overloaded', 'The service is short of memory, so nothing was done.');
}

/**
 * The heap with what hangs on it: buffers and answers under way count as part of it, so `--max-old-space-size` bounds
 * them together. In a container also the process's private memory; pages of the store's file are not counted, because
 * the kernel can reclaim them.
 */
export function readMemory(): readonly Measure[] {
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  // Strings under way are copied to memory that only the second figure counts.
  const used = heapUsed + Math.max(external, arrayBuffers);
  const limit = getHeapStatistics().heap_size_limit - YOUNG_BYTES;
  const container = containerBytes();
  const heap = { used: heapUsed, limit };
  const all = limit + OUTSIDE_BYTES;
  if (container === undefined) return [heap, { used, limit: all }];
  const ofContainer = readAnonymousBytes();
  return [
    heap,
    { used, limit: Math.min(all, container) },
    ...(ofContainer === undefined ? [] : [{ used: ofContainer, limit: container }]),
  ];
}

/** The limit of the container (cgroup), where it is lower than the machine's memory. */
function containerBytes(): number | undefined {
  const bytes = process.constrainedMemory();
  return bytes > 0 && bytes < totalmem() ? bytes : undefined;
}

/** Memory that Linux cannot write back to a file. */
function readAnonymousBytes(): number | undefined {
  const [, kibibytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}

/** V8's own function: Node exposes it only to programs started with the flag. */
function findCollector(): (() => void) | undefined {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('globalThis.gc');
  setFlagsFromString('--no-expose-gc');
  return typeof collect === 'function' ? (collect as () => void) : undefined;
}

export const COLLECTOR_CHECK: SelfCheck = {
  names: ['node: gc'],
  run: () => (findCollector() === undefined ? [] : ['node: gc']),
};
