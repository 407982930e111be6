/** The answer to callers whose operation failed for another reason than a refusal. */
import { AppError, toAppError } from '../../utils/errors';
import { StoreError } from '../storage/contract';

/** Does not promise that nothing was done: a store that did not answer in time may have done it. */
const NOT_ANSWERED =
  'The store did not answer, or did not accept this. It may have been done: under the same `id` or Idempotency-Key ' +
  'it is done once.';

/**
 * The catalogue error for whatever was thrown. Every door uses it, so an unavailable store reads the same whichever
 * operation needed it.
 */
export function describeFailure(thrown: unknown): AppError {
  if (!(thrown instanceof StoreError)) return toAppError(thrown);
  const options = { cause: thrown };
  return thrown.isFull
    ? new AppError('store_full', 'There is no space left to store the message.', options)
    : new AppError('store_unavailable', NOT_ANSWERED, options);
}
