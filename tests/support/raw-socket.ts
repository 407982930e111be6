/** A Socket.IO connection as frames: whatever a client library would never send can be sent, in one burst. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Socket as TcpSocket } from 'node:net';
import WebSocket from 'ws';
import type { Reply } from '../../utils/protocol';
import { onTestEnd } from './temporary';

const PATIENCE_MS = 30_000;
const ENGINE_QUERY = 'EIO=4&transport=websocket';

export interface RawOptions {
  /** Query of the handshake without `?`; `EIO=4&transport=websocket` if absent. */
  readonly query?: string;
  /** Added to the query. */
  readonly parameters?: Record<string, string>;
  readonly headers?: Record<string, string | string[]>;
  /** The address to connect from. */
  readonly localAddress?: string;
}

/** The answer of a server that does not upgrade. */
export class UpgradeRefused extends Error {
  constructor(
    readonly status: number,
    readonly text: string,
    readonly headers: IncomingHttpHeaders,
  ) {
    super(`the upgrade was answered ${status}: ${text}`);
  }
}

export class RawSocket {
  /** Every text frame so far; for a binary one, its length. */
  readonly frames: string[] = [];
  #unread = 0;
  #closeCode: number | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(private readonly socket: WebSocket) {
    socket.on('message', (data: Buffer, isBinary) => this.#take(isBinary ? `binary ${data.length}` : data.toString()));
    socket.on('close', (code) => {
      this.#closeCode = code;
      this.#wake();
    });
    // A server may cut the connection while frames are in flight; `closed` tells.
    socket.on('error', () => undefined);
    onTestEnd(() => socket.terminate());
  }

  #take(frame: string): void {
    // Heartbeats are answered as a library would.
    if (frame === '2') this.socket.send('3');
    this.frames.push(frame);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  get isClosed(): boolean {
    return this.#closeCode !== undefined;
  }

  /** Writes frames, all in one buffer. */
  send(...frames: (string | Buffer)[]): void {
    const { _socket: tcp } = this.socket as unknown as { _socket: TcpSocket };
    tcp.cork();
    for (const frame of frames) this.socket.send(frame);
    tcp.uncork();
  }

  /** The next frame that begins like this, past or to come; earlier ones are skipped. */
  next(prefix: string): Promise<string> {
    return this.#until(() => {
      for (; this.#unread < this.frames.length; ) {
        const frame = this.frames[this.#unread++];
        if (frame?.startsWith(prefix)) return frame;
      }
      return undefined;
    }, `a frame ${prefix}`);
  }

  /** Resolves to the close code when the connection has ended. */
  closed(patienceMs = PATIENCE_MS): Promise<number> {
    return this.#until(() => this.#closeCode, 'an end of the connection', patienceMs);
  }

  /** CONNECTs, and resolves when catch-up is done. */
  async join(token: string, device?: string): Promise<void> {
    this.send(`40${JSON.stringify({ token, device })}`);
    await this.next('42["sync:done"');
  }

  /** Sends an event frame that carries the acknowledgement id `id`, and resolves to the reply. */
  async reply(id: number, ...frames: (string | Buffer)[]): Promise<Reply> {
    const prefix = `43${id}[`;
    this.send(...frames);
    return JSON.parse((await this.next(prefix)).slice(prefix.length, -1)) as Reply;
  }

  #until<Found>(look: () => Found | undefined, what: string, patienceMs = PATIENCE_MS): Promise<Found> {
    const now = look();
    if (now !== undefined) return Promise.resolve(now);
    return new Promise<Found>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(wake);
        const seen = this.frames.map((frame) => frame.slice(0, 60)).join('\n');
        reject(new Error(`not ${what} within ${patienceMs} ms; seen:\n${seen || 'nothing'}`));
      }, patienceMs);
      const wake = () => {
        const found = look();
        if (found === undefined) return;
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve(found);
      };
      this.#waiting.add(wake);
    });
  }
}

/** Opens a WebSocket to the Socket.IO endpoint. @throws UpgradeRefused when the server answers otherwise. */
export function openRawSocket(url: string, options: RawOptions = {}): Promise<RawSocket> {
  const parameters = new URLSearchParams(options.parameters).toString();
  const query = [options.query ?? ENGINE_QUERY, parameters].filter((part) => part !== '').join('&');
  const socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?${query}`, {
    headers: options.headers ?? {},
    perMessageDeflate: false,
    ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
  });
  const raw = new RawSocket(socket);
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve(raw));
    socket.once('unexpected-response', (request, response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('close', () => {
        request.destroy();
        reject(new UpgradeRefused(response.statusCode ?? 0, Buffer.concat(chunks).toString('utf8'), response.headers));
      });
    });
    socket.once('error', reject);
  });
}

/** How the server refuses this handshake. Fails if it does not. */
export async function refusalOf(url: string, options: RawOptions): Promise<UpgradeRefused> {
  try {
    await openRawSocket(url, options);
  } catch (error) {
    if (error instanceof UpgradeRefused) return error;
    throw error;
  }
  throw new Error('the upgrade was accepted');
}
