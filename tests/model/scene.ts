/** One run: a few users with their devices on the world, and the commands that something can do to them. */
import { toIsoTime } from '../../utils/clock';
import { Device } from './device';
import { resetAfter, withoutKey } from './doors';
import type { Call } from './faulty-store';
import { History, type Said } from './history';
import type { Link } from './link';
import { type Answer, becomes, MAX_CONNECTIONS, type World } from './world';

/** Plain data, so that a failure can be shrunk and replayed. What the numbers choose depends on what is there. */
export interface Command {
  readonly kind: keyof typeof WEIGHTS;
  readonly a: number;
  readonly b: number;
}

/** How often each command comes. */
export const WEIGHTS = {
  send: 14,
  sendBriefly: 3,
  sendReplacing: 5,
  sendMany: 3,
  say: 8,
  broadcast: 3,
  retract: 6,
  change: 4,
  mark: 9,
  race: 4,
  join: 4,
  leave: 3,
  connect: 14,
  close: 5,
  reset: 4,
  freeze: 4,
  acknowledge: 5,
  hesitate: 3,
  pass: 8,
  knock: 3,
  leaveInFlush: 3,
  fail: 3,
  lose: 2,
  weather: 4,
  calm: 4,
} as const;

const FAILING = [
  'read',
  'openDevice',
  'head',
  'counts',
  'saveCursors',
  'append',
  'changeStates',
  'saveLastSeen',
] as const;
const PASSING_MS = [0, 300, 1_100, 3_500, 11_000, 61_000] as const;
const STATES = ['read', 'unread', 'seen', 'unread', 'read', 'unread', 'archived', 'read'] as const;
const KEYS = ['k1', 'k2'] as const;
const ATTEMPTS = 3;

export class Scene {
  readonly history = new History();
  readonly users: readonly string[];
  readonly devices: readonly Device[];
  readonly topic: string;
  readonly lastEnds = new Map<string, number>();
  /** Who has been told once what is new. */
  readonly known = new Set<string>();
  readonly firstDevices = new Map<string, Device | undefined>();
  /** Connections whose devices have begun another one, and that nobody has ended yet. */
  readonly ghosts: { readonly link: Link; readonly device: Device; readonly node: number }[] = [];
  isDisturbed = false;
  /** Was it ever? What failed then may show a moment later. */
  wasDisturbed = false;
  #sent = 0;

  constructor(
    readonly world: World,
    private readonly name: string,
  ) {
    const [anna, ben, carla] = ['anna', 'ben', 'carla'].map((user) => `${user}-${name}`) as [string, string, string];
    this.users = [anna, ben, carla];
    this.topic = `news-${name}`;
    this.devices = [
      new Device(anna, 'phone', 'plain', this.history),
      new Device(anna, 'laptop', 'socketio', this.history),
      new Device(anna, undefined, 'socketio', this.history),
      new Device(ben, 'phone', 'socketio', this.history),
      new Device(ben, undefined, 'plain', this.history),
      new Device(carla, 'phone', 'plain', this.history),
    ];
  }

  async begin(): Promise<void> {
    await this.world.ask('POST', '/topics', { body: { name: this.topic } });
  }

  async run({ kind, a, b }: Command): Promise<void> {
    await this.sweep();
    await this.#do[kind](a, b);
    this.wasDisturbed ||= this.isDisturbed;
    await this.sweep();
    for (const device of this.devices) this.#judgeReceived(device);
  }

  readonly #do: Record<keyof typeof WEIGHTS, (a: number, b: number) => Promise<unknown>> = {
    send: (a, b) => this.#send(this.#user(a), {}, b),
    sendBriefly: (a, b) => this.#send(this.#user(a), { ttl: 1 + (b % 20) }, b),
    sendReplacing: (a, b) => this.#send(this.#user(a), { collapseKey: KEYS[b % 4 === 0 ? 1 : 0] }, b >> 2),
    sendMany: (a, b) => this.#sendMany(this.#user(a), b % 7 === 0 ? 201 + (b % 13) : 1 + (b % 12)),
    say: (_a, b) => this.#say(this.topic, {}, b),
    broadcast: (a, b) => this.#say('*', a % 2 === 0 ? { exceptUserId: this.#user(b) } : {}, b),
    retract: (a, b) => this.#withMessage(a, (said) => this.#retract(said, b)),
    change: (a, b) => this.#withMessage(a, (said) => this.#change(said, b)),
    mark: (a, b) => this.#mark(this.#user(a), a >> 2, b),
    race: (a, b) => this.#withMessage(a, (said) => this.#race(said, b)),
    join: (a, b) => this.#join(this.#user(a), b),
    leave: (a, b) => this.#leave(this.#user(a), b),
    connect: (a, b) => this.connect(this.#device(a), b),
    close: (a) => this.#end(this.#device(a), 'politely'),
    reset: (a) => this.#end(this.#device(a), 'abruptly'),
    freeze: (a) => this.#freeze(this.#device(a)),
    acknowledge: async (a) => {
      const device = this.#device(a);
      if (device.isHealthy) device.acknowledge();
      await device.acknowledged();
    },
    hesitate: async (a) => {
      const device = this.#device(a);
      device.isPrompt = !device.isPrompt;
    },
    pass: (a) => this.pass(PASSING_MS[a % PASSING_MS.length] ?? 0),
    knock: (a, b) => this.#knock(a, b),
    leaveInFlush: (a) => this.#leaveInFlush(this.#device(a)),
    fail: async (a, b) => {
      this.isDisturbed = true;
      this.world.faults.fail(FAILING[a % FAILING.length] as Call, 1 + (b % 2));
    },
    lose: async () => {
      if (!this.#mayLoseAnswers) return;
      this.isDisturbed = true;
      this.world.faults.lose('append');
    },
    weather: async (a) => {
      if (this.world.nodes.length === 1) return;
      const weather = (['losing', 'late', 'down'] as const)[a % 3] ?? 'losing';
      this.world.bus.set(weather);
    },
    calm: async () => this.calm(),
  };

  /** The embedded engine alone answers whatever it has stored. */
  get #mayLoseAnswers(): boolean {
    return this.world.nodes.length > 1 || this.world.options.engine !== 'lmdb';
  }

  calm(): void {
    this.isDisturbed = false;
    this.world.faults.clear();
    this.world.bus.clear();
  }

  #user(a: number): string {
    // Half of what happens is for the first: what needs several steps on one inbox comes sooner.
    const index = a % 6;
    return this.users[index < 3 ? 0 : index < 5 ? 1 : 2] as string;
  }

  #device(a: number): Device {
    return this.devices[a % this.devices.length] as Device;
  }

  async #withMessage(a: number, work: (said: Said) => Promise<unknown>): Promise<void> {
    // The last ones: what is between is past changing for most.
    const all = [...this.history.messages.values()].filter(({ fate }) => fate === 'alive').slice(-5);
    const said = all[a % Math.max(1, all.length)];
    if (said !== undefined) await work(said);
  }

  /** Asks again with the same words while the service cannot. */
  async #insist(method: string, path: string, options: { body?: object; userId?: string; node?: number }) {
    let answer: Answer = { status: 0, body: {} };
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      answer = await this.world.ask(method, path, options);
      if (answer.status < 500) break;
    }
    if (answer.status >= 500 && !this.isDisturbed) {
      this.history.violate(`${method} ${path} answered ${answer.status}: ${JSON.stringify(answer.body)}`);
    }
    return answer;
  }

  #words(options: object): { body: { id: string; type: string; data: object } & object; n: number } {
    this.#sent += 1;
    const n = this.#sent;
    return { n, body: { id: `${this.name}-${n}`, type: 'chat', data: { n }, ...options } };
  }

  async #send(userId: string, options: { ttl?: number; collapseKey?: string }, node: number): Promise<void> {
    const { body } = this.#words(options);
    const sentAt = this.world.clock.now();
    const path = '/websocket/message/user';
    const { status, body: answer } = await this.#insist('POST', path, { body: { userId, ...body }, node });
    if (status === 200) this.#note({ topic: `@${userId}`, options, sentAt }, answer, body.data);
    else if (options.collapseKey !== undefined) this.#doubtKey(`@${userId}`, options.collapseKey);
  }

  /** It may be there, and have replaced what had the key. */
  #doubtKey(topic: string, key: string): void {
    for (const said of this.history.messages.values()) {
      if (said.topic === topic && said.collapseKey === key && said.fate === 'alive') said.fate = 'unsure';
    }
  }

  #note(
    about: { topic: string; options: { ttl?: number; collapseKey?: string; exceptUserId?: string }; sentAt: number },
    answer: object,
    data: object,
  ): void {
    const { topic, options, sentAt } = about;
    const { id, seq } = answer as { id: string; seq: number };
    const audience = this.#audience(topic, options.exceptUserId);
    const expiresAt = options.ttl === undefined ? Number.POSITIVE_INFINITY : sentAt + options.ttl * 1_000;
    const { collapseKey, exceptUserId } = options;
    this.history.add({ id, topic, seq, data, expiresAt, collapseKey, exceptUserId, ...audience });
  }

  #audience(topic: string, exceptUserId: string | undefined): { must: Set<string>; may: Set<string> } {
    const without = (users: Iterable<string>) => new Set([...users].filter((user) => user !== exceptUserId));
    if (topic === '*') return { must: without(this.known), may: without(this.users) };
    if (topic !== this.topic) return { must: new Set([topic.slice(1)]), may: new Set([topic.slice(1)]) };
    const members = this.history.membersOf(topic);
    return { must: without(members), may: without([...members, ...this.#unsureMembers]) };
  }

  readonly #unsureMembers = new Set<string>();

  async #sendMany(userId: string, count: number): Promise<void> {
    const all = Array.from({ length: count }, () => this.#words({}).body);
    const sentAt = this.world.clock.now();
    const messages = all.map((body) => ({ userId, ...body }));
    const { status, body } = await this.#insist('POST', '/messages/batch', { body: { messages } });
    if (status !== 200) return;
    for (const [index, result] of (body['results'] as { id?: string }[]).entries()) {
      const { data = {} } = all[index] ?? {};
      if (result.id !== undefined) this.#note({ topic: `@${userId}`, options: {}, sentAt }, result, data);
    }
  }

  async #say(topic: string, options: { exceptUserId?: string }, node: number): Promise<void> {
    const { body } = this.#words(options);
    const path = topic === '*' ? '/websocket/message/broadcast' : `/topics/${topic}/messages`;
    const { status, body: answer } = await this.#insist('POST', path, { body, node });
    if (status === 200) this.#note({ topic, options, sentAt: 0 }, answer, body.data);
  }

  async #retract(said: Said, node: number): Promise<void> {
    const { status } = await this.world.ask('DELETE', `/messages/${said.id}`, { node });
    said.fate = status < 500 ? 'dead' : 'unsure';
  }

  async #change(said: Said, node: number): Promise<void> {
    const { body } = this.#words({});
    const { status } = await this.world.ask('PATCH', `/messages/${said.id}`, { body: { data: body.data }, node });
    said.data = status === 200 ? body.data : undefined;
  }

  async #mark(userId: string, a: number, b: number): Promise<void> {
    const state = STATES[a % STATES.length] ?? 'read';
    const own = [...this.history.messages.values()].filter(
      ({ topic, fate }) => topic === `@${userId}` && fate === 'alive',
    );
    const recent = own.slice(-4);
    const chosen = recent[b % Math.max(1, recent.length)];
    const isBulk = b % 5 === 0;
    if (chosen === undefined) return;
    const selection = isBulk ? { topic: chosen.topic, upTo: chosen.seq } : { ids: [chosen.id] };
    const { status } = await this.world.ask('PATCH', '/inbox', { body: { state, ...selection }, userId, node: a >> 2 });
    if (status !== 200) return;
    for (const said of isBulk ? own.filter(({ seq }) => seq <= chosen.seq) : [chosen]) {
      this.history.touch(said);
      if (state === 'seen') continue;
      // Those that are archived are left out of bulk changes.
      said.isUnread = !isBulk ? state === 'unread' : undefined;
    }
  }

  /** Nodes do things to one message at once. */
  async #race(said: Said, b: number): Promise<void> {
    if (!said.topic.startsWith('@')) return;
    this.history.touch(said);
    const userId = said.topic.slice(1);
    const mark = (state: string, node: number) =>
      this.world.ask('PATCH', '/inbox', { userId, node, body: { state, ids: [said.id] } });
    const isOfState = b % 2 === 0;
    const { collapseKey } = said;
    if (isOfState) await Promise.all([mark('read', 0), mark('unread', 1), ...(b % 4 === 0 ? [mark('read', 1)] : [])]);
    else {
      const replacing = collapseKey === undefined ? [] : [this.#send(userId, { collapseKey }, b >> 3)];
      await Promise.all([this.#change(said, 0), ...replacing, ...(b % 3 === 0 ? [] : [this.#retract(said, 1)])]);
      said.fate = 'unsure';
      if (collapseKey !== undefined) this.#doubtKey(said.topic, collapseKey);
    }
    said.data = undefined;
    said.isUnread = undefined;
  }

  async #join(userId: string, node: number): Promise<void> {
    const { status } = await this.#insist('POST', `/topics/${this.topic}/members`, { userId, node, body: {} });
    if (status < 300) this.history.membersOf(this.topic).add(userId);
    else this.#unsureMembers.add(userId);
  }

  async #leave(userId: string, node: number): Promise<void> {
    const { status } = await this.#insist('DELETE', `/topics/${this.topic}/members/${userId}`, { userId, node });
    this.history.membersOf(this.topic).delete(userId);
    // Until all nodes know, what is said may still reach the user.
    if (status >= 500 || this.world.nodes.length > 1) this.#unsureMembers.add(userId);
    else this.#unsureMembers.delete(userId);
  }

  /** Connections of devices that the service still has, by node or on all. */
  links(node?: number): number {
    const own = this.devices.filter((device) => device.link !== undefined && (node ?? device.node) === device.node);
    return own.length + this.ghosts.filter((ghost) => (node ?? ghost.node) === ghost.node).length;
  }

  async connect(device: Device, b: number): Promise<void> {
    if (device.isHealthy) return;
    const node = b % this.world.nodes.length;
    if (device.link !== undefined) {
      // The device has noticed before the service has.
      this.ghosts.push({ link: device.link, device, node: device.node });
      device.lost(true);
    }
    const isFull = this.links(node) >= MAX_CONNECTIONS;
    device.node = node;
    const link = device.open(this.world.nodes[node]?.port ?? 0, this.world.token(device.userId));
    const isIn = await link.until(() => link.isIn);
    if (!isIn) {
      if (!isFull) this.history.violate(`${device.label} was locked out: ${link.closing}`);
      link.reset();
      await this.#gone(device, false);
      return;
    }
    if (isFull) this.history.violate(`${device.label} was let in beyond MAX_CONNECTIONS`);
    if (!this.firstDevices.has(device.userId)) this.firstDevices.set(device.userId, device);
    else if (!this.known.has(device.userId) && this.firstDevices.get(device.userId) !== device)
      this.firstDevices.set(device.userId, undefined);
    if (device.isPrompt && !this.isDisturbed) await this.expectSynced(device);
  }

  async expectSynced(device: Device): Promise<void> {
    const { link } = device;
    const isSynced = await link?.until(() => link.isSynced, 5_000);
    // A call that failed on purpose has ended it: it comes back.
    const isCut = link?.closing === 'going_away' && this.wasDisturbed;
    if (isSynced === false && !isCut)
      this.history.violate(`${device.label} got no sync:done: ${link?.closing ?? 'still open'}`);
    await device.acknowledged();
    this.#noteSynced(device);
  }

  #noteSynced(device: Device): void {
    if (device.link?.isSynced !== true) return;
    device.knownSince ??= this.history.now;
    this.known.add(device.userId);
  }

  async #end(device: Device, how: 'politely' | 'abruptly'): Promise<void> {
    const { link } = device;
    if (link === undefined) return;
    if (how === 'politely' && !link.isFrozen) {
      await device.settle();
      link.close();
      await link.until(() => link.isEnded);
    }
    const isAbrupt = how === 'abruptly' || link.isFrozen;
    link.reset();
    await this.#gone(device, isAbrupt);
  }

  /** Waits until the service has noticed that a connection is gone. */
  async #gone(device: Device, isAbrupt: boolean): Promise<void> {
    device.lost(isAbrupt);
    await this.#noticed(device.userId);
  }

  async #noticed(userId: string): Promise<void> {
    const expected = this.links();
    const isNoticed = await becomes(
      () => this.world.taken('connections') <= expected && this.world.taken('places') <= expected,
    );
    if (!isNoticed) {
      const { world } = this;
      this.history.violate(
        `places or connections do not come back: ${world.taken('places')} and ${world.taken('connections')} of ${expected}`,
      );
    }
    if (!this.#isHere(userId) && this.known.has(userId)) this.lastEnds.set(userId, this.world.clock.now());
  }

  async #freeze(device: Device): Promise<void> {
    if (!device.isHealthy) return;
    await device.settle();
    device.link?.freeze();
  }

  async cutGhosts(): Promise<void> {
    for (let ghost = this.ghosts.pop(); ghost !== undefined; ghost = this.ghosts.pop()) {
      ghost.link.reset();
      await this.#noticed(ghost.device.userId);
      ghost.device.excuse();
    }
  }

  /** Notes what has ended by itself, and who is up to date by now. */
  async sweep(): Promise<void> {
    for (const device of this.devices) {
      this.#noteSynced(device);
      if (device.link?.isEnded === true) await this.#gone(device, device.link.isFrozen);
    }
    if (this.ghosts.length > 2) await this.cutGhosts();
  }

  async pass(milliseconds: number): Promise<void> {
    await this.world.pass(milliseconds);
    this.history.expire(this.world.clock.now());
    await Promise.all(this.devices.map((device) => device.settle()));
  }

  /** Strangers at the doors. */
  async #knock(a: number, b: number): Promise<void> {
    const { port = 0 } = this.world.nodes[b % this.world.nodes.length] ?? {};
    const isEngine = a % 2 === 0;
    if (a % 3 === 0) await withoutKey(port, isEngine);
    else await Promise.all([0, 1, 2].map(() => resetAfter(port, { isEngine, turns: b % 4 })));
    const expected = this.links();
    if (!(await becomes(() => this.world.taken('places') <= expected)))
      this.history.violate(`places do not come back after a knock: ${this.world.taken('places')} of ${expected}`);
  }

  /** Somebody leaves while what was written behind is being written. */
  async #leaveInFlush(device: Device): Promise<void> {
    if (device.link === undefined) return;
    this.world.faults.hold('saveLastSeen');
    await this.world.pass(1_100);
    await this.#end(device, 'abruptly');
    this.calm();
    this.history.expire(this.world.clock.now());
    await this.pass(1_100);
    await this.judgeLastSeen(device.userId);
  }

  /** A user who is gone was last seen when the last connection ended. */
  async judgeLastSeen(userId: string): Promise<void> {
    const leftAt = this.lastEnds.get(userId);
    if (leftAt === undefined || this.#isHere(userId)) return;
    const { body } = await this.world.ask('GET', `/websocket/users/${userId}/status`);
    const lastSeen = String(body['lastSeen']);
    const expected = toIsoTime(leftAt);
    if (lastSeen !== expected) this.history.violate(`${userId} left at ${expected}, and was last seen ${lastSeen}`);
  }

  #isHere(userId: string): boolean {
    const hasLink = this.devices.some((device) => device.userId === userId && device.link !== undefined);
    return hasLink || this.ghosts.some(({ device }) => device.userId === userId);
  }

  #judgeReceived(device: Device): void {
    for (const id of device.got) {
      const said = this.history.messages.get(id);
      if (said !== undefined && !said.may.has(device.userId) && !this.#unsureMembers.has(device.userId))
        this.history.violate(`I4: ${device.label} got ${id} of ${said.topic}`);
    }
  }
}
