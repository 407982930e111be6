/** A Socket.IO client with a queue: nothing that arrives before it is awaited is lost, and nothing is polled. */
import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client';
import type { Message, Reply } from '../../utils/protocol';
import { onTestEnd } from './temporary';

const PATIENCE_MS = 30_000;

export interface Received {
  readonly event: string;
  readonly args: readonly unknown[];
}

export class TestClient {
  readonly received: Received[] = [];
  readonly #unread: Received[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(readonly socket: Socket) {
    socket.onAny((event: string, ...args: unknown[]) => this.#take({ event, args }));
    socket.on('disconnect', (reason) => this.#take({ event: 'disconnect', args: [reason] }));
    socket.on('connect_error', (error) => this.#take({ event: 'connect_error', args: [error] }));
    onTestEnd(() => this.close());
  }

  #take(received: Received): void {
    this.received.push(received);
    this.#unread.push(received);
    for (const wake of this.#waiting) wake();
  }

  /** The first argument of the next event of this name, past or to come. */
  async next<Payload = Record<string, unknown>>(event: string): Promise<Payload> {
    return (await this.nextArgs(event))[0] as Payload;
  }

  /** All arguments of the next event of this name. */
  async nextArgs(event: string): Promise<readonly unknown[]> {
    const found = await this.#until(() => {
      const index = this.#unread.findIndex((received) => received.event === event);
      return index < 0 ? undefined : this.#unread.splice(index, 1)[0];
    }, event);
    return found.args;
  }

  /** The next `count` events `message`. */
  async messages(count: number): Promise<Message[]> {
    const messages: Message[] = [];
    while (messages.length < count) messages.push(await this.next<Message>('message'));
    return messages;
  }

  /** Every `message` so far. */
  get allMessages(): Message[] {
    return this.received.filter(({ event }) => event === 'message').map(({ args }) => args[0] as Message);
  }

  /** Sends an event and resolves to the acknowledgement. */
  call(event: string, payload?: unknown): Promise<Reply> {
    return this.socket
      .timeout(PATIENCE_MS)
      .emitWithAck(event, ...(payload === undefined ? [] : [payload])) as Promise<Reply>;
  }

  /** Resolves when everything that the server sent before this call has arrived. */
  async settle(): Promise<void> {
    await this.call('ping');
  }

  async #until<Found>(look: () => Found | undefined, event: string): Promise<Found> {
    let found = look();
    if (found !== undefined) return found;
    return new Promise<Found>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(wake);
        const seen = this.received.map((received) => received.event).join(', ');
        reject(new Error(`no \`${event}\` within ${PATIENCE_MS} ms; seen: ${seen || 'nothing'}`));
      }, PATIENCE_MS);
      const wake = () => {
        found = look();
        if (found === undefined) return;
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve(found);
      };
      this.#waiting.add(wake);
    });
  }

  close(): void {
    this.socket.close();
  }
}

export type ClientOptions = Partial<ManagerOptions & SocketOptions>;

/** Opens a client that does not reconnect by itself; await `next('connected')` to know that it is in. */
export function openClient(url: string, options: ClientOptions): TestClient {
  return new TestClient(io(url, { transports: ['websocket'], reconnection: false, forceNew: true, ...options }));
}
