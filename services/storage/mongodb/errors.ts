/** Errors of the driver, as the contract wants them. */
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
/** A socket that is closed or about to close. */
const WRITE_REFUSALS: ReadonlySet<unknown> = new Set(['EPIPE', 'ECONNRESET', 'ERR_STREAM_WRITE_AFTER_END']);

/** Was a write refused only because its key exists? It may be what the write itself has stored. */
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

/** Of two simultaneous upserts one fails with a duplicate, and finds the document when it is repeated. */
export async function retryingDuplicates<Result>(write: () => Promise<Result>): Promise<Result> {
  try {
    return await write();
  } catch (error) {
    if (!isDuplicate(error)) throw error;
    return write();
  }
}

/** Was a statement or its answer lost, which the driver repeats once at most? A silent server had its time. */
export function isLost(error: unknown): boolean {
  // A write of many documents wraps what went wrong on the way.
  const reason: unknown = error instanceof MongoBulkWriteError ? error.errorResponse : error;
  if (reason instanceof MongoNetworkTimeoutError) return false;
  // The driver passes on errors of sockets as they are.
  const isOfSocket = types.isNativeError(reason) && 'code' in reason && WRITE_REFUSALS.has(reason.code);
  if (reason instanceof MongoNetworkError || isOfSocket) return true;
  return error instanceof MongoError && error.hasErrorLabel(MongoErrorLabel.RetryableWriteError);
}

/** Repeats lost statements until they are answered, or no server is found because an election takes too long. */
export function retryingLost<Result>(statement: () => Promise<Result>, milliseconds: number): Promise<Result> {
  return retryingUntil(systemClock.steady() + milliseconds, statement, isLost);
}

/** Repeats failing statements until a time of the steady clock of the system. */
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

/** Without the cause: a failed bulk write carries documents, and bodies never reach a log. */
export function toStoreError(error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  return new StoreError(messageOf(error), {
    isFull: error instanceof MongoServerError && error.code === OUT_OF_DISK_SPACE,
  });
}

export function closedError(): StoreError {
  return new StoreError('the store is closed');
}

/** Errors about duplicates name keys; all others are about the server. */
export function messageOf(error: unknown): string {
  if (isDuplicate(error)) return 'a key was taken by another write again and again';
  if (error instanceof MongoError) return `${error.name}: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}
