/**
 * Delivery on a real store in which every step can be made to wait, with connections that keep what is written to them:
 * for everything that depends on the order of events.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createSingleNode } from '../../services/cluster/contract';
import type { Connection, Transport } from '../../services/delivery/connections';
import { Cursors } from '../../services/delivery/cursors';
import { Delivery } from '../../services/delivery/delivery';
import { createMetrics } from '../../services/observability/metrics';
import type { Cursor, Draft, OpenedDevice, Position, Store } from '../../services/storage/contract';
import { openLmdbStore } from '../../services/storage/lmdb/store';
import { type Clock, systemClock } from '../../utils/clock';
import type { AnyMessage, Counts, Message } from '../../utils/protocol';
import { DEFAULT_DEVICE } from '../../utils/topic-names';
import { type CapturedLog, captureLog } from './captured-log';
import { onTestEnd, temporaryDirectory } from './temporary';

export type Step = 'read' | 'head' | 'append' | 'openDevice' | 'saveCursors' | 'counts' | 'drained';
/** Waits before or after a step. */
export type Pause = (step: Step, when: 'before' | 'after') => Promise<void>;

/** Releases answers in the order of the calls, whichever was ready first. */
function inOrder<Args extends unknown[], Result>(method: (...args: Args) => Promise<Result>) {
  let before: Promise<unknown> = Promise.resolve();
  return (...args: Args): Promise<Result> => {
    const earlier = before;
    const own = method(...args);
    const answer = earlier.then(() => own);
    before = answer.catch(() => undefined);
    return answer;
  };
}

/** A store that waits where it should; otherwise the one behind it. */
function slowed(store: Store, pause: Pause): Store {
  const slow =
    <Args extends unknown[], Result>(step: Step, method: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      await pause(step, 'before');
      const result = await method(...args);
      await pause(step, 'after');
      return result;
    };
  // The contract promises it: appends resolve in the order of their seq.
  const append = inOrder(async (draft: Draft) => {
    const appended = await store.log.append(draft);
    await pause('append', 'after');
    return appended;
  });
  return {
    ...store,
    log: {
      ...store.log,
      append: async (draft: Draft) => {
        await pause('append', 'before');
        return append(draft);
      },
      read: slow('read', store.log.read),
      head: slow('head', store.log.head),
    },
    devices: {
      ...store.devices,
      open: slow('openDevice', store.devices.open),
      // Looked up at each call: a test may replace it.
      saveCursors: slow('saveCursors', (cursors: readonly Cursor[]) => store.devices.saveCursors(cursors)),
      saveSent: (sendings) => store.devices.saveSent(sendings),
      saveSeen: (seen) => store.devices.saveSeen(seen),
    },
    users: { ...store.users, saveLastSeen: (times) => store.users.saveLastSeen(times) },
    inbox: {
      ...store.inbox,
      counts: slow('counts', store.inbox.counts),
      counted: slow('counts', store.inbox.counted),
    },
  };
}

/** Knows what is in progress, so that a test can wait for its end instead of for a time. */
class Activity {
  readonly #running = new Set<Promise<unknown>>();

  track<Result>(work: Promise<Result>): Promise<Result> {
    this.#running.add(work);
    const end = () => this.#running.delete(work);
    work.then(end, end);
    return work;
  }

  /** Resolves when nothing is in progress, and nothing that has just ended starts anything more. */
  async end(): Promise<void> {
    do {
      await Promise.allSettled(this.#running);
      await nextTurn();
    } while (this.#running.size > 0);
  }
}

/** Takes the first look of an attachment at its device. Looks wait for their turn, so others may come in between. */
const attaching = new AsyncLocalStorage<(opened: Promise<OpenedDevice>) => void>();

/** Tells each attachment where it was told to start. */
class RecordingCursors extends Cursors {
  override open(userId: string, device: string): Promise<OpenedDevice> {
    const opened = super.open(userId, device);
    attaching.getStore()?.(opened);
    return opened;
  }
}

const transport: Transport = {
  name: 'plain',
  encodeMessage: (message: AnyMessage, counts: Counts | undefined) => ({ ...message, counts }),
  encodeEvent: (event: string, payload: unknown) => ({ event, payload }),
};

/** A connection that keeps what is written to it. */
class RecordingConnection implements Connection {
  readonly id = randomUUID();
  readonly caller: Connection['caller'];
  readonly origin = '';
  readonly transport = transport;
  readonly unsentBytes = 0;
  readonly isAcknowledging: boolean;
  readonly events: string[] = [];
  /** Those of the last message that had any. */
  lastCounts: Counts | undefined;
  readonly #received = new Map<string, number[]>();
  isOpen = true;

  constructor(
    readonly userId: string,
    readonly device: string,
    private readonly desk: Desk,
  ) {
    this.caller = { userId, scopes: new Set() };
    this.isAcknowledging = device !== DEFAULT_DEVICE;
  }

  received(topic: string): readonly number[] {
    return this.#received.get(topic) ?? [];
  }

  #take({ topic, seq }: AnyMessage): void {
    if (seq === undefined) return;
    const seqs = this.#received.get(topic) ?? [];
    this.#received.set(topic, [...seqs, seq]);
  }

  send(event: string): void {
    this.events.push(event);
  }

  writeFrame(frame: unknown): boolean {
    const { counts, ...message } = frame as AnyMessage & { readonly counts?: Counts };
    this.lastCounts = counts ?? this.lastCounts;
    this.#take(message as AnyMessage);
    return true;
  }

  sendPage(messages: readonly Message[]): void {
    for (const message of messages) this.#take(message);
    const last = messages.at(-1);
    if (last !== undefined && this.isAcknowledging) void this.desk.activity.track(this.#acknowledge(last));
  }

  async #acknowledge({ topic, seq }: Message): Promise<void> {
    await this.desk.pause('drained', 'after');
    if (this.isOpen) this.desk.delivery.acknowledge(this, topic, seq);
  }

  drained(): Promise<void> {
    return this.desk.pause('drained', 'before');
  }

  /** A client that is reached. */
  confirm(callback: () => void): void {
    setImmediate(() => {
      if (this.isOpen) callback();
    });
  }

  close(): void {
    this.isOpen = false;
    this.desk.delivery.detach(this);
  }

  terminate(): void {
    this.close();
  }
}

/** One node: delivery over a store that waits. */
export interface Desk {
  readonly delivery: Delivery;
  readonly cursors: RecordingCursors;
  readonly store: Store;
  readonly activity: Activity;
  readonly log: CapturedLog;
  readonly pause: Pause;
}

export function openDesk(pause: Pause, clock: Clock = systemClock): Desk {
  const store = openLmdbStore(temporaryDirectory(), clock);
  onTestEnd(() => store.close());
  const activity = new Activity();
  const log = captureLog();
  const tracked: Pause = (step, when) => activity.track(pause(step, when));
  const slow = trackCalls(slowed(store, tracked), activity);
  const cursors = new RecordingCursors(slow, log.logger, clock);
  const metrics = createMetrics();
  const delivery = new Delivery({
    store: slow,
    cursors,
    cluster: createSingleNode('test'),
    metrics,
    clock,
    logger: log.logger,
    maxBufferedBytes: 1e9,
  });
  return { delivery, cursors, store, activity, log, pause: tracked };
}

/** Delivery reads without being asked, to fill a gap: that is activity, too. */
function trackCalls(store: Store, activity: Activity): Store {
  const read: Store['log']['read'] = (topic, options) => activity.track(store.log.read(topic, options));
  const counted: Store['inbox']['counted'] = (userId) => activity.track(store.inbox.counted(userId));
  return { ...store, log: { ...store.log, read }, inbox: { ...store.inbox, counted } };
}

let drafts = 0;

export function draftOf(topic: string): Draft {
  drafts += 1;
  const timestamp = '2026-01-01T00:00:00.000Z';
  return { id: `id ${drafts}`, isClientId: false, topic, type: 'test', data: drafts, timestamp, from: 'test' };
}

export interface Attached {
  readonly connection: RecordingConnection;
  readonly start: Promise<ReadonlyMap<string, Position>>;
  readonly done: Promise<void>;
}

export function attach(desk: Desk, userId: string, device: string): Attached {
  const connection = new RecordingConnection(userId, device, desk);
  let begin: (opened: Promise<OpenedDevice>) => void = () => undefined;
  const start = new Promise<OpenedDevice>((resolve) => {
    begin = resolve;
  });
  const done = desk.activity.track(attaching.run(begin, () => desk.delivery.attach(connection)));
  return { connection, start, done };
}
