/** The token, and where the next one comes from. */
import { messageOf, TidingsError } from './errors.ts';
import { Patience } from './timing.ts';

/**
 * A token, or a function that fetches one: called for the first token, before one expires, and when one was refused.
 */
export type TokenSource = string | (() => string | Promise<string>);

/** The claim that names the user, unless the service is configured otherwise (JWT_USER_CLAIM). */
const DEFAULT_USER_CLAIM = 'sub';
/** How long a function may take to return a token. */
const TOKEN_PATIENCE_MS = 20_000;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]*$/;

export class Tokens {
  #current: string | undefined;
  #renewal: Promise<string> | undefined;
  readonly #patience = new Patience();

  constructor(
    private readonly source: TokenSource,
    private readonly userClaim = DEFAULT_USER_CLAIM,
  ) {}

  get isRenewable(): boolean {
    return typeof this.source === 'function';
  }

  /** The last known token. */
  get known(): string {
    return this.#current ?? '';
  }

  /** @throws TidingsError `token_failed`. */
  async current(): Promise<string> {
    return this.#current ?? this.renew(undefined);
  }

  /**
   * A token other than this one. Concurrent callers get the same.
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
    this.assertSameUser(token);
    this.#current = token;
    return token;
  }

  /** @throws TidingsError `other_user`. */
  assertSameUser(token: string): void {
    const before = this.#current;
    if (before === undefined || this.subjectOf(before) === this.subjectOf(token)) return;
    throw new TidingsError('other_user', 'The token belongs to another user: close this client and open a new one.');
  }

  /** Continues with this token. */
  replace(token: string): void {
    this.#current = token;
  }

  async #ask(): Promise<string> {
    if (typeof this.source === 'string') return readText(this.source);
    let token: string;
    try {
      token = readText(await this.#patience.wait(Promise.resolve(this.source()), TOKEN_PATIENCE_MS));
    } catch (error) {
      if (error instanceof TidingsError) throw error;
      throw new TidingsError('token_failed', `No token was given: ${messageOf(error)}`, { cause: error });
    }
    // Perhaps the page of a proxy. Its content stays here: it may still be somebody's token.
    if (JWT.test(token)) return token;
    throw new TidingsError('token_failed', 'token: the function gave a text that is no JWT');
  }

  /** The user of a token. Nothing is verified: it only names what is kept here. */
  subjectOf(token: string): string | undefined {
    const subject = readClaim(readPayload(token), this.userClaim);
    return typeof subject === 'string' ? subject : undefined;
  }

  /** Waits for no function any more. */
  close(): void {
    this.#patience.end();
  }
}

function readText(token: unknown): string {
  if (typeof token === 'string' && token !== '') return token;
  throw new TidingsError('token_failed', 'token: expected a text that is not empty');
}

/** A claim by its name, which may contain dots, or by the path to it. */
function readClaim(payload: unknown, name: string): unknown {
  if (typeof payload !== 'object' || payload === null) return undefined;
  if (Object.hasOwn(payload, name)) return (payload as Record<string, unknown>)[name];
  const dot = name.indexOf('.');
  return dot < 0 ? undefined : readClaim(readClaim(payload, name.slice(0, dot)), name.slice(dot + 1));
}

function readPayload(token: string): unknown {
  try {
    return JSON.parse(decodeBase64Url(token.split('.')[1] ?? ''));
  } catch {
    // Not a JWT: the service says so.
    return undefined;
  }
}

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** React Native lacked `atob` and `TextDecoder` for long. */
function decodeBase64Url(text: string): string {
  let bits = '';
  for (const char of text) bits += BASE64URL.indexOf(char).toString(2).padStart(6, '0');
  const bytes = bits.match(/.{8}/g) ?? [];
  return decodeURIComponent(bytes.map((byte) => `%${Number.parseInt(byte, 2).toString(16).padStart(2, '0')}`).join(''));
}
