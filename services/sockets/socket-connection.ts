/**
 * One Socket.IO connection. Watches its unsent bytes, so that a client that does not read is cut before it fills
 * memory, and writes pages of catch-up in one system call. It does not listen to events of the engine: a listener would
 * run for every packet of every broadcast.
 */
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
import { CLOSE_TIMEOUT_MS, type Connection, type Transport } from '../delivery/connections';
import { type EngineConnection, engineOf, insideOf } from './engine';
import { untakenBytesOfPoll } from './polls';
import { OPEN, whenAnswered } from './signs-of-life';

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

  /** Has the service begun to close it? */
  get isClosing(): boolean {
    return this.#isClosing;
  }

  get isOpen(): boolean {
    return this.isHeard && !this.#isLeaving;
  }

  /** What arrived before a client's close frame counts, although nothing reaches that client any more. */
  get isHeard(): boolean {
    return !this.#isClosing && this.#socket.connected && this.#engine.readyState === 'open';
  }

  /** Has the client sent its close frame? Engine.IO notices the end only when the connection is gone. */
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

  /** Answers an event that has a callback. */
  reply(callback: (reply: object) => void, reply: object): void {
    callback(reply);
    this.#checkBacklog();
  }

  /** Answers an event that was not parsed: through its callback if it has one, else as an `error` event. */
  answerUnread(id: number | undefined, error: Problem): void {
    if (id === undefined) this.send('error', error);
    else this.reply(insideOf(this.#socket).ack(id), { ok: false, error });
  }

  /** A single packet may have any size: a backlog begins after it. */
  #checkBacklog(): void {
    if (this.#engine.writeBuffer.length === 0 || !this.isOpen) return;
    if (this.#backlog.isExceededBy(this)) this.#onSlow(this);
  }

  get unsentBytes(): number {
    const { writeBuffer, transport } = this.#engine;
    return countWaiting(writeBuffer) + (transport.socket?.bufferedAmount ?? untakenBytesOfPoll(this.#engine));
  }

  sendPage(messages: readonly Message[], counts: Counts | undefined): void {
    // A page fits within the limit: only what already waits may be too much.
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
   * Packets that miss the first flush are sent one by one afterwards, a system call each. While the transport's `send`
   * is wrapped, they reach the operating system together.
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

  /** A polling client polls again once it has read what it received. */
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
    // A client reconnects by itself after its transport closed, but not after a DISCONNECT packet.
    if (isFinal) this.#socket.disconnect(true);
    else this.#engine.close();
  }

  terminate(): void {
    this.#isClosing = true;
    endAtOnce(this.#engine);
  }
}

/** A closing polling client is waited for as long as any other, and no longer. */
export function boundClose({ transport }: EngineConnection): void {
  if (transport.name === 'polling') transport.closeTimeout = CLOSE_TIMEOUT_MS;
}

/** Ends a connection without notice, even one whose close waits for its client. */
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
 * How many packets of a buffer were counted, and their bytes: each packet is looked at once. Keyed weakly, because a
 * reference to the buffer would keep its packets alive long after they were written.
 */
const counts = new WeakMap<EngineConnection['writeBuffer'], { packets: number; bytes: number }>();

/** Bytes waiting in the engine. */
function countWaiting(writeBuffer: EngineConnection['writeBuffer']): number {
  const count = counts.get(writeBuffer) ?? { packets: 0, bytes: 0 };
  if (count.packets === 0) counts.set(writeBuffer, count);
  for (; count.packets < writeBuffer.length; count.packets += 1) {
    count.bytes += sizeOf(writeBuffer[count.packets]);
  }
  return count.bytes;
}

/** Frames are already encoded as bytes, other packets are text. */
function sizeOf(packet: EngineConnection['writeBuffer'][number] | undefined): number {
  const [frame] = packet?.options?.wsPreEncodedFrame ?? [];
  if (frame !== undefined) return frame.length;
  return typeof packet?.data === 'string' ? Buffer.byteLength(packet.data) : 1;
}

/** Everything was written, or a request of a polling client has arrived. */
type TransportEvent = 'drain' | 'ready';

/** Resolves when this happens to the transport, when another transport takes over, or when the connection ends. */
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
 * Socket.IO encodes a packet once for a room; this does the same for any set of connections, and passes the frame to ws
 * in one piece: one write instead of one each for header and payload.
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
