/**
 * Answers a handshake of Socket.IO that is refused before Engine.IO has looked at it: in Engine.IO's own form, which its
 * clients know, and with what it leaves out: why, and when to come back.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { AppError } from '../utils/errors';

/** Engine.IO sets the response before it asks, unless the request is an upgrade. */
export type EngineRequest = IncomingMessage & { readonly res?: ServerResponse };

/** Engine.IO's code for a handshake that is not allowed. */
const FORBIDDEN = 4;

export function refuseHandshake(request: EngineRequest, refusal: AppError): void {
  if (request.res === undefined) refuseUpgrade(request.socket, refusal);
  else refusePolling(request.res, refusal);
}

function refusePolling(response: ServerResponse, refusal: AppError): void {
  response
    .writeHead(403, { 'Content-Type': 'application/json', ...retryHeader(refusal) })
    .end(JSON.stringify({ code: FORBIDDEN, message: refusal.code, detail: refusal.message }));
}

function refuseUpgrade(socket: Duplex, refusal: AppError): void {
  const headers = {
    Connection: 'close',
    'Content-Type': 'text/plain',
    'Content-Length': String(refusal.code.length),
    ...retryHeader(refusal),
  };
  const head = ['HTTP/1.1 400 Bad Request', ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)];
  // A peer that is gone already resets: without a listener that would end the process.
  socket.on('error', () => socket.destroy());
  socket.end(`${head.join('\r\n')}\r\n\r\n${refusal.code}`, () => socket.destroy());
}

function retryHeader({ retryAfterSeconds }: AppError): Record<string, string> {
  return retryAfterSeconds === undefined ? {} : { 'Retry-After': String(retryAfterSeconds) };
}
