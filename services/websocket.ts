/**
 * The Socket.IO server: lets connections in, hands their events to the operations, and sees them out.
 */
import type { EventEmitter } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, ServerResponse } from 'node:http';
import { Server, Socket } from 'socket.io';
import type { Balance, Lender } from '../utils/balance';
import { readAuthorization, readBearer } from '../utils/caller';
import type { Clock } from '../utils/clock';
import type { Config } from '../utils/config';
import { AppError, type ErrorCode, type Problem, toProblem } from '../utils/errors';
import { findInexactNumber, inexactNumber } from '../utils/json';
import { corsOptionsOf } from '../utils/origins';
import type { Clients } from '../utils/proxies';
import { deviceSchema, parseField } from '../utils/schemas';
import { DEFAULT_DEVICE } from '../utils/topic-names';
import type { Backlog } from './admission/backlog';
import type { HandshakeLimits } from './admission/handshake-limits';
import { type Incoming, STRANGERS_BYTES } from './admission/incoming';
import { describeFailure } from './observability/describe-failure';
import type { Metrics } from './observability/metrics';
import type { Roster } from './presence/roster';
import type { Connection } from './sockets/connections';
import { EngineDoor, type EngineServer, SOCKET_IO_PATH } from './sockets/engine-door';
import { refusePolling } from './sockets/engine-refusal';
import { limitTransport } from './sockets/frame-limit';
import { engineOfRequest, pollInTurn } from './sockets/polls';
import type { Sessions } from './sockets/sessions';
import { boundClose, type EngineConnection, endAtOnce, engineOf, SocketConnection } from './sockets/socket-connection';
import { WebSocketServer } from './sockets/web-socket-server';
import type { Tokens } from './tokens/tokens';

/** A connection that has sent no valid CONNECT after this time is closed. */
const CONNECT_TIMEOUT_MS = 10_000;
/** A client may try another token on the same connection; a flood of CONNECT packets is cut. */
const MAX_CONNECT_PACKETS = 3;
const CONNECT_PACKET = '0';
/** An event with bytes, which come in packets of their own. */
const BINARY_PACKET = '5';
/** Engine.IO's reasons for an end: it was asked to close, or could not read a packet. */
const ENGINE_CUT = 'forced close';
/** Socket.IO's reason for the same. */
const CLIENT_CUT = 'forced server close';
const ENGINE_PARSE_ERROR = 'parse error';
/** How ws describes a frame that is too large, and others that are against the protocol: Engine.IO passes on no more. */
const TOO_LARGE_FRAME = /Max payload size exceeded/;
const BAD_FRAME =
  /Invalid WebSocket frame|Too many message fragments|Too many buffered chunks|invalid heartbeat direction/;
const MAX_EVENT_ARGUMENTS = 64;

/** What application.ts wires in from above: services know no operations. */
export interface WebSocketOperations {
  /** Answers a client event; what it resolves to goes into the reply beside `ok: true`. */
  readonly dispatch: (connection: Connection, event: string, payload: unknown) => object | Promise<object>;
  /** What an event counts as; 0: nothing. */
  readonly priceOf: (event: unknown, payload: unknown) => number;
  /** Sends a notification as the service itself. */
  readonly sendNotification: (userId: string, title: string, body: string) => Promise<{ id: string }>;
}

export interface WebSocketParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly tokens: Tokens;
  readonly roster: Roster;
  readonly sessions: Sessions;
  readonly limits: HandshakeLimits;
  readonly backlog: Backlog;
  readonly incoming: Incoming;
  readonly clients: Clients;
}

interface SocketState {
  connection?: SocketConnection;
  /** With AUTH_ERROR_EVENT: let in only to be told the error. */
  refusal?: AppError;
}

type TidingsSocket = Socket<never, never, never, SocketState>;

export class WebSocketService implements Lender {
  /** Requests and upgrades that are for Socket.IO come in here. */
  readonly door: EngineDoor;
  readonly #io: Server;
  /** Engine connections that have their socket: one each, however many CONNECT packets come in a burst. */
  readonly #reserved = new WeakSet<EngineConnection>();
  readonly #connections = new WeakMap<EngineConnection, SocketConnection>();
  readonly #connectPackets = new WeakMap<EngineConnection, number>();
  readonly #onAny: (this: TidingsSocket, ...args: unknown[]) => void;
  readonly #onDisconnect: (this: TidingsSocket, reason: string) => void;
  #operations: WebSocketOperations | undefined;

  constructor(private readonly parts: WebSocketParts) {
    const { clock, limits, metrics } = parts;
    // Socket.IO wants a server to listen to. Nobody calls this one: what is for Socket.IO comes through the door.
    const uncalled = createServer();
    this.#io = this.#createServer(uncalled);
    const engine = this.#io.engine as unknown as EngineServer;
    const [serveFile] = uncalled.listeners('request') as [RequestListener];
    this.door = new EngineDoor({ engine, serveFile, clock, limits, metrics });
    const service = this;
    this.#onAny = function (...args) {
      void service.#handleEvent(this, args);
    };
    this.#onDisconnect = function (reason) {
      const { connection } = this.data;
      // Socket.IO has cut it for what it sent.
      const isCut = reason === ENGINE_CUT || reason === CLIENT_CUT;
      if (isCut && connection?.isClosing === false) parts.metrics.refusals.inc({ code: 'bad_request' });
      if (connection !== undefined) parts.sessions.leave(connection);
      // Without its socket the connection serves nothing, and counts for nobody.
      engineOf(this).close();
    };
  }

  #createServer(httpServer: ReturnType<typeof createServer>): Server {
    const { config } = this.parts;
    const io = new Server(httpServer, {
      path: SOCKET_IO_PATH,
      wsEngine: WebSocketServer,
      connectTimeout: CONNECT_TIMEOUT_MS,
      pingInterval: config.PING_INTERVAL_MS,
      pingTimeout: config.PING_TIMEOUT_MS,
      maxHttpBufferSize: config.MAX_BODY_BYTES,
      // A broadcast is encoded once for all only without compression.
      perMessageDeflate: false,
      cors: { ...corsOptionsOf(config.corsOrigins), exposedHeaders: ['Retry-After'] },
      allowRequest: (request, answer) => this.door.allow(request, answer),
    });
    io.engine.use((request: IncomingMessage, response: unknown, next: () => void) => {
      // To an upgrade Engine.IO gives a stand-in, whatever its method.
      if (request.method !== 'POST' || !(response instanceof ServerResponse)) next();
      else if (this.#expectBody(request, response)) {
        this.#watchSize(response);
        next();
      }
    });
    io.engine.use(pollInTurn(io.engine as unknown as EngineServer));
    // Before a token has come; afterwards each connection gets the limit of its own.
    (io.engine as unknown as EngineServer).ws.options.maxPayload = this.#strangersBytes;
    io.engine.on('connection', (engine: EngineConnection) => this.#countConnection(engine));
    io.engine.on('connection_error', () => this.parts.metrics.refusals.inc({ code: 'bad_request' }));
    io.use((socket, next) => void this.#admit(socket as TidingsSocket, next));
    io.on('connection', (socket) => this.#welcome(socket as TidingsSocket));
    return io;
  }

  get balance(): Balance {
    const engines = this.#engines;
    const polling = engines.filter(({ transport }) => transport.name === 'polling').length;
    return {
      pollingHandshakes: this.door.waiting,
      engineConnections: engines.length - polling,
      pollingSessions: polling,
      sockets: this.#io.of('/').sockets.size,
    };
  }

  get #engines(): readonly EngineConnection[] {
    return Object.values((this.#io.engine as unknown as { clients: Record<string, EngineConnection> }).clients);
  }

  /** Wires in the operations, and makes this the service that getWebSocketService() gives. */
  open(operations: WebSocketOperations): void {
    this.#operations = operations;
    current = this;
  }

  #countConnection(engine: EngineConnection): void {
    boundClose(engine);
    limitTransport(engine.transport, this.#strangersBytes);
    engine.on('upgrade', () => this.#limitFrames(engine));
    engine.once('close', (reason: string, fault: unknown) => this.#countEnd(engine, reason, fault));
    // Socket.IO reads what is not refused.
    const readers = engine.listeners('data');
    engine.removeAllListeners('data');
    engine.on('data', (data: Packet) => {
      if (this.#isRefused(engine, data)) return;
      keep(engine, data);
      for (const read of readers) read(data);
      if (typeof data === 'string' && data.startsWith(CONNECT_PACKET)) this.#countConnectPacket(engine);
    });
  }

  get #strangersBytes(): number {
    return Math.min(STRANGERS_BYTES, this.parts.config.MAX_BODY_BYTES);
  }

  #limitFrames(engine: EngineConnection): void {
    const isKnown = this.#connections.has(engine);
    limitTransport(engine.transport, isKnown ? this.parts.config.MAX_BODY_BYTES : this.#strangersBytes);
  }

  /** Judges a packet before it is read, and answers one that is not to be. */
  #isRefused(engine: EngineConnection, data: Packet): boolean {
    const connection = this.#connections.get(engine);
    if (connection === undefined) return false;
    if (!connection.isOpen) return true;
    const error = this.parts.sessions.refuseUnread(connection, sizeOf(data));
    if (error === undefined) return false;
    // Of an event with bytes Socket.IO would wait for the rest.
    if (typeof data !== 'string' || data.startsWith(BINARY_PACKET)) {
      this.parts.sessions.end(connection, 'rate_limited', error.detail);
    } else connection.answerUnread(ackIdOf(data), withMessage(error));
    return true;
  }

  /** The body of a polling client is kept until it is there as a whole. @returns false when it was refused. */
  #expectBody(request: IncomingMessage, response: ServerResponse): boolean {
    const engine = engineOfRequest(this.#io.engine as unknown as EngineServer, request);
    const connection = engine === undefined ? undefined : this.#connections.get(engine);
    if (connection === undefined) return true;
    const { MAX_BODY_BYTES } = this.parts.config;
    const bytes = Number(request.headers['content-length'] ?? MAX_BODY_BYTES);
    // Engine.IO refuses what is larger.
    if (bytes > MAX_BODY_BYTES) return true;
    try {
      response.once('close', this.parts.incoming.expect(connection.caller, bytes));
      return true;
    } catch (error) {
      refusePolling(response, this.parts.sessions.refusal(error));
      return false;
    }
  }

  /** A connection that ended by its client's fault got no problem; it is counted all the same. */
  #countEnd(engine: EngineConnection, reason: string, fault: unknown): void {
    const code = this.#faultOf(engine, reason, fault instanceof Error ? fault.message : '');
    if (code !== undefined) this.parts.metrics.refusals.inc({ code });
  }

  #faultOf(engine: EngineConnection, reason: string, fault: string): ErrorCode | undefined {
    if (TOO_LARGE_FRAME.test(fault)) return 'body_too_large';
    if (reason === ENGINE_PARSE_ERROR || BAD_FRAME.test(fault)) return 'bad_request';
    const isUnheard = reason === ENGINE_CUT && this.parts.sessions.isOpen && !this.#connectPackets.has(engine);
    return isUnheard ? 'unauthorized' : undefined;
  }

  /** Engine.IO itself answers 413 to a request of a polling client that is too large. */
  #watchSize(response: ServerResponse): void {
    response.once('finish', () => {
      if (response.statusCode === 413) this.parts.metrics.refusals.inc({ code: 'body_too_large' });
    });
  }

  #countConnectPacket(engine: EngineConnection): void {
    const count = (this.#connectPackets.get(engine) ?? 0) + 1;
    this.#connectPackets.set(engine, count);
    if (count <= MAX_CONNECT_PACKETS) return;
    // The end of one that has its socket is counted with the socket.
    if (engine.readyState === 'open' && !this.#reserved.has(engine)) {
      this.parts.metrics.refusals.inc({ code: 'bad_request' });
    }
    engine.close(true);
  }

  async #admit(socket: TidingsSocket, next: (error?: Error) => void): Promise<void> {
    const { tokens, sessions, backlog, clock } = this.parts;
    const engine = engineOf(socket);
    try {
      const token = readToken(socket);
      await tokens.prepare(token);
      // Cut meanwhile: Socket.IO drops the socket, and nobody may lose a place to it.
      if (engine.readyState !== 'open') return next();
      if (this.#reserved.has(engine)) throw new AppError('bad_request', 'This connection has its socket already.');
      const caller = tokens.verify(token);
      const device = readDevice(socket);
      sessions.makeRoom(caller.userId);
      this.#reserved.add(engine);
      socket.data.connection = new SocketConnection({
        socket,
        clock,
        caller,
        device,
        origin: this.parts.clients.linkBase(socket.request),
        backlog,
        onSlow: (connection) => sessions.cutSlow(connection),
      });
      this.#connections.set(engine, socket.data.connection);
      this.#limitFrames(engine);
      next();
    } catch (error) {
      this.#refuse(socket, sessions.refusal(error), next);
    }
  }

  #refuse(socket: TidingsSocket, error: AppError, next: (error?: Error) => void): void {
    if (this.parts.config.AUTH_ERROR_EVENT && error.status === 401) {
      socket.data.refusal = error;
      next();
      return;
    }
    next(
      Object.assign(new Error(error.message), {
        data: toProblem(error, { origin: this.parts.clients.linkBase(socket.request) }),
      }),
    );
  }

  #welcome(socket: TidingsSocket): void {
    const { connection, refusal } = socket.data;
    if (refusal !== undefined || connection === undefined) {
      (socket as Socket).emit('error', { message: 'Authentication failed' });
      socket.disconnect(true);
      return;
    }
    releaseHandshake(socket);
    (socket as unknown as PacketReader)._onpacket = readBoundedPacket;
    keepTexts(socket);
    socket.onAny(this.#onAny);
    socket.on('disconnect', this.#onDisconnect);
    this.parts.sessions.enter(connection);
  }

  async #handleEvent(socket: TidingsSocket, args: unknown[]): Promise<void> {
    const { connection } = socket.data;
    if (connection?.isHeard !== true) return;
    const { bytes } = beingRead.get(engineOf(socket)) ?? NOTHING;
    const answer = takeCallback(args);
    const [event, payload] = args;
    const reply = await this.parts.sessions.handle(connection, () => this.#dispatch(connection, event, payload), {
      price: this.#operations?.priceOf(event, payload) ?? 1,
      bytes,
    });
    if (answer !== undefined) connection.reply(answer, reply);
    else if (!reply.ok && connection.isOpen) connection.send('error', withMessage(reply.error));
  }

  #dispatch(connection: Connection, event: unknown, payload: unknown): object | Promise<object> {
    if (payload instanceof AppError) throw payload;
    if (typeof event !== 'string') throw new AppError('unknown_event', 'The name of an event is a string.');
    if (this.#operations === undefined) throw new AppError('going_away', 'The service is not open.');
    return this.#operations.dispatch(connection, event, payload);
  }

  /**
   * Sends a notification from code that embeds the service.
   * @returns the id of the stored message. @throws AppError as POST /websocket/notification answers.
   */
  async sendNotification(userId: string, title: string, body: string): Promise<{ id: string }> {
    if (this.#operations === undefined) throw new AppError('going_away', 'The service is not open.');
    try {
      return await this.#operations.sendNotification(userId, title, body);
    } catch (error) {
      throw describeFailure(error);
    }
  }

  /** Is this user connected, to whatever node? */
  isUserConnected(userId: string): boolean {
    return this.parts.roster.isOnline(userId);
  }

  /** Closes every session. */
  async close(): Promise<void> {
    if (current === this) current = undefined;
    await this.#io.close();
    // Polling clients that were not there to be told.
    for (const engine of this.#engines) endAtOnce(engine);
  }
}

/** A packet as Socket.IO has decoded it. */
interface Decoded {
  readonly data?: unknown;
}

interface PacketReader {
  readonly conn: { close(): void };
  _onpacket(packet: Decoded): void;
}

const { _onpacket: readPacket } = Socket.prototype as unknown as PacketReader;

/** Socket.IO spreads the arguments of an event over a call: hundreds of thousands overflow the stack, uncaught. */
function readBoundedPacket(this: PacketReader, packet: Decoded): void {
  const arrived = texts.get(packet) ?? NOTHING;
  beingRead.set(this.conn, arrived);
  if (Array.isArray(packet.data) && packet.data.length > MAX_EVENT_ARGUMENTS) this.conn.close();
  else readPacket.call(this, withoutRoundedNumbers(packet, arrived.text));
  beingRead.delete(this.conn);
}

/** An empty one has no data. */
type Packet = string | Buffer | undefined;

function sizeOf(packet: Packet): number {
  return packet === undefined ? 0 : Buffer.byteLength(packet);
}

/** What came as one packet: its text, which may have a number that is rounded when it is read, and its bytes. */
interface Arrived {
  readonly text: string;
  bytes: number;
}

const NOTHING: Arrived = { text: '', bytes: 0 };

/** What a connection has sent last. */
const arriving = new WeakMap<object, Arrived>();
/** The same of each packet: Socket.IO decodes a packet at once, and reads it later, when others have come. */
const texts = new WeakMap<object, Arrived>();
/** The same of the packet of a connection that is being read. */
const beingRead = new WeakMap<object, Arrived>();

function keep(engine: object, data: Packet): void {
  const before = arriving.get(engine);
  if (typeof data === 'string') arriving.set(engine, { text: data, bytes: Buffer.byteLength(data) });
  else if (before !== undefined) before.bytes += sizeOf(data);
}

function keepTexts(socket: TidingsSocket): void {
  const { client } = socket as unknown as { readonly client: { readonly decoder: EventEmitter } };
  const engine = engineOf(socket);
  client.decoder.on('decoded', (packet: Decoded) => {
    const arrived = arriving.get(engine);
    arriving.delete(engine);
    if (arrived !== undefined) texts.set(packet, arrived);
  });
}

/** @param packet an event: its type, perhaps a namespace, perhaps the number of its answer, and its arguments. */
function ackIdOf(packet: string): number | undefined {
  const [, id] = /^2(?:\/[^,]{0,128},)?(\d{1,15})\[/.exec(packet) ?? [];
  return id === undefined ? undefined : Number(id);
}

/** A payload whose numbers were rounded is replaced by its refusal. */
function withoutRoundedNumbers(packet: Decoded, text: string): Decoded {
  if (!Array.isArray(packet.data)) return packet;
  const path = findInexactNumber(text.slice(text.indexOf('[')));
  if (path === undefined) return packet;
  return { ...packet, data: [packet.data[0] as unknown, inexactNumber(path.slice(1))] };
}

/** Token from `auth.token`, else the Authorization header, else `?token=`. */
function readToken(socket: TidingsSocket): string {
  const { auth, query } = socket.handshake;
  const named: unknown = (auth as { token?: unknown }).token;
  const header = named === undefined ? readAuthorization(socket.request.rawHeaders) : undefined;
  if (header !== undefined) return readBearer(header);
  const token: unknown = named === undefined ? query['token'] : named;
  if (typeof token === 'string' && token !== '') return token.startsWith('Bearer ') ? readBearer(token) : token;
  throw new AppError('unauthorized', 'A token is required: auth.token, an Authorization header or ?token=.');
}

/** Device from `auth.device`, else `?device=`, else the shared one. */
function readDevice(socket: TidingsSocket): string {
  const { auth, query } = socket.handshake;
  const named: unknown = (auth as { device?: unknown }).device;
  const device: unknown = named === undefined ? query['device'] : named;
  return device === undefined ? DEFAULT_DEVICE : parseField('device', deviceSchema, device);
}

/** The request (about 4 KiB) and the token are not needed once the socket is there. */
function releaseHandshake(socket: TidingsSocket): void {
  const { handshake } = socket;
  handshake.auth = {};
  handshake.headers = {};
  handshake.query = {};
  handshake.url = '';
  const engine = engineOf(socket);
  if (engine.transport.name === 'websocket') engine.request = null;
}

function takeCallback(args: unknown[]): ((reply: object) => void) | undefined {
  return typeof args.at(-1) === 'function' ? (args.pop() as (reply: object) => void) : undefined;
}

/** Clients of ancestors read `message` of the event `error`. */
function withMessage(problem: Problem): Problem & { message: string } {
  return { message: problem.detail, ...problem };
}

let current: WebSocketService | undefined;

/**
 * The running service, for code that embeds it: `getWebSocketService().sendNotification(userId, title, body)`.
 * @throws Error when no service is open in this process.
 */
export function getWebSocketService(): WebSocketService {
  if (current === undefined) throw new Error('The service is not open: call application.start() first.');
  return current;
}
