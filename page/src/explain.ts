/** Errors as sentences that say what to do. */
import type { Problem, TidingsError } from '../../client/src/index.ts';
import { DEVELOPMENT_USERS } from './development-users.ts';

const PROBE_TIMEOUT_MS = 3_000;

export const OR_CHOOSE_ONE = DEVELOPMENT_USERS.length === 0 ? '' : ', or choose a development token';

const ADVICE_BY_CODE: Readonly<Record<string, string>> = {
  insufficient_scope: `Paste a token that has this scope into "Service token", for the socket into "Token"${OR_CHOOSE_ONE}.`,
  token_expired: `Paste a fresh token${OR_CHOOSE_ONE}.`,
  revoked: `Paste a fresh token${OR_CHOOSE_ONE}.`,
  token_revoked: 'Paste a token that was issued later.',
  unauthorized: 'Paste a valid token; without a configured key the service prints some when it starts.',
  not_a_member: 'Join the topic first.',
  origin_not_allowed: "Add this page's origin to the service's CORS_ORIGIN.",
  too_many_connections: 'Close another connection first.',
  store_full: "Free space on the service's disk.",
};

const ADVICE_BY_STATUS: Readonly<Record<number, string>> = {
  400: 'Correct the input and send it again.',
  401: 'Paste a valid token; without a configured key the service prints some when it starts.',
  403: 'Use a token that is allowed to do this.',
  404: 'Check the name. If it is right, check that the server URL is the address of the service.',
  413: "Send less data, or raise the service's limit.",
  422: 'Use a new id or key for something new.',
  429: 'Wait a little and try again.',
  500: "The service's log says more.",
  503: 'Try again in a moment.',
};

/** What went wrong between this page and the service, if the service did not say. */
const LOCAL_ERRORS: Readonly<Record<string, string>> = {
  timeout: 'The service did not answer: the request may have been carried out or not. Is the connection still up?',
  connection_lost: 'The connection was cut before the answer: the request may have been carried out or not.',
  body_too_large: 'A frame over MAX_BODY_BYTES (1 MiB unless configured) would be cut off: send less.',
  other_user: 'This token belongs to another user. Press Connect to connect as that user.',
};

export function asSentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** A problem (RFC 9457), or the available part of one. */
export function explainProblem({ status, code, detail, title }: Partial<Problem>): string {
  const what = asSentence(detail ?? title ?? 'The service refused this');
  const advice = ADVICE_BY_CODE[code ?? ''] ?? ADVICE_BY_STATUS[status ?? 0] ?? '';
  const name = [status, code].filter((part) => part !== undefined).join(' ');
  return [what, advice, name && `(${name})`].filter((part) => part !== '').join(' ');
}

export function explainError({ code, message, problem }: TidingsError): string {
  if (problem !== undefined) return explainProblem(problem);
  const local = LOCAL_ERRORS[code];
  if (local !== undefined) return local;
  return [asSentence(message), ADVICE_BY_CODE[code] ?? '', `(${code})`].filter((part) => part !== '').join(' ');
}

/**
 * Why a request got no answer. A browser does not distinguish a dead service from one that this page may not talk to.
 */
export async function explainNoAnswer(base: string): Promise<string> {
  const reason = await explainDistance(base);
  return (
    reason ??
    'The connection broke before the answer came: the request may have been carried out or not. A body over MAX_BODY_BYTES is cut off like this; otherwise try again.'
  );
}

/** Why there is no connection. */
export async function explainNoConnection(base: string, { cause }: TidingsError): Promise<string> {
  const reason = await explainDistance(base);
  const status = statusOf(cause);
  if (reason !== undefined && status === undefined) return reason;
  if (status === undefined) return `${base} answers, but lets no connection through. Does a proxy block WebSockets?`;
  return `${base} answered ${status} to the handshake. Is it this service, and does its CORS_ORIGIN allow this page?`;
}

/** The status that refused the handshake, where the browser shows it. */
function statusOf(cause: unknown): number | undefined {
  const { description } = (cause ?? {}) as { readonly description?: unknown };
  return typeof description === 'number' && description >= 400 ? description : undefined;
}

async function explainDistance(base: string): Promise<string | undefined> {
  if (!(await answersAtAll(base))) {
    return `Nothing answers at ${base}. Start the service there (npm start), or correct the server URL.`;
  }
  if (new URL(base).origin === location.origin) return undefined;
  const origin = location.protocol === 'file:' ? '*, because it was opened as a file' : location.origin;
  return `Something answers at ${base}, but this page cannot use it. Correct the server URL if that is another server; if it is this service, its CORS_ORIGIN must allow the page (${origin}), or open the service's own page at ${base}/.`;
}

/** An opaque answer is one. */
async function answersAtAll(base: string): Promise<boolean> {
  try {
    await fetch(`${base}/livez`, { mode: 'no-cors', cache: 'no-store', signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
    return true;
  } catch {
    // Whatever the reason: nothing came back, and that is the answer.
    return false;
  }
}
