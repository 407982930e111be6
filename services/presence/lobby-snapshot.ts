/**
 * Who is online at one moment, as frames. It is made once for all who begin to watch before anything changes, and each
 * part is encoded once for each transport. Many users are told in several frames, which a watcher may take one by one.
 */
import type { Transport } from '../sockets/connections';

/** Names in one frame: like a page of messages it leaves room for others in the buffer of a connection. */
const PART_BYTES = 262_144;
/** Quotes and a comma. */
const BYTES_AROUND_NAME = 3;

interface Part {
  readonly event: string;
  readonly payload: object;
  readonly frames: Map<Transport, unknown>;
}

export class LobbySnapshot {
  readonly count: number;
  readonly #parts: Part[] = [];

  /** `seen`: so many changes of the lobby are in it. */
  constructor(
    online: Iterable<string>,
    readonly seen: number,
  ) {
    const [first = [], ...others] = partsOf(online);
    this.count = others.reduce((sum, { length }) => sum + length, first.length);
    this.#parts.push({ event: 'presence', payload: { users: first, count: this.count }, frames: new Map() });
    for (const users of others) this.#parts.push({ event: 'presence:join', payload: { users }, frames: new Map() });
  }

  /** Functions that give a frame each, in the order in which a watcher is to get them. */
  get parts(): ((transport: Transport) => unknown)[] {
    return this.#parts.map(({ event, payload, frames }) => (transport) => {
      const frame = frames.get(transport) ?? transport.encodeEvent(event, payload);
      frames.set(transport, frame);
      return frame;
    });
  }
}

function partsOf(users: Iterable<string>): string[][] {
  const parts: string[][] = [];
  let room = 0;
  for (const user of users) {
    const bytes = Buffer.byteLength(user) + BYTES_AROUND_NAME;
    if (bytes > room) {
      parts.push([]);
      room = PART_BYTES;
    }
    parts.at(-1)?.push(user);
    room -= bytes;
  }
  return parts;
}
