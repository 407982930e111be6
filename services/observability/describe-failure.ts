/** What the callers of operations are told when something else than a refusal has stopped them. */
import { AppError, toAppError } from '../../utils/errors';
import { StoreError } from '../storage/contract';

/** Never that nothing was done: a store that did not answer in time may have done it. */
const NOT_ANSWERED =
  'The store did not answer, or did not accept this. It may have been done: under the same `id` or Idempotency-Key ' +
  'it is done once.';

/**
 * The error of the catalogue for whatever was thrown. Every door asks here, so that a store that is away is told in the
 * same words whichever operation needed it.
 */
export function describeFailure(thrown: unknown): AppError {
  if (!(thrown instanceof StoreError)) return toAppError(thrown);
  const options = { cause: thrown };
  return thrown.isFull
    ? new AppError('store_full', 'There is no space left to store the message.', options)
    : new AppError('store_unavailable', NOT_ANSWERED, options);
}
