/**
 * One Socket.IO connection. Watches its unsent bytes, so that a reader that does not read is cut instead of filling
 * memory, and writes pages of catch-up in one system call. Nothing listens to the engine's events meanwhile: a
 * listener would run for every packet of every broadcast.
 */
import type { EventEmitter } from 'node:events';
import type { Socket as TcpSocket } from 'node:net';
import type { Socket } from 'socket.io';
import type { Caller } from '../../utils/caller';
import type { Clock } from '../../utils/clock';
import type { Problem } from '../../utils/errors';
import {
  type AnyMessage,
  type Closing,
  type Counts,
  type Message,
  toCustomEventMeta,
  toOwnEvent,
} from '../../utils/protocol';
import { DEFAULT_DEVICE } from '../../utils/topic-names';
import { textFrame } from '../../utils/websocket-frame';
import type { Backlog } from '../admission/backlog';
import { CLOSE_TIMEOUT_MS, type Connection, type Transport } from './connections';
import { untakenBytesOfPoll } from './polls';
import { OPEN, type PingSocket, whenAnswered } from './signs-of-life';

/** The part of Engine.IO's transport that is used here. `socket`: the ws connection, absent when polling. */
interface EngineTransport extends EventEmitter {
  readonly name: string;
  /** Is nothing on its way? Polling: does a request wait for an answer? */
  readonly writable: boolean;
  readonly socket?: PingSocket & {
    readonly readyState: number;
    readonly bufferedAmount: number;
    terminate(): void;
    readonly _socket?: TcpSocket;
  };
  send(packets: unknown[]): void;
  /** Polling: how long a close waits for a request that it can answer; Engine.IO's own 30 s unless set. */
  closeTimeout?: number;
  parser: { decodePayload(payload: string, type?: unknown): unknown[] };
  /** Polling: ends a close that waits. */
  readonly shouldClose?: (() => void) | null;
}

/** The part of Engine.IO's connection that is used here. */
export interface EngineConnection extends EventEmitter {
  readonly id: string;
  readonly readyState: string;
  readonly remoteAddress: string;
  readonly transport: EngineTransport;
  /** Packets that wait until the transport is writable; a new array after each flush. */
  readonly writeBuffer: readonly {
    readonly data?: unknown;
    readonly options?: { readonly wsPreEncodedFrame?: readonly Buffer[] };
  }[];
  request: unknown;
  write(packet: string, options: object): void;
  close(discard?: boolean): void;
}

/** How Socket.IO makes the callback of an event. */
interface Acknowledging {
  ack(id: number): (reply: object) => void;
}

/** The Engine.IO connection below a Socket.IO socket. */
export function engineOf(socket: Socket): EngineConnection {
  return socket.conn as unknown as EngineConnection;
}

export interface SocketConnectionParts {
  readonly socket: Socket;
  readonly clock: Clock;
  readonly caller: Caller;
  readonly device: string;
  readonly origin: string;
  readonly backlog: Pick<Backlog, 'isExceededBy'>;
  readonly onSlow: (connection: SocketConnection) => void;
}

export class SocketConnection implements Connection {
  readonly transport = socketTransport;
  caller: Caller;
  readonly device: string;
  readonly origin: string;
  readonly isAcknowledging: boolean;
  #isClosing = false;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #engine: EngineConnection;
  readonly #backlog: SocketConnectionParts['backlog'];
  readonly #onSlow: (connection: SocketConnection) => void;

  constructor(parts: SocketConnectionParts) {
    this.#socket = parts.socket;
    this.#clock = parts.clock;
    this.#engine = engineOf(parts.socket);
    this.caller = parts.caller;
    this.origin = parts.origin;
    this.device = parts.device;
    this.isAcknowledging = parts.device !== DEFAULT_DEVICE;
    this.#backlog = parts.backlog;
    this.#onSlow = parts.onSlow;
  }

  get id(): string {
    return this.#socket.id;
  }

  get userId(): string {
    return this.caller.userId;
  }

  /** Has the service asked for the end? */
  get isClosing(): boolean {
    return this.#isClosing;
  }

  get isOpen(): boolean {
    return this.isHeard && !this.#isLeaving;
  }

  /** What came before a client's close frame counts, though nothing reaches that client any more. */
  get isHeard(): boolean {
    return !this.#isClosing && this.#socket.connected && this.#engine.readyState === 'open';
  }

  /** Has the client said that it closes? Engine.IO notes the end only when the connection is gone. */
  get #isLeaving(): boolean {
    const { socket } = this.#engine.transport;
    return socket !== undefined && socket.readyState !== OPEN;
  }

  send(event: string, payload: unknown): void {
    this.#socket.emit(event, payload);
    this.#checkBacklog();
  }

  writeFrame(frame: unknown): boolean {
    if (!this.isOpen) return false;
    const { packet, options } = frame as SocketFrame;
    this.#engine.write(packet, options);
    this.#checkBacklog();
    return true;
  }

  /** Answers an event whose client has given a callback. */
  reply(callback: (reply: object) => void, reply: object): void {
    callback(reply);
    this.#checkBacklog();
  }

  /** Answers an event that was not read: its callback where it has one, else as an error. */
  answerUnread(id: number | undefined, error: Problem): void {
    if (id === undefined) this.send('error', error);
    else this.reply((this.#socket as unknown as Acknowledging).ack(id), { ok: false, error });
  }

  /** What is on its way alone may be of any size: a backlog begins after it. */
  #checkBacklog(): void {
    if (this.#engine.writeBuffer.length === 0 || !this.isOpen) return;
    if (this.#backlog.isExceededBy(this)) this.#onSlow(this);
  }

  get unsentBytes(): number {
    const { writeBuffer, transport } = this.#engine;
    return countWaiting(writeBuffer) + (transport.socket?.bufferedAmount ?? untakenBytesOfPoll(this.#engine));
  }

  sendPage(messages: readonly Message[], counts: Counts | undefined): void {
    // A page fits the bound: it is what waits already that may be too much.
    this.#checkBacklog();
    if (!this.isOpen) return;
    this.#corked(() => {
      for (const message of messages) {
        const { packet, options } = encode(argumentsOf(message, counts));
        this.#engine.write(packet, options);
      }
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

  async drained(): Promise<void> {
    while (this.isOpen && !this.#isDrained()) await nextOf('drain', this.#engine);
  }

  #isDrained(): boolean {
    const { writeBuffer, transport } = this.#engine;
    return writeBuffer.length === 0 && (transport.writable || transport.socket === undefined);
  }

  confirm(callback: () => void): void {
    void this.#confirm(callback);
  }

  /** A polling client asks for more when it has taken what it got. */
  async #confirm(callback: () => void): Promise<void> {
    await this.drained();
    if (!this.isOpen) return;
    const { transport } = this.#engine;
    if (transport.socket !== undefined) {
      whenAnswered(transport.socket, callback);
      return;
    }
    await nextOf('ready', this.#engine);
    if (!this.isOpen) return;
    if (transport === this.#engine.transport) callback();
    else this.confirm(callback);
  }

  close(closing: Closing, { isFinal }: { isFinal: boolean }): void {
    if (this.#isClosing) return;
    // First, so that the frame itself cannot overflow a full buffer again.
    this.#isClosing = true;
    this.#socket.emit('closing', closing);
    const cut = this.#clock.after(CLOSE_TIMEOUT_MS, () => this.terminate());
    this.#engine.once('close', () => cut.cancel());
    // A client reconnects by itself after a transport that closed, and not after a DISCONNECT packet.
    if (isFinal) this.#socket.disconnect(true);
    else this.#engine.close();
  }

  terminate(): void {
    this.#isClosing = true;
    endAtOnce(this.#engine);
  }
}

/** A polling client that does not come back is waited for no longer than any other that is being closed. */
export function boundClose({ transport }: EngineConnection): void {
  if (transport.name === 'polling') transport.closeTimeout = CLOSE_TIMEOUT_MS;
}

/** Ends a connection without a word, also one that is being closed and waits for its client. */
export function endAtOnce(engine: EngineConnection): void {
  const { transport } = engine;
  if (transport.socket !== undefined) {
    transport.socket.terminate();
    return;
  }
  engine.close(true);
  transport.shouldClose?.();
}

/**
 * How many packets of a buffer were counted, and their bytes: each packet is looked at once. A connection that kept its
 * buffer would keep what was in it long after it was written.
 */
const counts = new WeakMap<EngineConnection['writeBuffer'], { packets: number; bytes: number }>();

/** Bytes that wait in the engine. */
function countWaiting(writeBuffer: EngineConnection['writeBuffer']): number {
  const count = counts.get(writeBuffer) ?? { packets: 0, bytes: 0 };
  if (count.packets === 0) counts.set(writeBuffer, count);
  for (; count.packets < writeBuffer.length; count.packets += 1) {
    count.bytes += sizeOf(writeBuffer[count.packets]);
  }
  return count.bytes;
}

/** Frames are there as bytes already, other packets as text. */
function sizeOf(packet: EngineConnection['writeBuffer'][number] | undefined): number {
  const [frame] = packet?.options?.wsPreEncodedFrame ?? [];
  if (frame !== undefined) return frame.length;
  return typeof packet?.data === 'string' ? Buffer.byteLength(packet.data) : 1;
}

/** Everything was written; a request of a polling client has come. */
type TransportEvent = 'drain' | 'ready';

/** Resolves when this happens to the transport, another one has taken over, or the connection has ended. */
function nextOf(name: TransportEvent, engine: EngineConnection): Promise<void> {
  const { transport } = engine;
  return new Promise((resolve) => {
    const settle = () => {
      transport.off(name, settle);
      engine.off('upgrade', settle);
      engine.off('close', settle);
      resolve();
    };
    transport.on(name, settle);
    engine.on('upgrade', settle);
    engine.on('close', settle);
  });
}

/** An event, encoded for all sockets: the packet, and the WebSocket frame that holds it. */
interface SocketFrame {
  readonly packet: string;
  readonly options: { readonly wsPreEncodedFrame: readonly [Buffer] };
}

/** The type of an event in the default namespace: Socket.IO protocol 5, and Engine.IO's message before it. */
const EVENT_PACKET = '2';
const ENGINE_MESSAGE = '4';

/**
 * Socket.IO encodes a packet once for a room; this does the same for any set of connections, and hands the frame to
 * ws in one piece: one write where header and payload would be two.
 */
export const socketTransport: Transport = {
  name: 'socketio',
  encodeMessage: (message, counts) => encode(argumentsOf(message, counts)),
  encodeEvent: (event, payload) => encode([event, payload]),
};

function encode(args: readonly unknown[]): SocketFrame {
  const packet = EVENT_PACKET + JSON.stringify(args);
  return { packet, options: { wsPreEncodedFrame: [textFrame(Buffer.from(ENGINE_MESSAGE + packet, 'utf8'))] } };
}

/** A message under its own event name. */
function argumentsOf(message: AnyMessage, counts: Counts | undefined): [string, ...unknown[]] {
  const own = toOwnEvent(message, counts);
  if (own !== undefined) return [own.event, own.payload];
  return [String(message.event), message.data, toCustomEventMeta(message, counts)];
}
