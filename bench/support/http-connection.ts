import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

const HEAD_END = '\r\n\r\n';

export interface Answer {
  readonly status: number;
  readonly body: string;
}

interface Pending {
  resolve(answer: Answer): void;
  reject(reason: Error): void;
}

/**
 * One keep-alive connection with one request at a time. Written on the bare socket: Node's HTTP client costs more CPU
 * per request than the fastest of the servers, and would be what is measured.
 */
export class HttpConnection {
  private received: Buffer = Buffer.alloc(0);
  private pending: Pending | undefined;

  private constructor(
    private readonly socket: Socket,
    private readonly token: string,
  ) {
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.onData(chunk));
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('the server closed the connection')));
  }

  /** Connects to a server on this machine; every request will carry the token. */
  static async open(port: number, token: string): Promise<HttpConnection> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new HttpConnection(socket, token);
  }

  /**
   * Posts the content as JSON; without content, the body is empty.
   * @throws Error when the connection is lost before the answer.
   */
  post(path: string, content?: unknown): Promise<Answer> {
    return this.request(`POST ${path}`, { content });
  }

  /** Requests as another user. @throws Error as `post`. */
  getAs(token: string, path: string): Promise<Answer> {
    return this.request(`GET ${path}`, { token });
  }

  /** Changes as another user. @throws Error as `post`. */
  patchAs(token: string, path: string, content: unknown): Promise<Answer> {
    return this.request(`PATCH ${path}`, { token, content });
  }

  private request(target: string, { token = this.token, content }: { token?: string; content?: unknown }) {
    if (this.socket.destroyed) return Promise.reject(new Error('the connection is closed'));
    const body = content === undefined ? '' : JSON.stringify(content);
    const head = `${target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\n`;
    const length = `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}${HEAD_END}`;
    return new Promise<Answer>((resolve, reject) => {
      this.pending = { resolve, reject };
      this.socket.write(head + length + body);
    });
  }

  close(): void {
    this.socket.destroy();
  }

  private onData(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    const answer = parseAnswer(this.received);
    if (answer === undefined) return;
    if (answer instanceof Error) {
      this.fail(answer);
      this.close();
      return;
    }
    this.received = Buffer.alloc(0);
    const pending = this.pending;
    this.pending = undefined;
    pending?.resolve(answer);
  }

  private fail(reason: Error): void {
    this.pending?.reject(reason);
    this.pending = undefined;
  }
}

/** Knows only answers with Content-Length, which every server of the benchmark sends. */
function parseAnswer(received: Buffer): Answer | Error | undefined {
  const headEnd = received.indexOf(HEAD_END);
  if (headEnd < 0) return undefined;
  const head = received.toString('latin1', 0, headEnd);
  const bodyStart = headEnd + HEAD_END.length;
  const bodyEnd = bodyStart + Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1]);
  if (Number.isNaN(bodyEnd)) return new Error(`an answer without Content-Length:\n${head}`);
  if (received.length < bodyEnd) return undefined;
  return { status: Number(head.slice(9, 12)), body: received.toString('utf8', bodyStart, bodyEnd) };
}

/** Opens several connections to one server. */
export function openConnections(count: number, port: number, token: string): Promise<HttpConnection[]> {
  return Promise.all(Array.from({ length: count }, () => HttpConnection.open(port, token)));
}
