/** The parts of Engine.IO that are used here; it has no types of its own for them. */
import type { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket as TcpSocket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Query } from '../../utils/request-target';
import type { PingSocket } from './signs-of-life';

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
  handleRequest(request: IncomingMessage, response: ServerResponse): void;
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** The Engine.IO connection of a Socket.IO socket. */
export function engineOf({ conn }: { readonly conn: unknown }): EngineConnection {
  return conn as EngineConnection;
}
