/** One connection of the plain endpoint: frames of JSON over WebSocket, bounded and closed by code. */
import type { Socket as TcpSocket } from 'node:net';
import type { WebSocket } from 'ws';
import type { Caller } from '../utils/jwt';
import {
  type AnyMessage,
  CLOSE_CODES,
  type Closing,
  type Counts,
  type Message,
  toCustomEventMeta,
  toOwnEvent,
} from '../utils/protocol';
import { DEFAULT_DEVICE } from '../utils/topic-names';
import { textFrame } from '../utils/websocket-frame';
import { CLOSE_TIMEOUT_MS, type Connection, type Transport } from './connections';

export interface PlainConnectionParts {
  readonly id: string;
  readonly webSocket: WebSocket;
  readonly caller: Caller;
  readonly device: string;
  readonly origin: string;
  readonly maxBufferedBytes: number;
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
  #unsent = 0;
  #waiting: (() => void)[] = [];
  readonly #onSent = () => {
    this.#unsent -= 1;
    if (this.#unsent === 0) this.release();
  };

  constructor(private readonly parts: PlainConnectionParts) {
    this.id = parts.id;
    this.device = parts.device;
    this.origin = parts.origin;
    this.isAcknowledging = parts.device !== DEFAULT_DEVICE;
    this.caller = parts.caller;
  }

  get userId(): string {
    return this.caller.userId;
  }

  get isOpen(): boolean {
    return !this.#isClosing && this.parts.webSocket.readyState === this.parts.webSocket.OPEN;
  }

  send(event: string, payload: unknown): void {
    this.#write(encodeFrame(event, payload));
    this.#checkBuffer();
  }

  /** Hands ws a frame that was encoded for all members, as Engine.IO does. */
  writeFrame(frame: unknown): boolean {
    if (!this.isOpen) return false;
    this.#unsent += 1;
    senderOf(this.parts.webSocket).sendFrame([frame as Buffer], this.#onSent);
    this.#checkBuffer();
    return true;
  }

  #write(frame: string): void {
    const { webSocket } = this.parts;
    if (webSocket.readyState !== webSocket.OPEN) return;
    this.#unsent += 1;
    webSocket.send(frame, TEXT, this.#onSent);
  }

  #checkBuffer(): void {
    const { webSocket, maxBufferedBytes, onSlow } = this.parts;
    // One frame alone is on its way whatever its size: a backlog begins behind it.
    if (this.#unsent > 1 && webSocket.bufferedAmount > maxBufferedBytes && this.isOpen) onSlow(this);
  }

  sendPage(messages: readonly Message[], counts: Counts | undefined): void {
    const tcp = tcpSocketOf(this.parts.webSocket);
    tcp?.cork();
    for (const message of messages) this.#write(encodeMessage(message, counts));
    tcp?.uncork();
  }

  drained(): Promise<void> {
    if (this.#unsent === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Lets everyone go on who waits for the buffer: it is empty, or nothing will leave it any more. */
  release(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  close(closing: Closing): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.send('closing', closing);
    this.#end(CLOSE_CODES[closing.code], closing.reason);
  }

  /** The client asked to be let go: no `closing`, only the close frame. */
  finish(): void {
    this.#isClosing = true;
    this.#end(NORMAL_CLOSURE, 'disconnect');
  }

  #end(code: number, reason: string): void {
    this.parts.webSocket.close(code, reason);
    setTimeout(() => this.terminate(), CLOSE_TIMEOUT_MS).unref();
  }

  terminate(): void {
    this.#isClosing = true;
    this.parts.webSocket.terminate();
  }
}

const plainTransport: Transport = {
  name: 'plain',
  encodeMessage: (message, counts) => textFrame(Buffer.from(encodeMessage(message, counts), 'utf8')),
  encodeEvent: (event, payload) => textFrame(Buffer.from(encodeFrame(event, payload), 'utf8')),
};

/** The part of ws that takes whole frames. Without compression it writes them in the order of the calls. */
interface FrameSender {
  sendFrame(frames: readonly [Buffer], onSent: () => void): void;
}

function senderOf(webSocket: WebSocket): FrameSender {
  return (webSocket as unknown as { readonly _sender: FrameSender })._sender;
}

const NORMAL_CLOSURE = 1000;
const TEXT = { binary: false } as const;

function tcpSocketOf(webSocket: WebSocket): TcpSocket | undefined {
  return (webSocket as unknown as { readonly _socket?: TcpSocket })._socket;
}

/** A frame of the plain endpoint: the name of the event beside the fields of its payload. */
export function encodeFrame(event: string, payload: unknown): string {
  return JSON.stringify({ event, ...(payload as object) });
}

/** A message as a frame. A custom event carries its payload as `data`, like any other message. */
function encodeMessage(message: AnyMessage, counts: Counts | undefined): string {
  const own = toOwnEvent(message, counts);
  if (own !== undefined) return encodeFrame(own.event, own.payload);
  return encodeFrame(String(message.event), { ...toCustomEventMeta(message, counts), data: message.data });
}
