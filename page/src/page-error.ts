import { TidingsError } from '../../client/src/index.ts';
import { explainError } from './explain.ts';

/** Its message is a sentence for the person at the page. */
export class PageError extends Error {}

/** The request belongs to a connection that has been given up: there is nothing to say. */
export class StaleError extends PageError {}

/** A field that cannot be read: the sentence names it, and the focus may go there. */
export class FieldError extends PageError {
  constructor(
    readonly field: string,
    message: string,
  ) {
    super(message);
  }
}

/** Faults of this page itself are rethrown: they belong in the console. */
export function sentenceOf(error: unknown): string {
  if (error instanceof PageError) return error.message;
  if (error instanceof TidingsError) return explainError(error);
  throw error;
}
