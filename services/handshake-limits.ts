/** Limits that are checked before a connection exists, and so before its token costs anything. */
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../utils/clock';
import type { Config } from '../utils/config';
import type { ErrorCode } from '../utils/errors';

export class HandshakeLimits {
  readonly #byAddress = new Map<string, number>();
  #second = 0;
  #inSecond = 0;
  #open = 0;
  #isStopping = false;

  constructor(
    private readonly config: Pick<
      Config,
      'HANDSHAKES_PER_SECOND' | 'MAX_CONNECTIONS' | 'MAX_CONNECTIONS_PER_ADDRESS' | 'corsOrigins'
    >,
    private readonly clock: Clock,
  ) {}

  /** From now on every handshake is refused with `going_away`. */
  stop(): void {
    this.#isStopping = true;
  }

  /** @returns why this handshake is refused; `undefined` lets it pass, and counts it. */
  refusalOf(request: IncomingMessage): ErrorCode | undefined {
    if (this.#isStopping) return 'going_away';
    if (!isOriginAllowed(request, this.config.corsOrigins)) return 'origin_not_allowed';
    if (this.#open >= this.config.MAX_CONNECTIONS) return 'too_many_connections';
    const fromAddress = this.#byAddress.get(request.socket.remoteAddress ?? '') ?? 0;
    if (fromAddress >= this.config.MAX_CONNECTIONS_PER_ADDRESS) return 'too_many_connections';
    return this.#isTooFast() ? 'rate_limited' : undefined;
  }

  #isTooFast(): boolean {
    const second = Math.floor(this.clock.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#inSecond = 0;
    }
    this.#inSecond += 1;
    return this.#inSecond > this.config.HANDSHAKES_PER_SECOND;
  }

  /** Counts a connection from an address until it is closed. */
  opened(address: string): void {
    this.#open += 1;
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
  }

  closed(address: string): void {
    this.#open -= 1;
    const left = (this.#byAddress.get(address) ?? 0) - 1;
    if (left > 0) this.#byAddress.set(address, left);
    else this.#byAddress.delete(address);
  }
}

/**
 * May a page of this origin connect? Browsers do not apply CORS to WebSockets, so the server has to look.
 * Programs send no Origin; the service's own pages have its own.
 */
function isOriginAllowed(request: IncomingMessage, allowed: '*' | readonly string[]): boolean {
  const { origin, host } = request.headers;
  if (allowed === '*' || origin === undefined) return true;
  return allowed.includes(origin) || origin === `http://${host}` || origin === `https://${host}`;
}
