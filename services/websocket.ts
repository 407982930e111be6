/**
 * The Socket.IO server: admits connections, passes their events to the operations, and cleans up after them.
 */
import { createServer, type RequestListener } from 'node:http';
import { Server, type Socket } from 'socket.io';
import type { Balance, Lender } from '../utils/balance';
import type { Clock } from '../utils/clock';
import type { Config } from '../utils/config';
import { AppError, toProblem } from '../utils/errors';
import { corsOptionsOf } from '../utils/origins';
import type { Clients } from '../utils/proxies';
import type { Backlog } from './admission/backlog';
import type { HandshakeLimits } from './admission/handshake-limits';
import type { Incoming } from './admission/incoming';
import type { Connection } from './delivery/connections';
import { describeFailure } from './observability/describe-failure';
import type { Metrics } from './observability/metrics';
import type { Roster } from './presence/roster';
import { type EngineConnection, engineOf, engineServerOf } from './sockets/engine';
import { EngineDoor, SOCKET_IO_PATH } from './sockets/engine-door';
import { ENGINE_CUT, EnginePackets, withMessage } from './sockets/engine-packets';
import { pollInTurn } from './sockets/polls';
import type { Sessions } from './sockets/sessions';
import { endAtOnce, SocketConnection } from './sockets/socket-connection';
import { readDevice, readToken, releaseHandshake } from './sockets/socket-io-handshake';
import { boundPackets, bytesBeingRead } from './sockets/socket-io-packets';
import { WebSocketServer } from './sockets/web-socket-server';
import type { Tokens } from './tokens/tokens';

/** A connection that has sent no valid CONNECT after this time is closed. */
const CONNECT_TIMEOUT_MS = 10_000;
/** Socket.IO's reason for closing a client because of what it sent; ENGINE_CUT is that of Engine.IO. */
const CLIENT_CUT = 'forced server close';

/** What application.ts wires in from above: services know no operations. */
export interface WebSocketOperations {
  /** Answers a client event; what it resolves to goes into the reply beside `ok: true`. */
  readonly dispatch: (connection: Connection, event: string, payload: unknown) => object | Promise<object>;
  /** How many events it counts as; 0: none. */
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
  /** With AUTH_ERROR_EVENT: connected only to receive the error. */
  refusal?: AppError;
}

type TidingsSocket = Socket<never, never, never, SocketState>;

export class WebSocketService implements Lender {
  /** Requests and upgrades for Socket.IO come in here. */
  readonly door: EngineDoor;
  readonly #io: Server;
  readonly #packets: EnginePackets;
  readonly #onAny: (this: TidingsSocket, ...args: unknown[]) => void;
  readonly #onDisconnect: (this: TidingsSocket, reason: string) => void;
  #operations: WebSocketOperations | undefined;

  constructor(private readonly parts: WebSocketParts) {
    const { clock, limits, metrics } = parts;
    this.#packets = new EnginePackets(parts);
    // Socket.IO needs a server to listen to. This one is never called: requests for Socket.IO come through the door.
    const uncalled = createServer();
    this.#io = this.#createServer(uncalled);
    const engine = engineServerOf(this.#io);
    const [serveFile] = uncalled.listeners('request') as [RequestListener];
    this.door = new EngineDoor({ engine, serveFile, clock, limits, metrics });
    const service = this;
    this.#onAny = function (...args) {
      void service.#handleEvent(this, args);
    };
    this.#onDisconnect = function (reason) {
      const { connection } = this.data;
      // Socket.IO has cut it because of what it sent.
      const isCut = reason === ENGINE_CUT || reason === CLIENT_CUT;
      if (isCut && connection?.isClosing === false) parts.metrics.refusals.inc({ code: 'bad_request' });
      if (connection !== undefined) parts.sessions.leave(connection);
      // Without its socket the connection is of no use, and no limit counts it.
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
      // Only without compression is a broadcast encoded once for all.
      perMessageDeflate: false,
      cors: { ...corsOptionsOf(config.corsOrigins), exposedHeaders: ['Retry-After'] },
      allowRequest: (request, answer) => this.door.allow(request, answer),
    });
    const engine = engineServerOf(io);
    this.#packets.watch(engine);
    engine.use(pollInTurn(engine));
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
    return Object.values(engineServerOf(this.#io).clients);
  }

  /** Wires in the operations, and makes this the service that getWebSocketService() returns. */
  open(operations: WebSocketOperations): void {
    this.#operations = operations;
    current = this;
  }

  async #admit(socket: TidingsSocket, next: (error?: Error) => void): Promise<void> {
    const { tokens, sessions, backlog, clock } = this.parts;
    const engine = engineOf(socket);
    try {
      const token = readToken(socket);
      await tokens.prepare(token);
      // Cut meanwhile: Socket.IO drops the socket, and it must not cost another connection its place.
      if (engine.readyState !== 'open') return next();
      if (this.#packets.isTaken(engine)) throw new AppError('bad_request', 'This connection already has a socket.');
      const caller = tokens.verify(token);
      const device = readDevice(socket);
      sessions.makeRoom(caller.userId);
      this.#packets.reserve(engine);
      socket.data.connection = new SocketConnection({
        socket,
        clock,
        caller,
        device,
        origin: this.parts.clients.linkBase(socket.request),
        backlog,
        onSlow: (connection) => sessions.cutSlow(connection),
      });
      this.#packets.authenticated(engine, socket.data.connection);
      next();
    } catch (error) {
      this.#refuse(socket, sessions.refusals.count(error), next);
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
    boundPackets(socket);
    socket.onAny(this.#onAny);
    socket.on('disconnect', this.#onDisconnect);
    this.parts.sessions.enter(connection);
  }

  async #handleEvent(socket: TidingsSocket, args: unknown[]): Promise<void> {
    const { connection } = socket.data;
    if (connection?.isHeard !== true) return;
    const bytes = bytesBeingRead(socket);
    const answer = takeCallback(args);
    const [event, payload] = args;
    const reply = await this.parts.sessions.events.handle(
      connection,
      () => this.#dispatch(connection, event, payload),
      {
        price: this.#operations?.priceOf(event, payload) ?? 1,
        bytes,
      },
    );
    if (answer !== undefined) connection.reply(answer, reply);
    else if (!reply.ok && connection.isOpen) connection.send('error', withMessage(reply.error));
  }

  #dispatch(connection: Connection, event: unknown, payload: unknown): object | Promise<object> {
    if (payload instanceof AppError) throw payload;
    if (typeof event !== 'string') throw new AppError('unknown_event', 'The name of an event must be a string.');
    if (this.#operations === undefined) throw new AppError('going_away', 'The service is not ready yet.');
    return this.#operations.dispatch(connection, event, payload);
  }

  /**
   * Sends a notification from code that embeds the service.
   * @returns the id of the stored message. @throws AppError as POST /websocket/notification answers.
   */
  async sendNotification(userId: string, title: string, body: string): Promise<{ id: string }> {
    if (this.#operations === undefined) throw new AppError('going_away', 'The service is not ready yet.');
    try {
      return await this.#operations.sendNotification(userId, title, body);
    } catch (error) {
      throw describeFailure(error);
    }
  }

  /** Is this user connected to any node? */
  isUserConnected(userId: string): boolean {
    return this.parts.roster.isOnline(userId);
  }

  /** Closes every session. */
  async close(): Promise<void> {
    if (current === this) current = undefined;
    await this.#io.close();
    // Polling clients that had no request waiting.
    for (const engine of this.#engines) endAtOnce(engine);
  }
}

function takeCallback(args: unknown[]): ((reply: object) => void) | undefined {
  return typeof args.at(-1) === 'function' ? (args.pop() as (reply: object) => void) : undefined;
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
