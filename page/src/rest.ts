/** Requests over HTTP, each logged with its answer and the time it took. */
import type { Problem } from '../../client/src/index.ts';
import { explainNoAnswer, explainProblem } from './explain.ts';
import { readServer, readToken } from './fields.ts';
import { formatMs } from './format.ts';
import { log } from './log.ts';
import { PageError, StaleError } from './page-error.ts';
import { currentSession } from './session.ts';

const TIMEOUT_MS = 15_000;

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  readonly base: string;
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

export interface Exchange {
  readonly response: Response;
  readonly answer: unknown;
  /** The sentence of a refusal; '' when there is none. */
  readonly failure: string;
  readonly ms: number;
}

export const tokenOf = {
  service: () => readToken('service-token') || readToken('token'),
  own: () => readToken('token') || readToken('service-token'),
};

/** All headers of a request, with the token. */
export function headersOf({ token = '', headers = {}, body }: HttpRequest): Record<string, string> {
  const sent: Record<string, string> = { ...headers };
  if (token !== '') sent['Authorization'] = `Bearer ${token}`;
  if (body !== undefined) sent['Content-Type'] = 'application/json';
  return sent;
}

/** @throws PageError when there is no answer. */
export async function exchange(request: HttpRequest): Promise<Exchange> {
  const { method, path } = request;
  const sentAt = performance.now();
  const { response, text } = await fetchOrExplain(request);
  const ms = performance.now() - sentAt;
  const answer = parseAnswer(text);
  const failure = findFailure(response, answer);
  const note = [`→ ${response.status}, ${formatMs(ms)}`, failure].filter((part) => part !== '').join(': ');
  log(`${method} ${path}`, { kind: failure === '' ? 'rest' : 'error', note, payloads: text === '' ? [] : [answer] });
  return { response, answer, failure, ms };
}

async function fetchOrExplain(request: HttpRequest): Promise<{ readonly response: Response; readonly text: string }> {
  const { method, path, base, body } = request;
  const init: RequestInit = { method, headers: headersOf(request), cache: 'no-store', credentials: 'omit' };
  if (body !== undefined) init.body = JSON.stringify(body);
  try {
    const response = await fetch(base + path, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return { response, text: await response.text() };
  } catch {
    const sentence = await explainNoAnswer(base);
    log(`${method} ${path}`, { kind: 'error', note: sentence });
    throw new PageError(sentence);
  }
}

function parseAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function findFailure(response: Response, answer: unknown): string {
  if (response.ok) return '';
  if (typeof answer !== 'object' || answer === null) {
    return `The answer is ${response.status} and not JSON. Is the server URL the address of this service?`;
  }
  const wait = response.headers.get('retry-after');
  const sentence = explainProblem({ ...(answer as Partial<Problem>), status: response.status });
  return wait === null ? sentence : `${sentence} Try again in ${wait} s.`;
}

/** For the page's own needs: the user's token, and only the answer. */
export async function callOwn<Answer>(method: string, path: string): Promise<Answer> {
  const session = currentSession();
  const request = { method, path, base: session?.base ?? readServer(), token: session?.token ?? readToken('token') };
  const { answer, failure } = await exchange(request);
  if (session !== currentSession()) throw new StaleError();
  if (failure !== '') throw new PageError(failure);
  return answer as Answer;
}
