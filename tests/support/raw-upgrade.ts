/** Upgrades byte by byte, over connections that the test controls. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { promisify } from 'node:util';
import { exchange } from './http';
import { onTestEnd } from './temporary';

export const WEBSOCKET_HEADERS = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];

/** The head of an upgrade as clients write it, with other headers if given. */
export function upgradeHead(
  target: string,
  { method = 'GET', headers = WEBSOCKET_HEADERS }: { method?: string; headers?: readonly string[] } = {},
): string {
  return `${[`${method} ${target} HTTP/1.1`, 'Host: localhost', ...headers].join('\r\n')}\r\n\r\n`;
}

/** A TCP connection that stays open on this side until the test ends it. */
export class Wire {
  received = '';
  isEnded = false;
  readonly #waiting = new Set<() => void>();

  private constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1');
      this.#wake();
    });
    socket.on('error', () => undefined);
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.isEnded = true;
        this.#wake();
      });
    }
    onTestEnd(() => {
      socket.destroy();
    });
  }

  static async open(url: string, text = ''): Promise<Wire> {
    const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
    const wire = new Wire(socket);
    await once(socket, 'connect');
    if (text !== '') socket.write(text);
    return wire;
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /** The status of the answer; 0 when the connection ended without one. */
  async status(): Promise<number> {
    await this.until(() => this.received.includes('\r\n\r\n') || this.isEnded);
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(this.received)?.[1] ?? 0);
  }

  /** Resolves when the server has ended its side. */
  ended(): Promise<void> {
    return this.until(() => this.isEnded);
  }

  until(isReached: () => boolean): Promise<void> {
    if (isReached()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = () => {
        if (!isReached()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
    });
  }
}

/** How many connections a server holds. */
export function countConnections(server: Server): Promise<number> {
  return promisify(server.getConnections.bind(server))();
}

/** A new polling session: its id. */
export async function openPolling(url: string): Promise<string> {
  const { text } = await exchange(url, { path: '/socket.io/?EIO=4&transport=polling' });
  return (JSON.parse(text.slice(1)) as { sid: string }).sid;
}
