/** What the suites of the contract share: the store under test, its clock, and words for what is stored. */
import type {
  Device,
  Draft,
  HistoryOptions,
  Listed,
  Member,
  Membership,
  NamePage,
  Reader,
  Store,
  Topic,
  VisibleTopic,
} from '../../services/storage/contract';
import type { Message } from '../../utils/protocol';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../utils/topic-names';
import { ClockWithRealTimers } from '../support/clock';
import { onTestEnd } from '../support/temporary';

/** A clock that stands still until it is set. */
export class SettableClock extends ClockWithRealTimers {
  #now = milliseconds(0);

  now(): number {
    return this.#now;
  }

  set(now: number): void {
    this.#now = now;
  }

  pass(byMilliseconds: number): void {
    this.#now += byMilliseconds;
  }
}

export interface StoreHarness {
  /** The clock that the store is opened with. */
  readonly clock: SettableClock;
  /** Opens the store of this harness: empty at first, later with what the closed one before it has left. */
  open(): Promise<Store> | Store;
}

export interface Stage {
  /** Opens the store of the current test; it is closed at the end. */
  open(): Promise<Store>;
  readonly clock: SettableClock;
}

/** Calls `makeHarness` once for each test of the surrounding describe. */
export function setStage(makeHarness: () => StoreHarness): Stage {
  let harness: StoreHarness;
  beforeEach(() => {
    harness = makeHarness();
  });
  return {
    open: async () => {
      const store = await harness.open();
      onTestEnd(() => store.close());
      return store;
    },
    get clock() {
      return harness.clock;
    },
  };
}

export const ANNA = '@anna';

const APPENDS_AT_ONCE = 500;
const CALLS_AT_ONCE = 20;

let drafts = 0;

export function draft(fields: Partial<Draft> = {}): Draft {
  drafts += 1;
  return {
    id: `made-${drafts}`,
    isClientId: false,
    topic: ANNA,
    type: 'test',
    data: { n: drafts },
    timestamp: second(0),
    from: 'service',
    ...fields,
  };
}

export function draftsOf(count: number, fields: Partial<Draft> = {}): Draft[] {
  return Array.from({ length: count }, () => draft(fields));
}

/** A client's own id on a message. */
export function owned(id: string, fields: Partial<Draft> = {}): Draft {
  return draft({ id, isClientId: true, data: 'the same', ...fields });
}

/** A time some seconds after a beginning that all tests share. */
export function second(n: number): string {
  return new Date(milliseconds(n)).toISOString();
}

export function milliseconds(n: number): number {
  return Date.UTC(2026, 0, 1) + n * 1000;
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_value, index) => from + index);
}

export function toMessage(seq: number, { isClientId, ...content }: Draft): Message {
  return { ...content, seq };
}

export const seqsOf = (messages: readonly Message[]) => messages.map(({ seq }) => seq);

export async function append(store: Store, given: Draft): Promise<Message> {
  const appended = await store.log.append(given);
  if (appended.outcome !== 'stored') throw new Error(`expected a new message, got ${appended.outcome}`);
  return appended.message;
}

/** Appends in the order given, a part at a time: a call has a deadline, which a slow machine must not miss. */
export async function appendAll(store: Store, all: readonly Draft[]): Promise<Message[]> {
  const messages: Message[] = [];
  for (let from = 0; from < all.length; from += APPENDS_AT_ONCE) {
    const part = all.slice(from, from + APPENDS_AT_ONCE);
    messages.push(...(await Promise.all(part.map((one) => append(store, one)))));
  }
  return messages;
}

/** Does the same for many, a few at a time, for the same reason. */
export async function forMany<Item>(items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<void> {
  const rest = items.values();
  const workThrough = async () => {
    for (const item of rest) await work(item);
  };
  await Promise.all(range(1, CALLS_AT_ONCE).map(workThrough));
}

/** Everything after a `seq`, page by page, as catch-up reads it. */
export async function readAll(store: Store, topic = ANNA, limit = 1_000): Promise<Message[]> {
  return readFor(store, topic, { limit });
}

/** The same for one reader. */
export async function readFor(
  store: Store,
  topic: string,
  options: { userId?: string; after?: number; limit?: number } & Pick<Reader, 'unreadUpTo' | 'gaps'> = {},
): Promise<Message[]> {
  const { userId, unreadUpTo, gaps, limit = 1_000 } = options;
  const reader =
    userId === undefined ? {} : { reader: { userId, gaps, ...(unreadUpTo === undefined ? {} : { unreadUpTo }) } };
  const found: Message[] = [];
  for (let after = options.after ?? 0; ; ) {
    const { messages, position, head } = await store.log.read(topic, { after, limit, ...reader });
    found.push(...messages);
    if (position === head) return found;
    expect(position).toBeGreaterThan(after);
    after = position;
  }
}

/** What a device gets that connects now and has never acknowledged anything. */
export async function caughtUp(store: Store, userId: string, device: string, topic: string): Promise<Message[]> {
  const position = (await store.devices.open(userId, device)).get(topic);
  if (position === undefined) throw new Error(`${device} does not follow ${topic}`);
  const { seq: after, unreadUpTo, gaps } = position;
  return readFor(store, topic, { userId, after, unreadUpTo, gaps });
}

/** A device's position in a topic; two numbers: what lies up to the second one is for it only while it is unread. */
export type Place = number | readonly [seq: number, unreadUpTo: number];

export async function placesOf(store: Store, userId: string, device: string): Promise<Record<string, Place>> {
  const positions = await store.devices.open(userId, device);
  return Object.fromEntries(
    Array.from(positions, ([topic, { seq, unreadUpTo }]) => [topic, unreadUpTo > seq ? [seq, unreadUpTo] : seq]),
  );
}

/** The places in the topics that every user has. */
export function places(userId: string, personal: Place, broadcast: Place, states: Place = 0): Record<string, Place> {
  return { [personalTopic(userId)]: personal, [BROADCAST_TOPIC]: broadcast, [stateTopic(userId)]: states };
}

/** A bound that no test reaches. */
export const PLENTY = 1_000;

export function topicOf(name: string, fields: Partial<Topic> = {}): Topic {
  return { name, isPrivate: false, owner: 'anna', createdAt: second(0), ...fields };
}

export const member = (userId: string, n = 1) => ({ userId, joinedAt: second(n) });

export async function createTopic(store: Store, name: string, fields: Partial<Topic> = {}): Promise<Topic> {
  const topic = topicOf(name, fields);
  expect(await store.topics.create(topic, PLENTY)).toMatchObject({ outcome: 'joined' });
  return topic;
}

/** Reads messages, or does whatever else can be done to their state, by id. */
export async function mark(
  store: Store,
  userId: string,
  state: 'seen' | 'read' | 'unread' | 'archived',
  ...messages: readonly Message[]
): Promise<void> {
  const ids = messages.map(({ id }) => id);
  expect(await store.inbox.changeStates(userId, { ids }, state)).toMatchObject({ outcome: 'changed' });
}

/** All of a list, page by page. */
async function allOf<Item>(read: (page: NamePage) => Promise<Listed<Item>>, limit = PLENTY): Promise<Item[]> {
  const all: Item[] = [];
  for (let after: string | undefined; ; ) {
    const { items, next } = await read({ after, limit });
    expect(items.length).toBeLessThanOrEqual(limit);
    all.push(...items);
    if (next === undefined) return all;
    after = next;
  }
}

export function membersOf(store: Store, name: string, limit?: number): Promise<Member[]> {
  return allOf((page) => store.topics.members(name, page), limit);
}

export function membershipsOf(store: Store, userId: string, limit?: number): Promise<Membership[]> {
  return allOf((page) => store.topics.memberships(userId, page), limit);
}

export function topicsOf(store: Store, userId: string, limit?: number): Promise<VisibleTopic[]> {
  return allOf((page) => store.topics.visibleTo(userId, page), limit);
}

export function devicesOf(store: Store, userId: string, limit?: number): Promise<Device[]> {
  return allOf((page) => store.devices.list(userId, page), limit);
}

/** Removes all that is out of sight already. */
export async function removeAll(store: Store): Promise<void> {
  while (await store.removals.advance());
}

/** As many messages as were asked for, over as many pages as that takes. */
export async function historyOf(store: Store, topic: string, options: HistoryOptions): Promise<readonly Message[]> {
  const found: Message[] = [];
  const isForward = options.after !== undefined;
  let range: HistoryOptions | undefined = options;
  while (range !== undefined && found.length < options.limit) {
    const { messages, next } = await store.log.history(topic, { ...range, limit: options.limit - found.length });
    found.splice(isForward ? found.length : 0, 0, ...messages);
    const rest: Partial<HistoryOptions> = isForward ? { after: next } : { before: next };
    range = next === undefined ? undefined : { ...options, ...rest };
  }
  return found;
}
