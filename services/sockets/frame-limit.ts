/** How large a frame of one connection may be: ws and Engine.IO know one limit for all, whoever they are. */

/** A transport of Engine.IO: `socket` is its WebSocket, and a polling one has none. */
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
