/** The only place that writes an error over HTTP. */
import type { ErrorRequestHandler, Request, RequestHandler } from 'express';
import type { Logger } from '../services/logger';
import type { Metrics } from '../services/metrics';
import { AppError, type ErrorCode, toAppError, toProblem } from '../utils/errors';
import { requestIdOf } from './request';

/** Scheme, host and port under which the client reached the service. */
export function originOf(request: Request): string {
  return request.headers.host === undefined ? '' : `${request.protocol}://${request.headers.host}`;
}

export function renderError(logger: Logger, metrics: Metrics): ErrorRequestHandler {
  return (thrown: unknown, request, response, next) => {
    const error = fromLibrary(thrown) ?? toAppError(thrown);
    metrics.refusals.inc({ code: error.code });
    if (error.status >= 500)
      logger.error({ err: error.cause ?? error, requestId: requestIdOf(response) }, 'a request failed');
    // The answer has begun: only closing the connection tells the client that it is not whole.
    if (response.headersSent) return next(thrown);
    if (error.retryAfterSeconds !== undefined) response.set('Retry-After', String(error.retryAfterSeconds));
    if (error.status === 401) response.set('WWW-Authenticate', 'Bearer');
    const problem = toProblem(error, { origin: originOf(request), requestId: requestIdOf(response) });
    response.status(error.status).type('application/problem+json').send(JSON.stringify(problem));
  };
}

/** Express and body-parser throw errors of their own that carry a status. Their words may quote the request. */
function fromLibrary(thrown: unknown): AppError | undefined {
  if (thrown instanceof AppError || !(thrown instanceof Error) || !('status' in thrown)) return undefined;
  const kinds = new Map<unknown, [ErrorCode, string]>([
    [400, ['bad_request', 'The request could not be read.']],
    [413, ['body_too_large', 'The body is larger than MAX_BODY_BYTES allows.']],
    [415, ['unsupported_media_type', 'The encoding or character set of the body is not supported.']],
  ]);
  const kind = kinds.get(thrown.status);
  return kind === undefined ? undefined : new AppError(...kind, { cause: thrown });
}

export const refuseUnknownPath: RequestHandler = () => {
  throw new AppError('not_found', 'There is no such path.');
};

/** Answers 405 with the methods that the path has; OPTIONS asks for just these. */
export function refuseOtherMethods(allowed: readonly string[]): RequestHandler {
  return (request, response) => {
    response.set('Allow', allowed.join(', '));
    if (request.method === 'OPTIONS') {
      response.status(204).end();
      return;
    }
    throw new AppError('method_not_allowed', `Allowed here: ${allowed.join(', ')}.`);
  };
}
