/**
 * One client, written by hand over a WebSocket: hundreds of full clients would need more CPU than the service does, and
 * none of them could vanish silently.
 */
import type { Socket as TcpSocket } from 'node:net';
import WebSocket from 'ws';
import type { Recipient } from './ledger';
import { freshToken } from './tokens';

export type Wire = 'socketio' | 'plain';
/** `close` as a client does; `reset`: its connection is reset; `silence`: it vanishes without notice. */
export type Departure = 'close' | 'reset' | 'silence';

export interface ClientParts {
  readonly origin: string;
  readonly wire: Wire;
  readonly userId: string;
  /** Named devices acknowledge. */
  readonly device: string | undefined;
  /** Absent if nobody looks at what arrives. */
  readonly recipient?: Recipient;
}

interface Arrival {
  readonly topic?: unknown;
  readonly seq?: unknown;
  readonly data?: unknown;
  readonly ref?: unknown;
}

const CONNECT_PATIENCE_MS = 30_000;

export class SoakClient {
  #socket: WebSocket | undefined;
  /** Why the connection ended; `undefined` if this side ended it. */
  onLost: ((reason: string) => void) | undefined;

  constructor(private readonly parts: ClientParts) {}

  /** Resolves when it has caught up. @throws Error when it is refused, or nothing happens. */
  async connect(): Promise<void> {
    const { origin, wire, userId, device, recipient } = this.parts;
    const token = freshToken(userId);
    const query = device === undefined ? '' : `?device=${device}`;
    const url = wire === 'plain' ? `${origin}/ws${query}` : `${origin}/socket.io/?EIO=4&transport=websocket`;
    const socket = new WebSocket(url.replace('http', 'ws'), {
      perMessageDeflate: false,
      ...(wire === 'plain' ? { headers: { Authorization: `Bearer ${token}` } } : {}),
    });
    this.#socket = socket;
    recipient?.connected();
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => end(new Error('no sync:done came in time')), CONNECT_PATIENCE_MS);
      const end = (fault?: Error) => {
        clearTimeout(timer);
        if (fault === undefined) resolve();
        else reject(fault);
      };
      socket.on('error', end);
      socket.on('close', (code, reason) => {
        const why = `${code} ${String(reason)}`.trim();
        end(new Error(`closed with ${why}`));
        if (this.#socket === socket) this.onLost?.(why);
      });
      socket.on('message', (frame) => {
        if (wire === 'plain') this.#readPlain(String(frame), end);
        else this.#readPacket(String(frame), { token, end });
      });
    });
  }

  #readPlain(text: string, end: (fault?: Error) => void): void {
    const { event, ...payload } = JSON.parse(text) as { event: string };
    this.#read(event, payload, end);
  }

  #readPacket(packet: string, { token, end }: { token: string; end: (fault?: Error) => void }): void {
    const { device } = this.parts;
    if (packet.startsWith('0'))
      this.#write(`40${JSON.stringify({ token, ...(device === undefined ? {} : { device }) })}`);
    else if (packet === '2') this.#write('3');
    else if (packet.startsWith('44')) end(new Error(`refused: ${packet.slice(2)}`));
    else if (packet.startsWith('42')) {
      const [event, payload, meta] = JSON.parse(packet.slice(2)) as [string, object, object | undefined];
      this.#read(event, meta === undefined ? payload : { ...meta, data: payload }, end);
    }
  }

  #read(event: string, payload: Arrival, end: (fault?: Error) => void): void {
    if (event === 'sync:done') end();
    const { topic, seq, data } = payload;
    if (typeof topic !== 'string' || typeof seq !== 'number') return;
    this.parts.recipient?.take(topic, seq, numberIn(data));
    if (this.parts.device !== undefined) this.emit('ack', { topic, seq });
  }

  /** Sends an event without waiting for an answer. `names` are those of Socket.IO. */
  emit(event: string, payload: object): void {
    if (this.parts.wire === 'plain') this.#write(JSON.stringify({ action: event, ...payload }));
    else this.#write(`42${JSON.stringify([event, payload])}`);
  }

  #write(text: string): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  /** Lets go of the connection. `silence` costs a descriptor here until `vanished` is called. */
  leave(how: Departure): { vanished(): void } {
    const socket = this.#socket;
    this.#socket = undefined;
    // Nobody reads what is still in flight: a named device receives it again.
    socket?.removeAllListeners('message');
    if (how === 'close') socket?.close();
    else if (how === 'reset') (socket as unknown as { _socket?: TcpSocket } | undefined)?._socket?.resetAndDestroy();
    else socket?.pause();
    return { vanished: () => socket?.terminate() };
  }
}

/** The number in a counted message. */
function numberIn(data: unknown): number | undefined {
  const n: unknown = typeof data === 'object' && data !== null && 'n' in data ? data.n : undefined;
  return typeof n === 'number' ? n : undefined;
}
