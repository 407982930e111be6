/** Requests over HTTP, with the same token. */
import type { Address } from './address.ts';
import { fromProblem, messageOf, TidingsError } from './errors.ts';
import { isProblem, type Shape } from './shapes.ts';
import { after } from './timing.ts';
import type { Tokens } from './token.ts';

const TIMEOUT_MS = 20_000;

type Query = Readonly<Record<string, string | number | undefined>>;

export class Rest {
  /** Requests in progress. */
  readonly #requests = new Set<AbortController>();
  #isClosed = false;

  constructor(
    private readonly address: Address,
    private readonly tokens: Tokens,
  ) {}

  /** @throws TidingsError: the service's problem, `unreachable`, `unexpected_answer`, `closed`. */
  async get<Answer>(path: string, shape: Shape<Answer>, query: Query = {}): Promise<Answer> {
    if (this.#isClosed) throw closed();
    const url = this.address.origin + this.address.path + path + toQuery(query);
    const token = await this.tokens.current();
    const answer = await this.#ask(url, token);
    if (answer.status !== 401 || !this.tokens.isRenewable) return read(answer, shape);
    return read(await this.#ask(url, await this.tokens.renew(token)), shape);
  }

  async #ask(url: string, token: string): Promise<Answered> {
    const abort = new AbortController();
    const timer = after(TIMEOUT_MS, () => abort.abort());
    this.#requests.add(abort);
    try {
      if (this.#isClosed) abort.abort();
      const headers = { Authorization: `Bearer ${token}` };
      // In a variable: Node's types do not know `cache`.
      const request = { headers, cache: 'no-store', signal: abort.signal } as const;
      const response = await fetch(url, request);
      return { path: pathOf(url), status: response.status, text: await response.text() };
    } catch (error) {
      if (this.#isClosed) throw closed();
      throw new TidingsError('unreachable', `${pathOf(url)}: ${messageOf(error)}`, { cause: error });
    } finally {
      clearTimeout(timer);
      this.#requests.delete(abort);
    }
  }

  /** Aborts the requests in progress. */
  close(): void {
    this.#isClosed = true;
    for (const request of this.#requests) request.abort();
  }
}

function closed(): TidingsError {
  return new TidingsError('closed', 'The client was closed.');
}

interface Answered {
  readonly path: string;
  readonly status: number;
  readonly text: string;
}

function read<Answer>({ path, status, text }: Answered, shape: Shape<Answer>): Answer {
  const body = parse(text);
  if (status === 200 && shape(body)) return body;
  if (isProblem(body)) throw fromProblem(body);
  throw new TidingsError('unexpected_answer', `${path} was answered ${status}, and not by the service`);
}

/** By hand: React Native's URLSearchParams cannot be written to. */
function toQuery(query: Query): string {
  const given = Object.entries(query).filter((entry): entry is [string, string | number] => entry[1] !== undefined);
  const text = given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
  return text === '' ? '' : `?${text}`;
}

/** The request, for errors: without the query, which contains names of topics. */
function pathOf(url: string): string {
  return url.replace(/^https?:\/\/[^/]+|\?.*$/g, '');
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Perhaps the page of a proxy: the caller says what was expected.
    return undefined;
  }
}
