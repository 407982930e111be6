/**
 * What arrives over an Engine.IO connection, judged before Socket.IO reads it: how large a packet may be, how many
 * CONNECT packets, and whose fault an end was.
 */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Config } from '../../utils/config';
import type { ErrorCode, Problem } from '../../utils/errors';
import { type Incoming, STRANGERS_BYTES } from '../admission/incoming';
import type { Metrics } from '../observability/metrics';
import { type EngineConnection, type EngineServer, limitTransport } from './engine';
import { refusePolling } from './engine-refusal';
import { engineOfRequest } from './polls';
import type { Sessions } from './sessions';
import { boundClose, type SocketConnection } from './socket-connection';
import { keepText, type Packet, sizeOf } from './socket-io-packets';

/** A client may try another token on the same connection; a flood of CONNECT packets is cut. */
const MAX_CONNECT_PACKETS = 3;
const CONNECT_PACKET = '0';
/** An event with binary data, which arrives in further packets. */
const BINARY_PACKET = '5';
/** Engine.IO's reasons for an end: it was asked to close, or could not parse a packet. */
export const ENGINE_CUT = 'forced close';
const ENGINE_PARSE_ERROR = 'parse error';
/** The messages of ws for a frame that is too large, and for one against the protocol: all that Engine.IO passes on. */
const TOO_LARGE_FRAME = /Max payload size exceeded/;
const BAD_FRAME =
  /Invalid WebSocket frame|Too many message fragments|Too many buffered chunks|invalid heartbeat direction/;

export interface EnginePacketParts {
  readonly config: Config;
  readonly metrics: Metrics;
  readonly sessions: Sessions;
  readonly incoming: Incoming;
}

export class EnginePackets {
  readonly #connections = new WeakMap<EngineConnection, SocketConnection>();
  /** Engine connections that have their socket: one each, however many CONNECT packets arrive in a burst. */
  readonly #reserved = new WeakSet<EngineConnection>();
  readonly #connectPackets = new WeakMap<EngineConnection, number>();

  constructor(private readonly parts: EnginePacketParts) {}

  /** Judges what comes through an Engine.IO server from now on. */
  watch(engines: EngineServer): void {
    engines.use((request, response, next) => {
      // For an upgrade Engine.IO passes a stand-in response, whatever the method.
      if (request.method !== 'POST' || !(response instanceof ServerResponse)) next();
      else if (this.#expectBody(engines, request, response)) {
        this.#watchSize(response);
        next();
      }
    });
    // Before a token has arrived; afterwards each connection gets its own limit.
    engines.ws.options.maxPayload = this.#strangersBytes;
    engines.on('connection', (engine: EngineConnection) => this.#countConnection(engine));
    engines.on('connection_error', () => this.parts.metrics.refusals.inc({ code: 'bad_request' }));
  }

  /** Does the engine connection have its socket already? */
  isTaken(engine: EngineConnection): boolean {
    return this.#reserved.has(engine);
  }

  reserve(engine: EngineConnection): void {
    this.#reserved.add(engine);
  }

  /** The connection is authenticated: it may send as much as a caller may. */
  authenticated(engine: EngineConnection, connection: SocketConnection): void {
    this.#connections.set(engine, connection);
    this.#limitFrames(engine);
  }

  #countConnection(engine: EngineConnection): void {
    boundClose(engine);
    limitTransport(engine.transport, this.#strangersBytes);
    engine.on('upgrade', () => this.#limitFrames(engine));
    engine.once('close', (reason: string, fault: unknown) => this.#countEnd(engine, reason, fault));
    // Socket.IO only receives packets that are not refused.
    const readers = engine.listeners('data');
    engine.removeAllListeners('data');
    engine.on('data', (data: Packet) => {
      if (this.#isRefused(engine, data)) return;
      keepText(engine, data);
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

  /** Judges a packet before Socket.IO parses it, and answers one that is refused. */
  #isRefused(engine: EngineConnection, data: Packet): boolean {
    const connection = this.#connections.get(engine);
    if (connection === undefined) return false;
    if (!connection.isOpen) return true;
    const error = this.parts.sessions.events.refuseUnread(connection, sizeOf(data));
    if (error === undefined) return false;
    // For an event with binary data Socket.IO would wait for the remaining packets.
    if (typeof data !== 'string' || data.startsWith(BINARY_PACKET)) {
      this.parts.sessions.end(connection, 'rate_limited', error.detail);
    } else connection.answerUnread(ackIdOf(data), withMessage(error));
    return true;
  }

  /** The body of a polling request takes memory until it has arrived. @returns false when it was refused. */
  #expectBody(engines: EngineServer, request: IncomingMessage, response: ServerResponse): boolean {
    const engine = engineOfRequest(engines, request);
    const connection = engine === undefined ? undefined : this.#connections.get(engine);
    if (connection === undefined) return true;
    const { MAX_BODY_BYTES } = this.parts.config;
    const bytes = Number(request.headers['content-length'] ?? MAX_BODY_BYTES);
    // Engine.IO refuses larger ones itself.
    if (bytes > MAX_BODY_BYTES) return true;
    try {
      response.once('close', this.parts.incoming.expect(connection.caller, bytes));
      return true;
    } catch (error) {
      refusePolling(response, this.parts.sessions.refusals.count(error));
      return false;
    }
  }

  /** A connection that ended by its client's fault received no problem, but counts as a refusal. */
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

  /** Engine.IO answers 413 itself to a polling request that is too large. */
  #watchSize(response: ServerResponse): void {
    response.once('finish', () => {
      if (response.statusCode === 413) this.parts.metrics.refusals.inc({ code: 'body_too_large' });
    });
  }

  #countConnectPacket(engine: EngineConnection): void {
    const count = (this.#connectPackets.get(engine) ?? 0) + 1;
    this.#connectPackets.set(engine, count);
    if (count <= MAX_CONNECT_PACKETS) return;
    // When it has a socket, its end is counted with the socket.
    if (engine.readyState === 'open' && !this.#reserved.has(engine)) {
      this.parts.metrics.refusals.inc({ code: 'bad_request' });
    }
    engine.close(true);
  }
}

/** @param packet an event: its type, an optional namespace, an optional acknowledgement id, and its arguments. */
function ackIdOf(packet: string): number | undefined {
  const [, id] = /^2(?:\/[^,]{0,128},)?(\d{1,15})\[/.exec(packet) ?? [];
  return id === undefined ? undefined : Number(id);
}

/** Clients of compatible services read `message` of the event `error`. */
export function withMessage(problem: Problem): Problem & { message: string } {
  return { message: problem.detail, ...problem };
}
