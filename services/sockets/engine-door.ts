/**
 * The way to Engine.IO: which requests and upgrades are its own, who of them is let in, and how long a connection may
 * take to begin and to end. Engine.IO itself listens to nothing, and reads no target.
 */
import type { EventEmitter } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock } from '../../utils/clock';
import { AppError } from '../../utils/errors';
import { type Query, readQuery, readTarget } from '../../utils/request-target';
import type { HandshakeLimits, Place } from '../admission/handshake-limits';
import type { Metrics } from '../observability/metrics';
import { CLOSE_TIMEOUT_MS } from './connections';
import { refusePolling, renderRefusal } from './engine-refusal';
import type { EngineConnection } from './socket-connection';
import type { Upgrade, UpgradeTaker } from './upgrades';

export const SOCKET_IO_PATH = '/socket.io/';
/** Packets in one request of a polling client. One that sends more at once is beyond its events by far. */
const MAX_PACKETS_PER_REQUEST = 1_000;
const SEPARATOR = '\u001e';
/** How Engine.IO's parser says that it cannot read something. */
const UNREADABLE = { type: 'error', data: 'parser error' };

/** What Socket.IO serves to pages beside it. */
const CLIENT_FILE = /^\/socket\.io\/socket\.io(\.[a-z]+)*\.js(\.map)?$/;

/** What Engine.IO keeps at a request. `res`: absent at an upgrade. `websocket`: once ws has opened it. */
export type EngineRequest = IncomingMessage & {
  readonly res?: ServerResponse;
  readonly websocket?: object;
  _query?: Query;
};

/** The part of Engine.IO's server that is used here. */
export interface EngineServer extends EventEmitter {
  /** By session id. */
  readonly clients: Readonly<Record<string, EngineConnection>>;
  /** What opens WebSockets, and how large a frame of them may be until its transport says otherwise. */
  readonly ws: { readonly options: { maxPayload: number } };
  handleRequest(request: IncomingMessage, response: ServerResponse): void;
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

export interface EngineDoorParts {
  readonly engine: EngineServer;
  /** Socket.IO's own listener, which serves its files. */
  readonly serveFile: RequestListener;
  readonly clock: Clock;
  readonly limits: HandshakeLimits;
  readonly metrics: Pick<Metrics, 'refusals'>;
}

export class EngineDoor implements UpgradeTaker {
  /** Places of polling handshakes that Engine.IO has not made sessions of yet. */
  readonly #places = new Map<unknown, Place>();
  /** Upgrades that Engine.IO has not made connections of yet, by their requests. */
  readonly #upgrades = new WeakMap<object, Upgrade>();
  /** Sessions that are on their way to another transport. */
  readonly #changing = new WeakSet<EngineConnection>();

  constructor(private readonly parts: EngineDoorParts) {
    parts.engine.on('connection', (engine: EngineConnection) => this.#begin(engine));
  }

  /** Handshakes by polling that are let in and have no session yet. */
  get waiting(): number {
    return this.#places.size;
  }

  /** Answers a request by polling or for a file. @returns false for any other: it is somebody else's. */
  answer(request: IncomingMessage, response: ServerResponse): boolean {
    const { path, search } = readTarget(request.url);
    if (path === SOCKET_IO_PATH) {
      (request as EngineRequest)._query = readQuery(search);
      this.parts.engine.handleRequest(request, response);
      return true;
    }
    if (!CLIENT_FILE.test(path)) return false;
    request.url = path;
    this.parts.serveFile(request, response);
    return true;
  }

  /** Engine.IO's question about a request that would begin a session. Upgrades have been judged before. */
  allow(request: EngineRequest, answer: (refusal: undefined, isAllowed: true) => void): void {
    const { res: response } = request;
    if (response === undefined) {
      answer(undefined, true);
      return;
    }
    this.parts.limits.admit(request, (place) => {
      if (place instanceof AppError) {
        refusePolling(response, place);
        return;
      }
      this.#places.set(request, place);
      // Engine.IO makes a session of it in this turn, or none at all.
      setImmediate(() => this.#takePlace(request)?.release());
      answer(undefined, true);
    });
  }

  #takePlace(request: unknown): Place | undefined {
    const place = this.#places.get(request);
    this.#places.delete(request);
    return place;
  }

  takes(path: string): boolean {
    return path === SOCKET_IO_PATH;
  }

  upgrade(upgrade: Upgrade): void {
    const sid = upgrade.query['sid'] ?? '';
    if (sid === '') this.#open(upgrade);
    else this.#change(upgrade, sid);
  }

  #open(upgrade: Upgrade): void {
    this.parts.limits.admitUpgrade(upgrade.request, (refusal) => {
      if (refusal === undefined) this.#handOver(upgrade);
      else upgrade.refuse(renderRefusal(refusal));
    });
  }

  /** A session by polling asks for WebSocket. It has its place; beside it, it gets one connection at a time. */
  #change(upgrade: Upgrade, sid: string): void {
    const { engine, limits } = this.parts;
    const session = Object.hasOwn(engine.clients, sid) ? engine.clients[sid] : undefined;
    const refusal = limits.judgeChange(upgrade.request) ?? this.#refusalOfChange(session);
    if (refusal !== undefined) {
      upgrade.refuse(renderRefusal(refusal));
      return;
    }
    if (session !== undefined) this.#expectProbe(session, upgrade);
    // Engine.IO itself refuses a session that it does not know.
    this.#handOver(upgrade);
  }

  #refusalOfChange(session: EngineConnection | undefined): AppError | undefined {
    if (session === undefined || (session.transport.name === 'polling' && !this.#changing.has(session)))
      return undefined;
    this.parts.metrics.refusals.inc({ code: 'bad_request' });
    return new AppError('bad_request', 'This session has another connection, or is about to.');
  }

  /** Cuts an upgrade with its session, and when it probes more than once. */
  #expectProbe(session: EngineConnection, upgrade: Upgrade): void {
    const { socket } = upgrade;
    let probes = 0;
    const cut = () => socket.destroy();
    const onProbe = () => {
      probes += 1;
      if (probes > 1) cut();
    };
    const forget = () => {
      this.#changing.delete(session);
      session.off('upgrading', onProbe).off('upgrade', accept).off('close', cut);
      socket.off('close', forget);
    };
    const accept = () => {
      upgrade.accept();
      forget();
    };
    this.#changing.add(session);
    session.on('upgrading', onProbe).once('upgrade', accept).once('close', cut);
    socket.once('close', forget);
  }

  #handOver(upgrade: Upgrade): void {
    const { request, socket, head, query } = upgrade;
    (request as EngineRequest)._query = query;
    this.#upgrades.set(request, upgrade);
    upgrade.endWithin(CLOSE_TIMEOUT_MS);
    this.parts.engine.handleUpgrade(request, socket, head);
    const { websocket } = request as EngineRequest;
    if (websocket === undefined) upgrade.leftUnopened();
  }

  #begin(engine: EngineConnection): void {
    if (engine.transport.name === 'polling') boundPackets(engine.transport);
    const place = this.#takePlace(engine.request);
    this.#upgrades.get(engine.request as object)?.accept();
    engine.once('close', () => this.#seeOut(engine, place));
  }

  /** A session has ended. Its TCP connection, where it has one, is closed soon, whatever the peer does. */
  #seeOut({ transport }: EngineConnection, place: Place | undefined): void {
    const tcp = transport.socket?._socket;
    if (tcp === undefined || tcp.destroyed) {
      place?.release();
      return;
    }
    const deadline = this.parts.clock.after(CLOSE_TIMEOUT_MS, () => tcp.destroy());
    tcp.once('close', () => {
      deadline.cancel();
      place?.release();
    });
  }
}

/** Engine.IO reads all packets of a request in one turn: of a MiB of empty ones for seconds. */
function boundPackets(transport: EngineConnection['transport']): void {
  const { parser } = transport;
  transport.parser = {
    ...parser,
    decodePayload: (payload, type) => (hasTooManyPackets(payload) ? [UNREADABLE] : parser.decodePayload(payload, type)),
  };
}

function hasTooManyPackets(payload: string): boolean {
  let count = 1;
  for (let at = payload.indexOf(SEPARATOR); at >= 0 && count <= MAX_PACKETS_PER_REQUEST; count += 1) {
    at = payload.indexOf(SEPARATOR, at + 1);
  }
  return count > MAX_PACKETS_PER_REQUEST;
}
