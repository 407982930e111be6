/** Counts that go with messages are those that the store would count, and are seldom asked for. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Draft } from '../../../services/storage/contract';
import type { Message, RequestedState } from '../../../utils/protocol';
import { BROADCAST_TOPIC, DEFAULT_DEVICE, personalTopic, stateTopic } from '../../../utils/topic-names';
import { StillClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { type Random, seededRandom } from '../../support/random';
import { range } from '../../support/service';
import { type Attached, attach, type Desk, draftOf, openDesk, type Step } from '../../support/slow-delivery';

const OWNER = 'anna';
const PERSONAL = personalTopic(OWNER);
const TOPICS = [PERSONAL, PERSONAL, BROADCAST_TOPIC, 'sea'];
const STATES: readonly RequestedState[] = ['seen', 'read', 'unread', 'archived'];

async function createSea({ store }: Pick<Desk, 'store'>): Promise<void> {
  await store.topics.create({ name: 'sea', isPrivate: false, owner: 'owner', createdAt: '' }, 10);
  await store.topics.addMember('sea', { userId: OWNER, joinedAt: '' }, 10);
}

/** What the owner is told now with something that is in no log. */
async function toldCounts({ delivery }: Desk, { connection }: Attached) {
  const { isClientId, ...message } = draftOf(PERSONAL);
  connection.lastCounts = undefined;
  await delivery.publishLive(message);
  return connection.lastCounts;
}

describe('in a steady state', () => {
  async function open() {
    const asked: Step[] = [];
    const desk = openDesk(async (step, when) => {
      if (when === 'before') asked.push(step);
    }, new StillClock());
    await createSea(desk);
    const member = attach(desk, OWNER, DEFAULT_DEVICE);
    await member.done;
    await desk.activity.end();
    asked.length = 0;
    return { desk, member, asked };
  }

  it('nothing is asked of the store for a message', async () => {
    const { desk, member, asked } = await open();
    for (const topic of [...TOPICS, PERSONAL]) await desk.delivery.publish(draftOf(topic));
    await desk.delivery.publish({ ...draftOf('sea'), from: OWNER });
    await desk.delivery.publish({ ...draftOf('sea'), exceptUserId: OWNER });
    await desk.delivery.publish(draftOf(PERSONAL));
    expect(member.connection.lastCounts).toEqual({ unseen: 6, unread: 6 });
    expect(asked).toEqual(Array.from(asked, () => 'append'));
  });

  it('nothing is asked for what another node has sent, a gap among it', async () => {
    const { desk, member, asked } = await open();
    const { delivery, store, activity } = desk;
    await store.log.append(draftOf(PERSONAL));
    const appended = await store.log.append(draftOf(PERSONAL));
    if (appended.outcome !== 'stored') throw new Error('it was not stored');
    await delivery.receive({ kind: 'entries', entries: appended.entries });
    await activity.end();
    expect(member.connection.lastCounts).toEqual({ unseen: 2, unread: 2 });
    expect(asked).toEqual(['read']);
  });

  it('after an expiry, a change of states, and what no log tells of, it is asked once', async () => {
    const clock = new StillClock();
    const asked: Step[] = [];
    const desk = openDesk(async (step, when) => {
      if (when === 'before') asked.push(step);
    }, clock);
    const { delivery, store } = desk;
    const member = attach(desk, OWNER, DEFAULT_DEVICE);
    await member.done;
    await delivery.publish({ ...draftOf(PERSONAL), expiresAt: clock.now() + 1_000 });
    await delivery.publish({ ...draftOf(PERSONAL), expiresAt: clock.now() + 5_000 });
    const counting = async () => {
      asked.length = 0;
      const first = await toldCounts(desk, member);
      expect(await toldCounts(desk, member)).toEqual(first);
      expect(first).toEqual(await store.inbox.counts(OWNER));
      return asked.filter((step) => step === 'counts').length;
    };
    expect(await counting()).toBe(0);
    clock.shift(1_000);
    expect(await counting()).toBe(1);
    clock.shift(3_999);
    expect(await counting()).toBe(0);
    clock.shift(1);
    expect(await counting()).toBe(1);
    await delivery.publish(draftOf(PERSONAL));
    const changed = await store.inbox.changeStates(OWNER, { all: true }, 'seen');
    if (changed.outcome !== 'changed') throw new Error('nothing has changed');
    await delivery.receive({ kind: 'entries', entries: changed.entries });
    expect(await counting()).toBe(0);
    await store.log.prune(Number.MAX_SAFE_INTEGER, 100);
    delivery.recount();
    expect(await counting()).toBe(1);
  });
});

describe('the store is asked again', () => {
  async function open() {
    const clock = new StillClock();
    let asked = 0;
    const desk = openDesk(async (step, when) => {
      if (step === 'counts' && when === 'before') asked += 1;
    }, clock);
    const member = attach(desk, OWNER, DEFAULT_DEVICE);
    await member.done;
    const appended = await desk.delivery.publish(draftOf(PERSONAL));
    if (appended.outcome !== 'stored') throw new Error('it was not stored');
    const told = async () => {
      asked = 0;
      return { counts: await toldCounts(desk, member), asked };
    };
    return { desk, clock, told, message: appended.message };
  }

  it('once a message expires of which only the entry about a change says when', async () => {
    const { desk, clock, told, message } = await open();
    const entries = (await desk.store.log.update(message, 'new', 'test')) ?? [];
    const expiresAt = clock.now() + 1_000;
    await desk.delivery.receive({ kind: 'entries', entries: entries.map((entry) => ({ ...entry, expiresAt })) });
    clock.shift(999);
    expect(await told()).toMatchObject({ asked: 0 });
    clock.shift(1);
    expect(await told()).toMatchObject({ asked: 1 });
  });

  it.each(['this node', 'another node'])('after an expiry that %s tells of', async (node) => {
    const { desk, told, message } = await open();
    await desk.store.log.retract(message, 'test');
    expect(await told()).toEqual({ counts: { unseen: 1, unread: 1 }, asked: 0 });
    if (node === 'this node') await desk.delivery.emitExpired([message]);
    else await desk.delivery.receive({ kind: 'expired', expired: [message] });
    expect(await told()).toMatchObject({ counts: { unseen: 0, unread: 0 } });
  });
});

it('what is emitted while the store counts is added to its answer', async () => {
  let isHeld = false;
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  let asked = 0;
  const desk = openDesk(async (step, when) => {
    if (step !== 'counts' || when !== 'after') return;
    asked += 1;
    if (isHeld) await opened;
  });
  const member = attach(desk, OWNER, DEFAULT_DEVICE);
  await member.done;
  desk.delivery.recountHere();
  isHeld = true;
  asked = 0;
  const told = toldCounts(desk, member);
  await eventually(
    async () => asked,
    (count) => count === 1,
  );
  await desk.delivery.publish(draftOf(BROADCAST_TOPIC));
  await desk.delivery.publish({ ...draftOf(BROADCAST_TOPIC), exceptUserId: OWNER });
  open();
  expect(await told).toEqual({ unseen: 1, unread: 1 });
  expect(await toldCounts(desk, member)).toEqual(await desk.store.inbox.counts(OWNER));
  expect(asked).toBe(1);
});

const ROUNDS = 150;
const ACTS_PER_ROUND = 15;

/** Acts of this node and of another one on the same store, whose frames come late, or are lost. */
class Tumult {
  readonly clock = new StillClock();
  readonly desk: Desk;
  readonly #places: Message[] = [];
  #guest: Attached | undefined;
  /** One change of memberships after the other. */
  #membership: Promise<void> = Promise.resolve();

  constructor(private readonly random: Random) {
    this.desk = openDesk(() => this.#delay(), this.clock);
  }

  async open(): Promise<Attached> {
    await createSea(this.desk);
    const member = attach(this.desk, OWNER, DEFAULT_DEVICE);
    await member.done;
    return member;
  }

  async #delay(): Promise<void> {
    for (let turns = this.random.integer(0, 3); turns > 0; turns -= 1) await nextTurn();
  }

  #chance(oneIn: number): boolean {
    return this.random.integer(1, oneIn) === 1;
  }

  #pick<Value>(values: readonly Value[]): Value | undefined {
    return values[this.random.integer(0, values.length - 1)];
  }

  /** Of the other node a frame may come late, or never. */
  async #tell(entries: readonly Message[]): Promise<void> {
    const { delivery } = this.desk;
    if (this.#chance(2)) return delivery.emitAppended(entries);
    await this.#delay();
    if (!this.#chance(5)) await delivery.receive({ kind: 'entries', entries });
  }

  async #say(): Promise<void> {
    const topic = this.#pick(TOPICS) ?? PERSONAL;
    const options: Partial<Draft> = {
      ...(this.#chance(6) ? { from: OWNER } : {}),
      ...(this.#chance(6) && topic !== PERSONAL ? { exceptUserId: OWNER } : {}),
      ...(this.#chance(5) ? { expiresAt: this.clock.now() + this.random.integer(1, 50) } : {}),
      ...(this.#chance(4) && topic === PERSONAL ? { collapseKey: 'key' } : {}),
    };
    const draft = { ...draftOf(topic), timestamp: new Date(this.clock.now()).toISOString(), ...options };
    const { delivery, store } = this.desk;
    const isHere = this.#chance(2);
    const appended = await (isHere ? delivery.publish(draft) : store.log.append(draft));
    if (appended.outcome !== 'stored') throw new Error('it was not stored');
    this.#places.push(appended.message);
    if (!isHere) await this.#tell(appended.entries);
  }

  async #change(): Promise<void> {
    const { log } = this.desk.store;
    const place = this.#pick(this.#places.slice(-30));
    if (place === undefined) return;
    const entries = this.#chance(2)
      ? await log.retract(place, 'test')
      : await log.update(place, this.random.integer(1, 1_000_000), 'test');
    await this.#tell(entries ?? []);
  }

  async #changeStates(): Promise<void> {
    const { store, delivery } = this.desk;
    const place = this.#pick(this.#places.slice(-30));
    const selection = place === undefined || this.#chance(5) ? ({ all: true } as const) : { ids: [place.id] };
    const changed = await store.inbox.changeStates(OWNER, selection, this.#pick(STATES) ?? 'read');
    if (changed.outcome !== 'changed') return;
    if (this.#chance(2)) await delivery.counts(OWNER);
    await this.#tell(changed.entries);
  }

  #joinOrLeave(): Promise<void> {
    this.#membership = this.#membership.then(async () => {
      const { store, delivery } = this.desk;
      const isMember = await store.topics.isMember('sea', OWNER);
      if (isMember) await store.topics.removeMember('sea', OWNER);
      else await store.topics.addMember('sea', { userId: OWNER, joinedAt: '' }, 10);
      await this.#delay();
      for (const connection of this.#connections) {
        if (isMember) delivery.unfollow(connection, 'sea');
        else await delivery.follow(connection, 'sea');
      }
    });
    return this.#membership;
  }

  readonly #member: { current?: Attached } = {};

  get #connections() {
    return [this.#member.current, this.#guest].flatMap((one) => (one === undefined ? [] : [one.connection]));
  }

  async #comeOrGo(): Promise<void> {
    const guest = this.#guest;
    this.#guest = guest === undefined ? attach(this.desk, OWNER, 'phone') : undefined;
    if (guest !== undefined) guest.connection.close();
    else await this.#guest?.done;
  }

  async round(member: Attached): Promise<void> {
    this.#member.current = member;
    const acts = range(1, ACTS_PER_ROUND).map(() => {
      const chosen = this.random.integer(1, 20);
      if (chosen <= 11) return this.#say();
      if (chosen <= 14) return this.#change();
      if (chosen <= 17) return this.#changeStates();
      return chosen === 18 ? this.#joinOrLeave() : this.#comeOrGo();
    });
    await Promise.all(acts);
    await this.#settle();
  }

  /** What was lost is found as it is between nodes. */
  async #settle(): Promise<void> {
    const { delivery, store, activity } = this.desk;
    await activity.end();
    const topics = [PERSONAL, BROADCAST_TOPIC, 'sea', stateTopic(OWNER)];
    const heads = await Promise.all(topics.map(async (topic) => [topic, await store.log.head(topic)] as const));
    delivery.catchUpTo(new Map(heads));
    await activity.end();
  }

  /** Time passes; what has expired is told of. */
  async pass(): Promise<void> {
    const { delivery, store } = this.desk;
    this.clock.shift(this.random.integer(0, 30));
    if (this.#chance(2)) await delivery.emitExpired((await store.log.expire(100)).expired);
  }
}

it('they are what the store counts, whatever overtakes what', async () => {
  const random = seededRandom('folded counts');
  const tumult = new Tumult(random);
  const member = await tumult.open();
  for (const round of range(1, ROUNDS)) {
    await tumult.round(member);
    for (const time of ['before', 'after']) {
      const told = await toldCounts(tumult.desk, member);
      expect({ round, time, counts: told }).toEqual({
        round,
        time,
        counts: await tumult.desk.store.inbox.counts(OWNER),
      });
      await tumult.pass();
    }
  }
});
