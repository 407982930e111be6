/** What is asked over HTTP, with the same token. */
import type { Address } from './address.ts';
import { fromProblem, isProblem, messageOf, TidingsError } from './errors.ts';
import type { Tokens } from './token.ts';

export class Rest {
  readonly #abort = new AbortController();

  constructor(
    private readonly address: Address,
    private readonly tokens: Tokens,
  ) {}

  /** @throws TidingsError: what the service said, `unreachable`, `unexpected_answer`, `closed`. */
  async get<Answer>(path: string, query: Readonly<Record<string, string | number | undefined>> = {}): Promise<Answer> {
    const url = new URL(this.address.origin + this.address.path + path);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const token = await this.tokens.current();
    const answer = await this.#ask(url, token);
    if (answer.status !== 401 || !this.tokens.isRenewable) return read<Answer>(answer);
    return read<Answer>(await this.#ask(url, await this.tokens.renew(token)));
  }

  async #ask(url: URL, token: string): Promise<Response> {
    try {
      const headers = { Authorization: `Bearer ${token}` };
      // Named first: Node's types do not know `cache`.
      const request = { headers, cache: 'no-store', signal: this.#abort.signal } as const;
      return await fetch(url, request);
    } catch (error) {
      if (this.#abort.signal.aborted) throw new TidingsError('closed', 'The client was closed.');
      throw new TidingsError('unreachable', `${url.pathname}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Gives up what is under way. */
  close(): void {
    this.#abort.abort();
  }
}

async function read<Answer>(response: Response): Promise<Answer> {
  const body: unknown = await response.json().catch((error: unknown) => error);
  if (response.ok && !(body instanceof Error)) return body as Answer;
  if (isProblem(body)) throw fromProblem(body);
  throw new TidingsError('unexpected_answer', `${response.url} answered ${response.status} without a problem`);
}
