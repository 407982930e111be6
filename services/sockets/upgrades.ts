/**
 * The one owner of upgrades. Reads the target of each once, gives it to exactly one taker, and answers 404 when there
 * is none. Until a taker has accepted it, an upgrade lives for a bounded time, whatever the taker or the peer does.
 */
import type { Server as HttpServer, IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../../utils/clock';
import { type Query, readQuery, readTarget } from '../../utils/request-target';
import { CLOSE_TIMEOUT_MS } from '../delivery/connections';
import type { Metrics } from '../observability/metrics';
import { answerUnderWay } from './answer-under-way';

/** From the request to an open connection. Clients wait about as long; a reconnecting crowd is admitted within it. */
const UPGRADE_TIMEOUT_MS = 20_000;
const NOBODY = 'HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';

/** Takes the upgrades of some paths. */
export interface UpgradeTaker {
  takes(path: string): boolean;
  upgrade(upgrade: Upgrade): void;
}

export interface UpgradesParts {
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'refusals'>;
}

/** A connection that asks to upgrade. */
export class Upgrade {
  #deadline: Timer | undefined;
  readonly #clear = () => this.#deadline?.cancel();

  constructor(
    readonly request: IncomingMessage,
    readonly socket: Duplex,
    readonly head: Buffer,
    readonly path: string,
    readonly query: Query,
    private readonly parts: UpgradesParts,
  ) {
    socket.once('close', this.#clear);
    this.endWithin(UPGRADE_TIMEOUT_MS);
  }

  /** Cuts it after this time, unless it is accepted first. */
  endWithin(milliseconds: number): void {
    this.#clear();
    this.#deadline = this.parts.clock.after(milliseconds, () => this.socket.destroy());
  }

  /** The taker owns it from now on. Nothing here keeps the request any longer. */
  accept(): void {
    this.#clear();
    this.socket.off('close', this.#clear);
  }

  /**
   * Called when ws refused the upgrade. Counts it, unless the peer is gone or it was counted already.
   */
  leftUnopened(): void {
    if (!this.socket.writableEnded || this.socket.destroyed) return;
    this.parts.metrics.refusals.inc({ code: 'bad_request' });
    this.endWithin(CLOSE_TIMEOUT_MS);
  }

  /** Writes a last answer, and closes even when the peer does not read it. */
  refuse(answer: string): void {
    this.socket.end(answer, () => this.socket.destroy());
    this.endWithin(CLOSE_TIMEOUT_MS);
  }
}

export class Upgrades {
  readonly #sockets = new Set<Duplex>();
  readonly #forget: (this: Duplex) => void;
  #isTerminated = false;

  constructor(
    httpServer: HttpServer,
    private readonly takers: readonly UpgradeTaker[],
    private readonly parts: UpgradesParts,
  ) {
    const sockets = this.#sockets;
    this.#forget = function () {
      sockets.delete(this);
    };
    const receive = (request: IncomingMessage, socket: Duplex, head: Buffer) => this.#receive(request, socket, head);
    httpServer.on('upgrade', receive);
    // Not a path: the target of a request to a proxy.
    httpServer.on('connect', receive);
  }

  /** Upgraded or upgrading connections that are not closed yet. */
  get open(): number {
    return this.#sockets.size;
  }

  #receive(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // For its whole life: a reset without a listener ends the process. The connection is closed after it.
    socket.on('error', ignore);
    // The answer to an earlier request would come between the frames: RFC 9110, section 7.8, lets a server answer
    // first.
    if (this.#isTerminated || answerUnderWay(socket) !== undefined) socket.destroy();
    if (socket.destroyed) return;
    this.#sockets.add(socket);
    socket.once('close', this.#forget);
    const { path, search } = readTarget(request.url);
    const upgrade = new Upgrade(request, socket, head, path, readQuery(search), this.parts);
    const taker = request.method === 'CONNECT' ? undefined : this.takers.find((one) => one.takes(path));
    if (taker === undefined) {
      this.parts.metrics.refusals.inc({ code: 'not_found' });
      upgrade.refuse(NOBODY);
    } else taker.upgrade(upgrade);
  }

  /** Cuts every upgraded or upgrading connection, and those still to come. */
  terminate(): void {
    this.#isTerminated = true;
    for (const socket of this.#sockets) socket.destroy();
  }
}

function ignore(): void {}
