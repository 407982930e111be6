/** A network between two services on a bad day: the first answer is lost, the second is a 429, the third arrives. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestEnd } from './temporary';

/** What the 429 asks for. */
const RETRY_AFTER_SECONDS = 1;

export interface LossyProxy {
  readonly port: number;
  /** When each request arrived, by a clock that only goes forward. */
  readonly requestedAtMs: readonly number[];
}

export async function startLossyProxy(url: string): Promise<LossyProxy> {
  const requestedAtMs: number[] = [];
  const server = createServer((request, response) => {
    requestedAtMs.push(performance.now());
    void answer(requestedAtMs.length, request, response);
  });

  async function answer(attempt: number, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (attempt === 2) {
      request.resume();
      response.writeHead(429, { 'Retry-After': RETRY_AFTER_SECONDS, 'Content-Type': 'application/problem+json' });
      response.end('{"status":429,"code":"rate_limited","detail":"Later, please."}');
      return;
    }
    const forwarded = await forward(url, request);
    const body = await forwarded.text();
    if (attempt === 1) request.socket.destroy();
    else response.writeHead(forwarded.status, { 'Content-Type': 'application/json' }).end(body);
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, requestedAtMs };
}

async function forward(url: string, request: IncomingMessage): Promise<Response> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const { authorization = '', 'content-type': type = '', 'idempotency-key': key = '' } = request.headers;
  const headers = { Authorization: authorization, 'Content-Type': type, 'Idempotency-Key': String(key) };
  return fetch(`${url}${request.url}`, { method: request.method ?? 'GET', headers, body: Buffer.concat(parts) });
}
