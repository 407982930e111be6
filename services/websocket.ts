/**
 * The Socket.IO server: lets connections in, hands their events to the operations, and sees them out.
 */
import type { Server as HttpServer, IncomingMessage } from 'node:http';
import { Server, type Socket } from 'socket.io';
import type { Clock } from '../utils/clock';
import { toIsoTime } from '../utils/clock';
import type { Config } from '../utils/config';
import { AppError, type Problem, toAppError, toProblem } from '../utils/errors';
import { readBearer } from '../utils/jwt';
import type { AnyMessage, Closing, ClosingCode } from '../utils/protocol';
import { deviceSchema } from '../utils/schemas';
import { DEFAULT_DEVICE } from '../utils/topic-names';
import type { Connection, Connections, Transport } from './connections';
import type { Cursors } from './cursors';
import type { Delivery } from './delivery';
import { EventLimit } from './event-limit';
import { HandshakeLimits } from './handshake-limits';
import type { Logger } from './logger';
import type { Metrics } from './metrics';
import { type EngineConnection, emitMessage, engineOf, roomOf, SocketConnection } from './socket-connection';
import type { Tokens } from './tokens';

/** A connection that has sent no valid CONNECT after this time is closed. */
const CONNECT_TIMEOUT_MS = 10_000;
/** A client may try another token on the same connection; a flood of CONNECT packets is cut. */
const MAX_CONNECT_PACKETS = 3;
const CONNECT_PACKET = '0';
/** Reconnecting clients are spread over this time after a stop. */
const RECONNECT_SPREAD_MS = 5_000;
const EXPIRY_CHECK_INTERVAL_MS = 1_000;

/** Answers a client event; what it resolves to goes into the acknowledgement beside `ok: true`. */
export type DispatchEvent = (connection: Connection, event: string, payload: unknown) => Promise<object>;

/** Sends a notification as the service itself. */
export type SendNotification = (userId: string, title: string, body: string) => Promise<{ id: string }>;

export interface WebSocketParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly tokens: Tokens;
  readonly connections: Connections;
  readonly cursors: Cursors;
  readonly delivery: Delivery;
}

/** What application.ts wires in from above: services know no operations. */
export interface WebSocketOperations {
  readonly dispatch: DispatchEvent;
  readonly sendNotification: SendNotification;
}

interface SocketState {
  connection?: SocketConnection;
  limit?: EventLimit;
  /** Scheme, host and port under which the client came, for links in problems. */
  origin?: string;
  /** With AUTH_ERROR_EVENT: let in only to be told the error. */
  refusal?: AppError;
}

type TidingsSocket = Socket<never, never, never, SocketState>;

export class WebSocketService implements Transport {
  readonly #io: Server;
  readonly #limits: HandshakeLimits;
  /** Engine connections that have their socket: one each, however many CONNECT packets come in a burst. */
  readonly #reserved = new WeakSet<EngineConnection>();
  readonly #connectPackets = new WeakMap<EngineConnection, number>();
  readonly #onAny: (this: TidingsSocket, ...args: unknown[]) => void;
  readonly #onDisconnect: (this: TidingsSocket) => void;
  #operations: WebSocketOperations | undefined;
  #expiryTimer: NodeJS.Timeout | undefined;

  constructor(
    httpServer: HttpServer,
    private readonly parts: WebSocketParts,
  ) {
    this.#limits = new HandshakeLimits(parts.config, parts.clock);
    this.#io = this.#createServer(httpServer);
    const service = this;
    this.#onAny = function (...args) {
      void service.#handleEvent(this, args);
    };
    this.#onDisconnect = function () {
      service.#leave(this);
    };
    httpServer.on('upgrade', refuseUnknownUpgrade);
  }

  #createServer(httpServer: HttpServer): Server {
    const { config } = this.parts;
    const io = new Server(httpServer, {
      connectTimeout: CONNECT_TIMEOUT_MS,
      pingInterval: config.PING_INTERVAL_MS,
      pingTimeout: config.PING_TIMEOUT_MS,
      maxHttpBufferSize: config.MAX_BODY_BYTES,
      // A broadcast is encoded once for all only without compression.
      perMessageDeflate: false,
      destroyUpgrade: false,
      cors: { origin: config.corsOrigins === '*' ? '*' : [...config.corsOrigins] },
      allowRequest: (request, answer) => this.#checkHandshake(request, answer),
    });
    io.engine.on('connection', (engine: EngineConnection) => this.#countConnection(engine));
    io.use((socket, next) => this.#admit(socket as TidingsSocket, next));
    io.on('connection', (socket) => this.#welcome(socket as TidingsSocket));
    return io;
  }

  /** Wires in the operations and starts the timers; before that no connection is accepted. */
  open(operations: WebSocketOperations): void {
    this.#operations = operations;
    this.#expiryTimer = setInterval(() => this.#closeExpired(), EXPIRY_CHECK_INTERVAL_MS);
    this.#expiryTimer.unref();
    current = this;
  }

  #checkHandshake(request: IncomingMessage, answer: (refusal: string | undefined, isAllowed: boolean) => void): void {
    const refusal = this.#operations === undefined ? 'going_away' : this.#limits.refusalOf(request);
    if (refusal !== undefined) this.parts.metrics.refusals.inc({ code: refusal });
    answer(refusal, refusal === undefined);
  }

  #countConnection(engine: EngineConnection): void {
    const address = engine.remoteAddress;
    this.#limits.opened(address);
    engine.once('close', () => this.#limits.closed(address));
    engine.on('data', (data: unknown) => {
      if (typeof data === 'string' && data.startsWith(CONNECT_PACKET)) this.#countConnectPacket(engine);
    });
  }

  #countConnectPacket(engine: EngineConnection): void {
    const count = (this.#connectPackets.get(engine) ?? 0) + 1;
    this.#connectPackets.set(engine, count);
    if (count > MAX_CONNECT_PACKETS) engine.close(true);
  }

  #admit(socket: TidingsSocket, next: (error?: Error) => void): void {
    const engine = engineOf(socket);
    socket.data.origin = originOf(socket);
    try {
      if (this.#reserved.has(engine)) throw new AppError('bad_request', 'This connection has its socket already.');
      const caller = this.parts.tokens.verify(readToken(socket));
      const device = readDevice(socket);
      this.#makeRoom(caller.userId);
      this.#reserved.add(engine);
      socket.data.connection = new SocketConnection(
        {
          socket,
          caller,
          device,
          maxBufferedBytes: this.parts.config.MAX_BUFFERED_BYTES,
          onSlow: (connection) => this.#cutSlow(connection),
        },
        DEFAULT_DEVICE,
      );
      next();
    } catch (error) {
      this.#refuse(socket, toAppError(error), next);
    }
  }

  #refuse(socket: TidingsSocket, error: AppError, next: (error?: Error) => void): void {
    this.#countRefusal(error);
    if (this.parts.config.AUTH_ERROR_EVENT && error.status === 401) {
      socket.data.refusal = error;
      next();
      return;
    }
    next(Object.assign(new Error(error.message), { data: toProblem(error, { origin: socket.data.origin ?? '' }) }));
  }

  #countRefusal(error: AppError): void {
    this.parts.metrics.refusals.inc({ code: error.code });
    if (error.code === 'internal') this.parts.logger.error({ err: error.cause }, 'a client event failed');
  }

  /** @throws AppError `too_many_connections` when the user has as many connections as allowed. */
  #makeRoom(userId: string): void {
    const { config, connections } = this.parts;
    if (connections.countOf(userId) < config.MAX_CONNECTIONS_PER_USER) return;
    const reason = `A user may have ${config.MAX_CONNECTIONS_PER_USER} connections.`;
    if (config.TOO_MANY === 'refuse') throw new AppError('too_many_connections', reason);
    const oldest = connections.ofUser(userId)[0];
    if (oldest !== undefined)
      this.#closeConnection(oldest, 'too_many_connections', `${reason} A newer one took this place.`);
  }

  #welcome(socket: TidingsSocket): void {
    const { connection, refusal } = socket.data;
    if (refusal !== undefined || connection === undefined) {
      (socket as Socket).emit('error', { message: 'Authentication failed' });
      socket.disconnect(true);
      return;
    }
    releaseHandshake(socket);
    try {
      // Connections admitted in the same tick did not see each other.
      this.#makeRoom(connection.userId);
    } catch (error) {
      this.#countRefusal(toAppError(error));
      this.#closeConnection(connection, 'too_many_connections', toAppError(error).message);
      return;
    }
    socket.data.limit = new EventLimit(this.parts.config.SOCKET_EVENTS_PER_SECOND, this.parts.clock.now());
    socket.onAny(this.#onAny);
    socket.on('disconnect', this.#onDisconnect);
    this.parts.connections.add(connection);
    greet(connection);
    void this.#deliver(connection);
  }

  async #deliver(connection: SocketConnection): Promise<void> {
    try {
      await this.parts.delivery.attach(connection);
    } catch (error) {
      this.parts.logger.error({ err: error, userId: connection.userId }, 'catch-up failed, the connection is closed');
      connection.close(
        { code: 'going_away', reason: 'The store cannot be read.', retryInMs: RECONNECT_SPREAD_MS },
        { isFinal: false },
      );
    }
  }

  /** The one wrapper round every client event: whatever an operation throws ends here. */
  async #handleEvent(socket: TidingsSocket, args: unknown[]): Promise<void> {
    const { connection, limit } = socket.data;
    if (connection === undefined || limit === undefined || !connection.isOpen) return;
    const answer = takeCallback(args);
    const [event, payload] = args;
    try {
      if (event !== 'ack') this.#limitEvents(connection, limit);
      const result = await this.#dispatch(connection, event, payload);
      answer?.({ ok: true, ...result });
    } catch (thrown) {
      const error = toAppError(thrown);
      this.#countRefusal(error);
      const problem = toProblem(error, { origin: socket.data.origin ?? '' });
      if (answer !== undefined) answer({ ok: false, error: problem });
      else if (connection.isOpen) connection.send('error', withMessage(problem));
    }
  }

  async #dispatch(connection: Connection, event: unknown, payload: unknown): Promise<object> {
    if (typeof event !== 'string') throw new AppError('unknown_event', 'The name of an event is a string.');
    if (this.#operations === undefined) throw new AppError('going_away', 'The service is not open.');
    return this.#operations.dispatch(connection, event, payload);
  }

  #limitEvents(connection: SocketConnection, limit: EventLimit): void {
    const verdict = limit.judge(this.parts.clock.now());
    if (verdict === 'accepted') return;
    const reason = `More than ${this.parts.config.SOCKET_EVENTS_PER_SECOND} events per second.`;
    if (verdict === 'abusive') this.#closeConnection(connection, 'rate_limited', reason);
    throw new AppError('rate_limited', reason, { retryAfterSeconds: 1 });
  }

  #leave(socket: TidingsSocket): void {
    const { connection } = socket.data;
    if (connection === undefined) return;
    const { connections, cursors, delivery, clock } = this.parts;
    delivery.detach(connection);
    if (connections.remove(connection)) cursors.sawLast(connection.userId, clock.now());
  }

  #cutSlow(connection: SocketConnection): void {
    this.parts.metrics.slowConsumers.inc();
    this.parts.logger.warn({ userId: connection.userId, socketId: connection.id }, 'slow consumer cut');
    this.parts.delivery.detach(connection);
    connection.close(
      { code: 'slow_consumer', reason: 'Too many unsent bytes.', retryInMs: RECONNECT_SPREAD_MS },
      { isFinal: false },
    );
    connection.terminate();
  }

  #closeExpired(): void {
    const nowSeconds = this.parts.clock.now() / 1000;
    for (const connection of this.parts.connections.all()) {
      const { expiresAt } = connection.caller;
      if (expiresAt !== undefined && expiresAt <= nowSeconds) {
        this.#closeConnection(connection, 'token_expired', 'The token has expired.');
      }
    }
  }

  #closeConnection(connection: Connection, code: ClosingCode, reason: string): void {
    this.parts.delivery.detach(connection);
    connection.close({ code, reason, retryInMs: null }, { isFinal: true });
  }

  /** Closes connections of a user, all of them or those of one device. @returns how many. */
  disconnect(userId: string, code: ClosingCode, options: { reason: string; device?: string }): number {
    const all = this.parts.connections.ofUser(userId);
    const chosen = options.device === undefined ? all : all.filter(({ device }) => device === options.device);
    for (const connection of chosen) this.#closeConnection(connection, code, options.reason);
    return chosen.length;
  }

  broadcast(message: AnyMessage): void {
    emitMessage(this.#io.local.to(roomOf(message.topic)), message);
  }

  /**
   * Sends a notification from code that embeds the service.
   * @returns the id of the stored message. @throws AppError as POST /websocket/notification answers.
   */
  async sendNotification(userId: string, title: string, body: string): Promise<{ id: string }> {
    if (this.#operations === undefined) throw new AppError('going_away', 'The service is not open.');
    return this.#operations.sendNotification(userId, title, body);
  }

  /** Is this user connected to this node? */
  isUserConnected(userId: string): boolean {
    return this.parts.connections.isOnline(userId);
  }

  /** Refuses new connections from now on; those that exist go on. */
  stopAccepting(): void {
    this.#limits.stop();
  }

  /**
   * Tells every client that the service goes away, with reconnect times spread, and closes the HTTP server with it.
   * Resolves when the last request in flight has been answered.
   */
  async close(): Promise<void> {
    if (current === this) current = undefined;
    clearInterval(this.#expiryTimer);
    for (const connection of [...this.parts.connections.all()]) {
      this.parts.delivery.detach(connection);
      connection.close(goingAway(), { isFinal: false });
    }
    await this.#io.close();
  }
}

function goingAway(): Closing {
  const retryInMs = Math.round(Math.random() * RECONNECT_SPREAD_MS);
  return { code: 'going_away', reason: 'The service is stopping.', retryInMs };
}

function greet(connection: SocketConnection): void {
  const { id: socketId, userId, device, caller } = connection;
  const expiresAt = caller.expiresAt === undefined ? null : toIsoTime(caller.expiresAt * 1000);
  connection.send('authenticated', { userId, socketId, device, expiresAt });
  connection.send('connected', { message: 'Successfully connected to WebSocket', userId, socketId });
}

/** Token from `auth.token`, else the Authorization header, else `?token=`. */
function readToken(socket: TidingsSocket): string {
  const { auth, headers, query } = socket.handshake;
  const token: unknown = (auth as { token?: unknown }).token ?? query['token'];
  if ((auth as { token?: unknown }).token === undefined && headers.authorization !== undefined) {
    return readBearer(headers.authorization);
  }
  if (typeof token === 'string' && token !== '') return token.startsWith('Bearer ') ? readBearer(token) : token;
  throw new AppError('unauthorized', 'A token is required: auth.token, an Authorization header or ?token=.');
}

/** Device from `auth.device`, else `?device=`. */
function readDevice(socket: TidingsSocket): string | undefined {
  const { auth, query } = socket.handshake;
  const device: unknown = (auth as { device?: unknown }).device ?? query['device'];
  if (device === undefined) return undefined;
  const parsed = deviceSchema.safeParse(device);
  if (parsed.success) return parsed.data;
  const message = 'must be 1 to 128 characters without control characters';
  throw new AppError('bad_request', `device: ${message}`, { errors: [{ path: 'device', message }] });
}

function originOf(socket: TidingsSocket): string {
  const { headers, secure } = socket.handshake;
  return headers.host === undefined ? '' : `${secure ? 'https' : 'http'}://${headers.host}`;
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

function refuseUnknownUpgrade(request: IncomingMessage, socket: NodeJS.WritableStream & { destroy(): void }): void {
  if (request.url?.startsWith('/socket.io/')) return;
  socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', () => socket.destroy());
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
