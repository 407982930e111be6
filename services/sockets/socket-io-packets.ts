/**
 * Packets of Socket.IO beside its own reading of them: the text each came as, since JSON numbers may be rounded when
 * they are read, and a bound for the arguments of an event.
 */
import { Socket } from 'socket.io';
import { findInexactNumber, inexactNumber } from '../../utils/json';
import { engineOf, insideOf, type SocketInside } from './engine';

const MAX_EVENT_ARGUMENTS = 64;

/** A packet as Socket.IO has decoded it. */
interface Decoded {
  readonly data?: unknown;
}

const { _onpacket: readPacket } = insideOf(Socket.prototype);

/**
 * Socket.IO spreads the arguments of an event into a call: hundreds of thousands would overflow the stack, uncaught.
 */
function readBoundedPacket(this: SocketInside, packet: Decoded): void {
  const arrived = texts.get(packet) ?? NOTHING;
  beingRead.set(this.conn, arrived);
  if (Array.isArray(packet.data) && packet.data.length > MAX_EVENT_ARGUMENTS) this.conn.close();
  else readPacket.call(this, withoutRoundedNumbers(packet, arrived.text));
  beingRead.delete(this.conn);
}

/** `undefined`: an empty packet. */
export type Packet = string | Buffer | undefined;

export function sizeOf(packet: Packet): number {
  return packet === undefined ? 0 : Buffer.byteLength(packet);
}

/** A packet as it arrived: its text, which may hold a number that parsing rounds, and its bytes. */
interface Arrived {
  readonly text: string;
  bytes: number;
}

const NOTHING: Arrived = { text: '', bytes: 0 };

/** The last packet of each connection. */
const arriving = new WeakMap<object, Arrived>();
/** The same for each decoded packet: Socket.IO decodes at once and reads later, when others have arrived. */
const texts = new WeakMap<object, Arrived>();
/** The same for the packet of a connection that is being read. */
const beingRead = new WeakMap<object, Arrived>();

export function keepText(engine: object, data: Packet): void {
  const before = arriving.get(engine);
  if (typeof data === 'string') arriving.set(engine, { text: data, bytes: Buffer.byteLength(data) });
  else if (before !== undefined) before.bytes += sizeOf(data);
}

/** Applies these bounds to the packets of a socket from now on. */
export function boundPackets(socket: Socket): void {
  const inside = insideOf(socket);
  inside._onpacket = readBoundedPacket;
  const engine = engineOf(socket);
  inside.client.decoder.on('decoded', (packet: Decoded) => {
    const arrived = arriving.get(engine);
    arriving.delete(engine);
    if (arrived !== undefined) texts.set(packet, arrived);
  });
}

/** Bytes of the packet of a socket that is being read. */
export function bytesBeingRead(socket: Socket): number {
  return (beingRead.get(engineOf(socket)) ?? NOTHING).bytes;
}

/** Replaces a payload whose numbers were rounded by its refusal. */
function withoutRoundedNumbers(packet: Decoded, text: string): Decoded {
  if (!Array.isArray(packet.data)) return packet;
  const path = findInexactNumber(text.slice(text.indexOf('[')));
  if (path === undefined) return packet;
  return { ...packet, data: [packet.data[0] as unknown, inexactNumber(path.slice(1))] };
}
