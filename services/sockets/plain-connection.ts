/** One connection of the plain endpoint: JSON frames over WebSocket, bounded, and closed with a code. */
import type { Socket as TcpSocket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Caller } from '../../utils/caller';
import type { Clock } from '../../utils/clock';
import {
  type AnyMessage,
  type Closing,
  type Counts,
  type Message,
  toCustomEventMeta,
  toOwnEvent,
  WEBSOCKET_CLOSE_CODES,
} from '../../utils/protocol';
import { DEFAULT_DEVICE } from '../../utils/topic-names';
import { textFrame } from '../../utils/websocket-frame';
import type { Backlog } from '../admission/backlog';
import { CLOSE_TIMEOUT_MS, type Connection, type Transport } from '../delivery/connections';
import { OPEN, whenAnswered } from './signs-of-life';
import { tcpSocketOf } from './web-socket-server';

export interface PlainConnectionParts {
  readonly id: string;
  readonly clock: Clock;
  readonly webSocket: WebSocket;
  readonly caller: Caller;
  readonly device: string;
  readonly origin: string;
  readonly backlog: Pick<Backlog, 'isExceededBy'>;
  readonly onSlow: (connection: PlainConnection) => void;
}

export class PlainConnection implements Connection {
  readonly transport = plainTransport;
  readonly id: string;
  readonly device: string;
  readonly origin: string;
  readonly isAcknowledging: boolean;
  caller: Caller;
  #isClosing = false;
  readonly #webSocket: WebSocket;
  readonly #tcp: TcpSocket;

  constructor(private readonly parts: PlainConnectionParts) {
    this.id = parts.id;
    this.device = parts.device;
    this.origin = parts.origin;
    this.isAcknowledging = parts.device !== DEFAULT_DEVICE;
    this.caller = parts.caller;
    this.#webSocket = parts.webSocket;
    this.#tcp = tcpSocketOf(parts.webSocket);
  }

  get userId(): string {
    return this.caller.userId;
  }

  get isOpen(): boolean {
    return !this.#isClosing && this.#webSocket.readyState === OPEN;
  }

  send(event: string, payload: unknown): void {
    if (this.#webSocket.readyState === OPEN) this.#write(plainTransport.encodeEvent(event, payload) as Buffer);
  }

  writeFrame(frame: unknown): boolean {
    if (!this.isOpen) return false;
    this.#write(frame as Buffer);
    return true;
  }

  /**
   * Without compression ws writes frames in call order, so whole frames may bypass it. No callback: it would cost an
   * entry in Node's tick queue for each frame and member.
   */
  #write(frame: Buffer): void {
    this.#tcp.write(frame);
    // A single frame may have any size: a backlog begins after it.
    if (this.#tcp.writableLength > frame.length) this.#checkBacklog();
  }

  #checkBacklog(): void {
    if (this.isOpen && this.parts.backlog.isExceededBy(this)) this.parts.onSlow(this);
  }

  get unsentBytes(): number {
    return this.#tcp.writableLength;
  }

  sendPage(messages: readonly Message[], counts: Counts | undefined): void {
    // A page fits within the limit: only what already waits may be too much.
    if (this.unsentBytes > 0) this.#checkBacklog();
    if (this.#webSocket.readyState !== OPEN) return;
    this.#tcp.cork();
    for (const message of messages) this.#tcp.write(plainTransport.encodeMessage(message, counts) as Buffer);
    this.#tcp.uncork();
  }

  drained(): Promise<void> {
    if (this.#tcp.destroyed || this.#tcp.writableLength === 0) return Promise.resolve();
    // Called back once everything before it was written, or can no longer be.
    return new Promise((resolve) => this.#tcp.write('', () => resolve()));
  }

  confirm(callback: () => void): void {
    if (this.isOpen) whenAnswered(this.#webSocket, callback);
  }

  close(closing: Closing): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.send('closing', closing);
    this.#end(WEBSOCKET_CLOSE_CODES[closing.code], closing.reason);
  }

  /** The client asked to disconnect: only the close frame, no `closing`. */
  finish(): void {
    this.#isClosing = true;
    this.#end(NORMAL_CLOSURE, 'disconnect');
  }

  #end(code: number, reason: string): void {
    this.#webSocket.close(code, reason);
    const cut = this.parts.clock.after(CLOSE_TIMEOUT_MS, () => this.terminate());
    this.#webSocket.once('close', () => cut.cancel());
  }

  terminate(): void {
    this.#isClosing = true;
    this.#webSocket.terminate();
  }
}

const plainTransport: Transport = {
  name: 'plain',
  encodeMessage: (message, counts) => textFrame(Buffer.from(encodeMessage(message, counts), 'utf8')),
  encodeEvent: (event, payload) => textFrame(Buffer.from(encodeFrame(event, payload), 'utf8')),
};

const NORMAL_CLOSURE = 1000;

/** A frame of the plain endpoint: the name of the event next to the fields of its payload. */
export function encodeFrame(event: string, payload: unknown): string {
  return JSON.stringify({ event, ...(payload as object) });
}

/** A message as a frame. A custom event carries its payload as `data`, like any other message. */
function encodeMessage(message: AnyMessage, counts: Counts | undefined): string {
  const own = toOwnEvent(message, counts);
  if (own !== undefined) return encodeFrame(own.event, own.payload);
  return encodeFrame(String(message.event), { ...toCustomEventMeta(message, counts), data: message.data });
}
