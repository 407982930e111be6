/** A reverse proxy as people put in front of the service: it removes a prefix from the path, and says so in headers. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { onTestEnd } from './temporary';

export interface ReverseProxy {
  /** With the prefix. */
  readonly url: string;
}

export interface ReverseProxyOptions {
  /** Such as `/notify`; nothing else is passed on. */
  readonly prefix?: string;
  /** Headers that it sets on each request. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Ends with the test. */
export async function startReverseProxy(target: string, options: ReverseProxyOptions = {}): Promise<ReverseProxy> {
  const { prefix = '', headers = {} } = options;
  const sockets = new Set<Duplex>();
  const pass = (incoming: IncomingMessage) => {
    const { hostname, port } = new URL(target);
    const path = incoming.url?.slice(prefix.length);
    return request({
      ...{ hostname, port, method: incoming.method, agent: false },
      path: path?.startsWith('/') === true ? path : `/${path ?? ''}`,
      headers: { ...incoming.headers, ...headers },
    });
  };
  const server = createServer((incoming, response) => {
    if (incoming.url?.startsWith(prefix) !== true) {
      response.writeHead(421).end('not below the prefix');
      return;
    }
    const outgoing = pass(incoming);
    outgoing.on('response', (answer) => answer.pipe(response.writeHead(answer.statusCode ?? 502, answer.headers)));
    outgoing.on('error', () => response.destroy());
    // A client that is gone takes its requests with it.
    response.on('close', () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  server.on('upgrade', (incoming: IncomingMessage, near: Duplex) => {
    const outgoing = pass(incoming);
    outgoing.on('upgrade', (answer, far, head) => {
      near.write(`HTTP/1.1 101 Switching Protocols\r\n${toLines(answer.headers)}\r\n`);
      near.write(head);
      join(near, far, sockets);
    });
    outgoing.on('response', () => near.destroy());
    outgoing.on('error', () => near.destroy());
    outgoing.end();
  });
  server.on('connection', (socket: Socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${prefix}` };
}

function join(near: Duplex, far: Duplex, sockets: Set<Duplex>): void {
  sockets.add(far);
  near.pipe(far).pipe(near);
  for (const [one, other] of [
    [near, far],
    [far, near],
  ] as const) {
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroy());
  }
}

function toLines(headers: IncomingHttpHeaders): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${String(value)}\r\n`)
    .join('');
}
