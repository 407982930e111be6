/**
 * Where handshakes wait for their turn. When thousands of clients come back at once each turn of the event loop lets in
 * a few of them, first come, first served, so that those who are connected are served meanwhile.
 */
import type { Socket } from 'node:net';
import { systemClock } from '../../utils/clock';

/** Time of one turn for handshakes. What they begin, such as catching up, takes about as long again. */
const SLICE_MS = 10;

interface Waiting {
  readonly socket: Socket;
  readonly admit: (isThere: boolean) => void;
}

export class HandshakeQueue {
  readonly #waiting: Waiting[] = [];

  get size(): number {
    return this.#waiting.length;
  }

  /** @param admit is called when it is its turn. `isThere`: has the client not gone meanwhile? */
  enter(socket: Socket, admit: (isThere: boolean) => void): void {
    // Between an upgrade and its answer nobody else listens: a reset would end the process.
    if (socket.listenerCount('error') === 0) socket.on('error', ignore);
    if (this.#waiting.push({ socket, admit }) === 1) setImmediate(() => this.#admitSome());
  }

  #admitSome(): void {
    const endsAt = systemClock.steady() + SLICE_MS;
    let count = 0;
    for (const { socket, admit } of this.#waiting) {
      if (count > 0 && systemClock.steady() > endsAt) break;
      count += 1;
      socket.off('error', ignore);
      admit(!socket.destroyed);
    }
    this.#waiting.splice(0, count);
    if (this.#waiting.length > 0) setImmediate(() => this.#admitSome());
  }
}

/** The socket is closed after its error: see `destroyed`. */
function ignore(): void {}
