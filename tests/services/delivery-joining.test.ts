/**
 * Nothing is lost, repeated or turned round while connections join topics that grow: Delivery on a real store
 * whose every step is made to wait. TIDINGS_SEED replays the waits of a failure (not the timing of the disk).
 */
import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createSingleNode } from '../../services/cluster';
import type { Connection, Transport } from '../../services/connections';
import { Cursors } from '../../services/cursors';
import { Delivery } from '../../services/delivery';
import { createMetrics } from '../../services/metrics';
import type { Cursor, Draft, Position, Sending, Store } from '../../services/storage/contract';
import { openLmdbStore } from '../../services/storage/lmdb';
import { systemClock } from '../../utils/clock';
import type { AnyMessage, Message } from '../../utils/protocol';
import { BROADCAST_TOPIC, DEFAULT_DEVICE, personalTopic } from '../../utils/topic-names';
import { type CapturedLog, captureLog } from '../support/captured-log';
import { type Random, seededRandom } from '../support/random';
import { onTestEnd, temporaryDirectory } from '../support/temporary';

const ROUNDS = 1_000;
const FEW_TURNS = 4;
/** One wait in ten is long enough for several other steps to overtake. */
const MANY_TURNS = 30;

type Step = 'read' | 'head' | 'append' | 'openDevice' | 'saveCursors' | 'counts' | 'drained';
/** Waits before or after a step. */
type Pause = (step: Step, when: 'before' | 'after') => Promise<void>;

/** Lets answers out in the order of the calls, whoever was ready first. */
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

/** A store that waits where it is told to; otherwise the one it stands before. */
function slowed(store: Store, pause: Pause): Store {
  const slow =
    <Args extends unknown[], Result>(step: Step, method: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      await pause(step, 'before');
      const result = await method.apply(store, args);
      await pause(step, 'after');
      return result;
    };
  // The contract promises it: appends resolve in the order of their seq.
  const append = inOrder(async (draft: Draft) => {
    const appended = await store.append(draft);
    await pause('append', 'after');
    return appended;
  });
  return Object.assign(Object.create(store) as Store, {
    append: async (draft: Draft) => {
      await pause('append', 'before');
      return append(draft);
    },
    read: slow('read', store.read),
    head: slow('head', store.head),
    openDevice: slow('openDevice', store.openDevice),
    saveCursors: slow('saveCursors', store.saveCursors),
    counts: slow('counts', store.counts),
    saveSent: (sendings: readonly Sending[]) => store.saveSent(sendings),
    saveLastSeen: (times: ReadonlyMap<string, number>) => store.saveLastSeen(times),
  });
}

/** Knows what is under way, so that a test can wait for the end of it instead of for a time. */
class Activity {
  readonly #running = new Set<Promise<unknown>>();

  track<Result>(work: Promise<Result>): Promise<Result> {
    this.#running.add(work);
    const end = () => this.#running.delete(work);
    work.then(end, end);
    return work;
  }

  /** Resolves when nothing is under way, and nothing that has just ended starts anything more. */
  async end(): Promise<void> {
    do {
      await Promise.allSettled(this.#running);
      await nextTurn();
    } while (this.#running.size > 0);
  }
}

/** Remembers where each connection was told to start. */
class RecordingCursors extends Cursors {
  lastOpened: Promise<Map<string, Position>> = Promise.resolve(new Map());

  override open(userId: string, device: string): Promise<Map<string, Position>> {
    this.lastOpened = super.open(userId, device);
    return this.lastOpened;
  }
}

const transport: Transport = {
  name: 'plain',
  encodeMessage: (message: AnyMessage) => message,
  encodeEvent: (event: string, payload: unknown) => ({ event, payload }),
};

/** A connection that keeps what is written to it. */
class RecordingConnection implements Connection {
  readonly id = randomUUID();
  readonly caller: Connection['caller'];
  readonly origin = '';
  readonly transport = transport;
  readonly isAcknowledging: boolean;
  readonly events: string[] = [];
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
    this.#take(frame as AnyMessage);
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

  close(): void {
    this.isOpen = false;
    this.desk.delivery.detach(this);
  }

  terminate(): void {
    this.close();
  }
}

/** One node: delivery over a store that waits. */
interface Desk {
  readonly delivery: Delivery;
  readonly cursors: RecordingCursors;
  readonly store: Store;
  readonly activity: Activity;
  readonly log: CapturedLog;
  readonly pause: Pause;
}

function openDesk(pause: Pause): Desk {
  const store = openLmdbStore(temporaryDirectory(), systemClock);
  onTestEnd(() => store.close());
  const activity = new Activity();
  const log = captureLog();
  const tracked: Pause = (step, when) => activity.track(pause(step, when));
  const slow = trackCalls(slowed(store, tracked), activity);
  const cursors = new RecordingCursors(slow, log.logger, systemClock);
  const metrics = createMetrics();
  const delivery = new Delivery({
    store: slow,
    cursors,
    cluster: createSingleNode('test'),
    metrics,
    clock: systemClock,
    logger: log.logger,
    maxBufferedBytes: 1e9,
  });
  return { delivery, cursors, store, activity, log, pause: tracked };
}

/** Delivery reads behind the back of its callers, to fill a gap: that is activity too. */
function trackCalls(store: Store, activity: Activity): Store {
  return Object.assign(Object.create(store) as Store, {
    read: (...args: Parameters<Store['read']>) => activity.track(store.read(...args)),
  });
}

let drafts = 0;

function draftOf(topic: string): Draft {
  drafts += 1;
  const timestamp = '2026-01-01T00:00:00.000Z';
  return { id: `id ${drafts}`, isClientId: false, topic, type: 'test', data: drafts, timestamp, from: 'test' };
}

interface Attached {
  readonly connection: RecordingConnection;
  readonly start: Promise<ReadonlyMap<string, Position>>;
  readonly done: Promise<void>;
}

function attach(desk: Desk, userId: string, device: string): Attached {
  const connection = new RecordingConnection(userId, device, desk);
  const done = desk.activity.track(desk.delivery.attach(connection));
  return { connection, start: desk.cursors.lastOpened, done };
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_value, index) => from + index);
}

/** Every seq from the start on, once, in order: up to the head, or for a connection that was closed up to some seq. */
async function judge(desk: Desk, { connection, start }: Attached): Promise<void> {
  for (const [topic, { seq: from }] of await start) {
    const seqs = connection.received(topic);
    const to = connection.isOpen ? await desk.store.head(topic) : from + seqs.length;
    expect([connection.id, topic, seqs]).toEqual([connection.id, topic, range(from + 1, to)]);
  }
}

function turnsOf(random: Random): () => Promise<void> {
  return async () => {
    const most = random.integer(0, 9) === 0 ? MANY_TURNS : FEW_TURNS;
    for (let turns = random.integer(0, most); turns > 0; turns -= 1) await nextTurn();
  };
}

interface Scene {
  readonly desk: Desk;
  readonly random: Random;
  readonly pause: () => Promise<void>;
}

function openScene(name: string): Scene {
  const random = seededRandom(name);
  const pause = turnsOf(random);
  return { desk: openDesk(pause), random, pause };
}

/** Connections come and go while messages are published; `publish` says how one message comes about. */
async function playRound(scene: Scene, userId: string, publish: (topic: string) => Promise<unknown>): Promise<void> {
  const { desk, random, pause } = scene;
  const topics = [personalTopic(userId), BROADCAST_TOPIC];
  const attached: Attached[] = [];
  const come = async () => {
    await pause();
    const device = [DEFAULT_DEVICE, 'phone', 'laptop'][random.integer(0, 2)] ?? DEFAULT_DEVICE;
    const one = attach(desk, userId, device);
    attached.push(one);
    await pause();
    await pause();
    if (random.integer(0, 3) === 0) one.connection.close();
    await one.done;
  };
  const say = async () => {
    await pause();
    await publish(topics[random.integer(0, 1)] ?? BROADCAST_TOPIC);
  };
  const acts = [
    ...range(1, random.integer(2, 4)).map(() => come()),
    ...range(1, random.integer(3, 9)).map(() => say()),
  ];
  await Promise.all(acts.map((act) => desk.activity.track(act)));
  await desk.activity.end();
  for (const one of attached) await judge(desk, one);
  for (const { connection } of attached) connection.close();
}

describe('connections that join while messages are published', () => {
  it(`see every seq once, in order, up to the head, in ${ROUNDS} rounds`, async () => {
    const scene = openScene('joining');
    const { delivery, log } = scene.desk;
    for (let round = 0; round < ROUNDS; round += 1) {
      // Five users take turns: some logs are short, some have been read before.
      await playRound(scene, `user ${round % 5}`, (topic) => delivery.publish(draftOf(topic)));
    }
    expect(log.errors()).toEqual([]);
  });

  it('see what other nodes append as well', async () => {
    const scene = openScene('joining, with other nodes');
    const { delivery, store, log } = scene.desk;
    for (let round = 0; round < ROUNDS / 4; round += 1) {
      const userId = `user ${round % 5}`;
      await playRound(scene, userId, async (topic) => {
        if (scene.random.integer(0, 1) === 0) await store.append(draftOf(topic));
        return delivery.publish(draftOf(topic));
      });
    }
    expect(log.errors()).toEqual([]);
  });
});

/** Holds chosen steps until they are let go; all others go through. */
class Gate {
  readonly #held: {
    readonly step: Step;
    readonly when: 'before' | 'after';
    arrived: () => void;
    opened: Promise<void>;
  }[] = [];

  readonly pause: Pause = async (step, when) => {
    const index = this.#held.findIndex((one) => one.step === step && one.when === when);
    const [held] = index < 0 ? [] : this.#held.splice(index, 1);
    held?.arrived();
    await held?.opened;
  };

  /** Holds the next such step. `arrived` resolves when it has come to the gate; `open` lets it go. */
  hold(step: Step, when: 'before' | 'after'): { arrived: Promise<void>; open: () => void } {
    let arrive: () => void = () => undefined;
    let open: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#held.push({ step, when, arrived: arrive, opened });
    return { arrived, open };
  }
}

const ANNA = personalTopic('anna');

async function openWithMember(gate: Gate): Promise<Desk & { member: Attached }> {
  const desk = openDesk(gate.pause);
  const member = attach(desk, 'anna', DEFAULT_DEVICE);
  await member.done;
  return { ...desk, member };
}

describe('a gap in what this node has emitted', () => {
  it('is filled from the store before the next message', async () => {
    const desk = await openWithMember(new Gate());
    const second = attach(desk, 'anna', 'phone');
    await second.done;
    await desk.store.append(draftOf(ANNA));
    await desk.delivery.publish(draftOf(ANNA));
    await desk.activity.end();
    for (const { connection } of [desk.member, second]) expect(connection.received(ANNA)).toEqual([1, 2]);
  });

  it('is filled, however long it is', async () => {
    const desk = await openWithMember(new Gate());
    await Promise.all(range(1, 1_000).map(() => desk.store.append(draftOf(ANNA))));
    await desk.delivery.publish(draftOf(ANNA));
    await desk.activity.end();
    expect(desk.member.connection.received(ANNA)).toEqual(range(1, 1_001));
  });

  it('is filled when it shows while another one is being filled', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await desk.store.append(draftOf(ANNA));
    const reading = gate.hold('read', 'after');
    await desk.delivery.publish(draftOf(ANNA));
    await reading.arrived;
    // The store was read up to 2, and the page is on its way; 3 comes from another node.
    await desk.store.append(draftOf(ANNA));
    await desk.delivery.publish(draftOf(ANNA));
    reading.open();
    await desk.activity.end();
    expect(desk.member.connection.received(ANNA)).toEqual(range(1, 4));
  });

  it('is filled once, for who came meanwhile too', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await desk.store.append(draftOf(ANNA));
    const reading = gate.hold('read', 'before');
    await desk.delivery.publish(draftOf(ANNA));
    await reading.arrived;
    const late = attach(desk, 'anna', 'phone');
    await late.done;
    reading.open();
    await desk.activity.end();
    for (const { connection } of [desk.member, late]) expect(connection.received(ANNA)).toEqual([1, 2]);
  });

  it('is nobody else’s business when those who saw it have gone', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await desk.store.append(draftOf(ANNA));
    const reading = gate.hold('read', 'after');
    await desk.delivery.publish(draftOf(ANNA));
    await reading.arrived;
    desk.member.connection.close();
    const next = attach(desk, 'anna', 'phone');
    await next.done;
    reading.open();
    await desk.activity.end();
    expect(next.connection.received(ANNA)).toEqual([1, 2]);
    expect(desk.member.connection.received(ANNA)).toEqual([]);
  });
});

describe('a topic that is left and joined again', () => {
  it('is caught up once', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    const { delivery } = desk;
    const other = attach(desk, 'ben', 'phone');
    await other.done;
    await Promise.all(range(1, 3).map(() => desk.store.append(draftOf('sea'))));
    // Somebody else keeps the topic alive on this node.
    await delivery.follow(other.connection, 'sea', 3);
    const { connection } = desk.member;
    const reading = gate.hold('read', 'after');
    const first = delivery.follow(connection, 'sea', 0);
    await reading.arrived;
    delivery.unfollow(connection, 'sea');
    await delivery.follow(connection, 'sea', 0);
    reading.open();
    await first;
    await delivery.publish(draftOf('sea'));
    await desk.activity.end();
    expect(connection.received('sea')).toEqual(range(1, 4));
  });

  it('gives nothing between', async () => {
    const desk = await openWithMember(new Gate());
    const { connection } = desk.member;
    await desk.delivery.follow(connection, 'sea', 0);
    await desk.delivery.publish(draftOf('sea'));
    desk.delivery.unfollow(connection, 'sea');
    await desk.delivery.publish(draftOf('sea'));
    await desk.delivery.follow(connection, 'sea', 2);
    await desk.delivery.publish(draftOf('sea'));
    await desk.activity.end();
    expect(connection.received('sea')).toEqual([1, 3]);
  });
});

describe('the place of a device', () => {
  it('is the newest one, also while it is being written', async () => {
    const gate = new Gate();
    const desk = await openWithMember(gate);
    await Promise.all(range(1, 3).map(() => desk.delivery.publish(draftOf(ANNA))));
    desk.member.connection.close();
    // The cursor is in memory when the store is asked, and in the store when the answer comes.
    const opening = gate.hold('openDevice', 'after');
    const again = attach(desk, 'anna', DEFAULT_DEVICE);
    await opening.arrived;
    await desk.cursors.flush();
    opening.open();
    await again.done;
    expect(again.connection.received(ANNA)).toEqual([]);
  });

  it('is not lost by a write that fails', async () => {
    const desk = await openWithMember(new Gate());
    const cursor: Cursor = { userId: 'anna', device: DEFAULT_DEVICE, topic: ANNA, seq: 2, at: 1 };
    await Promise.all(range(1, 3).map(() => desk.store.append(draftOf(ANNA))));
    desk.member.connection.close();
    desk.cursors.advance(cursor);
    const { saveCursors } = desk.store;
    desk.store.saveCursors = () => Promise.reject(new Error('refused on purpose'));
    await desk.cursors.flush();
    desk.store.saveCursors = saveCursors;
    expect((await desk.cursors.open('anna', DEFAULT_DEVICE)).get(ANNA)?.seq).toBe(2);
    await desk.cursors.flush();
    expect((await desk.store.openDevice('anna', DEFAULT_DEVICE)).get(ANNA)?.seq).toBe(2);
  });
});
