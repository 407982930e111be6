/**
 * The parts of Engine.IO and Socket.IO that are used here beyond what they document. docs/decisions/internals.md says why,
 * and self-check.ts looks for them at start.
 */
import type { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket as TcpSocket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Query } from '../../utils/request-target';
import type { PingSocket } from './signs-of-life';
import { limitWebSocket } from './web-socket-server';

/** The part of Engine.IO's transport that is used here. `socket`: the ws connection, absent when polling. */
export interface EngineTransport extends EventEmitter {
  readonly name: string;
  /** Can it be written to now? Polling: does a request wait for an answer? */
  readonly writable: boolean;
  readonly socket?: PingSocket & {
    readonly readyState: number;
    readonly bufferedAmount: number;
    terminate(): void;
    readonly _socket?: TcpSocket;
  };
  send(packets: unknown[]): void;
  /** Polling: how long a close waits for a request that it can answer; Engine.IO's 30 s unless set. */
  closeTimeout?: number;
  /** Polling: the largest body of a request. */
  maxHttpBufferSize?: number;
  parser: { decodePayload(payload: string, type?: unknown): unknown[] };
  /** Polling: ends a waiting close. */
  readonly shouldClose?: (() => void) | null;
}

/** The part of Engine.IO's connection that is used here. */
export interface EngineConnection extends EventEmitter {
  readonly id: string;
  readonly readyState: string;
  readonly remoteAddress: string;
  readonly transport: EngineTransport;
  /** Packets that wait for the transport; a new array after each flush. */
  readonly writeBuffer: readonly {
    readonly data?: unknown;
    readonly options?: { readonly wsPreEncodedFrame?: readonly Buffer[] };
  }[];
  request: unknown;
  write(packet: string, options: object): void;
  close(discard?: boolean): void;
}

/** What Engine.IO attaches to a request. `res`: absent for an upgrade. `websocket`: once ws has opened it. */
export type EngineRequest = IncomingMessage & {
  readonly res?: ServerResponse;
  readonly websocket?: object;
  _query?: Query;
};

/** The part of Engine.IO's server that is used here. */
export interface EngineServer extends EventEmitter {
  /** By session id. */
  readonly clients: Readonly<Record<string, EngineConnection>>;
  /** Opens WebSockets; the limit of a frame holds until its transport sets another. */
  readonly ws: { readonly options: { maxPayload: number } };
  use(middleware: (request: IncomingMessage, response: unknown, next: () => void) => void): void;
  handleRequest(request: IncomingMessage, response: ServerResponse): void;
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** The Engine.IO server of a Socket.IO server. */
export function engineServerOf({ engine }: { readonly engine: unknown }): EngineServer {
  return engine as EngineServer;
}

/** The part of Socket.IO's socket that is used here. */
export interface SocketInside {
  readonly conn: { close(): void };
  readonly client: { readonly decoder: EventEmitter };
  /** Reads a packet as its decoder has decoded it. */
  _onpacket(packet: object): void;
  /** Creates the callback of an event. */
  ack(id: number): (reply: object) => void;
}

export function insideOf(socket: object): SocketInside {
  return socket as SocketInside;
}

/** The Engine.IO connection of a Socket.IO socket. */
export function engineOf({ conn }: { readonly conn: unknown }): EngineConnection {
  return conn as EngineConnection;
}

/** The largest frame of a single connection: Engine.IO itself has only one limit for all. */
export function limitTransport(
  transport: Pick<EngineTransport, 'socket' | 'maxHttpBufferSize'>,
  maxBytes: number,
): void {
  if (transport.socket === undefined) transport.maxHttpBufferSize = maxBytes;
  else limitWebSocket(transport.socket, maxBytes);
}
