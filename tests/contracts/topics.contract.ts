/**
 * What every engine must do with named topics whatever their names and whatever comes together: beside
 * store.contract.ts, which has a test for each sentence of the contract.
 */
import { FURTHER_DEVICE_MESSAGES, type Position, type Store, type Topic } from '../../services/storage/contract';
import { MAX_LEFT_TOPICS } from '../../services/storage/rules/gaps';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../utils/topic-names';
import { type Random, seededRandom } from '../support/random';
import {
  caughtUp,
  historyOf,
  membersOf,
  PLENTY,
  places,
  placesOf,
  range,
  type Stage,
  type StoreHarness,
  setStage,
  topicsOf,
} from './support';

const JOINED_AT = '2026-01-01T00:00:01.000Z';

function topicOf(name: string, fields: Partial<Topic> = {}): Topic {
  return { name, isPrivate: true, owner: 'owner', createdAt: '2026-01-01T00:00:00.000Z', ...fields };
}

const member = (userId: string) => ({ userId, joinedAt: JOINED_AT });

async function say(store: Store, topic: string, n: number): Promise<number> {
  const appended = await store.log.append({
    id: `message ${n}`,
    isClientId: false,
    topic,
    type: 'test',
    data: n,
    timestamp: '2026-01-01T00:00:00.000Z',
    from: 'owner',
  });
  if (appended.outcome !== 'stored') throw new Error(`expected a new message, got ${appended.outcome}`);
  return appended.message.seq;
}

async function dataOf(store: Store, topic: string): Promise<unknown[]> {
  return (await historyOf(store, topic, { after: 0, limit: 1_000 })).map(({ data }) => data);
}

const userIdsOf = async (store: Store, name: string) => (await membersOf(store, name)).map(({ userId }) => userId);

/** Runs the suite; `makeHarness` is called once for each test and cleans up by onTestEnd. */
export function describeTopicContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`topics in the store, on ${name}:`, () => {
    const stage = setStage(makeHarness);
    const { open } = stage;
    describeInvitations(open);
    describeLengths(open);
    describeReuse(open);
    describeReturning(stage);
    describeModel(open);
  });
}

type Open = () => Promise<Store>;

function describeInvitations(open: Open): void {
  describe('memberships', () => {
    it('counts memberships that others have made by themselves, even of deleted topics and those that were left', async () => {
      const store = await open();
      const invited = { ...member('ben'), isInvited: true };
      for (let n = 1; n < 7; n += 1) await store.topics.create(topicOf(`topic-${n}`, { owner: `owner ${n}` }), PLENTY);
      for (const n of [1, 2]) {
        expect(await store.topics.addMember(`topic-${n}`, invited, 2)).toMatchObject({ outcome: 'joined' });
      }
      expect(await store.topics.addMember('topic-3', invited, 2)).toEqual({ outcome: 'too_many' });
      expect(await store.topics.addMember('topic-1', invited, 2)).toEqual({ outcome: 'member' });
      for (const n of [4, 5]) {
        expect(await store.topics.addMember(`topic-${n}`, member('ben'), 2)).toMatchObject({ outcome: 'joined' });
      }
      expect(await store.topics.addMember('topic-6', member('ben'), 2)).toEqual({ outcome: 'too_many' });
      expect(await store.topics.create(topicOf('own', { owner: 'ben' }), 2)).toEqual({ outcome: 'too_many' });
      await store.topics.delete('topic-1');
      await store.topics.create(topicOf('topic-1', { owner: 'owner 1' }), PLENTY);
      expect(await store.topics.addMember('topic-6', member('ben'), 2)).toEqual({ outcome: 'too_many' });
      expect(await store.topics.addMember('topic-3', invited, 2)).toMatchObject({ outcome: 'joined' });
      expect(await store.topics.addMember('topic-1', invited, 2)).toEqual({ outcome: 'too_many' });
      await store.topics.removeMember('topic-4', 'ben');
      expect(await store.topics.addMember('topic-1', invited, 2)).toEqual({ outcome: 'too_many' });
      expect(await store.topics.addMember('topic-4', member('ben'), 2)).toMatchObject({ outcome: 'joined' });
    });
  });
}

/** Engines encode short and long keys differently: where one form ends is no matter of the contract. */
const LENGTHS = [1, 15, 16, 31, 32, 61, 62, 63, 64, 127, 128];

function describeLengths(open: Open): void {
  describe.each(LENGTHS)('with names of %i characters', (length) => {
    const long = 'n'.repeat(length);

    it('a topic lists its members, and loses them when it is deleted', async () => {
      const store = await open();
      await store.topics.create(topicOf(long), PLENTY);
      await store.topics.addMember(long, member('anna'), PLENTY);
      await store.devices.open('anna', 'phone');
      expect(await userIdsOf(store, long)).toEqual(['anna', 'owner']);
      expect(await store.topics.delete(long)).toBe(2);
      expect(await store.topics.isMember(long, 'anna')).toBe(false);
      expect(await userIdsOf(store, long)).toEqual([]);
      expect(await placesOf(store, 'anna', 'phone')).toEqual(places('anna', 0, 0));
      await store.topics.create(topicOf(long), PLENTY);
      expect(await userIdsOf(store, long)).toEqual(['owner']);
    });

    it('a user sees their own private topics, and is a member of no more than allowed', async () => {
      const store = await open();
      for (const name of ['one', 'two', 'three']) await store.topics.create(topicOf(name), PLENTY);
      for (const name of ['one', 'two']) {
        expect(await store.topics.addMember(name, member(long), 2)).toMatchObject({ outcome: 'joined' });
      }
      expect((await topicsOf(store, long)).map(({ name }) => name)).toEqual(['one', 'two']);
      expect(await store.topics.addMember('three', member(long), 2)).toEqual({ outcome: 'too_many' });
      expect(await store.topics.create(topicOf('four', { owner: long }), 2)).toEqual({ outcome: 'too_many' });
    });

    it.each(['phone', long])(
      'a device of a user follows the topics of the user, and nothing else: %s',
      async (device) => {
        const store = await open();
        await store.topics.create(topicOf('sea'), PLENTY);
        for (const n of [1, 2, 3]) await say(store, 'sea', n);
        const alone = places(long, 0, 0);
        expect(await placesOf(store, long, device)).toEqual(alone);
        expect(await store.topics.addMember('sea', member(long), PLENTY)).toEqual({ outcome: 'joined', start: 3 });
        expect(await placesOf(store, long, device)).toEqual({ ...alone, sea: 3 });
        // A user who has left receives nothing any more.
        expect(await store.topics.removeMember('sea', long)).toBe(true);
        expect(await placesOf(store, long, device)).toEqual(alone);
        await say(store, 'sea', 4);
        await store.topics.addMember('sea', member(long), PLENTY);
        expect(await placesOf(store, long, device)).toEqual({ ...alone, sea: 4 });
        await say(store, 'sea', 5);
        await store.topics.removeMember('sea', long);
        await say(store, 'sea', 6);
        await store.topics.addMember('sea', member(long), PLENTY);
        expect(await placesOf(store, long, device)).toEqual({ ...alone, sea: 4 });
        await store.topics.delete('sea');
        expect(await placesOf(store, long, device)).toEqual(alone);
      },
    );

    it('the first device of a user who was invited before receives what was sent since', async () => {
      const store = await open();
      await store.topics.create(topicOf('sea'), PLENTY);
      await say(store, 'sea', 1);
      await store.topics.addMember('sea', member(long), PLENTY);
      await say(store, 'sea', 2);
      expect(await placesOf(store, long, 'phone')).toEqual({ ...places(long, 0, 0), sea: 1 });
    });

    it('a name that begins like another is another', async () => {
      const store = await open();
      const relatives = [long, `${long}!`, `${long} `, `${long}n`, `${long}é`, `${long}\uffff`];
      for (const name of relatives) {
        await store.topics.create(topicOf(name, { owner: `owner of ${name}` }), PLENTY);
        await store.topics.addMember(name, member(name), PLENTY);
        await store.devices.open(name, name);
      }
      for (const name of relatives) {
        expect((await userIdsOf(store, name)).toSorted()).toEqual([name, `owner of ${name}`].toSorted());
        expect((await topicsOf(store, name)).map((topic) => topic.name)).toEqual([name]);
      }
      expect(await store.topics.removeMember(long, long)).toBe(true);
      for (const name of relatives.slice(1)) {
        expect(await store.topics.isMember(name, name)).toBe(true);
        expect(await placesOf(store, name, name)).toEqual({ ...places(name, 0, 0), [name]: 0 });
      }
    });
  });
}

function describeReuse(open: Open): void {
  describe('a name that was used before', () => {
    it('shows nothing that came in late, when the topic had been deleted already', async () => {
      const store = await open();
      await store.topics.create(topicOf('sea'), PLENTY);
      await say(store, 'sea', 1);
      await store.topics.delete('sea');
      // Its sender was checked while the topic existed, and it was stored afterwards.
      expect(await say(store, 'sea', 2)).toBe(2);
      expect(await store.topics.create(topicOf('sea', { owner: 'ben' }), PLENTY)).toEqual({
        outcome: 'joined',
        start: 2,
      });
      expect(await dataOf(store, 'sea')).toEqual([]);
      expect(await historyOf(store, 'sea', { limit: 10 })).toEqual([]);
      expect(await say(store, 'sea', 3)).toBe(3);
      expect(await dataOf(store, 'sea')).toEqual([3]);
    });

    it('shows nothing of any of the earlier topics, however many there were', async () => {
      const first = await open();
      for (const n of [1, 2, 3]) {
        expect(await first.topics.create(topicOf('sea'), PLENTY)).toEqual({ outcome: 'joined', start: n - 1 });
        expect(await dataOf(first, 'sea')).toEqual([]);
        expect(await say(first, 'sea', n)).toBe(n);
        expect(await dataOf(first, 'sea')).toEqual([n]);
        await first.topics.delete('sea');
      }
      await first.close();
      const second = await open();
      expect(await second.topics.create(topicOf('sea'), PLENTY)).toEqual({ outcome: 'joined', start: 3 });
      expect(await dataOf(second, 'sea')).toEqual([]);
    });
  });
}

function describeReturning(stage: Stage): void {
  const { open } = stage;

  /** A topic that ben is in, with a phone. */
  async function openWithMember(): Promise<Store> {
    const store = await open();
    await store.topics.create(topicOf('sea'), PLENTY);
    await store.devices.open('ben', 'phone');
    await store.topics.addMember('sea', member('ben'), PLENTY);
    return store;
  }

  describe('after leaving,', () => {
    it('a returning user receives what the device had missed before, and nothing sent in between', async () => {
      const store = await openWithMember();
      await say(store, 'sea', 1);
      await store.devices.saveCursors([{ userId: 'ben', device: 'phone', topic: 'sea', seq: 1, at: 1 }]);
      await say(store, 'sea', 2);
      for (const n of [3, 5, 7]) {
        await store.topics.removeMember('sea', 'ben');
        await say(store, 'sea', n);
        await store.topics.addMember('sea', member('ben'), PLENTY);
        await say(store, 'sea', n + 1);
      }
      const got = async (device: string) => (await caughtUp(store, 'ben', device, 'sea')).map(({ seq }) => seq);
      expect(await got('phone')).toEqual([2, 4, 6, 8]);
      expect(await got('laptop')).toEqual([1, 2, 4, 6, 8]);
      await store.devices.saveCursors([{ userId: 'ben', device: 'phone', topic: 'sea', seq: 4, at: 1 }]);
      expect(await got('phone')).toEqual([6, 8]);
    });

    it('what was acknowledged just before leaving does not come again, and more cannot be acknowledged then', async () => {
      const store = await openWithMember();
      for (const n of [1, 2, 3]) await say(store, 'sea', n);
      await store.topics.removeMember('sea', 'ben');
      await say(store, 'sea', 4);
      await store.devices.saveCursors([{ userId: 'ben', device: 'phone', topic: 'sea', seq: 2, at: 1 }]);
      await store.devices.saveCursors([{ userId: 'ben', device: 'phone', topic: 'sea', seq: 4, at: 1 }]);
      await store.topics.addMember('sea', member('ben'), PLENTY);
      await say(store, 'sea', 5);
      expect((await caughtUp(store, 'ben', 'phone', 'sea')).map(({ seq }) => seq)).toEqual([3, 5]);
    });

    it('a device that is new while its user is not a member begins after the messages from before', async () => {
      const store = await openWithMember();
      await say(store, 'sea', 1);
      await store.topics.removeMember('sea', 'ben');
      await store.devices.open('ben', 'laptop');
      await say(store, 'sea', 2);
      await store.topics.addMember('sea', member('ben'), PLENTY);
      await say(store, 'sea', 3);
      expect((await caughtUp(store, 'ben', 'laptop', 'sea')).map(({ seq }) => seq)).toEqual([3]);
      expect((await caughtUp(store, 'ben', 'phone', 'sea')).map(({ seq }) => seq)).toEqual([1, 3]);
    });

    it('a topic that was left, deleted and created again is new to a new device', async () => {
      const store = await openWithMember();
      await say(store, 'sea', 1);
      await store.topics.removeMember('sea', 'ben');
      await store.topics.delete('sea');
      await store.topics.create(topicOf('sea', { owner: 'ben' }), PLENTY);
      await say(store, 'sea', 2);
      // A further device: what is unread up to here.
      expect((await placesOf(store, 'ben', 'laptop'))['sea']).toEqual([1, 2]);
    });

    it('topics that were left are remembered up to a limit, the oldest first, and none after an erasure', async () => {
      const store = await open();
      await store.devices.open('ben', 'phone');
      const names = range(0, MAX_LEFT_TOPICS).map((n) => `topic-${n}`);
      const joinAll = async (some: readonly string[]) => {
        for (const name of some) await store.topics.addMember(name, member('ben'), PLENTY);
      };
      for (const name of names) await store.topics.create(topicOf(name), PLENTY);
      await joinAll(names);
      for (const [index, name] of names.entries()) {
        await say(store, name, index);
        stage.clock.pass(1);
        await store.topics.removeMember(name, 'ben');
      }
      await joinAll([names[0] ?? '', names[1] ?? '']);
      const places = await placesOf(store, 'ben', 'phone');
      expect([places['topic-0'], places['topic-1']]).toEqual([1, 0]);
      await store.users.erase('ben');
      await store.devices.open('ben', 'phone');
      await joinAll([names[2] ?? '']);
      expect((await placesOf(store, 'ben', 'phone'))['topic-2']).toBe(1);
    });
  });
}

const TOPICS = ['t', 't.', 't0', 'T', 'x'.repeat(62), 'x'.repeat(63), 'x'.repeat(64)];
const USERS = ['u', 'u u', 'ü', 'v'.repeat(62), 'v'.repeat(63), 'v'.repeat(128)];
const DEVICES = ['phone', 'd'.repeat(128)];
const MAX_TOPICS = 3;

/** What the contract says, in the simplest possible data. */
class Model {
  readonly topics = new Map<string, Topic>();
  /** Topic → user → where the membership began. */
  readonly members = new Map<string, Map<string, number>>();
  /** User → device → topic → position; also in topics that were left. */
  readonly devices = new Map<string, Map<string, Map<string, Position>>>();
  /** Topic → user → the places that were not for the user, and where the user left. */
  readonly away = new Map<string, Map<string, { leftAt: number; start: number; outside: Set<number> }>>();
  readonly heads = new Map<string, number>();
  /** What is shown of a topic. */
  readonly said = new Map<string, number[]>();

  head(topic: string): number {
    return this.heads.get(topic) ?? 0;
  }

  membershipsOf(userId: string): string[] {
    return [...this.members].filter(([, users]) => users.has(userId)).map(([name]) => name);
  }

  join(name: string, userId: string): { outcome: 'joined'; start: number } {
    const head = this.head(name);
    const away = this.away.get(name)?.get(userId);
    const isBack = away !== undefined && away.leftAt > away.start;
    if (isBack) for (let seq = away.leftAt + 1; seq <= head; seq += 1) away.outside.add(seq);
    else this.away.get(name)?.delete(userId);
    const start = isBack ? away.start : head;
    this.members.get(name)?.set(userId, start);
    for (const cursors of this.devices.get(userId)?.values() ?? []) {
      const known = cursors.get(name);
      cursors.set(name, known !== undefined && known.seq >= start ? known : { seq: start, unreadUpTo: 0 });
    }
    return { outcome: 'joined', start: head };
  }

  leave(name: string, userId: string): boolean {
    const start = this.members.get(name)?.get(userId);
    if (start === undefined) return false;
    const away = this.away.get(name) ?? new Map();
    this.away.set(name, away);
    away.set(userId, { outside: new Set(), ...away.get(userId), start, leftAt: this.head(name) });
    return this.members.get(name)?.delete(userId) ?? false;
  }

  forget(name: string): void {
    this.away.delete(name);
    for (const devices of this.devices.values()) for (const cursors of devices.values()) cursors.delete(name);
  }

  openDevice(userId: string, device: string): void {
    const devices = this.devices.get(userId) ?? new Map<string, Map<string, Position>>();
    this.devices.set(userId, devices);
    if (devices.has(device)) return;
    const entered = new Map(
      [personalTopic(userId), BROADCAST_TOPIC, stateTopic(userId)].map((name) => [name, { seq: 0, unreadUpTo: 0 }]),
    );
    for (const name of this.membershipsOf(userId)) {
      const start = this.members.get(name)?.get(userId) ?? 0;
      const head = this.head(name);
      const isFirst = devices.size === 0;
      // Nothing is ever read here, so everything is unread.
      const further = { seq: Math.max(start, head - FURTHER_DEVICE_MESSAGES), unreadUpTo: head };
      entered.set(name, isFirst ? { seq: start, unreadUpTo: 0 } : further);
    }
    for (const [name, users] of this.away) {
      const away = users.get(userId);
      if (away !== undefined && !entered.has(name)) entered.set(name, { seq: away.leftAt, unreadUpTo: 0 });
    }
    devices.set(device, entered);
  }

  placesOf(userId: string, device: string): Record<string, unknown> {
    const positions = this.devices.get(userId)?.get(device) ?? new Map<string, Position>();
    const followed = [...positions].filter(
      ([name]) => !TOPICS.includes(name) || this.members.get(name)?.has(userId) === true,
    );
    return Object.fromEntries(
      followed.map(([name, { seq: known, unreadUpTo }]) => {
        let seq = known;
        while (
          this.away
            .get(name)
            ?.get(userId)
            ?.outside.has(seq + 1)
        )
          seq += 1;
        return [name, unreadUpTo > seq ? [seq, unreadUpTo] : seq];
      }),
    );
  }
}

function describeModel(open: Open): void {
  it('follows the contract, whatever comes in whatever order', async () => {
    const random = seededRandom('topics in the store');
    const model = new Model();
    let store = await open();
    let made = 0;
    for (let step = 1; step <= 600; step += 1) {
      await takeStep(store, model, random, () => ++made);
      if (step % 100 !== 0) continue;
      await expectAll(store, model);
      await store.close();
      store = await open();
      await expectAll(store, model);
    }
    expect(made).toBeGreaterThan(100);
  });
}

function pick(random: Random, values: readonly string[]): string {
  return values[random.integer(0, values.length - 1)] ?? '';
}

async function takeStep(store: Store, model: Model, random: Random, nextNumber: () => number): Promise<void> {
  const name = pick(random, TOPICS);
  const userId = pick(random, USERS);
  const device = pick(random, DEVICES);
  const choice = random.integer(1, 20);
  if (choice <= 3) await create(store, model, { name, userId, isPrivate: choice === 1 });
  else if (choice === 4) await remove(store, model, name);
  else if (choice <= 9) await join(store, model, { name, userId });
  else if (choice <= 12) expect(await store.topics.removeMember(name, userId)).toBe(model.leave(name, userId));
  else if (choice <= 15) {
    model.openDevice(userId, device);
    expect(await placesOf(store, userId, device)).toEqual(model.placesOf(userId, device));
  } else if (choice === 16) await moveCursor(store, model, random, { name, userId, device });
  else if (model.topics.has(name)) {
    const count = random.integer(1, choice === 17 ? 60 : 5);
    const numbers = Array.from({ length: count }, nextNumber);
    const seqs = await Promise.all(numbers.map((n) => say(store, name, n)));
    expect(seqs).toEqual(numbers.map((_n, index) => model.head(name) + index + 1));
    model.heads.set(name, model.head(name) + count);
    model.said.get(name)?.push(...numbers);
  }
}

interface Place {
  readonly name: string;
  readonly userId: string;
}

async function create(store: Store, model: Model, { name, userId, isPrivate }: Place & { isPrivate: boolean }) {
  const topic = topicOf(name, { isPrivate, owner: userId });
  const created = await store.topics.create(topic, MAX_TOPICS);
  if (model.topics.has(name)) {
    expect(created).toEqual({ outcome: 'taken' });
  } else if (model.membershipsOf(userId).length >= MAX_TOPICS) {
    expect(created).toEqual({ outcome: 'too_many' });
  } else {
    model.topics.set(name, topic);
    model.members.set(name, new Map());
    model.said.set(name, []);
    expect(created).toEqual(model.join(name, userId));
  }
}

async function remove(store: Store, model: Model, name: string): Promise<void> {
  const users = model.members.get(name);
  const removed = await store.topics.delete(name);
  expect(removed).toBe(users?.size);
  model.forget(name);
  model.topics.delete(name);
  model.members.delete(name);
  model.said.delete(name);
}

async function join(store: Store, model: Model, { name, userId }: Place): Promise<void> {
  const joined = await store.topics.addMember(name, member(userId), MAX_TOPICS);
  if (!model.topics.has(name)) expect(joined).toEqual({ outcome: 'no_topic' });
  else if (model.members.get(name)?.has(userId)) expect(joined).toEqual({ outcome: 'member' });
  else if (model.membershipsOf(userId).length >= MAX_TOPICS) expect(joined).toEqual({ outcome: 'too_many' });
  else expect(joined).toEqual(model.join(name, userId));
}

async function moveCursor(store: Store, model: Model, random: Random, place: Place & { device: string }) {
  const { name, userId, device } = place;
  const seq = random.integer(0, model.head(name));
  await store.devices.saveCursors([{ userId, device, topic: name, seq, at: 1 }]);
  const cursors = model.devices.get(userId)?.get(device);
  const known = cursors?.get(name);
  const { leftAt = 0 } = model.away.get(name)?.get(userId) ?? {};
  const isFollowed = model.members.get(name)?.has(userId) === true || seq <= leftAt;
  if (known !== undefined && isFollowed) cursors?.set(name, { ...known, seq: Math.max(known.seq, seq) });
}

async function expectAll(store: Store, model: Model): Promise<void> {
  for (const name of TOPICS) {
    expect(await store.topics.get(name)).toEqual(model.topics.get(name));
    expect((await userIdsOf(store, name)).toSorted()).toEqual([...(model.members.get(name)?.keys() ?? [])].toSorted());
    expect(await store.log.head(name)).toBe(model.head(name));
    if (model.topics.has(name)) expect(await dataOf(store, name)).toEqual(model.said.get(name));
  }
  for (const userId of USERS) {
    const own = model.membershipsOf(userId);
    const visible = [...model.topics.values()].filter(({ name, isPrivate }) => !isPrivate || own.includes(name));
    const names = (await topicsOf(store, userId)).map(({ name }) => name);
    expect(names.toSorted()).toEqual(visible.map(({ name }) => name).toSorted());
    for (const name of TOPICS) expect(await store.topics.isMember(name, userId)).toBe(own.includes(name));
    for (const device of model.devices.get(userId)?.keys() ?? []) {
      expect(await placesOf(store, userId, device)).toEqual(model.placesOf(userId, device));
    }
  }
}
