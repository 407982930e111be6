/**
 * The keys that the issuer of tokens publishes at JWT_JWKS_URL. They are fetched at start, periodically, and when a
 * token names an unknown key. While fetching fails, the last keys stay in use.
 */
import type { KeyObject } from 'node:crypto';
import { type Clock, systemClock, type Timer } from '../../utils/clock';
import { SingleFlight } from '../../utils/single-flight';
import { type NamedKey, parseKeySet, type VerificationKey } from '../../utils/verification-keys';
import type { Logger } from '../observability/logger';
import type { TokenHeader, TokenKeys } from './token-keys';

export interface KeySetTiming {
  /** How long a withdrawn key may still be accepted. */
  readonly refreshMs: number;
  readonly retryMs: number;
  /** Between two fetches caused by tokens: a flood of made-up key names costs the issuer one request per interval. */
  readonly cooldownMs: number;
  /** The time of one fetch, to its last byte. */
  readonly timeoutMs: number;
}

const TIMING: KeySetTiming = { refreshMs: 300_000, retryMs: 30_000, cooldownMs: 30_000, timeoutMs: 5_000 };
/** Room for some hundred keys; issuers publish a few. */
const MAX_SET_BYTES = 256 * 1024;

/** The keys cannot be fetched at start. The message is a sentence for the operator. */
export class KeySetOpenError extends Error {
  override readonly name = 'KeySetOpenError';
}

export interface KeySetParts {
  readonly url: string;
  readonly logger: Logger;
  /** The machine's by default: the issuer is another machine. */
  readonly clock?: Clock;
  readonly timing?: Partial<KeySetTiming>;
}

export class KeySet implements TokenKeys {
  version = 0;
  readonly #url: string;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #timing: KeySetTiming;
  readonly #fetches = new SingleFlight(() => this.#fetchOnce());
  #keys: readonly NamedKey[] = [];
  #text: string | undefined;
  /** When a token last caused a fetch, by the steady time. */
  #soughtAt = Number.NEGATIVE_INFINITY;
  #isFailing = false;
  #refreshTimer: Timer | undefined;
  #abort = new AbortController();
  #isClosed = false;
  #onChange: () => void = () => {};

  private constructor({ url, logger, clock = systemClock, timing }: KeySetParts) {
    this.#url = url;
    this.#logger = logger;
    this.#clock = clock;
    this.#timing = { ...TIMING, ...timing };
  }

  /** Fetches the keys for the first time. @throws KeySetOpenError when that fails, or takes more than five seconds. */
  static async load(parts: KeySetParts): Promise<KeySet> {
    const keySet = new KeySet(parts);
    try {
      keySet.#take(await keySet.#fetchText());
      return keySet;
    } catch (error) {
      throw new KeySetOpenError(
        `The key set at ${withoutQuery(parts.url)} cannot be loaded: ${describe(error)}. Check JWT_JWKS_URL and that ` +
          'the issuer of the tokens answers there: without its keys no token could be checked.',
      );
    }
  }

  /** Keeps the keys up to date from now on. @param onChange called when keys were added or withdrawn. */
  open(onChange: () => void): void {
    this.#onChange = onChange;
    this.#scheduleRefresh(this.#timing.refreshMs);
  }

  find({ alg, kid }: TokenHeader): VerificationKey | undefined {
    const fitting = this.#keys.filter((key) => key.algorithm === alg);
    if (kid !== undefined) return fitting.find((key) => key.kid === kid);
    // Without a key name there must be only one candidate: trying several would make each bad token more expensive.
    return fitting.length === 1 ? fitting[0] : undefined;
  }

  has(key: KeyObject): boolean {
    return this.#keys.some((known) => known.key.equals(key));
  }

  seek(header: TokenHeader): Promise<void> | undefined {
    if (this.#isClosed || typeof header.kid !== 'string' || this.find(header) !== undefined) return undefined;
    if (header.alg !== 'RS256' && header.alg !== 'ES256') return undefined;
    if (!this.#fetches.isRunning) {
      const now = this.#clock.steady();
      if (now - this.#soughtAt < this.#timing.cooldownMs) return undefined;
      this.#soughtAt = now;
    }
    return this.#fetches.run();
  }

  #scheduleRefresh(milliseconds: number): void {
    this.#refreshTimer?.cancel();
    if (this.#isClosed) return;
    this.#refreshTimer = this.#clock.after(milliseconds, () => void this.#fetches.run());
  }

  async #fetchOnce(): Promise<void> {
    try {
      this.#take(await this.#fetchText());
      if (this.#isFailing) this.#logger.info('the key set of JWT_JWKS_URL can be fetched again');
      this.#isFailing = false;
    } catch (error) {
      if (this.#isClosed) return;
      // Once per outage: nobody reads a line that repeats with each attempt.
      const reason = describe(error);
      if (!this.#isFailing)
        this.#logger.warn({ reason }, 'the key set of JWT_JWKS_URL cannot be fetched, its last keys stay in use');
      this.#isFailing = true;
    }
    this.#scheduleRefresh(this.#isFailing ? this.#timing.retryMs : this.#timing.refreshMs);
  }

  #take(text: string): void {
    if (text === this.#text) return;
    this.#keys = parseKeySet(text);
    this.#text = text;
    this.version += 1;
    this.#onChange();
  }

  async #fetchText(): Promise<string> {
    const { timeoutMs } = this.#timing;
    this.#abort = new AbortController();
    const late = new Error(`no answer within ${timeoutMs} ms`);
    const timer = this.#clock.after(timeoutMs, () => this.#abort.abort(late));
    try {
      // A redirect could lead to an address that was not configured, and away from https.
      const options = {
        redirect: 'error',
        signal: this.#abort.signal,
        headers: { Accept: 'application/json' },
      } as const;
      const response = await fetch(this.#url, options);
      if (response.status === 200) return await readText(response);
      await response.body?.cancel();
      throw new Error(`the answer has status ${response.status}, expected 200`);
    } finally {
      timer.cancel();
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#refreshTimer?.cancel();
    this.#abort.abort();
  }
}

async function readText({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.byteLength;
    // Leaving the loop closes the connection: the rest is not read.
    if (bytes > MAX_SET_BYTES) throw new Error(`the answer is longer than ${MAX_SET_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** What an operator needs to know of a failure: fetch has the reason only in its cause. */
function describe(error: unknown): string {
  const { message, cause } = error as { readonly message?: unknown; readonly cause?: unknown };
  if (typeof cause === 'object' && cause !== null) return describe(cause);
  return typeof message === 'string' && message !== '' ? message : String(error);
}

/** Some issuers take an application's key as a parameter, which must not appear in the log. */
function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}
