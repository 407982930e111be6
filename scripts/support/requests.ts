/** HTTP requests to the service. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { text } from 'node:stream/consumers';
import type { Problem } from '../../utils/errors';
import type { Access } from './access';
import { explainFault, explainHandshakeRefusal, explainProblem, explainStranger, faultCodeOf } from './explain';
import { Failure } from './terminal';

const STANDARD_PATIENCE_MS = 15_000;
const INTERRUPTED = 'Interrupted.';
const OPEN_OUTCOME = 'The message may have been sent anyway: with --id, repeating it is safe.';
/** The connection existed when these happened, so the request may have been carried out. */
const LATE_FAULTS = new Set(['ETIMEDOUT', 'ECONNRESET', 'EPIPE', 'ABORT_ERR']);
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
}

interface Exchange {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
  readonly agent?: HttpAgent;
  readonly patienceMs?: number;
}

/** An agent that keeps its connections, for many requests to one service. */
export function createAgent(origin: string, maxSockets: number): HttpAgent {
  const options = { keepAlive: true, maxSockets };
  return origin.startsWith('https:') ? new HttpsAgent(options) : new HttpAgent(options);
}

/** One request. @throws whatever prevents an answer. */
export function exchange(origin: string, asked: Exchange): Promise<Answer> {
  const { method, path, headers = {}, body, signal, agent, patienceMs = STANDARD_PATIENCE_MS } = asked;
  const request = origin.startsWith('https:') ? httpsRequest : httpRequest;
  const timeout = AbortSignal.timeout(patienceMs);
  return new Promise((resolve, reject) => {
    const fail = (fault: unknown) => reject(timeout.aborted ? timeout.reason : fault);
    const call = request(`${origin}${path}`, {
      method,
      headers: body === undefined ? headers : { ...headers, 'Content-Length': Buffer.byteLength(body) },
      signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
      // Without an agent, its own connection: a kept one may be closed already.
      agent: agent ?? false,
    });
    call.once('response', (response) => void readAnswer(response).then(resolve, fail));
    // A service that refuses a large body answers before it has read it: the answer counts, not the broken pipe.
    call.on('error', fail);
    call.end(body);
  });
}

async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const { statusCode = 0, headers } = response;
  let bytes = 0;
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error('the answer is too long'));
  });
  const [contentType = ''] = (headers['content-type'] ?? '').split(';');
  return { status: statusCode, contentType, headers, text: await text(response) };
}

interface Send extends Pick<Exchange, 'path' | 'headers' | 'patienceMs'> {
  readonly body: object;
  readonly signal: AbortSignal;
}

/**
 * Posts a message, and reads the service's answer.
 * @throws Failure with a sentence for whatever prevents success.
 */
export async function post(
  access: Access,
  { body, headers = {}, signal, ...rest }: Send,
): Promise<{ answer: Record<string, unknown>; headers: IncomingMessage['headers'] }> {
  const given = await exchange(access.origin, {
    ...rest,
    method: 'POST',
    headers: { ...jsonHeaders(access.token()), ...headers },
    body: JSON.stringify(body),
    signal,
  }).catch((fault: unknown) => {
    const sentence = signal.aborted ? INTERRUPTED : explainFault(fault, access.origin);
    throw new Failure(LATE_FAULTS.has(faultCodeOf(fault)) ? `${sentence} ${OPEN_OUTCOME}` : sentence);
  });
  const problem = problemOf(given);
  if (problem !== undefined) throw new Failure(explainProblem(problem, access));
  const answer = given.status < 300 ? parseObject(given) : undefined;
  if (answer?.['success'] !== true) throw new Failure(explainForeignAnswer(access.origin, given));
  return { answer, headers: given.headers };
}

/** Headers of a request with a JSON body. */
export function jsonHeaders(token: string): Record<string, string> {
  return { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
}

/** The service's problem; `undefined` if it is something else. */
export function problemOf(answer: Answer): Problem | undefined {
  if (answer.contentType !== 'application/problem+json') return undefined;
  const problem = parseObject(answer) as Partial<Problem> | undefined;
  return typeof problem?.code === 'string' && typeof problem.detail === 'string' ? (problem as Problem) : undefined;
}

function parseObject({ text }: Answer): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    // Not JSON: something else answers here.
    return undefined;
  }
}

/** What to say about an answer that is not from the service. */
export function explainForeignAnswer(origin: string, { status, contentType, headers }: Answer): string {
  if (status >= 300 && status < 400 && headers.location !== undefined) {
    return explainStranger(origin, `it answers ${status} and points to ${headers.location}`);
  }
  if (status >= 502 && status <= 504) return `A proxy answers at ${origin}, but cannot reach the service (${status}).`;
  return explainStranger(origin, `it answers ${status} with ${contentType === '' ? 'no type' : contentType}`);
}

/** Why a connection cannot be opened: asks once by HTTP, where a refusal can be read. */
export async function explainNoConnection(origin: string): Promise<string> {
  try {
    const answer = await exchange(origin, { method: 'GET', path: '/socket.io/?EIO=4&transport=polling' });
    if (answer.status === 200 && answer.text.startsWith('0{')) {
      return `${origin} answers, but the WebSocket upgrade failed: try again. A proxy in between must pass on Upgrade headers.`;
    }
    const refusal = answer.status === 403 ? parseObject(answer)?.['message'] : undefined;
    return typeof refusal === 'string' ? explainHandshakeRefusal(refusal) : explainForeignAnswer(origin, answer);
  } catch (fault) {
    return explainFault(fault, origin);
  }
}
