/**
 * Keeps memory from its end. V8 ends a process whose heap is full, and a container one that has more than its limit, and
 * with it every connection: so whatever asks for more is refused before that. Garbage and what is in use look the same
 * until they are told apart by a collection, which V8 would begin itself a little later.
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Balance, Lender } from '../../utils/balance';
import { type Clock, systemClock } from '../../utils/clock';
import { AppError } from '../../utils/errors';
import type { Logger } from '../observability/logger';

/** What young objects may take of the limit that V8 tells; the process ends when the old ones have none of the rest. */
const YOUNG_BYTES = 48 * 1024 * 1024;
/** What may lie outside of the heap beside a full one: buffers that a node has anyway, and frames that wait for Redis. */
const OUTSIDE_BYTES = 64 * 1024 * 1024;
/** Of the limit: what is under way when the refusals begin still has to fit. */
const RESERVE_SHARE = 0.1;
/** A body becomes so many bytes of objects at worst: of `{},{},…` three bytes are an object of 56 and its place. */
const BYTES_PER_BODY_BYTE = 24;
/** The same with all that is made of it until it is on disk. */
const BYTES_PER_BYTE_UNDER_WAY = 32;
/** Of what may be used: all large bodies that have begun to come. */
const GATHERED_SHARE = 1 / 8;
/** A collection of a large heap takes seconds. */
const COLLECTION_INTERVAL_MS = 2_000;
/** Looking costs as much as a fifth of a send. In this time less is allocated than is kept in reserve. */
const SAMPLE_MS = 50;
/** What is larger may take the reserve by itself: then a look is worth what it costs. */
const LARGE_BODY_BYTES = 64 * 1024;

/** What is used of something that ends the process when it is used up. */
export interface Measure {
  readonly used: number;
  readonly limit: number;
}

export interface HeapGuardParts {
  readonly maxBodyBytes: number;
  readonly logger: Logger;
  readonly readMemory?: () => readonly Measure[];
  /** Collects all garbage, at once. */
  readonly collect?: () => void;
  readonly clock?: Pick<Clock, 'steady' | 'after'>;
}

export class HeapGuard implements Lender {
  readonly #readMemory: () => readonly Measure[];
  readonly #collect: () => void;
  readonly #clock: Pick<Clock, 'steady' | 'after'>;
  /** What was read last, while it is fresh. */
  #sample: readonly Measure[] | undefined;
  #collectedAt = Number.NEGATIVE_INFINITY;
  #isShort = false;
  /** Bytes of bodies that are being worked on: what they will need does not show yet. */
  #underWay = 0;
  /** Bytes of bodies that have yet to come as a whole. */
  #gathered = 0;

  constructor(private readonly parts: HeapGuardParts) {
    this.#readMemory = parts.readMemory ?? readMemory;
    this.#collect = parts.collect ?? findCollector();
    this.#clock = parts.clock ?? systemClock;
  }

  get balance(): Balance {
    return { bodyBytes: this.#underWay, gatheredBytes: this.#gathered };
  }

  /** Is there so little left that whatever asks for more must be refused? Costs next to nothing. */
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
   * Takes what a body may need until it is there, up to a share of memory for all of them: whoever sends slowly must not
   * keep out the others. Small ones always have room.
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
    this.#tell(tightest.used > tightest.line, tightest);
    return tightest.used + bytes <= tightest.line;
  }

  #look(): readonly Measure[] {
    const sample = this.#readMemory();
    this.#sample = sample;
    // No timer as long as nobody asks.
    this.#clock.after(SAMPLE_MS, () => {
      if (this.#sample === sample) this.#sample = undefined;
    });
    return sample;
  }

  /** Of what has the least room left, and the line up to which it may be used. */
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

  /** A line when it begins and one when it is over. */
  #tell(isShort: boolean, { used, limit }: Measure): void {
    if (isShort === this.#isShort) return;
    this.#isShort = isShort;
    if (isShort) this.parts.logger.error({ used, limit }, 'memory is nearly full: what asks for more is refused');
    else this.parts.logger.warn({ used, limit }, 'memory has room again');
  }
}

export function overloaded(): AppError {
  return new AppError('overloaded', 'The service is short of memory; nothing was sent.');
}

/**
 * The heap with what hangs on it: buffers and answers on their way count as if they were in it, so `--max-old-space-size`
 * bounds them together. In a container also what the process has of its own of the container's memory; pages of the
 * store's file are the kernel's to take back.
 */
export function readMemory(): readonly Measure[] {
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  // Texts on their way are copied to where only the second figure sees them.
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

/** The limit of the container (cgroup), where it is lower than what the machine has. */
function containerBytes(): number | undefined {
  const bytes = process.constrainedMemory();
  return bytes > 0 && bytes < totalmem() ? bytes : undefined;
}

/** What Linux cannot write back to a file. */
function readAnonymousBytes(): number | undefined {
  const [, kibibytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}

/** V8's own function: Node shows it to programs that were started with the flag, and this one is not. */
function findCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  return collect;
}
