import WebSocket from 'ws';
import type { RunningServer } from './servers';
import { createUserToken } from './tokens';

/** Connections that are being opened at the same time. */
const OPENING_AT_ONCE = 32;

/** The part of a delivered message that the checks look at. */
export interface Delivery {
  readonly data: { readonly n: number };
  /** Only servers that keep messages say these. */
  readonly id?: string;
  readonly seq?: number;
}

/** A connected client that only listens. */
export interface Receiver {
  close(): void;
}

type OnDelivery = (delivery: Delivery) => void;

/**
 * Connects a user and resolves when the socket misses nothing any more.
 * Engine.IO and Socket.IO are spoken by hand: thousands of full clients would be what is measured.
 * @throws Error when the server refuses or closes.
 */
export async function connectReceiver(
  server: RunningServer,
  userId: string,
  onDelivery: OnDelivery,
): Promise<Receiver> {
  const { wire, readyEvent } = server.kind;
  const token = createUserToken(userId);
  const paths = {
    raw: `/?user=${userId}`,
    plain: `/ws?token=${token}`,
    'socket.io': '/socket.io/?EIO=4&transport=websocket',
  };
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}${paths[wire]}`, { perMessageDeflate: false });
  if (wire === 'raw') await joinRaw(socket, onDelivery);
  else if (wire === 'plain') await joinPlain(socket, { readyEvent, onDelivery });
  else await joinSocketIo(socket, { token, readyEvent, onDelivery });
  return { close: () => socket.terminate() };
}

/** Connects many users, each with one socket; the callback also gets the user's place in the list. */
export async function connectReceivers(
  server: RunningServer,
  userIds: readonly string[],
  onDelivery: (index: number, delivery: Delivery) => void,
): Promise<Receiver[]> {
  const receivers: Receiver[] = [];
  let next = 0;
  const connectRest = async () => {
    while (next < userIds.length) {
      const index = next++;
      const userId = userIds[index] ?? '';
      receivers.push(await connectReceiver(server, userId, (delivery) => onDelivery(index, delivery)));
    }
  };
  await Promise.all(Array.from({ length: OPENING_AT_ONCE }, connectRest));
  return receivers;
}

function joinRaw(socket: WebSocket, onDelivery: OnDelivery): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('open', resolve);
    socket.on('message', (frame) => onDelivery(JSON.parse(String(frame)) as Delivery));
  });
}

interface Join {
  readonly readyEvent: string | undefined;
  readonly onDelivery: OnDelivery;
}

/** The token is in the address; refusals come as a close code. */
function joinPlain(socket: WebSocket, { readyEvent, onDelivery }: Join): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', (code) => reject(new Error(`the server closed the socket with ${code}`)));
    socket.on('message', (text) => {
      const frame = JSON.parse(String(text)) as Delivery & { readonly event: string };
      if (frame.event === 'message') onDelivery(frame);
      if (frame.event === readyEvent) resolve();
    });
  });
}

interface SocketIoJoin extends Join {
  readonly token: string;
}

function joinSocketIo(socket: WebSocket, { token, readyEvent, onDelivery }: SocketIoJoin): Promise<void> {
  return new Promise((resolve, reject) => {
    const onPacket: Record<string, (packet: string) => void> = {
      '0': () => socket.send(`40${JSON.stringify({ token })}`),
      '2': () => socket.send('3'),
      '40': () => readyEvent === undefined && resolve(),
      '42': (packet) => {
        const [name, payload] = JSON.parse(packet.slice(2)) as [string, unknown];
        if (name === 'message') onDelivery(payload as Delivery);
        if (name === readyEvent) resolve();
      },
      '44': (packet) => reject(new Error(`the server refused the socket: ${packet}`)),
    };
    socket.on('error', reject);
    socket.on('close', (code) => reject(new Error(`the server closed the socket with ${code}`)));
    socket.on('message', (frame) => {
      const packet = String(frame);
      onPacket[packet.startsWith('4') ? packet.slice(0, 2) : packet.slice(0, 1)]?.(packet);
    });
  });
}
