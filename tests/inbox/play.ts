/**
 * Random operations on one inbox, with three devices that come and go, against a model that fits on a page. After each
 * operation, all counts that a device received match the model; at the end, lists and devices do. TIDINGS_SEED replays a
 * failure.
 */
import { isDeepStrictEqual } from 'node:util';
import { CATCH_UP_WINDOW_MESSAGES } from '../../services/delivery/window';
import { FURTHER_DEVICE_MESSAGES } from '../../services/storage/contract';
import type { Counts, MessageState, RequestedState } from '../../utils/protocol';
import { ClockWithRealTimers } from '../support/clock';
import { eventually } from '../support/eventually';
import { exchange } from '../support/http';
import { type Random, seededRandom } from '../support/random';
import { range, type ServiceOptions, type TestService, testToken } from '../support/service';
import { type AnyClient, type Connect, TRANSPORTS } from '../support/transports';

const OPERATIONS_BETWEEN_LOOKS = 100;
const OPERATIONS_PER_NODE = 500;
const OWNER = 'anna';
const PERSONAL = `@${OWNER}`;
const TOPICS = [PERSONAL, '*', 'news'];
const COLLAPSE_KEYS = ['weather', 'traffic', 'news'];
const STATES: readonly RequestedState[] = ['seen', 'read', 'read', 'unread', 'archived'];
/** By the clock of the test, which is ahead, and for as long as all plays of a file take. */
const lifetimeSeconds = 86_400;
const SERVICE_TOKEN = testToken('service', { scope: 'send broadcast presence admin', lifetimeSeconds });
const OWNER_TOKEN = testToken(OWNER, { lifetimeSeconds });

type Selection =
  | { ids: readonly string[] }
  | { topic: string; upTo: number }
  /** `cursors`: sent to devices, up to where it applied. */
  | { all: true; cursors?: Readonly<Record<string, number>> };
type Change = Selection & { readonly state: RequestedState };

/** A message as the model or a device knows it. */
interface Item {
  readonly id: string;
  readonly topic: string;
  readonly seq: number;
  data: unknown;
  isSeen: boolean;
  isRead: boolean;
  isArchived: boolean;
  /** Said by the owner of the inbox: read, whatever is asked for. */
  readonly isOwn: boolean;
}

/** What the server knows beside. */
interface ModelItem extends Item {
  readonly order: number;
  readonly expiresAt: number;
  readonly isExcluded: boolean;
  readonly key: string | undefined;
}

/** The rules of states. @returns whether anything is different now. */
function applyState(item: Item, state: RequestedState): boolean {
  const before = [item.isSeen, item.isRead, item.isArchived].join();
  if (state === 'unread') {
    item.isRead = item.isOwn;
    item.isArchived = false;
  } else {
    item.isSeen = true;
    if (state === 'archived') item.isArchived = true;
    if (state === 'read') {
      item.isRead = true;
      item.isArchived = false;
    }
  }
  return before !== [item.isSeen, item.isRead, item.isArchived].join();
}

function isMeant(item: Item, change: Selection): boolean {
  if ('ids' in change) return change.ids.includes(item.id);
  if (item.isArchived) return false;
  if ('all' in change) return change.cursors === undefined || item.seq <= (change.cursors[item.topic] ?? 0);
  return item.topic === change.topic && item.seq <= change.upTo;
}

const applyChange = (items: Iterable<Item>, change: Change): number =>
  [...items].filter((item) => isMeant(item, change) && applyState(item, change.state)).length;

const isUnread = ({ isRead, isArchived }: Item): boolean => !isRead && !isArchived;

function stateOf({ isSeen, isRead, isArchived }: Item): MessageState {
  if (isArchived) return 'archived';
  if (isRead) return 'read';
  return isSeen ? 'seen' : 'unseen';
}

/** A clock that stands still until it is moved, so that nothing expires without the model's knowledge. */
class StandingClock extends ClockWithRealTimers {
  /** Ahead of the machine's, by which tokens are made: a slow machine must not make them come from the future. */
  #now = Date.now() + 2_700_000;

  now(): number {
    return this.#now;
  }

  advance(milliseconds: number): void {
    this.#now += milliseconds;
  }
}

class Model {
  readonly items = new Map<string, ModelItem>();
  readonly #heads = new Map(TOPICS.map((topic) => [topic, 0]));

  head(topic: string): number {
    return this.#heads.get(topic) ?? 0;
  }

  nextSeq(topic: string): number {
    this.#heads.set(topic, this.head(topic) + 1);
    return this.head(topic);
  }

  /** Appends. @returns the `seq` that it must have been given. */
  append(message: Omit<ModelItem, 'seq' | 'isSeen' | 'isRead' | 'isArchived'>): number {
    const { key, isOwn } = message;
    const earlier = [...this.items.values()].filter((item) => key !== undefined && item.key === key && isUnread(item));
    for (const item of earlier) this.remove(item);
    const seq = this.nextSeq(message.topic);
    this.items.set(message.id, { ...message, seq, isSeen: isOwn, isRead: isOwn, isArchived: false });
    return seq;
  }

  /** Takes a message out, which is an entry of its log. */
  remove({ id, topic }: Item): void {
    this.items.delete(id);
    this.nextSeq(topic);
  }

  /** Removes what has expired. @returns what of it was in the inbox. */
  expire(now: number): ModelItem[] {
    const expired = [...this.items.values()].filter(({ expiresAt }) => expiresAt <= now);
    for (const { id } of expired) this.items.delete(id);
    return expired.filter(({ isExcluded }) => !isExcluded);
  }

  /** The moment at which something expires next. */
  get nextExpiry(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...[...this.items.values()].map(({ expiresAt }) => expiresAt));
  }

  get inbox(): ModelItem[] {
    return [...this.items.values()].filter(({ isExcluded }) => !isExcluded);
  }

  get counts(): Counts {
    let [unseen, unread] = [0, 0];
    for (const item of this.items.values()) {
      if (item.isExcluded || !isUnread(item)) continue;
      unread += 1;
      if (!item.isSeen) unseen += 1;
    }
    return { unseen, unread };
  }
}

/** A frame as either transport brings it. */
type Fields = Readonly<Record<string, unknown>>;

/** One installation of a client: it keeps what it received, whether it is connected or not. */
class Device {
  readonly items = new Map<string, Item>();
  /** Counts that it has received since they were last checked. */
  counts: Counts[] = [];
  lastCounts: Counts | undefined;
  /** Several nodes may tell of the same one. */
  readonly expired = new Set<string>();
  messageCount = 0;
  stateCount = 0;
  /** Where the logs stand by what it was told. */
  readonly heads = new Map<string, number>();
  readonly #unacknowledged = new Map<string, number>();
  #unacknowledgedCount = 0;
  #client: AnyClient | undefined;
  #node: TestService | undefined;
  #taken = 0;

  constructor(
    readonly name: string | undefined,
    private readonly connect: Connect,
  ) {}

  get isConnected(): boolean {
    return this.#client !== undefined;
  }

  get client(): AnyClient {
    if (this.#client === undefined) throw new Error('The device is not connected.');
    return this.#client;
  }

  isConnectedTo(node: TestService): boolean {
    return this.#node === node;
  }

  /** Connects, and acknowledges as much as it must to get up to date. */
  async open(service: TestService): Promise<void> {
    this.#node = service;
    this.#taken = 0;
    this.#unacknowledged.clear();
    this.#unacknowledgedCount = 0;
    this.#client = await this.connect(service, OWNER, this.name === undefined ? {} : { device: this.name });
    let isUpToDate = false;
    const upToDate = this.client.next('sync:done').then(() => {
      isUpToDate = true;
    });
    while (!isUpToDate) {
      await Promise.race([upToDate, this.client.settle()]);
      this.take();
      // Catch-up waits for a device that has this much in flight.
      if (this.#unacknowledgedCount >= CATCH_UP_WINDOW_MESSAGES) await this.acknowledge();
    }
  }

  async close(): Promise<void> {
    // Cursors are recorded when the server knows of the end.
    const sessions = () => this.#node?.balance()['sessions'];
    const before = sessions();
    this.client.close();
    this.#client = undefined;
    await eventually(
      async () => sessions(),
      (now) => now !== before,
    );
    this.#node = undefined;
  }

  async acknowledge(): Promise<void> {
    const places = [...this.#unacknowledged].map(([topic, seq]) => this.client.call('ack', { topic, seq }));
    for (const reply of await Promise.all(places)) expect(reply).toEqual({ ok: true });
    this.#unacknowledged.clear();
    this.#unacknowledgedCount = 0;
  }

  /** Applies what has arrived. */
  take(): void {
    const { received } = this.client;
    for (; this.#taken < received.length; this.#taken += 1) {
      const { event, args, ...frame } = received[this.#taken] as { event: string; args?: readonly unknown[] };
      const [payload, meta] = args ?? [frame];
      if (event === 'reply') continue;
      this.#apply(event, (meta === undefined ? payload : { data: payload, ...(meta as Fields) }) as Fields);
    }
  }

  #apply(event: string, fields: Fields): void {
    const { id, topic, seq, ref, data, from } = fields as unknown as Item & { ref: string; from: string };
    this.#count(fields);
    if (seq !== undefined) {
      this.heads.set(topic, seq);
      this.#unacknowledged.set(topic, seq);
      this.#unacknowledgedCount += 1;
    }
    if (event === 'message' || event === 'alert') {
      this.messageCount += 1;
      const known = this.items.get(id);
      const isOwn = from === OWNER;
      const fresh = { id, topic, seq, data, isSeen: isOwn, isRead: isOwn, isArchived: false, isOwn };
      if (known === undefined) this.items.set(id, fresh);
      else known.data = data;
    }
    const concerned = this.items.get(ref);
    if (event === 'message:updated' && concerned !== undefined) concerned.data = data;
    if (event === 'message:removed') {
      this.items.delete(ref);
      if (fields['reason'] === 'expired') this.expired.add(ref);
    }
    if (event !== 'state') return;
    this.stateCount += 1;
    applyChange(this.items.values(), fields as unknown as Change);
  }

  #count({ counts }: Fields): void {
    if (counts === undefined) return;
    this.lastCounts = counts as Counts;
    this.counts.push(this.lastCounts);
  }

  /** Requests a change over its socket: the others are notified, this device applies it itself. */
  async change(change: Change): Promise<Fields> {
    const reply = await this.client.call('state', change);
    if (!reply.ok) return reply as unknown as Fields;
    // What was sent before the answer arrives first.
    this.take();
    this.#count(reply);
    applyChange(this.items.values(), change);
    return reply;
  }

  /** Waits for the next frame of this event, and applies it. */
  async applyNext(event: string): Promise<void> {
    await this.client.next(event);
    this.take();
  }
}

interface JsonAnswer {
  readonly status: number;
  readonly body: Fields;
}

async function exchangeJson(
  service: TestService,
  method: string,
  path: string,
  options: { token?: string; body?: object } = {},
): Promise<JsonAnswer> {
  const headers = { Authorization: `Bearer ${options.token ?? OWNER_TOKEN}`, 'Content-Type': 'application/json' };
  const body = options.body === undefined ? {} : { body: JSON.stringify(options.body) };
  const { status, text } = await exchange(service.url, { method, path, headers, ...body });
  return { status, body: JSON.parse(text) as Fields };
}

interface Waiting {
  readonly id: string;
  readonly sendAt: number;
  readonly data: unknown;
}

/** The operations, each on the service and on the model. */
class Play {
  readonly model = new Model();
  readonly devices = [
    new Device('phone', TRANSPORTS[0]?.[1] as Connect),
    new Device('laptop', TRANSPORTS[1]?.[1] as Connect),
    new Device(undefined, TRANSPORTS[0]?.[1] as Connect),
  ];
  /** Ids that are no longer, or were never, in the inbox. */
  readonly #foreign: string[] = [];
  #waiting: Waiting[] = [];
  #sent = 0;
  /** What was true for a moment within an operation: messages that expire, and those that are due, go one by one. */
  #between: Counts[] = [];
  /** What devices are to hear of an operation, whichever node they are connected to. */
  #toHear: (() => boolean)[] = [];
  readonly #nodes: TestService[] = [];

  constructor(
    private readonly startNode: () => Promise<TestService>,
    private readonly clock: StandingClock,
    private readonly random: Random,
  ) {}

  /** Any node. */
  get service(): TestService {
    return this.#pick(this.#nodes);
  }

  get #hasOthers(): boolean {
    return this.#nodes.length > 1;
  }

  /** One node ends, and another one, which knows nothing, takes its place. */
  async replaceNode(): Promise<void> {
    const index = this.random.integer(0, this.#nodes.length - 1);
    const old = this.#nodes[index] as TestService;
    const connected = this.devices.filter((device) => device.isConnectedTo(old));
    for (const device of connected) await device.close();
    await old.stop();
    const fresh = await this.startNode();
    this.#nodes[index] = fresh;
    for (const device of connected) await device.open(fresh);
    await this.takeCounts();
  }

  async begin(nodes: number): Promise<void> {
    for (const _node of range(1, nodes)) this.#nodes.push(await this.startNode());
    await this.#post('/topics', { name: 'news' });
    await this.#post('/topics/news/members', { userId: OWNER });
    const { body } = await this.#post('/websocket/message/user', { userId: 'ben', type: 't', data: 1 });
    this.#foreign.push(String(body['id']));
    for (const device of this.devices) await device.open(this.service);
    await this.takeCounts();
  }

  /** Each operation with its weight. */
  readonly #operations: readonly (readonly [weight: number, operation: () => Promise<void>])[] = [
    [12, () => this.#send(PERSONAL)],
    [6, () => this.#send(PERSONAL, { collapseKey: this.#pick(COLLAPSE_KEYS) })],
    [3, () => this.#send(this.#pick(TOPICS), { ttl: this.random.integer(10, 60) })],
    [4, () => this.#send('*', this.#except())],
    [4, () => this.#send('news', this.#except())],
    [3, () => this.#send(PERSONAL, { event: 'alert' })],
    [4, () => this.#speak()],
    [1, () => this.#schedule()],
    // Nearly as often as something is sent: a model that stays small is quick.
    [22, () => this.#retract()],
    [7, () => this.#update()],
    [12, () => this.#change({ ids: range(1, this.random.integer(1, 4)).map(() => this.#anyItem()?.id ?? '') })],
    [8, () => this.#changeUpTo()],
    [1, () => this.#change({ all: true })],
    [2, () => this.#changeForeign()],
    [6, () => this.#comeOrGo()],
    [5, () => this.#acknowledge()],
    [0.4, () => this.#letTimePass()],
  ];

  async step(): Promise<void> {
    // Never so far that anything expires or is due: that is an operation of its own.
    const nextDue = Math.min(this.model.nextExpiry, ...this.#waiting.map(({ sendAt }) => sendAt));
    this.clock.advance(Math.min(this.random.integer(0, 3), nextDue - this.clock.now() - 1));
    const total = this.#operations.reduce((sum, [weight]) => sum + weight, 0);
    let rest = (this.random.integer(0, 999_999) / 1_000_000) * total;
    const chosen = this.#operations.find(([weight]) => {
      rest -= weight;
      return rest < 0;
    });
    await chosen?.[1]();
  }

  /**
   * Every count that a device received matches the model, or did within the operation; what the service returns now
   * does.
   */
  async expectCounts(operation: number): Promise<void> {
    const { counts } = this.model;
    const between = this.#between;
    this.#between = [];
    const told = await this.takeCounts();
    const wrong = told.filter((one) => ![counts, ...between].some((right) => isDeepStrictEqual(one, right)));
    expect({ operation, wrong, last: told.at(-1) }).toEqual({ operation, wrong: [], last: counts });
  }

  /** Counts received since the last check and, as the last, those that the service returns now. */
  async takeCounts(): Promise<Counts[]> {
    const connected = this.devices.filter(({ isConnected }) => isConnected);
    const [now] = await Promise.all([
      this.#ask('GET', '/inbox/counts'),
      ...connected.map(({ client }) => client.settle()),
    ]);
    for (const device of connected) device.take();
    if (this.#toHear.length > 0) await this.#untilHeard(connected);
    const told = this.devices.flatMap(({ counts }) => counts);
    for (const device of this.devices) device.counts = [];
    return [...told, now.body as unknown as Counts];
  }

  async #untilHeard(connected: readonly Device[]): Promise<void> {
    const toHear = this.#toHear;
    this.#toHear = [];
    await eventually(
      async () => {
        for (const device of connected) device.take();
        return toHear.filter((isHeard) => !isHeard()).length;
      },
      (left) => left === 0,
    );
  }

  /** Devices that are connected are told of an entry, unless the message that it is about is not for them. */
  #expectTold({ topic, isExcluded }: Pick<ModelItem, 'topic' | 'isExcluded'>): void {
    if (isExcluded) return;
    const seq = this.model.head(topic);
    const connected = this.devices.filter(({ isConnected }) => isConnected);
    for (const { heads } of connected) this.#toHear.push(() => (heads.get(topic) ?? 0) >= seq);
  }

  #expectStateTold(asking: Device | undefined): void {
    for (const device of this.devices) {
      const before = device.stateCount;
      if (device.isConnected && device !== asking) this.#toHear.push(() => device.stateCount > before);
    }
  }

  #post(path: string, body: object): Promise<JsonAnswer> {
    return exchangeJson(this.service, 'POST', path, { token: SERVICE_TOKEN, body });
  }

  #ask(method: string, path: string, body?: object): Promise<JsonAnswer> {
    return exchangeJson(this.service, method, path, body === undefined ? {} : { body });
  }

  #pick<Value>(values: readonly Value[]): Value {
    return values[this.random.integer(0, values.length - 1)] as Value;
  }

  #anyItem(): ModelItem | undefined {
    const { inbox } = this.model;
    // Half of the time one of the newest: those are what states are changed of.
    return this.#pick(this.random.integer(0, 1) === 0 ? inbox : inbox.slice(-20));
  }

  #connected(): Device | undefined {
    return this.#pick(this.devices.filter(({ isConnected }) => isConnected));
  }

  #except(): object {
    return this.random.integer(1, 4) === 1 ? { exceptUserId: OWNER } : {};
  }

  async #send(
    topic: string,
    options: { ttl?: number; collapseKey?: string; exceptUserId?: string; event?: string } = {},
  ) {
    this.#sent += 1;
    const content = { type: 'test', data: { n: this.#sent }, ...options };
    const { status, body } =
      topic === PERSONAL
        ? await this.#post('/websocket/message/user', { userId: OWNER, ...content })
        : await this.#post(topic === '*' ? '/websocket/message/broadcast' : '/topics/news/messages', content);
    expect(status).toBe(200);
    const { ttl, collapseKey, exceptUserId } = options;
    this.#append(body, { data: content.data, ttl, collapseKey, isExcluded: exceptUserId !== undefined, isOwn: false });
  }

  #append(
    answer: Fields,
    given: {
      data: unknown;
      ttl?: number | undefined;
      collapseKey?: string | undefined;
      isExcluded: boolean;
      isOwn: boolean;
    },
  ): void {
    const { id, topic, seq } = answer as unknown as Item;
    const { data, ttl, collapseKey, isExcluded, isOwn } = given;
    const order = this.clock.now();
    const expiresAt = ttl === undefined ? Number.POSITIVE_INFINITY : order + ttl * 1_000;
    expect(seq).toBe(this.model.append({ id, topic, data, order, expiresAt, isExcluded, isOwn, key: collapseKey }));
    this.#expectTold({ topic, isExcluded });
  }

  /** The owner sends something, to a topic or as a note to herself. */
  async #speak(): Promise<void> {
    const topic = this.#pick([PERSONAL, 'news']);
    this.#sent += 1;
    const data = { n: this.#sent };
    const device = this.#connected();
    if (device === undefined) return;
    const reply = await device.client.call('message', { topic, topic_name: topic, type: 'note', data });
    this.#append(reply as unknown as Fields, { data, isExcluded: false, isOwn: true });
  }

  async #schedule(): Promise<void> {
    // Of several that are due together each may be sent by another node.
    if (this.#hasOthers && this.#waiting.length > 0) return;
    this.#sent += 1;
    const data = { n: this.#sent };
    const delay = this.random.integer(1, 60);
    const { body } = await this.#post('/websocket/message/user', { userId: OWNER, type: 'test', data, delay });
    this.#waiting.push({ id: String(body['id']), sendAt: this.clock.now() + delay * 1_000, data });
  }

  async #retract(): Promise<void> {
    const item = this.#pick([...this.model.items.values()]);
    if (item === undefined) return;
    const { status } = await exchangeJson(this.service, 'DELETE', `/messages/${item.id}`, { token: SERVICE_TOKEN });
    expect(status).toBe(200);
    this.model.remove(item);
    this.#expectTold(item);
    this.#foreign.push(item.id);
  }

  async #update(): Promise<void> {
    const item = this.#pick([...this.model.items.values()]);
    if (item === undefined) return;
    const data = this.random.integer(1, 8) === 1 ? item.data : { n: item.id, changed: this.random.integer(1, 9) };
    const isOther = JSON.stringify(data) !== JSON.stringify(item.data);
    const options = { token: SERVICE_TOKEN, body: { data } };
    const { status } = await exchangeJson(this.service, 'PATCH', `/messages/${item.id}`, options);
    expect(status).toBe(200);
    item.data = data;
    if (!isOther) return;
    this.model.nextSeq(item.topic);
    this.#expectTold(item);
  }

  async #changeUpTo(): Promise<void> {
    const topic = this.#pick(TOPICS);
    const head = this.model.head(topic);
    const upTo = this.random.integer(1, Math.max(1, head));
    if (upTo <= head) await this.#change({ topic, upTo });
  }

  async #change(selection: Selection): Promise<void> {
    if ('ids' in selection && selection.ids.includes('')) return;
    const change = { ...selection, state: this.#pick(STATES) };
    const asking = this.random.integer(0, 2) === 0 ? undefined : this.#connected();
    const changed = applyChange(this.model.inbox, change);
    if (changed > 0) this.#expectStateTold(asking);
    const answer = await this.#askFor(change, asking);
    expect(answer).toMatchObject({ success: true, state: change.state });
    expect(answer['changed']).toBe(changed);
    expect(answer['counts']).toEqual(this.model.counts);
  }

  /** Over REST, for one message also by its own path, or over any socket. */
  async #askFor(change: Change, device: Device | undefined): Promise<Fields> {
    if (device !== undefined) return device.change(change);
    const isOne = 'ids' in change && change.ids.length === 1 && this.random.integer(0, 1) === 0;
    const { body } = isOne
      ? await this.#ask('PATCH', `/inbox/${change.ids[0]}`, { state: change.state })
      : await this.#ask('PATCH', '/inbox', change);
    return body;
  }

  /** One that is not in the inbox among others: nothing changes. */
  async #changeForeign(): Promise<void> {
    const ids = [this.#anyItem()?.id, this.#pick(this.#foreign)].filter((id) => id !== undefined);
    const { status } = await this.#ask('PATCH', '/inbox', { ids, state: this.#pick(STATES) });
    expect(status).toBe(404);
    const topic = this.#pick(TOPICS);
    const ahead = await this.#ask('PATCH', '/inbox', { topic, upTo: this.model.head(topic) + 1, state: 'read' });
    expect(ahead.status).toBe(400);
  }

  async #comeOrGo(): Promise<void> {
    const device = this.#pick(this.devices);
    await (device.isConnected ? device.close() : device.open(this.service));
  }

  async #acknowledge(): Promise<void> {
    await this.#connected()?.acknowledge();
  }

  /** Messages expire, and what was scheduled is sent. */
  async #letTimePass(): Promise<void> {
    // A device has to be online: its notification tells the test that it is done.
    if (this.#connected() === undefined) return this.#comeOrGo();
    const connected = this.devices.filter(({ isConnected }) => isConnected);
    await Promise.all(connected.map(({ client }) => client.settle()));
    for (const device of connected) device.take();
    const before = connected.map(({ messageCount }) => messageCount);
    this.clock.advance(this.random.integer(5_000, 30_000));
    const expired = this.model.expire(this.clock.now());
    for (const { id } of expired) this.#foreign.push(id);
    this.#between.push(this.model.counts);
    const due = this.#takeDue();
    for (const [index, device] of connected.entries()) {
      while (device.messageCount < (before[index] ?? 0) + due.length) await device.applyNext('message');
      while (expired.some(({ id }) => !device.expired.has(id))) await device.applyNext('message:removed');
    }
  }

  #takeDue(): readonly Waiting[] {
    const now = this.clock.now();
    const due = this.#waiting.filter(({ sendAt }) => sendAt <= now);
    this.#waiting = this.#waiting.filter(({ sendAt }) => sendAt > now);
    const inOrder = due.toSorted((one, other) => one.sendAt - other.sendAt || (one.id < other.id ? -1 : 1));
    for (const { id, data } of inOrder) {
      const message = { id, topic: PERSONAL, data, order: now, expiresAt: Number.POSITIVE_INFINITY };
      this.model.append({ ...message, isExcluded: false, isOwn: false, key: undefined });
      this.#between.push(this.model.counts);
    }
    return due;
  }

  /** The whole list of the inbox, page by page. */
  async list(query: string): Promise<Fields[]> {
    const items: Fields[] = [];
    let cursor: unknown;
    do {
      const page = `/inbox?limit=${this.random.integer(50, 200)}${query}${cursor === undefined ? '' : `&cursor=${cursor}`}`;
      const { body } = await this.#ask('GET', page);
      items.push(...(body['items'] as Fields[]));
      cursor = body['nextCursor'] ?? undefined;
    } while (cursor !== undefined);
    return items;
  }

  /** Everybody is connected, and has received the current counts. */
  async end(): Promise<void> {
    for (const device of this.devices) if (!device.isConnected) await device.open(this.service);
    await this.takeCounts();
    await this.#send(PERSONAL);
  }
}

/** Newest first; of one moment the topic that sorts first. */
function inListOrder(one: ModelItem, other: ModelItem): number {
  if (one.order !== other.order) return other.order - one.order;
  if (one.topic !== other.topic) return one.topic < other.topic ? -1 : 1;
  return other.seq - one.seq;
}

const summary = ({ id, topic, seq, data }: Item, state: MessageState) => ({ id, topic, seq, data, state });
const idsOf = (items: Iterable<Item>) => new Set([...items].map(({ id }) => id));

const without = (ids: Set<string>, others: Set<string>) => [...ids].filter((id) => !others.has(id));

/** What a device has otherwise than the model; `undefined`: nothing. */
function faultsOf({ name, items }: Device, model: Model): object | undefined {
  // What expired while the device was offline is not sent to it: it is not in any list any more.
  const known = [...items.values()].filter(({ id }) => model.items.has(id));
  const [inbox, own] = [idsOf(model.inbox), idsOf(known)];
  const [unread, ownUnread] = [idsOf(model.inbox.filter(isUnread)), idsOf(known.filter(isUnread))];
  const faults = {
    missing: without(inbox, own),
    foreign: without(own, inbox),
    wronglyRead: without(unread, ownUnread),
    wronglyUnread: without(ownUnread, unread),
    wrongData: known.filter(({ id, data }) => !isDeepStrictEqual(data, model.items.get(id)?.data)).map(({ id }) => id),
  };
  const isRight = Object.values(faults).every(({ length }) => length === 0);
  return isRight ? undefined : { device: name ?? 'default', ...faults };
}

async function expectLists(play: Play): Promise<void> {
  const inOrder = play.model.inbox.toSorted(inListOrder);
  const lists: [query: string, isListed: (item: Item) => boolean][] = [
    ['', ({ isArchived }) => !isArchived],
    ['&state=unread', isUnread],
    ['&state=read', (item) => stateOf(item) === 'read'],
    ['&state=archived', ({ isArchived }) => isArchived],
  ];
  for (const [query, isListed] of lists) {
    const listed = (await play.list(query)) as unknown as (Item & { state: MessageState })[];
    const expected = inOrder.filter(isListed).map((item) => summary(item, stateOf(item)));
    expect(listed.map((item) => summary(item, item.state))).toEqual(expected);
  }
}

/** A further device gets of each topic the last 100 that are unread. */
async function expectFurtherDevice({ service, model }: Play): Promise<void> {
  const tablet = new Device('tablet', TRANSPORTS[1]?.[1] as Connect);
  await tablet.open(service);
  expect(tablet.lastCounts).toEqual(model.counts);
  const lastUnread = TOPICS.flatMap((topic) =>
    model.inbox
      .filter((item) => item.topic === topic && isUnread(item))
      .toSorted((one, other) => one.seq - other.seq)
      .slice(-FURTHER_DEVICE_MESSAGES),
  );
  expect(new Set(tablet.items.keys())).toEqual(idsOf(lastUnread));
}

/** How the nodes are started, and how many there are at a time. */
export interface Stage {
  readonly operations: number;
  readonly nodes: number;
  readonly start: (options: ServiceOptions) => Promise<TestService>;
}

/** Plays so many operations. Where there are several nodes, one of them is replaced by a cold one now and then. */
export async function playInbox({ operations, nodes, start }: Stage): Promise<void> {
  const random = seededRandom('inbox');
  const clock = new StandingClock();
  const env = { SOCKET_EVENTS_PER_SECOND: '1000000', HANDSHAKES_PER_SECOND: '1000000' };
  const play = new Play(() => start({ env, overrides: { clock } }), clock, random);
  const { model, devices } = play;
  /** Kept to the end: a device that went wrong does not hide what comes after it. */
  const faults: object[] = [];
  await play.begin(nodes);
  for (const operation of range(1, operations)) {
    await play.step();
    await play.expectCounts(operation);
    if (nodes > 1 && operation % OPERATIONS_PER_NODE === 0) await play.replaceNode();
    if (operation % OPERATIONS_BETWEEN_LOOKS !== 0) continue;
    const connected = devices.filter(({ isConnected }) => isConnected);
    faults.push(
      ...connected.flatMap((device) => faultsOf(device, model) ?? []).map((fault) => ({ operation, ...fault })),
    );
  }
  await play.end();
  await play.expectCounts(operations + 1);
  expect(devices.map(({ lastCounts }) => lastCounts)).toEqual(devices.map(() => model.counts));
  await expectLists(play);
  await expectFurtherDevice(play);
  faults.push(...devices.flatMap((device) => faultsOf(device, model) ?? []));
  expect(faults).toEqual([]);
}
