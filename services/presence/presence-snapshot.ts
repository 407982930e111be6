/**
 * Who is online at one moment, as frames. Made once for all watchers that arrive before anything changes, and encoded
 * once per transport. Many users come in several frames, which a watcher may take one by one.
 */
import type { Transport } from '../delivery/connections';

/** Bytes of names in one frame: like a page of messages it leaves room in the buffer of a connection. */
const PART_BYTES = 262_144;
/** Quotes and a comma. */
const BYTES_AROUND_NAME = 3;

interface Part {
  readonly event: string;
  readonly payload: object;
  readonly frames: Map<Transport, unknown>;
}

export class PresenceSnapshot {
  readonly count: number;
  readonly #parts: Part[] = [];

  /** `seen`: how many changes of presence it contains. */
  constructor(
    online: Iterable<string>,
    readonly seen: number,
  ) {
    const [first = [], ...others] = partsOf(online);
    this.count = others.reduce((sum, { length }) => sum + length, first.length);
    this.#parts.push({ event: 'presence', payload: { users: first, count: this.count }, frames: new Map() });
    for (const users of others) this.#parts.push({ event: 'presence:join', payload: { users }, frames: new Map() });
  }

  /** Functions that return a frame each, in the order in which a watcher receives them. */
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
