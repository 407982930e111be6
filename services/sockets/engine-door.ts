/**
 * The way to Engine.IO: which requests and upgrades belong to it, which of them are admitted, and how long a connection
 * may take to open and to close. Engine.IO itself listens to nothing, and reads no request target.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Clock } from '../../utils/clock';
import { AppError } from '../../utils/errors';
import { readQuery, readTarget } from '../../utils/request-target';
import type { HandshakeLimits, Slot } from '../admission/handshake-limits';
import { CLOSE_TIMEOUT_MS } from '../delivery/connections';
import type { Metrics } from '../observability/metrics';
import type { EngineConnection, EngineRequest, EngineServer } from './engine';
import { refusePolling, renderRefusal } from './engine-refusal';
import type { Upgrade, UpgradeTaker } from './upgrades';

export const SOCKET_IO_PATH = '/socket.io/';
/** Packets in one request of a polling client. More at once would be far beyond the rate of events. */
const MAX_PACKETS_PER_REQUEST = 1_000;
const SEPARATOR = '\u001e';
/** What Engine.IO's parser returns for something unreadable. */
const UNREADABLE = { type: 'error', data: 'parser error' };

/** The client files that Socket.IO serves to pages. */
const CLIENT_FILE = /^\/socket\.io\/socket\.io(\.[a-z]+)*\.js(\.map)?$/;

export interface EngineDoorParts {
  readonly engine: EngineServer;
  /** Socket.IO's own listener, which serves its client files. */
  readonly serveFile: RequestListener;
  readonly clock: Clock;
  readonly limits: HandshakeLimits;
  readonly metrics: Pick<Metrics, 'refusals'>;
}

export class EngineDoor implements UpgradeTaker {
  /** Slots of polling handshakes that are not Engine.IO sessions yet. */
  readonly #slots = new Map<unknown, Slot>();
  /** Upgrades that are not Engine.IO connections yet, by their requests. */
  readonly #upgrades = new WeakMap<object, Upgrade>();
  /** Sessions that are changing to another transport. */
  readonly #changing = new WeakSet<EngineConnection>();

  constructor(private readonly parts: EngineDoorParts) {
    parts.engine.on('connection', (engine: EngineConnection) => this.#begin(engine));
  }

  /** Polling handshakes that were admitted and have no session yet. */
  get waiting(): number {
    return this.#slots.size;
  }

  /** Answers a polling request, or one for a client file. @returns false for any other request. */
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

  /** Engine.IO asks this about a request that would begin a session. Upgrades were judged before. */
  allow(request: EngineRequest, answer: (refusal: undefined, isAllowed: true) => void): void {
    const { res: response } = request;
    if (response === undefined) {
      answer(undefined, true);
      return;
    }
    this.parts.limits.admit(request, (slot) => {
      if (slot instanceof AppError) {
        refusePolling(response, slot);
        return;
      }
      this.#slots.set(request, slot);
      // Engine.IO makes it a session in this turn, or not at all.
      setImmediate(() => this.#takeSlot(request)?.release());
      answer(undefined, true);
    });
  }

  #takeSlot(request: unknown): Slot | undefined {
    const slot = this.#slots.get(request);
    this.#slots.delete(request);
    return slot;
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

  /** A polling session asks for WebSocket. It has its slot already, and gets one further connection at a time. */
  #change(upgrade: Upgrade, sid: string): void {
    const { engine, limits } = this.parts;
    const session = Object.hasOwn(engine.clients, sid) ? engine.clients[sid] : undefined;
    const refusal = limits.judgeChange(upgrade.request) ?? this.#refusalOfChange(session);
    if (refusal !== undefined) {
      upgrade.refuse(renderRefusal(refusal));
      return;
    }
    if (session !== undefined) this.#expectProbe(session, upgrade);
    // Engine.IO refuses an unknown session itself.
    this.#handOver(upgrade);
  }

  #refusalOfChange(session: EngineConnection | undefined): AppError | undefined {
    if (session === undefined || (session.transport.name === 'polling' && !this.#changing.has(session)))
      return undefined;
    this.parts.metrics.refusals.inc({ code: 'bad_request' });
    return new AppError('bad_request', 'This Socket.IO session already has another connection.');
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
    const slot = this.#takeSlot(engine.request);
    this.#upgrades.get(engine.request as object)?.accept();
    engine.once('close', () => this.#seeOut(engine, slot));
  }

  /** A session has ended. Its TCP connection, if any, is closed soon, whatever the peer does. */
  #seeOut({ transport }: EngineConnection, slot: Slot | undefined): void {
    const tcp = transport.socket?._socket;
    if (tcp === undefined || tcp.destroyed) {
      slot?.release();
      return;
    }
    const deadline = this.parts.clock.after(CLOSE_TIMEOUT_MS, () => tcp.destroy());
    tcp.once('close', () => {
      deadline.cancel();
      slot?.release();
    });
  }
}

/** Engine.IO parses all packets of a request in one turn: a MiB of empty ones would take seconds. */
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
