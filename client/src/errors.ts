import type { ClosingCode, Problem, ProblemCode } from './protocol.ts';

/** What goes wrong on this side of the wire. */
export type LocalErrorCode =
  /** `close()` was called. */
  | 'closed'
  /** The connection ended before there was an answer: it may have been done or not. */
  | 'connection_lost'
  /** A listener threw; its message is handed to it again. */
  | 'handler_failed'
  /** The callback gave a token of somebody else. */
  | 'other_user'
  | 'storage_failed'
  | 'timeout'
  /** The callback failed, or gave no token. */
  | 'token_failed'
  /** An answer that is not the service's: a proxy's, perhaps. */
  | 'unexpected_answer'
  /** A frame under a name of the service's, in another shape than the service's. It was dropped. */
  | 'unexpected_frame'
  | 'unreachable';

export type TidingsErrorCode = ProblemCode | ClosingCode | LocalErrorCode;

/** Every error of this package. `problem` is what the service said, where it was the service. */
export class TidingsError extends Error {
  readonly code: TidingsErrorCode;
  readonly status: number | undefined;
  readonly problem: Problem | undefined;

  constructor(code: TidingsErrorCode, message: string, options: { cause?: unknown; problem?: Problem } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TidingsError';
    this.code = code;
    this.problem = options.problem;
    this.status = options.problem?.status;
  }
}

export function fromProblem(problem: Problem): TidingsError {
  return new TidingsError(problem.code, problem.detail, { problem });
}

export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Calls somebody else's code, whose failure is reported and stops nothing here. */
export function callSafely(call: () => unknown, report: (error: TidingsError) => void): void {
  const failed = (error: unknown) =>
    report(new TidingsError('handler_failed', `A listener failed: ${messageOf(error)}`, { cause: error }));
  try {
    const result = call();
    if (result instanceof Promise) result.catch(failed);
  } catch (error) {
    failed(error);
  }
}
