import type { ClosingCode, Problem, ProblemCode } from './protocol.ts';

/** What can go wrong on the client's side. */
export type LocalErrorCode =
  /** `close()` was called. */
  | 'closed'
  /** The connection ended before there was an answer: it may have been done or not. */
  | 'connection_lost'
  /** A listener threw; it receives its message again. */
  | 'handler_failed'
  /** The token function returned a token of another user. */
  | 'other_user'
  | 'storage_failed'
  | 'timeout'
  /** The token function failed, or returned no token. */
  | 'token_failed'
  /** The answer is not from the service: perhaps from a proxy. */
  | 'unexpected_answer'
  /** A frame with the name of a service event, but another shape. It was dropped. */
  | 'unexpected_frame'
  | 'unreachable';

export type TidingsErrorCode = ProblemCode | ClosingCode | LocalErrorCode;

/** Every error of this package. `problem` is the service's answer, if the error came from the service. */
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

/** Calls the application's code; a failure is reported and stops nothing here. */
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
