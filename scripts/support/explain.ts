/** What went wrong, in a sentence that says what to do. */
import type { Problem } from '../../utils/errors';
import type { Access } from './access';
import { printable } from './text';

type Explain = (problem: Problem, access: Pick<Access, 'isTokenLocal'>) => string;

const EXPLANATIONS: ReadonlyMap<string, Explain> = new Map<string, Explain>([
  [
    'token_expired',
    () => 'The token has expired: make a new one with npm run token -- --sub NAME, or get one from its issuer.',
  ],
  ['token_revoked', () => 'The token was revoked: get a newer one, with npm run token or from its issuer.'],
  ['unauthorized', explainRefusedToken],
  ['insufficient_scope', explainMissingScope],
  ['message_too_large', ({ detail }) => `The message is too large: ${detail}`],
  [
    'body_too_large',
    () =>
      'The message is too large, MAX_BODY_BYTES and MAX_MESSAGE_BYTES set the limits: send a reference to the content instead.',
  ],
  ['bad_request', explainBadInput],
  ['not_found', explainNothingThere],
  ['rate_limited', explainRate],
  ['too_many_connections', explainTooMany],
  ['going_away', () => 'The service is stopping or starting: try again in a few seconds.'],
  ['overloaded', () => 'The service is short of memory: try again in a few seconds.'],
  ['not_a_member', ({ detail }) => `${detail} Or send with a token that has scope send: it may write to every topic.`],
]);

/** A refusal of the service. */
export function explainProblem(problem: Problem, access: Pick<Access, 'isTokenLocal'>): string {
  const explain = EXPLANATIONS.get(problem.code) ?? explainOther;
  return printable(explain(problem, access));
}

function explainOther({ code, detail, requestId, status }: Problem): string {
  const where = status >= 500 && requestId !== undefined ? `, in the log under ${requestId}` : '';
  return `The service refused this (${code}${where}): ${detail}`;
}

function explainRefusedToken({ detail }: Problem, { isTokenLocal }: Pick<Access, 'isTokenLocal'>): string {
  return isTokenLocal
    ? `${detail} It was made with the secret found here, and the service uses another: set its JWT_SECRET or DATA_DIR, or give --token.`
    : `${detail} Make one with npm run token where the service runs, or get one from its issuer.`;
}

function explainMissingScope({ detail }: Problem): string {
  const scope = /scope `(\w+)`/.exec(detail)?.[1] ?? 'admin';
  return `The token lacks the scope ${scope}: make one with npm run token -- --sub NAME --scope ${scope}.`;
}

function explainNothingThere(problem: Problem): string {
  if (problem.errors?.[0]?.path !== 'name') return explainOther(problem);
  return 'There is no such topic, or it is private and the sender is not a member: check --topic, or create it with POST /topics.';
}

/** Fields of a request whose option has another name. */
const OPTION_NAMES = new Map([
  ['userId', 'to'],
  ['userIds', 'to'],
  ['name', 'topic'],
  ['exceptUserId', 'except-user'],
  ['persist', 'live-only'],
  ['Idempotency-Key', 'idempotency-key'],
]);

function explainBadInput({ errors = [], detail }: Problem): string {
  const fields = errors.filter(({ path }) => path !== '');
  if (fields.length === 0) return `The service cannot read this: ${detail}`;
  return `${fields.map(({ path, message }) => `${optionOf(path)} ${message}`).join('; ')}.`;
}

function optionOf(path: string): string {
  const [field = ''] = path.split('.');
  return `--${OPTION_NAMES.get(field) ?? field.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function explainRate({ detail, retryInMs = 1_000 }: Problem): string {
  return `${detail} Try again in ${retryInMs / 1_000} s, or raise the limit.`;
}

function explainTooMany({ detail }: Problem): string {
  return `${detail} Close some, or raise the limit.`;
}

/** A handshake that was refused before its token was read. */
const HANDSHAKE_REFUSALS: ReadonlyMap<string, string> = new Map([
  ['rate_limited', 'Too many new connections per second (HANDSHAKES_PER_SECOND): try again, or raise the limit.'],
  [
    'too_many_connections',
    'Too many open connections (MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS): close some, or raise the limit.',
  ],
  ['going_away', 'The service is stopping or starting: try again in a few seconds.'],
  ['overloaded', 'The service is short of memory: try again in a few seconds.'],
]);

export function explainHandshakeRefusal(code: string): string {
  return HANDSHAKE_REFUSALS.get(code) ?? `The service refused the connection (${printable(code)}).`;
}

/** What ends a connection for good, by closing code. */
const ENDINGS: ReadonlyMap<string, string> = new Map([
  ['token_expired', 'The token has expired: make a new one with npm run token -- --sub NAME.'],
  ['revoked', 'The token was revoked: get a new one.'],
  ['disconnected', 'An administrator closed the connection.'],
  ['logged_out', 'The user logged out on this device.'],
  ['rate_limited', 'The service closed the connection: too many events per second (SOCKET_EVENTS_PER_SECOND).'],
  ['too_many_connections', 'The user has too many open connections (MAX_CONNECTIONS_PER_USER): close some.'],
]);

export function explainEnding(code: string, reason: string): string {
  return ENDINGS.get(code) ?? printable(`The service closed the connection (${code}): ${reason}`);
}

const UNTRUSTED = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_HAS_EXPIRED',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

const FAULTS: ReadonlyMap<string, (origin: string) => string> = new Map<string, (origin: string) => string>([
  [
    'ECONNREFUSED',
    (origin) => `Nothing listens at ${origin}: start the service with npm start, or give its address with --url.`,
  ],
  ['ENOTFOUND', explainUnknownHost],
  ['EAI_AGAIN', explainUnknownHost],
  ['ETIMEDOUT', (origin) => `${origin} does not answer: check --url, and that the service is running.`],
  ['ECONNRESET', explainNoAnswer],
  ['EPIPE', explainNoAnswer],
  ['EPROTO', (origin) => `${origin} does not speak https: try http:// in --url.`],
  ['EMFILE', () => 'This process may not open more connections: raise the limit with ulimit -n, or use fewer.'],
]);

function explainUnknownHost(origin: string): string {
  return `The host of ${origin} cannot be resolved: check --url.`;
}

function explainNoAnswer(origin: string): string {
  return `${origin} closed the connection without an answer: check --url with its scheme, and that the service listens there.`;
}

/** A request or connection that got no answer. */
export function explainFault(fault: unknown, origin: string): string {
  const code = faultCodeOf(fault);
  const explain = FAULTS.get(code);
  if (explain !== undefined) return explain(origin);
  if (code.startsWith('HPE_')) return explainStranger(origin, 'it does not speak HTTP');
  if (code.startsWith('ERR_SSL')) return `${origin} does not speak https: try http:// in --url.`;
  if (UNTRUSTED.has(code)) {
    return `The certificate of ${origin} is not trusted (${code}): NODE_EXTRA_CA_CERTS=FILE adds an authority.`;
  }
  return `${origin} cannot be reached (${printable(code)}).`;
}

/** The code of a system error, or its text if it has none. */
export function faultCodeOf(fault: unknown): string {
  const { name, code, message } = fault as { name?: string; code?: unknown; message?: string };
  if (name === 'TimeoutError') return 'ETIMEDOUT';
  return typeof code === 'string' ? code : String(message);
}

/** Something else answers where the service was expected. */
export function explainStranger(origin: string, what: string): string {
  return printable(`What answers at ${origin} is not the service (${what}): check --url.`);
}
