/** The one list of authenticated connections of this node, over all transports. */
import type { Balance, Lender } from '../../utils/balance';
import type { Caller } from '../../utils/caller';
import type { AnyMessage, Closing, Counts, Message } from '../../utils/protocol';

/** A peer that reads nothing is cut this long after a polite close. */
export const CLOSE_TIMEOUT_MS = 5_000;

/** One authenticated connection, whatever its transport. */
export interface Connection {
  readonly id: string;
  readonly userId: string;
  readonly device: string;
  /** From the latest token; `auth:refresh` brings a newer one of the same user. */
  caller: Caller;
  /** Scheme, host and port by which the client reached the service, for links in problems. */
  readonly origin: string;
  /** Did the client name its device? Then it acknowledges; otherwise a written message counts as delivered. */
  readonly isAcknowledging: boolean;
  /** False once closing has begun: what is written from then on does not count as delivered. */
  readonly isOpen: boolean;
  /** Emits one event. */
  send(event: string, payload: unknown): void;
  readonly transport: Transport;
  /** Bytes that were written to it and that its client has not read. */
  readonly unsentBytes: number;
  /**
   * Writes a frame that this connection's transport has encoded. Cuts a slow consumer when too much is unsent.
   * @returns false when the connection is closing: nothing was written.
   */
  writeFrame(frame: unknown): boolean;
  /** Writes a page of messages, each with these counts, with as few system calls as the transport allows. */
  sendPage(messages: readonly Message[], counts: Counts | undefined): void;
  /** Resolves when everything written so far has been handed to the operating system, or the connection is gone. */
  drained(): Promise<void>;
  /**
   * Asks the peer for a sign that everything written so far has arrived; every client answers by itself. Calls back
   * when the sign arrives, and never when the connection ends first.
   */
  confirm(callback: () => void): void;
  /** Sends `closing` and closes. `isFinal`: the client should not reconnect by itself. */
  close(closing: Closing, options: { isFinal: boolean }): void;
  /** Cuts the connection and frees its buffer at once. `close` alone would keep it until the peer answers. */
  terminate(): void;
}

export type TransportName = 'socketio' | 'plain';

/** How connections of one kind encode: a frame for many of them is encoded once. */
export interface Transport {
  readonly name: TransportName;
  encodeMessage(message: AnyMessage, counts: Counts | undefined): unknown;
  encodeEvent(event: string, payload: unknown): unknown;
}

/** How many connections a frame was written to, and those that are closing and received nothing. */
export interface Written {
  readonly count: number;
  readonly closing: readonly Connection[];
}

/** Writes the same to many connections, apart from those of `exceptUserId`. */
export function writeToAll(
  connections: Iterable<Connection>,
  encode: (transport: Transport) => unknown,
  exceptUserId?: string,
): Written {
  const frames = new Map<Transport, unknown>();
  let count = 0;
  const closing: Connection[] = [];
  for (const connection of connections) {
    if (exceptUserId !== undefined && connection.userId === exceptUserId) continue;
    let frame = frames.get(connection.transport);
    if (frame === undefined) {
      frame = encode(connection.transport);
      frames.set(connection.transport, frame);
    }
    if (connection.writeFrame(frame)) count += 1;
    else closing.push(connection);
  }
  return { count, closing };
}

export class Connections implements Lender {
  readonly #byUser = new Map<string, Set<Connection>>();
  #count = 0;
  readonly #countOver: Record<TransportName, number> = { socketio: 0, plain: 0 };

  get balance(): Balance {
    return { connections: this.#count, connectedUsers: this.#byUser.size, unsentBytes: this.#unsentBytes };
  }

  get #unsentBytes(): number {
    let bytes = 0;
    for (const userId of this.#byUser.keys()) bytes += this.unsentBytesOf(userId);
    return bytes;
  }

  /** All open connections. */
  get count(): number {
    return this.#count;
  }

  /** Open connections over one transport. */
  countOver(transport: TransportName): number {
    return this.#countOver[transport];
  }

  /** Distinct users. */
  get userCount(): number {
    return this.#byUser.size;
  }

  add(connection: Connection): void {
    const known = this.#byUser.get(connection.userId);
    if (known === undefined) this.#byUser.set(connection.userId, new Set([connection]));
    else known.add(connection);
    this.#count += 1;
    this.#countOver[connection.transport.name] += 1;
  }

  /** @returns whether it was listed. */
  remove(connection: Connection): boolean {
    const known = this.#byUser.get(connection.userId);
    if (known?.delete(connection) !== true) return false;
    this.#count -= 1;
    this.#countOver[connection.transport.name] -= 1;
    if (known.size === 0) this.#byUser.delete(connection.userId);
    return true;
  }

  /** The connections of a user, oldest first. */
  ofUser(userId: string): readonly Connection[] {
    return [...(this.#byUser.get(userId) ?? [])];
  }

  countOf(userId: string): number {
    return this.#byUser.get(userId)?.size ?? 0;
  }

  /** Unsent bytes in all connections of a user. */
  unsentBytesOf(userId: string): number {
    let bytes = 0;
    for (const { unsentBytes } of this.#byUser.get(userId) ?? []) bytes += unsentBytes;
    return bytes;
  }

  /** Number of connections of a user by device. */
  devicesOf(userId: string): ReadonlyMap<string, number> {
    const devices = new Map<string, number>();
    for (const { device } of this.#byUser.get(userId) ?? []) devices.set(device, (devices.get(device) ?? 0) + 1);
    return devices;
  }

  userIds(): string[] {
    return [...this.#byUser.keys()];
  }

  *all(): Generator<Connection> {
    for (const connections of this.#byUser.values()) yield* connections;
  }
}
