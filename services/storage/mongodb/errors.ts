/** What the driver throws, told as the contract wants it. */
import { types } from 'node:util';
import {
  MongoBulkWriteError,
  MongoError,
  MongoErrorLabel,
  MongoNetworkError,
  MongoNetworkTimeoutError,
  MongoServerError,
} from 'mongodb';
import { systemClock } from '../../../utils/clock';
import { StoreError } from '../contract';
import { pauseBefore } from '../turns';

const DUPLICATE_KEY = 11_000;
const OUT_OF_DISK_SPACE = 14_031;
/** Of a socket whose other end has gone, or that is about to close. */
const WRITE_REFUSALS: ReadonlySet<unknown> = new Set(['EPIPE', 'ECONNRESET', 'ERR_STREAM_WRITE_AFTER_END']);

/** Was a write refused only because something with this key is there? It may be what the write itself has stored. */
export function isDuplicate(error: unknown): boolean {
  if (error instanceof MongoBulkWriteError) {
    const writeErrors = [error.writeErrors].flat();
    return writeErrors.length > 0 && writeErrors.every(({ code }) => code === DUPLICATE_KEY);
  }
  return error instanceof MongoServerError && error.code === DUPLICATE_KEY;
}

/** Does the write; what is there already stays. @returns whether nothing was there. */
export async function ignoringDuplicates(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (!isDuplicate(error)) throw error;
    return false;
  }
}

/** Two upserts of one document at once: one of them is told of a duplicate, and finds the document the next time. */
export async function retryingDuplicates<Result>(write: () => Promise<Result>): Promise<Result> {
  try {
    return await write();
  } catch (error) {
    if (!isDuplicate(error)) throw error;
    return write();
  }
}

/**
 * Did a statement not reach the server, or its answer not come back? The driver repeats it only once, and not at all
 * where the server or the address does not allow that. A server that says nothing has had its time.
 */
export function isLost(error: unknown): boolean {
  // A write of many documents wraps what went wrong on the way.
  const reason: unknown = error instanceof MongoBulkWriteError ? error.errorResponse : error;
  if (reason instanceof MongoNetworkTimeoutError) return false;
  if (reason instanceof MongoNetworkError || isOfSocket(reason)) return true;
  return error instanceof MongoError && error.hasErrorLabel(MongoErrorLabel.RetryableWriteError);
}

/** The driver passes on as it is what a socket says to a write that it does not take. */
function isOfSocket(error: unknown): boolean {
  return types.isNativeError(error) && 'code' in error && WRITE_REFUSALS.has(error.code);
}

/** Repeats what got lost until it is answered, or no server is found: then an election has taken too long. */
export function retryingLost<Result>(statement: () => Promise<Result>, milliseconds: number): Promise<Result> {
  return retryingUntil(systemClock.steady() + milliseconds, statement, isLost);
}

/** Repeats what fails, or fails in one way, until that time of the system's steady clock. */
export async function retryingUntil<Result>(
  until: number,
  statement: () => Promise<Result>,
  isRepeated: (error: unknown) => boolean = () => true,
): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await statement();
    } catch (error) {
      if (!isRepeated(error) || systemClock.steady() > until) throw error;
      await pauseBefore(attempt);
    }
  }
}

/** Without the error itself as the cause: a failed bulk write carries the documents, and bodies never reach a log. */
export function toStoreError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  return new StoreError(messageOf(error), {
    isFull: error instanceof MongoServerError && error.code === OUT_OF_DISK_SPACE,
  });
}

export function closedError(): StoreError {
  return new StoreError('the store is closed');
}

/** A server's sentence about a duplicate names keys; all others are about the server. */
export function messageOf(error: unknown): string {
  if (isDuplicate(error)) return 'a key was taken by another write again and again';
  if (error instanceof MongoError) return `${error.name}: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}
