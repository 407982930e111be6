/** Limits that are checked before a connection exists, so before its token costs anything. */
import type { IncomingMessage } from 'node:http';
import { ipKeyGenerator } from 'express-rate-limit';
import type { Balance, Lender } from '../../utils/balance';
import type { Clock } from '../../utils/clock';
import type { Config } from '../../utils/config';
import { AppError } from '../../utils/errors';
import { isOriginListed } from '../../utils/origins';
import type { Clients } from '../../utils/proxies';
import type { Metrics } from '../observability/metrics';
import { HandshakeQueue } from './handshake-queue';
import { HandshakeRate } from './handshake-rate';
import { type HeapGuard, overloaded } from './heap-guard';

/** The slot of one connection, from its handshake to its end; `admit` and `admitUpgrade` say who holds it. */
export interface Slot {
  /** Gives it back. Idempotent. */
  readonly release: () => void;
}

export type HandshakeConfig = Pick<
  Config,
  'HANDSHAKES_PER_SECOND' | 'MAX_CONNECTIONS' | 'MAX_CONNECTIONS_PER_ADDRESS' | 'corsOrigins'
>;

export interface HandshakeLimitParts {
  readonly config: HandshakeConfig;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'refusals' | 'rateLimited' | 'connectionsRefused'>;
  readonly heap: Pick<HeapGuard, 'isShort'>;
  readonly clients: Clients;
}

export class HandshakeLimits implements Lender {
  /** Slots taken by address; an address that has none is absent. */
  readonly #byAddress = new Map<string, number>();
  readonly #rate: HandshakeRate;
  /** Polling sessions that change to WebSocket. Counted apart, so that they do not use up the rate of new handshakes. */
  readonly #changeRate: HandshakeRate;
  readonly #queue: HandshakeQueue;
  #taken = 0;
  #isOpen = false;

  constructor(private readonly parts: HandshakeLimitParts) {
    this.#rate = new HandshakeRate(parts.config.HANDSHAKES_PER_SECOND);
    this.#changeRate = new HandshakeRate(parts.config.HANDSHAKES_PER_SECOND);
    this.#queue = new HandshakeQueue(parts.clock);
  }

  /** Slots taken: open connections and waiting handshakes. */
  get taken(): number {
    return this.#taken;
  }

  /** Handshakes that wait for their turn. */
  get waiting(): number {
    return this.#queue.size;
  }

  get balance(): Balance {
    return { places: this.#taken, waitingHandshakes: this.waiting };
  }

  /** Admits handshakes from now on. */
  open(): void {
    this.#isOpen = true;
  }

  /** From now on every handshake is refused with `going_away`. */
  stop(): void {
    this.#isOpen = false;
  }

  /**
   * Judges a handshake, and counts a refusal.
   * @param answer receives the reason of a refusal or, when its turn comes, the slot of the connection. It is not
   * called when the client is gone by then.
   */
  admit(request: IncomingMessage, answer: (verdict: Slot | AppError) => void): void {
    this.#enter(request, answer);
  }

  /** The same for an upgrade: its slot belongs to the TCP connection and ends with it, whatever happens in between. */
  admitUpgrade(request: IncomingMessage, answer: (refusal: AppError | undefined) => void): void {
    const slot = this.#enter(request, (verdict) => answer(verdict instanceof AppError ? verdict : undefined));
    if (slot !== undefined) request.socket.once('close', slot.release);
  }

  /** Judges the move of a session, which has its slot already, to another connection; counts a refusal. */
  judgeChange(request: IncomingMessage): AppError | undefined {
    const refusal = this.#refusalOf(request) ?? this.#excessOf(this.#changeRate, this.#addressOf(request));
    return refusal === undefined ? undefined : this.#counted(refusal);
  }

  #enter(request: IncomingMessage, answer: (verdict: Slot | AppError) => void): Slot | undefined {
    const address = this.#addressOf(request);
    const refusal = this.#refusalOf(request) ?? this.#lackOfSlot(address) ?? this.#excessOf(this.#rate, address);
    if (refusal !== undefined) {
      answer(this.#counted(refusal));
      return undefined;
    }
    // A waiting handshake already holds a slot, so a crowd that arrives together finds them taken.
    const slot = this.#take(address);
    this.#queue.enter(request.socket, (isThere) => {
      if (isThere && this.#isOpen) {
        answer(slot);
        return;
      }
      slot.release();
      if (isThere) answer(this.#counted(goingAway()));
    });
    return slot;
  }

  #counted(refusal: AppError): AppError {
    this.parts.metrics.refusals.inc({ code: refusal.code });
    return refusal;
  }

  #refusalOf(request: IncomingMessage): AppError | undefined {
    if (!this.#isOpen) return goingAway();
    if (this.parts.heap.isShort()) return overloaded();
    if (!this.#isOriginAllowed(request)) {
      return new AppError('origin_not_allowed', 'The origin of this page is not in CORS_ORIGIN.');
    }
    return undefined;
  }

  /**
   * Whom a connection counts for, as with HTTP requests: an IPv6 address stands for its /56, because the owner of one
   * address there owns them all.
   */
  #addressOf(request: IncomingMessage): string {
    return ipKeyGenerator(this.parts.clients.read(request).address);
  }

  /**
   * May a page of this origin connect? Browsers do not apply CORS to WebSockets, so the server has to check.
   * Programs send no Origin; the service's own pages send the service's.
   */
  #isOriginAllowed(request: IncomingMessage): boolean {
    const { clients, config } = this.parts;
    const { origin } = request.headers;
    if (origin === undefined || isOriginListed(origin, config.corsOrigins)) return true;
    return clients.isOwnOrigin(request, origin);
  }

  #lackOfSlot(address: string): AppError | undefined {
    const { MAX_CONNECTIONS: all, MAX_CONNECTIONS_PER_ADDRESS: perAddress } = this.parts.config;
    const full = (limit: 'address' | 'all', detail: string) => {
      this.parts.metrics.connectionsRefused[limit].inc();
      return new AppError('too_many_connections', detail);
    };
    if ((this.#byAddress.get(address) ?? 0) >= perAddress) {
      return full(
        'address',
        `This address has reached the limit of open connections (MAX_CONNECTIONS_PER_ADDRESS: ${perAddress}).`,
      );
    }
    if (this.#taken >= all)
      return full('all', `The service has reached the limit of open connections (MAX_CONNECTIONS: ${all}).`);
    return undefined;
  }

  #excessOf(rate: HandshakeRate, address: string): AppError | undefined {
    const verdict = rate.judge(address, this.parts.clock.now());
    if (verdict === 'accepted') return undefined;
    const isShare = verdict === 'beyond-share';
    this.parts.metrics.rateLimited[isShare ? 'handshakes_per_address' : 'handshakes'].inc();
    const detail = isShare
      ? `This address opens too many new connections per second (half of HANDSHAKES_PER_SECOND: ${rate.share}).`
      : `Too many new connections per second (HANDSHAKES_PER_SECOND: ${this.parts.config.HANDSHAKES_PER_SECOND}).`;
    return new AppError('rate_limited', detail);
  }

  #take(address: string): Slot {
    this.#count(address, 1);
    let isTaken = true;
    return {
      release: () => {
        if (isTaken) this.#count(address, -1);
        isTaken = false;
      },
    };
  }

  #count(address: string, change: 1 | -1): void {
    this.#taken += change;
    const taken = (this.#byAddress.get(address) ?? 0) + change;
    if (taken > 0) this.#byAddress.set(address, taken);
    else this.#byAddress.delete(address);
  }
}

function goingAway(): AppError {
  return new AppError('going_away', 'The service is starting or stopping.');
}
