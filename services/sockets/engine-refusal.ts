/**
 * Answers a Socket.IO handshake that is refused before Engine.IO sees it: in Engine.IO's own form, which its clients
 * know, with the reason and the time to retry added.
 */
import type { ServerResponse } from 'node:http';
import { type AppError, retryHeader } from '../../utils/errors';

/** Engine.IO's code for a handshake that is not allowed. */
const FORBIDDEN = 4;

export function refusePolling(response: ServerResponse, refusal: AppError): void {
  response
    .writeHead(403, { 'Content-Type': 'application/json', ...retryHeader(refusal) })
    .end(JSON.stringify({ code: FORBIDDEN, message: refusal.code, detail: refusal.message }));
}

/** The answer to an upgrade, as sent over the wire. */
export function renderRefusal(refusal: AppError): string {
  const headers = {
    Connection: 'close',
    'Content-Type': 'text/plain',
    'Content-Length': String(refusal.code.length),
    ...retryHeader(refusal),
  };
  const head = ['HTTP/1.1 400 Bad Request', ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)];
  return `${head.join('\r\n')}\r\n\r\n${refusal.code}`;
}
