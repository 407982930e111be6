/**
 * Where handshakes wait for their turn. When thousands of clients reconnect at once, each turn of the event loop admits
 * a few of them, first come, first served, so that connected clients are still served.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../../utils/clock';

/** Time that handshakes get in one turn. The work they start, such as catch-up, takes about as long again. */
const SLICE_MS = 10;

interface Waiting {
  readonly socket: Socket;
  readonly admit: (isThere: boolean) => void;
}

export class HandshakeQueue {
  readonly #waiting: Waiting[] = [];

  constructor(private readonly clock: Pick<Clock, 'steady'>) {}

  get size(): number {
    return this.#waiting.length;
  }

  /** @param admit is called when its turn comes. `isThere`: is the client still there? */
  enter(socket: Socket, admit: (isThere: boolean) => void): void {
    // Between an upgrade and its answer nothing else listens for errors: a reset would end the process.
    if (socket.listenerCount('error') === 0) socket.on('error', ignore);
    if (this.#waiting.push({ socket, admit }) === 1) setImmediate(() => this.#admitSome());
  }

  #admitSome(): void {
    const endsAt = this.clock.steady() + SLICE_MS;
    let count = 0;
    for (const { socket, admit } of this.#waiting) {
      if (count > 0 && this.clock.steady() > endsAt) break;
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
