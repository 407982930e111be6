/**
 * Hands messages to the listeners: one after the other within a topic, each once, and acknowledged only after all
 * listeners have handled it. A listener that throws receives the message again, and holds up its topic meanwhile.
 */
import type { Acks } from './acks.ts';
import { messageOf, TidingsError } from './errors.ts';
import { keyOf, type Seen } from './seen.ts';
import { after, backoffMs, type Pauses, type Timer } from './timing.ts';

/** Messages of one topic that wait for listeners. Further ones are left with the service, unacknowledged. */
export const MAX_WAITING = 1_000;
/** How long `close()` waits for listeners at work. */
const CLOSE_PATIENCE_MS = 2_000;

export interface Frame {
  readonly event: string;
  readonly args: readonly unknown[];
  readonly topic: string;
  /** Absent for live messages, which cannot come again. */
  readonly seq?: number | undefined;
  readonly id?: string | undefined;
}

interface Queue {
  readonly waiting: Frame[];
  /** Callers that wait until this frame has been handled. */
  readonly watchers: Map<Frame, (() => void)[]>;
  /** Those of `waiting` that may come again. */
  readonly keys: Set<string>;
}

export interface IntakeParts {
  readonly seen: Seen;
  readonly acks: Acks;
  readonly pauses: Pauses;
  readonly listenersOf: (event: string) => ((...args: unknown[]) => unknown)[];
  readonly report: (error: TidingsError) => void;
  /** Makes everything unacknowledged come again. */
  readonly reconnect: () => void;
}

export class Intake {
  readonly #queues = new Map<string, Queue>();
  /** Topics of which something was left with the service: nothing after it may be accepted on this connection. */
  readonly #overflown = new Set<string>();
  readonly #running = new Set<Promise<void>>();
  #isClosed = false;

  constructor(private readonly parts: IntakeParts) {}

  /** @returns is it new? Otherwise it will come again, or has been here before. */
  take(frame: Frame): boolean {
    const key = keyOfFrame(frame);
    if (this.#isClosed || this.#isRepeat(frame, key) || this.#isTooMuch(frame)) return false;
    const queue = this.#queues.get(frame.topic);
    if (queue === undefined) this.#open(frame, key);
    else push(queue, frame, key);
    return true;
  }

  #isRepeat({ topic, seq = 0 }: Frame, key: string | undefined): boolean {
    if (key === undefined) return false;
    if (this.#queues.get(topic)?.keys.has(key)) return true;
    if (!this.parts.seen.has(key)) return false;
    this.parts.acks.add(topic, seq);
    return true;
  }

  #isTooMuch({ topic }: Frame): boolean {
    if ((this.#queues.get(topic)?.waiting.length ?? 0) >= MAX_WAITING) this.#overflown.add(topic);
    return this.#overflown.has(topic);
  }

  #open(frame: Frame, key: string | undefined): void {
    const queue: Queue = { waiting: [], watchers: new Map(), keys: new Set() };
    push(queue, frame, key);
    this.#queues.set(frame.topic, queue);
    const running = this.#work(frame.topic, queue).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #work(topic: string, queue: Queue): Promise<void> {
    // The caller first applies the frame elsewhere: a listener finds the message in the inbox.
    await undefined;
    for (let [frame] = queue.waiting; frame !== undefined && !this.#isClosed; [frame] = queue.waiting) {
      if (!(await this.#handOver(frame))) break;
      await this.#settle(frame);
      queue.waiting.shift();
      tellWatchers(queue, frame);
      queue.keys.delete(keyOfFrame(frame) ?? '');
    }
    this.#queues.delete(topic);
    // Given up: nothing more of it will be handled.
    for (const frame of queue.waiting) tellWatchers(queue, frame);
    if (this.#overflown.has(topic) && !this.#isClosed) this.parts.reconnect();
  }

  /**
   * Recorded before it is acknowledged: if the process ends in between, the message comes again, and the repeat is
   * recognized.
   */
  async #settle(frame: Frame): Promise<void> {
    const key = keyOfFrame(frame);
    if (key === undefined) return;
    await this.parts.seen.add(key);
    this.parts.acks.add(frame.topic, frame.seq ?? 0);
  }

  /** @returns false when it was given up because everything ends. */
  async #handOver({ event, args }: Frame): Promise<boolean> {
    let open = this.parts.listenersOf(event);
    for (let attempt = 0; ; attempt += 1) {
      const failed = await this.#callAll(open, args);
      if (failed.length === 0) return true;
      if (this.#isClosed || !(await this.parts.pauses.pause(backoffMs(attempt)))) return false;
      const present = this.parts.listenersOf(event);
      open = failed.filter((listener) => present.includes(listener));
    }
  }

  /** @returns those that threw. */
  async #callAll(
    listeners: ((...args: unknown[]) => unknown)[],
    args: readonly unknown[],
  ): Promise<((...args: unknown[]) => unknown)[]> {
    const failed: ((...args: unknown[]) => unknown)[] = [];
    for (const listener of listeners) {
      try {
        await listener(...args);
      } catch (error) {
        failed.push(listener);
        const message = `A listener failed and will be called again: ${messageOf(error)}`;
        this.parts.report(new TidingsError('handler_failed', message, { cause: error }));
      }
    }
    return failed;
  }

  /** The messages that listeners are handling. */
  atWork(): ReadonlySet<Frame> {
    return new Set([...this.#queues.values()].flatMap(({ waiting }) => waiting.slice(0, 1)));
  }

  /** Resolves when everything received so far has been handled, except for what waits for one of `others`. */
  async handled(others: ReadonlySet<Frame>): Promise<void> {
    const last = [...this.#queues.values()].map((queue) => {
      const [first] = queue.waiting;
      const frame = queue.waiting.at(-1);
      if (first === undefined || frame === undefined || others.has(first)) return undefined;
      return new Promise<void>((resolve) => {
        queue.watchers.set(frame, [...(queue.watchers.get(frame) ?? []), resolve]);
      });
    });
    await Promise.all(last);
  }

  /** A new connection begins after what was acknowledged: what was left with the service comes again. */
  connectionOpened(): void {
    this.#overflown.clear();
  }

  /** Hands over nothing more. Resolves when no listener is at work, or after two seconds. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.parts.pauses.end();
    let timer: Timer | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = after(CLOSE_PATIENCE_MS, resolve);
    });
    await Promise.race([Promise.all(this.#running), patience]);
    clearTimeout(timer);
  }
}

function tellWatchers({ watchers }: Queue, frame: Frame): void {
  for (const watcher of watchers.get(frame) ?? []) watcher();
  watchers.delete(frame);
}

function push(queue: Queue, frame: Frame, key: string | undefined): void {
  queue.waiting.push(frame);
  if (key !== undefined) queue.keys.add(key);
}

function keyOfFrame({ topic, seq, id }: Frame): string | undefined {
  return seq === undefined || id === undefined ? undefined : keyOf({ topic, seq, id });
}
