import type { Socket as TcpSocket } from 'node:net';
import WebSocket from 'ws';
import type { ServerKind } from './server-kinds';

/** The fields of a delivered message that the checks use. */
export interface Delivery {
  readonly data: { readonly n: number };
  /** Only servers that store messages send these. */
  readonly id?: string;
  readonly topic?: string;
  readonly seq?: number;
}

/** Where a client connects to. */
export interface Endpoint {
  readonly port: number;
  readonly kind: Pick<ServerKind, 'wire' | 'readyEvent'>;
}

export interface Identity {
  readonly userId: string;
  readonly token: string;
  /** Named devices acknowledge. */
  readonly device?: string;
}

export interface WireHandlers {
  onDelivery(delivery: Delivery): void;
  /** The socket misses nothing any more. */
  onReady(): void;
  /** It is refused, or has ended: the reason. Comes once. */
  onEnd(reason: string): void;
  /** Any other event of the service. */
  onEvent?(name: string, payload: unknown): void;
}

/** A client's connection, for as long as the server keeps it open. */
export interface Wire {
  /** Reports that everything of a topic up to there has arrived. */
  acknowledge(topic: string, seq: number): void;
  /** Stops reading from TCP, or continues. */
  pause(): void;
  resume(): void;
  /** While it is paused: reads this many bytes all the same. */
  readSome(bytes: number): void;
  terminate(): void;
}

/**
 * Opens a connection. Engine.IO and Socket.IO are written by hand: thousands of full clients would be what is measured.
 */
export function openWire({ port, kind }: Endpoint, identity: Identity, handlers: WireHandlers): Wire {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${pathOf(kind.wire, identity)}`, { perMessageDeflate: false });
  const { refuse } = reportEnd(socket, handlers);
  if (kind.wire === 'raw') listenRaw(socket, handlers);
  else if (kind.wire === 'plain') listenPlain(socket, kind.readyEvent, handlers);
  else listenSocketIo(socket, kind.readyEvent, { identity, handlers, refuse });
  const tcp = () => (socket as unknown as { readonly _socket: TcpSocket })._socket;
  return {
    acknowledge(topic, seq) {
      const payload = { topic, seq };
      if (socket.readyState !== WebSocket.OPEN) return;
      const isPlain = kind.wire === 'plain';
      socket.send(isPlain ? JSON.stringify({ action: 'ack', ...payload }) : `42${JSON.stringify(['ack', payload])}`);
    },
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    readSome: (bytes) => tcp().read(bytes),
    terminate: () => socket.terminate(),
  };
}

function pathOf(wire: ServerKind['wire'], { userId, token, device }: Identity): string {
  const named = device === undefined ? '' : `&device=${device}`;
  if (wire === 'raw') return `/?user=${userId}`;
  return wire === 'plain' ? `/ws?token=${token}${named}` : '/socket.io/?EIO=4&transport=websocket';
}

/** The first fault says more than the close that follows. */
function reportEnd(socket: WebSocket, { onEnd }: WireHandlers) {
  let reason: string | undefined;
  const note = (text: string) => {
    reason ??= text;
  };
  socket.on('error', (error: NodeJS.ErrnoException) => note(error.code ?? error.message));
  socket.on('close', (code) => onEnd(reason ?? `closed with ${code}`));
  return {
    refuse(text: string): void {
      note(text);
      socket.close();
    },
  };
}

function listenRaw(socket: WebSocket, { onReady, onDelivery }: WireHandlers): void {
  socket.on('open', onReady);
  socket.on('message', (frame) => onDelivery(JSON.parse(String(frame)) as Delivery));
}

/** The token is in the address; refusals come as a close code. */
function listenPlain(socket: WebSocket, readyEvent: string | undefined, handlers: WireHandlers): void {
  socket.on('message', (text) => {
    const frame = JSON.parse(String(text)) as Delivery & { readonly event: string };
    if (frame.event === 'message') handlers.onDelivery(frame);
    else handlers.onEvent?.(frame.event, frame);
    if (frame.event === readyEvent) handlers.onReady();
  });
}

interface SocketIoSide {
  readonly identity: Identity;
  readonly handlers: WireHandlers;
  refuse(text: string): void;
}

function listenSocketIo(
  socket: WebSocket,
  readyEvent: string | undefined,
  { identity: { token, device }, handlers, refuse }: SocketIoSide,
): void {
  const onPacket: Record<string, (packet: string) => void> = {
    '0': () => socket.send(`40${JSON.stringify({ token, device })}`),
    '2': () => socket.send('3'),
    '40': () => readyEvent === undefined && handlers.onReady(),
    '42': (packet) => {
      const [name, payload] = JSON.parse(packet.slice(2)) as [string, unknown];
      if (name === 'message') handlers.onDelivery(payload as Delivery);
      else handlers.onEvent?.(name, payload);
      if (name === readyEvent) handlers.onReady();
    },
    '44': (packet) => refuse(`refused: ${packet.slice(2)}`),
  };
  socket.on('message', (frame) => {
    const packet = String(frame);
    onPacket[packet.startsWith('4') ? packet.slice(0, 2) : packet.slice(0, 1)]?.(packet);
  });
}
