/**
 * The one WebSocket implementation, for both endpoints. Engine.IO would bring its own copy, which answers pings without
 * bound while the client reads nothing. What is used of it beyond what it documents is here, too:
 * docs/decisions/internals.md says why, and self-check.ts looks for it at start.
 */
import type { Socket as TcpSocket } from 'node:net';

export { WebSocketServer } from 'ws';

/** The connection below an open WebSocket. */
export function tcpSocketOf(webSocket: object): TcpSocket {
  return (webSocket as { readonly _socket: TcpSocket })._socket;
}

/** The largest frame of a single connection: ws itself has only one limit for all. */
export function limitWebSocket(webSocket: object, maxBytes: number): void {
  (webSocket as { readonly _receiver: { _maxPayload: number } })._receiver._maxPayload = maxBytes;
}
