/** The answer to callers whose operation failed for another reason than a refusal. */
import { AppError, toAppError } from '../../utils/errors';
import { StoreError } from '../storage/contract';

/** Does not promise that nothing was done: a store that did not answer in time may have done it. */
const NOT_ANSWERED =
  'The store did not answer in time, or refused the write: this may or may not have been done. Repeat it with the ' +
  'same `id` or Idempotency-Key, and it is done once.';

/**
 * The catalogue error for whatever was thrown. Every door uses it, so an unavailable store reads the same whichever
 * operation needed it.
 */
export function describeFailure(thrown: unknown): AppError {
  if (!(thrown instanceof StoreError)) return toAppError(thrown);
  const options = { cause: thrown };
  return thrown.isFull
    ? new AppError('store_full', 'The store has no space left: ask the operator to make room.', options)
    : new AppError('store_unavailable', NOT_ANSWERED, options);
}
