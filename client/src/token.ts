/** The token, and where the next one comes from. */
import { messageOf, TidingsError } from './errors.ts';

/** A token, or what fetches one: called for the first, before one expires, and when one was refused. */
export type TokenSource = string | (() => string | Promise<string>);

export class Tokens {
  #current: string | undefined;
  #renewal: Promise<string> | undefined;

  constructor(private readonly source: TokenSource) {}

  get isRenewable(): boolean {
    return typeof this.source === 'function';
  }

  /** The last one that is known. */
  get known(): string {
    return this.#current ?? '';
  }

  /** @throws TidingsError `token_failed`. */
  async current(): Promise<string> {
    return this.#current ?? this.renew(undefined);
  }

  /**
   * Another token than this one. Who asks meanwhile gets the same.
   * @throws TidingsError `token_failed`, `other_user`.
   */
  renew(used: string | undefined): Promise<string> {
    if (this.#current !== undefined && this.#current !== used) return Promise.resolve(this.#current);
    this.#renewal ??= this.#fetch().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  async #fetch(): Promise<string> {
    const token = await this.#ask();
    const before = this.#current;
    if (before !== undefined && subjectOf(before) !== subjectOf(token)) {
      throw new TidingsError('other_user', 'The token belongs to another user: close this client and open a new one.');
    }
    this.#current = token;
    return token;
  }

  async #ask(): Promise<string> {
    let token: unknown;
    try {
      token = typeof this.source === 'function' ? await this.source() : this.source;
    } catch (error) {
      throw new TidingsError('token_failed', `No token was given: ${messageOf(error)}`, { cause: error });
    }
    if (typeof token === 'string' && token !== '') return token;
    throw new TidingsError('token_failed', 'token: expected a text that is not empty');
  }
}

/** The user of a token. Nothing is verified: it is a name for what is kept here. */
export function subjectOf(token: string): string | undefined {
  try {
    const payload = token.split('.')[1] ?? '';
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), (char) =>
      char.charCodeAt(0),
    );
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const subject = typeof claims === 'object' && claims !== null && 'sub' in claims ? claims.sub : undefined;
    return typeof subject === 'string' ? subject : undefined;
  } catch {
    // Not a JWT: the service says so.
    return undefined;
  }
}
