/**
 * The plain endpoint: WebSocket without Socket.IO, for wscat, scripts and small devices. The upgrade on /ws, / and
 * /<token> is always accepted; a refusal is a close code, because browsers cannot see an HTTP status.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { RawData, WebSocket } from 'ws';
import type { Balance, Lender } from '../../utils/balance';
import { type Caller, readAuthorization, readBearer } from '../../utils/caller';
import type { Clock, Timer } from '../../utils/clock';
import type { Config } from '../../utils/config';
import { AppError, badField, type ErrorCode, toProblem } from '../../utils/errors';
import { findInexactNumber, inexactNumber } from '../../utils/json';
import { WEBSOCKET_CLOSE_CODES } from '../../utils/protocol';
import type { Clients } from '../../utils/proxies';
import { deviceSchema, parseField } from '../../utils/schemas';
import { DEFAULT_DEVICE } from '../../utils/topic-names';
import type { Backlog } from '../admission/backlog';
import type { HandshakeLimits } from '../admission/handshake-limits';
import { STRANGERS_BYTES } from '../admission/incoming';
import { CLOSE_TIMEOUT_MS, type Connection } from '../delivery/connections';
import type { Metrics } from '../observability/metrics';
import type { Tokens } from '../tokens/tokens';
import type { EventReply } from './event-gate';
import { encodeFrame, PlainConnection } from './plain-connection';
import type { Sessions } from './sessions';
import type { Upgrade, UpgradeTaker } from './upgrades';
import { limitWebSocket, WebSocketServer } from './web-socket-server';

/** Without a token in the request, the first frame must bring one within this time. */
const AUTH_TIMEOUT_MS = 5_000;
const MAX_BAD_FRAMES_IN_A_ROW = 10;
const MAX_REF_LENGTH = 128;
/** Beyond this many fragments of a message ws closes with 1008. The default of ws, as with Engine.IO. */
const WS_LIMITS = { maxFragments: 16_384, closeTimeout: CLOSE_TIMEOUT_MS };
const HEARTBEAT_CHECKS_PER_TIMEOUT = 8;
const UNAUTHENTICATED = 4401;
/** Error codes of ws for a frame that is too large: for MAX_BODY_BYTES, and for a number. */
const WS_TOO_LARGE = new Set(['WS_ERR_UNSUPPORTED_MESSAGE_LENGTH', 'WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH']);
/** Close codes of refusals, by error code. */
const REFUSAL_CODES = new Map<ErrorCode, number>([
  ['going_away', WEBSOCKET_CLOSE_CODES.going_away],
  ['origin_not_allowed', 4403],
  ['too_many_connections', WEBSOCKET_CLOSE_CODES.too_many_connections],
  ['rate_limited', WEBSOCKET_CLOSE_CODES.rate_limited],
  // The registered code for “try again later”.
  ['overloaded', 1013],
]);

/** The path of a request that carries its token there: one segment with the two dots of a JWT. */
const TOKEN_PATH = /^\/([\w-]+\.[\w-]*\.[\w-]*)$/;

type Frame = Readonly<Record<string, unknown>>;

/** What application.ts wires in from above: services know no operations. */
export interface PlainOperations {
  /** Answers an action; what it resolves to goes into the reply beside `ok: true`. */
  readonly dispatch: (connection: Connection, action: string, frame: Frame) => object | Promise<object>;
  /** How many events an action counts as; 0: none. */
  readonly priceOf: (action: unknown, frame: unknown) => number;
}

export interface PlainWebSocketParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly tokens: Tokens;
  readonly sessions: Sessions;
  readonly limits: HandshakeLimits;
  readonly backlog: Backlog;
  readonly clients: Clients;
}

/** An open WebSocket, before and after authentication. */
interface Peer {
  readonly webSocket: WebSocket;
  readonly origin: string;
  /** `?device=` of the request. */
  readonly device: unknown;
  connection: PlainConnection | undefined;
  authTimer: Timer | undefined;
  /** The key of its token is being fetched; frames wait meanwhile. */
  admission: Promise<void> | undefined;
  badFrames: number;
  /** When it last proved reachable: at its start and with each pong. By the steady time, like `pingedAt`. */
  answeredAt: number;
  pingedAt: number | undefined;
}

export class PlainWebSocketService implements UpgradeTaker, Lender {
  readonly #server: WebSocketServer;
  readonly #peers = new Set<Peer>();
  #operations: PlainOperations | undefined;
  #heartbeatTimer: Timer | undefined;

  constructor(private readonly parts: PlainWebSocketParts) {
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: Math.min(STRANGERS_BYTES, parts.config.MAX_BODY_BYTES),
      ...WS_LIMITS,
    });
  }

  get balance(): Balance {
    return { plainPeers: this.#peers.size };
  }

  /** Wires in the operations and starts the heartbeat. */
  open(operations: PlainOperations): void {
    this.#operations = operations;
    const { PING_INTERVAL_MS, PING_TIMEOUT_MS } = this.parts.config;
    const betweenMs = Math.min(PING_INTERVAL_MS, PING_TIMEOUT_MS) / HEARTBEAT_CHECKS_PER_TIMEOUT;
    // Each is noticed up to one check late; together they stay within the sum of interval and timeout.
    this.#heartbeatTimer = this.parts.clock.every(betweenMs, () => this.#beat(PING_INTERVAL_MS - 2 * betweenMs));
  }

  takes(path: string): boolean {
    return path === '/' || path === '/ws' || TOKEN_PATH.test(path);
  }

  upgrade(upgrade: Upgrade): void {
    const { request, socket, head } = upgrade;
    this.parts.limits.admitUpgrade(request, (refusal) => {
      let isOpened = false;
      this.#server.handleUpgrade(request, socket, head, (webSocket) => {
        isOpened = true;
        this.#accept(webSocket, upgrade, refusal);
      });
      if (!isOpened) upgrade.leftUnopened();
    });
  }

  #accept(webSocket: WebSocket, upgrade: Upgrade, refusal: AppError | undefined): void {
    const { request, query } = upgrade;
    // ws closes the connection itself after a frame against the protocol; without a listener the error would end the
    // process.
    webSocket.on('error', (fault) => this.#countFault(fault));
    if (refusal !== undefined) {
      sendRefusal(webSocket, this.parts.clients.linkBase(request), refusal);
      // A refused peer that does not close its side would hold a connection that no limit counts.
      request.socket.destroySoon();
      upgrade.endWithin(CLOSE_TIMEOUT_MS);
      return;
    }
    upgrade.accept();
    const peer = this.#track(webSocket, request, query['device']);
    const token = readToken(upgrade);
    if (token !== undefined) this.#authenticate(peer, token, peer.device);
    else
      peer.authTimer = this.parts.clock.after(AUTH_TIMEOUT_MS, () =>
        this.#refuse(
          peer,
          new AppError('unauthorized', 'No `auth` frame arrived in time: send {"action":"auth","token":"…"} first.'),
        ),
      );
  }

  #countFault(fault: Error & { readonly code?: string }): void {
    const isTooLarge = WS_TOO_LARGE.has(fault.code ?? '');
    this.parts.metrics.refusals.inc({ code: isTooLarge ? 'body_too_large' : 'bad_request' });
  }

  #track(webSocket: WebSocket, request: IncomingMessage, device: string | undefined): Peer {
    const peer: Peer = {
      webSocket,
      origin: this.parts.clients.linkBase(request),
      device,
      connection: undefined,
      authTimer: undefined,
      admission: undefined,
      badFrames: 0,
      answeredAt: this.parts.clock.steady(),
      pingedAt: undefined,
    };
    this.#peers.add(peer);
    webSocket.on('message', (data, isBinary) => void this.#receive(peer, data, isBinary));
    webSocket.on('pong', () => {
      peer.answeredAt = this.parts.clock.steady();
      peer.pingedAt = undefined;
    });
    webSocket.on('ping', () => this.#countPing(peer));
    // Nothing can be written any more, although the peer may take its time to close its side.
    request.socket.once('finish', () => {
      if (peer.connection !== undefined) this.parts.sessions.leave(peer.connection);
    });
    webSocket.once('close', () => this.#forget(peer));
    return peer;
  }

  #forget(peer: Peer): void {
    peer.authTimer?.cancel();
    this.#peers.delete(peer);
    if (peer.connection === undefined) return;
    this.parts.sessions.leave(peer.connection);
  }

  #authenticate(peer: Peer, token: string, device: unknown): void {
    peer.authTimer?.cancel();
    const fetching = this.parts.tokens.prepare(token);
    if (fetching === undefined) this.#admit(peer, token, device);
    else peer.admission = this.#admitAfter(fetching, peer, () => this.#admit(peer, token, device));
  }

  async #admitAfter(fetching: Promise<void>, peer: Peer, admit: () => void): Promise<void> {
    // Input stays in the TCP connection meanwhile: an unauthenticated peer must not fill the memory.
    peer.webSocket.pause();
    await fetching;
    peer.admission = undefined;
    if (peer.webSocket.readyState === peer.webSocket.OPEN) admit();
    peer.webSocket.resume();
  }

  #admit(peer: Peer, token: string, device: unknown): void {
    const { tokens, sessions } = this.parts;
    try {
      const caller = tokens.verify(token);
      const name = device === undefined ? DEFAULT_DEVICE : parseField('device', deviceSchema, device);
      sessions.makeRoom(caller.userId);
      peer.connection = this.#connect(peer, caller, name);
      limitWebSocket(peer.webSocket, this.parts.config.MAX_BODY_BYTES);
      sessions.enter(peer.connection);
    } catch (error) {
      this.#refuse(peer, error);
    }
  }

  #connect({ webSocket, origin }: Peer, caller: Caller, device: string): PlainConnection {
    return new PlainConnection({
      id: randomUUID(),
      clock: this.parts.clock,
      webSocket,
      caller,
      device,
      origin,
      backlog: this.parts.backlog,
      onSlow: (connection) => this.parts.sessions.cutSlow(connection),
    });
  }

  #refuse({ webSocket, origin }: Peer, thrown: unknown): void {
    sendRefusal(webSocket, origin, this.parts.sessions.refusals.count(thrown));
    const cut = this.parts.clock.after(CLOSE_TIMEOUT_MS, () => webSocket.terminate());
    webSocket.once('close', () => cut.cancel());
  }

  async #receive(peer: Peer, data: RawData, isBinary: boolean): Promise<void> {
    if (peer.admission !== undefined) await peer.admission;
    const { connection } = peer;
    // Nothing of a closing connection is read, whatever has arrived already.
    if (peer.webSocket.readyState !== peer.webSocket.OPEN || connection?.isOpen === false) return;
    if (connection === undefined) {
      this.#receiveFirst(peer, isBinary ? undefined : data);
      return;
    }
    const bytes = sizeOf(data);
    const error = this.parts.sessions.events.refuseUnread(connection, bytes);
    if (error !== undefined) connection.send('reply', { ok: false, error });
    else await this.#answer(peer, connection, { ...(isBinary ? NO_FRAME : parseFrame(data)), bytes });
  }

  #receiveFirst(peer: Peer, data: RawData | undefined): void {
    if (peer.authTimer === undefined) return;
    const { frame } = data === undefined ? NO_FRAME : parseFrame(data);
    if (frame?.['action'] === 'auth' && typeof frame['token'] === 'string') {
      this.#authenticate(peer, frame['token'], frame['device'] ?? peer.device);
      return;
    }
    peer.authTimer?.cancel();
    this.#refuse(peer, new AppError('unauthorized', 'The first frame must be {"action":"auth","token":"…"}.'));
  }

  async #answer(peer: Peer, connection: PlainConnection, received: Received & { bytes: number }): Promise<void> {
    const { frame, bytes } = received;
    const action = frame?.['action'];
    const ref = readRef(frame);
    const reply = await this.parts.sessions.events.handle(connection, () => this.#run(connection, received), {
      price: this.#operations?.priceOf(action, frame) ?? 1,
      bytes,
    });
    if (action !== 'ping' || ref !== undefined || !reply.ok) {
      connection.send('reply', { ...(ref === undefined ? {} : { ref }), ...reply });
    }
    if (action === 'disconnect' && reply.ok) {
      this.parts.sessions.leave(connection);
      connection.finish();
    } else this.#countBadFrames(peer, connection, reply);
  }

  #run(connection: PlainConnection, { frame, fault }: Received): object | Promise<object> {
    if (fault !== undefined) throw fault;
    if (frame === undefined) throw new AppError('invalid_json', 'A frame must be text that contains a JSON object.');
    if (typeof frame['action'] !== 'string') throw badField('action', 'must be a string');
    if (this.#operations === undefined) throw new AppError('going_away', 'The service is not ready yet.');
    return this.#operations.dispatch(connection, frame['action'], frame);
  }

  #countBadFrames(peer: Peer, connection: PlainConnection, reply: EventReply): void {
    if (reply.ok) peer.badFrames = 0;
    // A name that became ambiguous through others is not a bad frame.
    else if (reply.error.status === 400 && reply.error.code !== 'ambiguous_name') peer.badFrames += 1;
    if (peer.badFrames < MAX_BAD_FRAMES_IN_A_ROW) return;
    this.parts.sessions.end(connection, 'bad_frames', `${MAX_BAD_FRAMES_IN_A_ROW} bad frames in a row.`);
  }

  /** Pings count as events, so a flood of them ends like any other. ws answers them itself. */
  #countPing(peer: Peer): void {
    if (peer.connection !== undefined) this.parts.sessions.events.countEvent(peer.connection);
  }

  /**
   * Pings every peer periodically, and cuts those that did not answer. Only a pong counts: a peer that receives nothing
   * any more may still send.
   */
  #beat(pingAfterMs: number): void {
    const now = this.parts.clock.steady();
    for (const peer of this.#peers) {
      if (peer.pingedAt !== undefined && now - peer.pingedAt >= this.parts.config.PING_TIMEOUT_MS) {
        this.#cutUnlessAnswered(peer);
      } else if (peer.pingedAt === undefined && now - peer.answeredAt >= pingAfterMs) {
        peer.pingedAt = now;
        peer.webSocket.ping();
      }
    }
  }

  /** After a pause of the whole process its answer may have arrived unread: reads it first. */
  #cutUnlessAnswered(peer: Peer): void {
    setImmediate(() => {
      if (peer.pingedAt !== undefined) peer.webSocket.terminate();
    });
  }

  /** Closes what is left: connections that never authenticated, and the timer. */
  close(): void {
    this.#heartbeatTimer?.cancel();
    for (const peer of this.#peers) {
      peer.authTimer?.cancel();
      if (peer.connection === undefined) peer.webSocket.close(WEBSOCKET_CLOSE_CODES.going_away, 'going_away');
    }
    this.#server.close();
  }
}

/** Sends the reason, and closes; a refusal that is not about the token has its own close code. */
function sendRefusal(webSocket: WebSocket, origin: string, refusal: AppError): void {
  webSocket.send(encodeFrame('error', toProblem(refusal, { origin })));
  const isBadInput = refusal.status === 400;
  const code = isBadInput ? WEBSOCKET_CLOSE_CODES.bad_frames : (REFUSAL_CODES.get(refusal.code) ?? UNAUTHENTICATED);
  webSocket.close(code, refusal.code);
}

/** Token from the Authorization header, else `?token=`, else the path. */
function readToken({ request, path, query }: Upgrade): string | undefined {
  if (request.headers.authorization !== undefined) return bearerOrNothing(request.rawHeaders);
  return query['token'] ?? TOKEN_PATH.exec(path)?.[1];
}

/** A malformed header is refused by close code, like every refusal here. */
function bearerOrNothing(rawHeaders: readonly string[]): string {
  try {
    return readBearer(readAuthorization(rawHeaders) ?? '');
  } catch (error) {
    if (error instanceof AppError) return '';
    throw error;
  }
}

/** The `ref` that a reply repeats: any value that is short enough. */
function readRef(frame: Frame | undefined): string | number | undefined {
  const ref = frame?.['ref'];
  if (typeof ref === 'number') return ref;
  return typeof ref === 'string' && ref.length <= MAX_REF_LENGTH ? ref : undefined;
}

/** A frame of a client. `fault`: what is wrong with a frame that could be parsed. */
interface Received {
  readonly frame: Frame | undefined;
  readonly fault?: AppError;
}

const NO_FRAME: Received = { frame: undefined };

function sizeOf(data: RawData): number {
  return Array.isArray(data) ? data.reduce((sum, { length }) => sum + length, 0) : data.byteLength;
}

function parseFrame(data: RawData): Received {
  const text = String(data);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return { frame: undefined };
    const inexact = findInexactNumber(text);
    return { frame: value as Frame, ...(inexact === undefined ? {} : { fault: inexactNumber(inexact) }) };
  } catch {
    // Not JSON: refused without quoting it.
    return { frame: undefined };
  }
}
