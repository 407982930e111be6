/** One connection of a device over any transport: it can be cut, or go silent. */
import type { Reply } from '../../utils/protocol';
import { openPolling, openWebSocket, type Wire, type WireEnds } from './wire';
import type { Answer } from './world';

export type TransportName = 'plain' | 'socketio' | 'polling';
export type Fields = Readonly<Record<string, unknown>>;

export interface LinkOptions {
  readonly port: number;
  readonly transport: TransportName;
  readonly token: string;
  readonly device: string | undefined;
  readonly onFrame: (event: string, fields: Fields) => void;
}

const OPEN_PATIENCE_MS = 10_000;
const ENDED = { ok: false, error: { code: 'ended', status: 503 } } as unknown as Reply;

export class Link {
  /** Why it was refused, or closed. */
  closing: string | undefined;
  isSynced = false;
  isFrozen = false;
  isEnded = false;
  isIn = false;
  readonly #wire: Wire;
  readonly #calls = new Map<string, (reply: Reply) => void>();
  #refs = 0;
  readonly #wakers = new Set<() => void>();

  constructor(private readonly options: LinkOptions) {
    const ends = { onText: (text: string) => this.#read(text), onEnd: (reason: string) => this.#end(reason) };
    this.#wire = open(options, ends);
  }

  #end(reason: string): void {
    this.isEnded = true;
    this.closing ??= reason;
    this.#giveUp();
    this.#wake();
  }

  /** Pending requests get no answer. */
  #giveUp(): void {
    for (const answer of this.#calls.values()) answer(ENDED);
    this.#calls.clear();
  }

  #wake(): void {
    for (const wake of this.#wakers) wake();
  }

  #read(text: string): void {
    if (this.isFrozen) return;
    if (this.options.transport === 'plain') {
      const { event, ...fields } = JSON.parse(text) as { event: string } & Fields;
      if (event === 'reply') this.#answer(String(fields['ref']), fields as unknown as Reply);
      else this.#take(event, fields);
    } else this.#readPacket(text);
    this.#wake();
  }

  /** Engine.IO's packets, and Socket.IO's in them. */
  #readPacket(text: string): void {
    const { token, device } = this.options;
    if (text.startsWith('0')) this.#wire.send(`40${JSON.stringify({ token, device })}`);
    else if (text === '2') this.#wire.send('3');
    else if (text.startsWith('44')) this.closing = String((JSON.parse(text.slice(2)) as Fields)['message']);
    else if (text.startsWith('42')) {
      const [event, fields] = JSON.parse(text.slice(2)) as [string, Fields];
      this.#take(event, fields ?? {});
    } else if (text.startsWith('43')) {
      const [, ref = '', json = '[]'] = /^43(\d+)(\[.*)$/s.exec(text) ?? [];
      this.#answer(ref, (JSON.parse(json) as Reply[])[0] as Reply);
    }
  }

  #take(event: string, fields: Fields): void {
    if (event === 'connected') this.isIn = true;
    if (event === 'sync:done') this.isSynced = true;
    if (event === 'closing') this.closing = String(fields['code']);
    if (event === 'error' && !this.isIn) this.closing = String(fields['code']);
    this.options.onFrame(event, fields);
  }

  #answer(ref: string, reply: Reply): void {
    this.#calls.get(ref)?.(reply);
    this.#calls.delete(ref);
  }

  /** Does something, and resolves to the answer, or to a refusal if the connection ends first. */
  call(action: string, fields: Fields = {}): Promise<Reply> {
    if (this.isEnded || this.isFrozen) return Promise.resolve(ENDED);
    this.#refs += 1;
    const ref = String(this.#refs);
    const text =
      this.options.transport === 'plain'
        ? JSON.stringify({ action, ...fields, ref })
        : `42${ref}${JSON.stringify([action, fields])}`;
    return new Promise((resolve) => {
      this.#calls.set(ref, resolve);
      this.#wire.send(text);
    });
  }

  /** The same, as a request over HTTP would be answered. */
  async ask(action: string, fields: Fields): Promise<Answer> {
    const reply = await this.call(action, fields);
    if (reply.ok) return { status: 'scheduledFor' in reply ? 202 : 200, body: reply };
    return { status: Number(reply.error.status), body: reply.error as unknown as Fields };
  }

  /** Resolves when the condition holds, the connection has ended, or patience has. @returns whether it holds. */
  async until(isSo: () => boolean, patienceMs = OPEN_PATIENCE_MS): Promise<boolean> {
    if (isSo() || this.isEnded) return isSo();
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        this.#wakers.delete(look);
        resolve(isSo());
      };
      const look = () => {
        if (isSo() || this.isEnded) finish();
      };
      const timer = setTimeout(finish, patienceMs);
      this.#wakers.add(look);
    });
  }

  /** The network is gone: nothing arrives any more, and the server is not notified. */
  freeze(): void {
    this.isFrozen = true;
    this.#wire.pause();
    this.#giveUp();
  }

  close(): void {
    this.#wire.close();
  }

  /** Ends it silently. */
  reset(): void {
    this.#wire.cut();
    this.#end('reset');
  }
}

function open({ port, transport, token, device }: LinkOptions, ends: WireEnds): Wire {
  const query = device === undefined ? '' : `&device=${device}`;
  if (transport === 'polling') return openPolling(port, query, ends);
  const path = transport === 'plain' ? `/ws?token=${token}${query}` : `/socket.io/?EIO=4&transport=websocket${query}`;
  return openWebSocket(port, path, ends);
}
