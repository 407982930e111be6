/** A WebSocket that sends anything, even what is no frame, and keeps what comes back. */
import type { Socket as TcpSocket } from 'node:net';
import WebSocket from 'ws';

const PATIENCE_MS = 30_000;

/** A frame of text, a frame of bytes, or bytes that no library would write. */
export type Piece = string | Buffer | { readonly raw: Buffer };

export class Wire {
  /** Text frames so far; of a binary one only that it came. */
  readonly frames: string[] = [];
  #isClosed = false;
  #look: (() => void) | undefined;
  readonly #ended: Promise<void>;

  private constructor(private readonly socket: WebSocket) {
    socket.on('message', (data: Buffer, isBinary) => {
      this.frames.push(isBinary ? 'binary' : data.toString('utf8'));
      this.#look?.();
    });
    // A server may cut the connection while frames are in flight; `isClosed` tells.
    socket.on('error', () => undefined);
    this.#ended = new Promise((resolve) => {
      socket.once('close', () => {
        this.#isClosed = true;
        this.#look?.();
        resolve();
      });
    });
  }

  /** Resolves when the upgrade is answered, one way or the other. */
  static async open(address: string, headers: Record<string, string> = {}): Promise<Wire> {
    const socket = new WebSocket(address.replace(/^http/, 'ws'), { headers, perMessageDeflate: false });
    const wire = new Wire(socket);
    await new Promise<void>((resolve) => {
      socket.once('open', resolve);
      socket.once('close', resolve);
    });
    return wire;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Writes chunks, all at once. */
  send(pieces: readonly Piece[]): void {
    const { _socket: tcp } = this.socket as unknown as { readonly _socket: TcpSocket | null };
    if (tcp === null || this.socket.readyState !== WebSocket.OPEN) return;
    tcp.cork();
    for (const piece of pieces) {
      if (typeof piece === 'object' && 'raw' in piece) tcp.write(piece.raw);
      else this.socket.send(piece);
    }
    tcp.uncork();
  }

  /** Ends this side: otherwise the server would wait for the rest of an incomplete frame. */
  end(): void {
    (this.socket as unknown as { readonly _socket: TcpSocket | null })._socket?.end();
  }

  /** Resolves when the frame has come, or the connection has ended. @returns whether it came. */
  async until(isWanted: (frame: string) => boolean): Promise<boolean> {
    let seen = 0;
    let isFound = false;
    const isDone = () => {
      for (; seen < this.frames.length && !isFound; seen += 1) isFound = isWanted(this.frames[seen] ?? '');
      return isFound || this.#isClosed;
    };
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#look = undefined;
        const last = this.frames.slice(-5).map((frame) => frame.slice(0, 100));
        reject(new Error(`neither an answer nor an end within ${PATIENCE_MS} ms; last came:\n${last.join('\n')}`));
      }, PATIENCE_MS);
      this.#look = () => {
        if (!isDone()) return;
        clearTimeout(timer);
        this.#look = undefined;
        resolve();
      };
      this.#look();
    });
    return isFound;
  }

  /** Ends the connection, if the other side has not. */
  async close(): Promise<void> {
    this.socket.terminate();
    await this.#ended;
  }
}
