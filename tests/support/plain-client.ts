/** A client of the plain endpoint with a queue, like TestClient: nothing that arrives before it is awaited is lost. */
import WebSocket from 'ws';
import type { Message, Reply } from '../../utils/protocol';
import { testToken } from './service';
import { onTestEnd } from './temporary';

const PATIENCE_MS = 30_000;

/** A frame as the server sent it. */
export type Frame = { readonly event: string } & Readonly<Record<string, unknown>>;

export interface Ending {
  readonly code: number;
  readonly reason: string;
}

export class PlainClient {
  /** Every frame so far. */
  readonly received: Frame[] = [];
  /** How the connection ended. */
  readonly closed: Promise<Ending>;
  readonly #unread: Frame[] = [];
  readonly #waiting = new Set<() => void>();
  #ending: Ending | undefined;
  #refs = 0;

  constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer) => this.#take(JSON.parse(data.toString('utf8')) as Frame));
    // A server may cut the connection while frames are in flight; `closed` tells.
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.once('close', (code, reason) => {
        this.#ending = { code, reason: reason.toString('utf8') };
        resolve(this.#ending);
        this.#wake();
      });
    });
    onTestEnd(() => socket.terminate());
  }

  #take(frame: Frame): void {
    this.received.push(frame);
    this.#unread.push(frame);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  get isClosed(): boolean {
    return this.#ending !== undefined;
  }

  /** The next frame of this event as it came, past or to come. */
  nextFrame(event: string): Promise<Frame> {
    return this.#until((frame) => frame.event === event, `\`${event}\``);
  }

  /** Its fields without the name of the event: the first argument of a Socket.IO client. */
  async next<Payload = Record<string, unknown>>(event: string): Promise<Payload> {
    const { event: _name, ...payload } = await this.nextFrame(event);
    return payload as Payload;
  }

  /** A custom event as a Socket.IO client receives it: payload, then meta. */
  async nextArgs(event: string): Promise<readonly unknown[]> {
    const { data, ...meta } = await this.next(event);
    return [data, meta];
  }

  /** The next `count` events `message`. */
  async messages(count: number): Promise<Message[]> {
    const messages: Message[] = [];
    while (messages.length < count) messages.push(await this.next<Message>('message'));
    return messages;
  }

  /** Every `message` so far. */
  get allMessages(): Message[] {
    return this.received
      .filter(({ event }) => event === 'message')
      .map(({ event: _name, ...message }) => message as unknown as Message);
  }

  /** Writes one frame: a text or bytes unchanged, anything else as JSON. */
  send(frame: unknown): void {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  /** Sends an action with its own `ref`, and resolves to the reply. */
  async call(action: string, fields: object = {}): Promise<Reply> {
    this.#refs += 1;
    const ref = `ref-${this.#refs}`;
    this.send({ ...fields, action, ref });
    const {
      event: _name,
      ref: _ref,
      ...reply
    } = await this.#until((frame) => frame.event === 'reply' && frame['ref'] === ref, `a reply to \`${action}\``);
    return reply as unknown as Reply;
  }

  /** Sends a frame without `ref`, and resolves to the next reply. */
  async reply(frame: unknown): Promise<Reply> {
    this.send(frame);
    return this.next<Reply>('reply');
  }

  /** Resolves when everything that the server sent before this call has arrived. */
  async settle(): Promise<void> {
    await this.call('ping');
  }

  #until(isWanted: (frame: Frame) => boolean, what: string): Promise<Frame> {
    const look = () => {
      const index = this.#unread.findIndex(isWanted);
      return index < 0 ? undefined : this.#unread.splice(index, 1)[0];
    };
    const now = look();
    if (now !== undefined) return Promise.resolve(now);
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        settle();
      };
      const fail = (when: string) => {
        const seen = this.received.map(({ event }) => event).join(', ');
        finish(() => reject(new Error(`no ${what} ${when}; seen: ${seen || 'nothing'}`)));
      };
      const timer = setTimeout(() => fail(`within ${PATIENCE_MS} ms`), PATIENCE_MS);
      const wake = () => {
        const found = look();
        if (found !== undefined) finish(() => resolve(found));
        else if (this.#ending !== undefined) fail(`before the end ${this.#ending.code} ${this.#ending.reason}`);
      };
      this.#waiting.add(wake);
      wake();
    });
  }

  close(): void {
    this.socket.close();
  }
}

export interface PlainOptions {
  /** Path and query; `/ws` when absent. */
  readonly path?: string;
  readonly headers?: Record<string, string>;
  /** The extensions to offer; none when absent. */
  readonly perMessageDeflate?: boolean;
  /** The local address to connect from. */
  readonly localAddress?: string;
}

/** Opens a WebSocket with these options: await `next('connected')` to know that it is in, `closed` that it is not. */
export function openPlain(url: string, options: PlainOptions = {}): PlainClient {
  const { path = '/ws', headers = {}, perMessageDeflate = false, localAddress } = options;
  return new PlainClient(
    new WebSocket(`${url.replace(/^http/, 'ws')}${path}`, {
      headers,
      perMessageDeflate,
      ...(localAddress === undefined ? {} : { localAddress }),
    }),
  );
}

export interface PlainUser {
  readonly device?: string | undefined;
  readonly scope?: string | undefined;
}

/** Opens a client of this user, with the token in a header, and waits for `connected`. */
export async function connectPlain(url: string, userId: string, user: PlainUser = {}): Promise<PlainClient> {
  const { device, scope } = user;
  const path = device === undefined ? '/ws' : `/ws?device=${encodeURIComponent(device)}`;
  const headers = { Authorization: `Bearer ${testToken(userId, { scope })}` };
  const client = openPlain(url, { path, headers });
  await client.next('connected');
  return client;
}
