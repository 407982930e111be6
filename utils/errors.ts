/**
 * The catalogue of errors: one entry for each code that a client can receive, over HTTP, in a socket acknowledgement or
 * in `connect_error`. docs/reference/errors.md has one heading for each code; a test compares the two.
 */
interface ErrorKind {
  /** HTTP status of the answer; also given in the problem sent over a socket. */
  readonly status: number;
  /** The same short sentence for every occurrence (RFC 9457 `title`). */
  readonly title: string;
  /**
   * Whether an error is worth repeating: seconds after which the same request may succeed. Nothing else decides it:
   * `Retry-After` and `retryInMs` come from here, and tests compare the client package and the documents with it.
   * Absent: repeating gives the same answer.
   */
  readonly retryAfterSeconds?: number;
  /** It may have been carried out: only requests with an `id` or an `Idempotency-Key` may be repeated. */
  readonly mayBeDone?: true;
}

/** Somebody has to leave, a disk or a database to recover, a node to start. */
const SOON = 5;
/** Limits that are counted per second, and requests that are about to end. */
const AT_ONCE = 1;

export const ERROR_KINDS = {
  bad_request: { status: 400, title: 'The request is not valid' },
  invalid_json: { status: 400, title: 'The body is not valid JSON' },
  unknown_event: { status: 400, title: 'There is no such event' },
  ambiguous_name: { status: 400, title: 'The name is both a topic and a user' },
  unauthorized: { status: 401, title: 'A valid token is required' },
  token_expired: { status: 401, title: 'The token has expired' },
  token_revoked: { status: 401, title: 'The token was revoked' },
  insufficient_scope: { status: 403, title: 'The token lacks a scope' },
  direct_messages_off: { status: 403, title: 'Users cannot send messages to each other here' },
  topic_creation_off: { status: 403, title: 'Users cannot create topics here' },
  invitee_full: { status: 403, title: 'The user has been added to too many topics' },
  forbidden: { status: 403, title: 'The caller may not do this' },
  not_a_member: { status: 403, title: 'Only members may do this' },
  too_many_topics: { status: 403, title: 'The user is in too many topics' },
  too_many_scheduled: { status: 403, title: 'The user has scheduled too many messages' },
  origin_not_allowed: { status: 403, title: 'This origin may not connect' },
  not_found: { status: 404, title: 'Not found' },
  method_not_allowed: { status: 405, title: 'This method is not allowed here' },
  request_timeout: { status: 408, title: 'The request took too long to arrive', retryAfterSeconds: AT_ONCE },
  topic_taken: { status: 409, title: 'A topic has this name already' },
  name_taken: { status: 409, title: 'A user has this name already' },
  owner_cannot_leave: { status: 409, title: 'The owner cannot leave a topic' },
  request_in_progress: { status: 409, title: 'The first request is still running', retryAfterSeconds: AT_ONCE },
  ambiguous_id: { status: 409, title: 'Several messages have this id' },
  body_too_large: { status: 413, title: 'The body is too large' },
  batch_too_large: { status: 413, title: 'The batch has too many items' },
  message_too_large: { status: 413, title: 'The message is too large' },
  unsupported_media_type: { status: 415, title: 'The body has an unsupported type' },
  idempotency_conflict: { status: 422, title: 'This id or key was already used for something else' },
  rate_limited: { status: 429, title: 'Too many requests', retryAfterSeconds: AT_ONCE },
  too_many_connections: { status: 429, title: 'Too many connections', retryAfterSeconds: SOON },
  headers_too_large: { status: 431, title: 'The request headers are too large' },
  internal: { status: 500, title: 'Something went wrong in the service', retryAfterSeconds: SOON, mayBeDone: true },
  store_unavailable: { status: 503, title: 'The store cannot be written', retryAfterSeconds: SOON, mayBeDone: true },
  going_away: { status: 503, title: 'The service is stopping', retryAfterSeconds: SOON },
  overloaded: { status: 503, title: 'The service is short of memory', retryAfterSeconds: SOON },
  store_full: { status: 507, title: 'The store is full', retryAfterSeconds: SOON },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_KINDS;

/** The catalogue's entry for a code. */
export function kindOf(code: ErrorCode): ErrorKind {
  return ERROR_KINDS[code];
}

/** One refused field: `path` as in `userIds.3`, or `''` for the whole input. */
export interface FieldError {
  readonly path: string;
  readonly message: string;
}

export interface AppErrorOptions {
  readonly errors?: readonly FieldError[];
  /** A more precise time than the catalogue's, for an error that is worth repeating. */
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/** The only error that operations throw deliberately. Its `detail` is shown to the caller. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly errors: readonly FieldError[] | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, detail: string, options: AppErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.errors = options.errors;
    const { retryAfterSeconds } = kindOf(code);
    this.retryAfterSeconds = retryAfterSeconds && (options.retryAfterSeconds ?? retryAfterSeconds);
  }

  get status(): number {
    return ERROR_KINDS[this.code].status;
  }
}

/** Problem details (RFC 9457) as every door sends them. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  /** When a retry makes sense; over HTTP, `Retry-After` says the same. */
  readonly retryInMs?: number;
  readonly requestId?: string;
  readonly errors?: readonly FieldError[];
}

/**
 * Describes an error as a problem.
 * @param where `origin`: scheme, host and port under which the client reached the service; `''` gives a relative link.
 */
export function toProblem(error: AppError, where: { origin: string; requestId?: string }): Problem {
  const kind = ERROR_KINDS[error.code];
  return {
    type: `${where.origin}/docs/errors#${error.code}`,
    title: kind.title,
    status: kind.status,
    detail: error.message,
    code: error.code,
    ...(error.retryAfterSeconds === undefined ? {} : { retryInMs: error.retryAfterSeconds * 1_000 }),
    ...(where.requestId === undefined ? {} : { requestId: where.requestId }),
    ...(error.errors === undefined ? {} : { errors: error.errors }),
  };
}

/** The header that says when to repeat the request, where that helps. */
export function retryHeader({ retryAfterSeconds }: AppError): Readonly<Record<string, string>> {
  return retryAfterSeconds === undefined ? {} : { 'Retry-After': String(retryAfterSeconds) };
}

/** Turns whatever was thrown into an AppError; anything not thrown deliberately becomes `internal` without details. */
export function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  return new AppError('internal', 'The service failed to handle this, and has logged why.', { cause: thrown });
}

/** A refusal of one field or header. @param detail the whole sentence, if the message alone is not one. */
export function refuseField(code: ErrorCode, path: string, message: string, detail?: string): AppError {
  const errors = [{ path, message }];
  return new AppError(code, detail ?? sentenceOf(errors), { errors });
}

/** A refusal of several fields at once: `type is required; data must be an object.` */
export function refuseFields(errors: readonly FieldError[]): AppError {
  return new AppError('bad_request', sentenceOf(errors), { errors });
}

/** Messages are what follows the name of the field: `is required`, `must be a string`. */
function sentenceOf(errors: readonly FieldError[]): string {
  return `${errors.map(({ path, message }) => `${path === '' ? 'The input' : path} ${message}`).join('; ')}.`;
}

/** Also for a private topic, to users who are not members. @param path the field that names the topic. */
export function noTopic(path: string): AppError {
  return refuseField('not_found', path, 'there is no such topic', 'There is no such topic, or it is private.');
}

/**
 * Runs `work`; its refusals name fields as the client sent them.
 * @param names from the operation's name of a field to the client's.
 */
export async function withFieldNames<Answer>(
  names: ReadonlyMap<string, string>,
  work: () => Promise<Answer>,
): Promise<Answer> {
  try {
    return await work();
  } catch (error) {
    throw renameFields(error, names);
  }
}

function renameFields(thrown: unknown, names: ReadonlyMap<string, string>): unknown {
  if (!(thrown instanceof AppError) || thrown.errors === undefined) return thrown;
  const { code, errors, retryAfterSeconds } = thrown;
  const renamed = errors.map(({ path, message }) => ({ path: names.get(path) ?? path, message }));
  const detail = thrown.message === sentenceOf(errors) ? sentenceOf(renamed) : thrown.message;
  return new AppError(code, detail, {
    errors: renamed,
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  });
}

/** A field with a bad value, the most frequent error. */
export function badField(path: string, message: string): AppError {
  return refuseField('bad_request', path, message);
}

/** Several senders have used an id, and the caller may mean any of them. */
export function ambiguousId(): AppError {
  return refuseField('ambiguous_id', 'id', 'was used by several senders: say whose you mean with ?from=<userId>');
}
