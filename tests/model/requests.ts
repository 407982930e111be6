/** Requests over keep-alive connections, written and read by hand: Node's own client costs as much as the service. */
import { connect, type Socket } from 'node:net';

export interface Response {
  readonly status: number;
  readonly text: string;
}

export interface Request {
  readonly method: string;
  readonly path: string;
  readonly token: string;
  readonly body: string | undefined;
}

const NO_BYTES = Buffer.alloc(0);
const HEAD_END = '\r\n\r\n';
const LENGTH = /\r\ncontent-length: *(\d+)/i;
const STATUS = /^HTTP\/1\.1 (\d{3})/;
const LAST = /\r\nconnection: *close/i;
const NO_CONTENT = 204;

/** One connection, which carries one request at a time. */
class Line {
  readonly #socket: Socket;
  #received: Buffer = NO_BYTES;
  /** The service takes another request over it. */
  isKept = true;
  #settle: { readonly resolve: (response: Response) => void; readonly reject: (error: Error) => void } | undefined;

  constructor(port: number, onClose: (line: Line) => void) {
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true });
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', () => undefined);
    this.#socket.on('close', () => {
      onClose(this);
      this.#settle?.reject(new Error('the service has closed a connection instead of answering'));
    });
  }

  ask({ method, path, token, body }: Request): Promise<Response> {
    const length = body === undefined ? '' : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
    const head = `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\n`;
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#socket.write(`${head}Content-Type: application/json\r\n${length}\r\n${body ?? ''}`);
    });
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const headLength = this.#received.indexOf(HEAD_END);
    if (headLength >= 0) this.#takeBody(this.#received.toString('latin1', 0, headLength), headLength + HEAD_END.length);
  }

  #takeBody(head: string, start: number): void {
    const status = Number(STATUS.exec(head)?.[1]);
    const length = status === NO_CONTENT ? 0 : Number(LENGTH.exec(head)?.[1]);
    if (Number.isNaN(length)) this.#fail(`an answer that cannot be read: ${head}`);
    else if (this.#received.length >= start + length) {
      const text = this.#received.toString('utf8', start, start + length);
      this.#received = NO_BYTES;
      this.isKept = !LAST.test(head);
      this.#answer({ status, text });
    }
  }

  #answer(response: Response): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.resolve(response);
  }

  #fail(sentence: string): void {
    this.#settle?.reject(new Error(sentence));
    this.#settle = undefined;
    this.close();
  }

  close(): void {
    this.#socket.destroy();
  }
}

export class Requests {
  readonly #idle = new Map<number, Line[]>();

  async ask(port: number, request: Request): Promise<Response> {
    const idle = this.#idle.get(port) ?? [];
    this.#idle.set(port, idle);
    const line = idle.pop() ?? new Line(port, (closed) => forget(idle, closed));
    const response = await line.ask(request);
    if (line.isKept) idle.push(line);
    else line.close();
    return response;
  }

  /** To be called when none is in flight. */
  close(): void {
    for (const idle of this.#idle.values()) for (const line of idle.splice(0)) line.close();
  }
}

function forget(lines: Line[], line: Line): void {
  const place = lines.indexOf(line);
  if (place >= 0) lines.splice(place, 1);
}
