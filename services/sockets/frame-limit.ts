/** The largest frame of a single connection: ws and Engine.IO themselves only have one limit for all. */

/** A transport of Engine.IO. `socket`: its WebSocket, absent when polling. */
interface EngineTransport {
  readonly socket?: object;
  maxHttpBufferSize?: number;
}

export function limitWebSocket(webSocket: object, maxBytes: number): void {
  (webSocket as { readonly _receiver: { _maxPayload: number } })._receiver._maxPayload = maxBytes;
}

export function limitTransport(transport: EngineTransport, maxBytes: number): void {
  if (transport.socket === undefined) transport.maxHttpBufferSize = maxBytes;
  else limitWebSocket(transport.socket, maxBytes);
}
