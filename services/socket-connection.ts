/**
 * One Socket.IO connection. Counts its unsent bytes, so that a reader that does not read is cut instead of
 * filling memory, and writes pages of catch-up in one system call.
 *
 * Listeners are functions shared by all connections that find their state on the emitter (OUTGOING): a closure
 * per connection and event would cost more memory than the state itself.
 */
import type { EventEmitter } from 'node:events';
import type { Socket as TcpSocket } from 'node:net';
import type { Socket } from 'socket.io';
import type { Caller } from '../utils/jwt';
import { type Closing, type Message, toCustomEventMeta, toMessageFrame } from '../utils/protocol';
import type { Connection } from './connections';

/** After a polite close has been asked for, a peer that reads nothing is cut after this time. */
const CLOSE_TIMEOUT_MS = 5_000;

const OUTGOING = Symbol('outgoing');

interface Tracked {
  [OUTGOING]?: Outgoing;
}

/** The part of Engine.IO's transport that is used here. `socket`: the ws connection, absent when polling. */
interface EngineTransport extends EventEmitter, Tracked {
  readonly name: string;
  readonly socket?: { terminate(): void; readonly _socket?: TcpSocket };
  send(packets: unknown[]): void;
}

/** The part of Engine.IO's connection that is used here. */
export interface EngineConnection extends EventEmitter, Tracked {
  readonly readyState: string;
  readonly remoteAddress: string;
  readonly transport: EngineTransport;
  request: unknown;
  close(discard?: boolean): void;
}

/** The Engine.IO connection below a Socket.IO socket. */
export function engineOf(socket: Socket): EngineConnection {
  return socket.conn as unknown as EngineConnection;
}

/** Bytes on their way out of one connection; a character counts as one byte. */
class Outgoing {
  #queuedBytes = 0;
  #inFlightBytes = 0;
  #waiting: (() => void)[] = [];

  constructor(
    private readonly maxBytes: number,
    private readonly onOverflow: () => void,
  ) {}

  add(bytes: number): void {
    this.#queuedBytes += bytes;
    if (this.#queuedBytes + this.#inFlightBytes > this.maxBytes) this.onOverflow();
  }

  handOver(): void {
    this.#inFlightBytes += this.#queuedBytes;
    this.#queuedBytes = 0;
  }

  written(): void {
    this.#inFlightBytes = 0;
    if (this.#queuedBytes === 0) this.release();
  }

  release(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  whenEmpty(): Promise<void> {
    if (this.#queuedBytes + this.#inFlightBytes === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

function onPacketCreate(this: EngineConnection, packet: { readonly data?: unknown }): void {
  this[OUTGOING]?.add(typeof packet.data === 'string' ? packet.data.length : 1);
}

function onFlush(this: EngineConnection): void {
  this[OUTGOING]?.handOver();
}

function onTransportDrain(this: EngineTransport): void {
  this[OUTGOING]?.written();
}

function onUpgrade(this: EngineConnection, transport: EngineTransport): void {
  const outgoing = this[OUTGOING];
  if (outgoing !== undefined) trackTransport(transport, outgoing);
}

function onEngineClose(this: EngineConnection): void {
  this[OUTGOING]?.release();
}

function trackTransport(transport: EngineTransport, outgoing: Outgoing): void {
  transport[OUTGOING] = outgoing;
  transport.on('drain', onTransportDrain);
}

export interface SocketConnectionParts {
  readonly socket: Socket;
  readonly caller: Caller;
  /** `undefined`: the client named none. */
  readonly device: string | undefined;
  readonly origin: string;
  readonly maxBufferedBytes: number;
  readonly onSlow: (connection: SocketConnection) => void;
}

export class SocketConnection implements Connection {
  caller: Caller;
  readonly device: string;
  readonly origin: string;
  readonly isAcknowledging: boolean;
  #isClosing = false;
  readonly #socket: Socket;
  readonly #engine: EngineConnection;

  constructor(parts: SocketConnectionParts, defaultDevice: string) {
    this.#socket = parts.socket;
    this.#engine = engineOf(parts.socket);
    this.caller = parts.caller;
    this.origin = parts.origin;
    this.device = parts.device ?? defaultDevice;
    this.isAcknowledging = parts.device !== undefined && parts.device !== defaultDevice;
    this.#track(new Outgoing(parts.maxBufferedBytes, () => this.isOpen && parts.onSlow(this)));
  }

  #track(outgoing: Outgoing): void {
    this.#engine[OUTGOING] = outgoing;
    this.#engine.on('packetCreate', onPacketCreate);
    this.#engine.on('flush', onFlush);
    this.#engine.on('upgrade', onUpgrade);
    this.#engine.on('close', onEngineClose);
    trackTransport(this.#engine.transport, outgoing);
  }

  get id(): string {
    return this.#socket.id;
  }

  get userId(): string {
    return this.caller.userId;
  }

  get isOpen(): boolean {
    return !this.#isClosing && this.#socket.connected && this.#engine.readyState === 'open';
  }

  send(event: string, payload: unknown): void {
    this.#socket.emit(event, payload);
  }

  sendPage(messages: readonly Message[]): void {
    this.#corked(() => {
      for (const message of messages) emitMessage(this.#socket, message);
    });
  }

  /**
   * Packets that do not fit the first flush are sent one by one when it is done, a system call each. While the
   * transport's `send` is wrapped, the operating system gets them together.
   */
  #corked(write: () => void): void {
    const { transport } = this.#engine;
    const tcp = transport.socket?._socket;
    if (tcp === undefined) {
      write();
      return;
    }
    const original = transport.send;
    transport.send = (packets) => {
      tcp.cork();
      original.call(transport, packets);
      tcp.uncork();
    };
    write();
    void this.drained().then(() => {
      transport.send = original;
    });
  }

  drained(): Promise<void> {
    return this.#engine[OUTGOING]?.whenEmpty() ?? Promise.resolve();
  }

  join(topic: string): void {
    void this.#socket.join(roomOf(topic));
  }

  leave(topic: string): void {
    void this.#socket.leave(roomOf(topic));
  }

  close(closing: Closing, { isFinal }: { isFinal: boolean }): void {
    if (this.#isClosing) return;
    // First, so that the frame itself cannot overflow a full buffer again.
    this.#isClosing = true;
    this.#socket.emit('closing', closing);
    // A client reconnects by itself after a transport that closed, and not after a DISCONNECT packet.
    if (isFinal) this.#socket.disconnect(true);
    else this.#engine.close();
    setTimeout(() => this.terminate(), CLOSE_TIMEOUT_MS).unref();
  }

  terminate(): void {
    this.#isClosing = true;
    const { transport } = this.#engine;
    if (transport.socket === undefined) this.#engine.close(true);
    else transport.socket.terminate();
  }
}

/** The room of a topic. Socket.IO gives each socket a room of its id: a prefix keeps topics apart from those. */
export function roomOf(topic: string): string {
  return `topic:${topic}`;
}

/** Emits a stored or live message under its own event name. */
export function emitMessage(
  target: { emit(event: string, ...payload: unknown[]): unknown },
  message: Parameters<typeof toMessageFrame>[0],
): void {
  if (message.event === undefined) target.emit('message', toMessageFrame(message));
  else target.emit(message.event, message.data, toCustomEventMeta(message));
}
