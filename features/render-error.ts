/** The only place that writes an error over HTTP. */
import { randomUUID } from 'node:crypto';
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ErrorRequestHandler, RequestHandler } from 'express';
import { CLOSE_TIMEOUT_MS } from '../services/delivery/connections';
import { describeFailure } from '../services/observability/describe-failure';
import type { Logger } from '../services/observability/logger';
import type { Metrics } from '../services/observability/metrics';
import { answerUnderWay } from '../services/sockets/answer-under-way';
import type { Clock } from '../utils/clock';
import { AppError, type ErrorCode, retryHeader, toProblem } from '../utils/errors';
import type { Clients } from '../utils/proxies';
import { isShownToPerson } from './not-found-page';
import { requestIdOf } from './request';

const NO_ROUTE = 'There is no route at this path: GET /openapi.json lists all of them.';
const PROBLEM_TYPE = 'application/problem+json';

export function renderError(logger: Logger, metrics: Metrics, clients: Clients): ErrorRequestHandler {
  return (thrown: unknown, request, response, next) => {
    const error = fromLibrary(thrown) ?? describeFailure(thrown);
    metrics.refusals.inc({ code: error.code });
    if (error.status >= 500)
      logger.error({ err: error.cause ?? error, requestId: requestIdOf(response) }, 'a request failed');
    // The answer has begun: only closing the connection shows the client that it is incomplete.
    if (response.headersSent) {
      response.destroy();
      return;
    }
    response.set(retryHeader(error));
    if (error.status === 401) response.set('WWW-Authenticate', 'Bearer');
    // If a route exists, this is the answer of its operation, whoever asks.
    if (error.status === 404 && request.route === undefined && isShownToPerson(request, response, next)) return;
    const problem = toProblem(error, { origin: clients.linkBase(request), requestId: requestIdOf(response) });
    response.status(error.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
  };
}

/** Errors of Express and body-parser carry a status. Their messages may quote the request. */
function fromLibrary(thrown: unknown): AppError | undefined {
  if (thrown instanceof AppError || !(thrown instanceof Error) || !('status' in thrown)) return undefined;
  const kinds = new Map<unknown, [ErrorCode, string]>([
    [400, ['bad_request', 'The request is malformed: check its path, its headers and its body.']],
    [413, ['body_too_large', 'The body is larger than MAX_BODY_BYTES allows.']],
    [415, ['unsupported_media_type', 'The encoding or character set of the body is not supported.']],
  ]);
  const kind = kinds.get(thrown.status);
  if (kind === undefined) return undefined;
  const [code, detail] = kind;
  const errors = thrown.status === 400 ? { errors: [{ path: '', message: 'is malformed' }] } : {};
  return new AppError(code, detail, { cause: thrown, ...errors });
}

export const refuseUnknownPath: RequestHandler = () => {
  throw new AppError('not_found', NO_ROUTE);
};

/** Answers 405 with the methods of the path; OPTIONS asks for exactly these. */
export function refuseOtherMethods(allowed: readonly string[]): RequestHandler {
  return (request, response) => {
    response.set('Allow', allowed.join(', '));
    if (request.method === 'OPTIONS') {
      response.status(204).end();
      return;
    }
    throw new AppError('method_not_allowed', `This path takes only ${allowed.join(', ')}.`);
  };
}

/** Answers a request whose target is no URL, such as `http://[`. */
export function refuseTarget(metrics: Metrics, clients: Clients) {
  return (request: IncomingMessage, response: ServerResponse): void => {
    const error = new AppError('not_found', NO_ROUTE);
    metrics.refusals.inc({ code: error.code });
    const requestId = randomUUID();
    const problem = toProblem(error, { origin: clients.linkBase(request), requestId });
    response
      .writeHead(error.status, { 'Content-Type': PROBLEM_TYPE, 'X-Request-Id': requestId })
      .end(JSON.stringify(problem));
  };
}

function toRefusal({ code }: NodeJS.ErrnoException): AppError {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new AppError(
      'headers_too_large',
      'The headers of the request are too large: shorten the token, the cookies or the query.',
    );
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new AppError('request_timeout', 'The request took too long to arrive.');
  }
  return new AppError('bad_request', 'This is not a valid HTTP request.');
}

/** Would a write now be taken for a part of this answer, or for the answer to an earlier request? */
function isOfAnother(answer: ServerResponse | undefined): boolean {
  return answer !== undefined && (answer.headersSent || answer.req.complete);
}

/** Answers what Node could not read as a request: too large headers, too slow ones, or no HTTP at all. */
export function refuseUnreadable(metrics: Metrics, clock: Clock) {
  return (fault: NodeJS.ErrnoException, socket: Duplex): void => {
    if (!socket.writable || fault.code === 'ECONNRESET' || isOfAnother(answerUnderWay(socket))) {
      socket.destroy();
      return;
    }
    const error = toRefusal(fault);
    metrics.refusals.inc({ code: error.code });
    const body = JSON.stringify(toProblem(error, { origin: '', requestId: randomUUID() }));
    const head = [
      `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status]}`,
      `Content-Type: ${PROBLEM_TYPE}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
      ...Object.entries(retryHeader(error)).map(([name, value]) => `${name}: ${value}`),
    ];
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
    // Not at once: unread input would make it a reset, and the answer might not arrive.
    const deadline = clock.after(CLOSE_TIMEOUT_MS, () => socket.destroy());
    socket.once('close', () => deadline.cancel());
  };
}
