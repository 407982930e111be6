/**
 * A client that wants to stay connected: to either node in turn, whenever the connection is lost. With a name it
 * acknowledges every message; everything it receives goes into the history.
 */
import type { Message, Reply } from '../../utils/protocol';
import { testToken } from '../support/service';
import { onTestEnd } from '../support/temporary';
import { type DeviceOf, type History, nameOf, type Place } from './history';
import { type Line, openLine, type Way } from './line';
import { pace } from './until';

const CONNECT_TIMEOUT_MS = 1_500;
/**
 * What was written to a client without a device is not written again (promise 6), so one that gives up a connection to
 * which a busy node has just begun to write loses it. Longer than any node is stopped.
 */
const PATIENT_CONNECT_TIMEOUT_MS = 10_000;
/** Between two attempts: short, so that much happens in a round. */
const RECONNECT_PACE_MS = 100;
/** Problems that nobody may receive in a round. */
const COMPLAINTS = new Set(['sync:reset', 'error', 'message:removed', 'message:updated']);

export interface DeviceParts extends DeviceOf {
  readonly urls: readonly string[];
  /** Index of the node to begin with. */
  readonly first: number;
  readonly history: History;
  /** By default over Socket.IO on WebSocket. */
  readonly way?: Way | undefined;
}

export class ReconnectingDevice implements DeviceOf {
  readonly userId: string;
  readonly device: string | undefined;
  /** The last `seq` of each topic. */
  readonly #reached = new Map<string, number>();
  readonly #waiting = new Set<() => void>();
  #connections = 0;
  #isSynced = false;
  #isOver = false;
  #line: Line | undefined;
  #drop: (() => void) | undefined;

  constructor(private readonly parts: DeviceParts) {
    this.userId = parts.userId;
    this.device = parts.device;
    onTestEnd(() => this.close());
  }

  get connections(): number {
    return this.#connections;
  }

  /** Begins to connect. Resolves when it has caught up for the first time. */
  async open(patienceMs: number): Promise<void> {
    void this.#stayConnected();
    if (!(await this.#until(() => this.#isSynced, patienceMs))) throw new Error(`${nameOf(this)} never got in`);
  }

  async #stayConnected(): Promise<void> {
    const { urls, first } = this.parts;
    for (let attempt = first; !this.#isOver; attempt += 1) {
      await this.#connectOnce(urls[attempt % urls.length] ?? '');
      await pace(RECONNECT_PACE_MS);
    }
  }

  /** Resolves when the connection has ended, or failed to open. */
  #connectOnce(url: string): Promise<void> {
    this.#connections += 1;
    const { userId, device, parts } = this;
    const connection = this.#connections;
    return new Promise((resolve) => {
      let isConnected = false;
      const ended = () => {
        clearTimeout(timer);
        if (this.#drop === ended) this.#drop = undefined;
        // A stopped node may admit it later: nobody is there any more.
        line.close();
        resolve();
      };
      // Input is read first: a program that was held up must not give up a connection that exists.
      const timeoutMs = device === undefined ? PATIENT_CONNECT_TIMEOUT_MS : CONNECT_TIMEOUT_MS;
      const timer = setTimeout(() => setImmediate(() => isConnected || ended()), timeoutMs);
      const line = openLine(
        parts.way ?? 'websocket',
        url,
        { token: testToken(userId), device },
        {
          connected: () => {
            isConnected = true;
            this.#drop = ended;
            clearTimeout(timer);
          },
          message: (message) => this.#take(message, connection, line),
          synced: () => {
            this.#isSynced = true;
            this.#wake();
          },
          told: (event, payload) => this.#told(event, payload),
          ended,
        },
      );
      this.#line = line;
    });
  }

  #take({ id, topic, seq, data }: Message, connection: number, line: Line): void {
    const { userId, device, parts } = this;
    const who = { userId, device, connection };
    parts.history.delivered({ ...who, id, topic, seq, key: keyIn(data) });
    if (device !== undefined) {
      line.ack({ topic, seq });
      parts.history.acked({ ...who, topic, seq });
    }
    this.#reached.set(topic, seq);
    this.#wake();
  }

  #told(event: string, payload: unknown): void {
    // The plain endpoint answers every frame.
    const isRefusal = event === 'reply' && (payload as Reply).ok === false;
    if (!isRefusal && !COMPLAINTS.has(event)) return;
    this.parts.history.complain(`${nameOf(this)} was told \`${event}\`: ${JSON.stringify(payload)}`);
  }

  /** Gives up the current connection, if any, for another one. */
  drop(): boolean {
    const drop = this.#drop;
    this.#drop = undefined;
    drop?.();
    return drop !== undefined;
  }

  /** Resolves to what has not arrived in time: nothing, if all is well. */
  async missing(lasts: readonly Place[], patienceMs: number): Promise<Place[]> {
    const left = () => lasts.filter(({ topic, seq }) => (this.#reached.get(topic) ?? 0) < seq);
    await this.#until(() => left().length === 0, patienceMs);
    return left();
  }

  async #until(isSo: () => boolean, patienceMs: number): Promise<boolean> {
    if (isSo()) return true;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(isSo());
      };
      const look = () => {
        if (isSo()) end();
      };
      const timer = setTimeout(end, patienceMs);
      this.#waiting.add(look);
    });
  }

  #wake(): void {
    for (const look of this.#waiting) look();
  }

  close(): void {
    this.#isOver = true;
    this.#line?.close();
  }
}

/** The intent that a message carries. */
export function keyIn(data: unknown): string {
  const key: unknown = typeof data === 'object' && data !== null && 'key' in data ? data.key : undefined;
  return typeof key === 'string' ? key : `no key in ${JSON.stringify(data)}`;
}
