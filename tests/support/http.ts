/** Requests sent as they are written, without a library that would repair them first. */
import { Agent, type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface Exchange {
  readonly method?: string;
  /** Taken literally: nothing is encoded. */
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

// Connections are kept: a server that answers before it has read everything may then still be read from.
const agent = new Agent({ keepAlive: true, maxSockets: 16 });
afterAll(() => agent.destroy());

/** Sends one request. A body goes with its Content-Length, unless the headers say `Transfer-Encoding`. */
export function exchange(url: string, { method = 'GET', path, headers = {}, body }: Exchange): Promise<Answer> {
  const { hostname, port } = new URL(url);
  const length = body === undefined || 'Transfer-Encoding' in headers ? {} : { 'Content-Length': byteLength(body) };
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { hostname, port, method, path, agent, headers: { ...length, ...headers } },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('end', () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            text: Buffer.concat(chunks).toString('utf8'),
          }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

function byteLength(body: string | Buffer): number {
  return typeof body === 'string' ? Buffer.byteLength(body) : body.length;
}

/**
 * Writes bytes to a new connection and reads until the server closes it: the bytes should request that. `isEnding`
 * closes the client's side after them.
 */
export function exchangeBytes(url: string, bytes: string | Buffer, { isEnding = false } = {}): Promise<Answer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => (isEnding ? socket.end(bytes) : socket.write(bytes)));
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(parseAnswer(Buffer.concat(chunks).toString('utf8'))));
  });
}

function parseAnswer(text: string): Answer {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => {
      const [name = '', ...value] = line.split(':');
      return [name.toLowerCase(), value.join(':').trim()];
    }),
  );
  return { status: Number(statusLine.split(' ')[1] ?? 0), headers, text: rest.join('\r\n\r\n') };
}

/** A few kilobytes that inflate to `bytes` spaces inside a JSON text. */
export function gzipBomb(bytes: number): Buffer {
  return gzipSync(Buffer.concat([Buffer.from('{"userId":'), Buffer.alloc(bytes, ' '), Buffer.from('"victim"}')]));
}
