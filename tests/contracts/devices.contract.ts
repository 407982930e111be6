/**
 * What every engine must do with things whose number users choose: devices, topics, members, and what is left of them
 * when they go. Beside store.contract.ts, which has a test for each sentence of the contract.
 */
import {
  type DeviceLimit,
  MAX_FORGOTTEN_DEVICES,
  SEEN_PRECISION_MS,
  type Store,
} from '../../services/storage/contract';
import { BROADCAST_TOPIC } from '../../utils/topic-names';
import {
  ANNA,
  append,
  appendAll,
  caughtUp,
  createTopic,
  devicesOf,
  draft,
  draftsOf,
  forMany,
  member,
  membershipsOf,
  membersOf,
  milliseconds,
  PLENTY,
  places,
  placesOf,
  range,
  readAll,
  removeAll,
  type Stage,
  type StoreHarness,
  seqsOf,
  setStage,
  topicsOf,
} from './support';

/** Runs the suite; `makeHarness` is called once for each test and cleans up by onTestEnd. */
export function describeDeviceContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`what users choose the number of, on ${name}:`, () => {
    const stage = setStage(makeHarness);
    describeBound(stage);
    describeSilent(stage);
    describeJoining(stage);
    describeDeletion(stage);
    describeErasure(stage);
    describePages(stage);
  });
}

const limitOf = (maxDevices: number, ...connected: string[]): DeviceLimit => ({
  maxDevices,
  connected: new Set(connected),
});

const namesOf = async (store: Store) => (await devicesOf(store, 'anna')).map(({ device }) => device).toSorted();

/** Devices that have acknowledged something, each a second after the one before. */
async function openAll(stage: Stage, store: Store, devices: readonly string[]): Promise<void> {
  for (const device of devices) {
    await store.devices.open('anna', device);
    stage.clock.pass(1_000);
  }
}

async function acknowledge(stage: Stage, store: Store, device: string, seq: number): Promise<void> {
  await store.devices.saveCursors([{ userId: 'anna', device, topic: ANNA, seq, at: stage.clock.now() }]);
}

function describeBound(stage: Stage): void {
  const { open } = stage;
  describe('a user with as many devices as allowed', () => {
    it('loses the one that acknowledged least recently, when another one comes', async () => {
      const store = await open();
      await appendAll(store, draftsOf(3));
      await openAll(stage, store, ['one', 'two', 'three']);
      await acknowledge(stage, store, 'one', 2);
      expect((await store.devices.open('anna', 'four', limitOf(3))).wasForgotten).toBe(false);
      expect(await namesOf(store)).toEqual(['four', 'one', 'three']);
      expect((await store.devices.open('anna', 'one', limitOf(3))).get(ANNA)?.seq).toBe(2);
    });

    it('keeps connected devices as long as there are others', async () => {
      const store = await open();
      await openAll(stage, store, ['one', 'two', 'three']);
      await store.devices.open('anna', 'four', limitOf(3, 'one', 'two'));
      expect(await namesOf(store)).toEqual(['four', 'one', 'two']);
      await store.devices.open('anna', 'five', limitOf(3, 'one', 'two', 'four'));
      expect(await namesOf(store)).toEqual(['five', 'four', 'two']);
    });

    it('is told when a forgotten one comes back: it is a further device then', async () => {
      const store = await open();
      const [read] = await appendAll(store, draftsOf(3));
      if (read === undefined) throw new Error('not appended');
      await openAll(stage, store, ['one', 'two']);
      await acknowledge(stage, store, 'one', 3);
      await acknowledge(stage, store, 'two', 3);
      await store.inbox.changeStates('anna', { ids: [read.id] }, 'read');
      await store.devices.open('anna', 'three', limitOf(2));
      await removeAll(store);
      stage.clock.pass(1_000);
      const again = await store.devices.open('anna', 'one', limitOf(2));
      expect(again.wasForgotten).toBe(true);
      expect(seqsOf(await caughtUp(store, 'anna', 'one', ANNA))).toEqual([2, 3]);
      // It is reported once.
      expect((await store.devices.open('anna', 'one', limitOf(2))).wasForgotten).toBe(false);
      await removeAll(store);
      expect(seqsOf(await caughtUp(store, 'anna', 'one', ANNA))).toEqual([2, 3]);
    });

    it('has nothing of a forgotten one counted any more, and its acknowledgements are ignored', async () => {
      const store = await open();
      await appendAll(store, draftsOf(3));
      await openAll(stage, store, ['one', 'two']);
      await store.devices.open('anna', 'three', limitOf(2));
      await acknowledge(stage, store, 'one', 3);
      expect(await namesOf(store)).toEqual(['three', 'two']);
      expect((await store.devices.open('anna', 'one')).get(ANNA)?.seq).toBe(0);
    });

    it('may have the limit lowered: the rest goes over some openings', async () => {
      const store = await open();
      await openAll(
        stage,
        store,
        range(1, 30).map((n) => `device ${n}`),
      );
      for (const n of range(31, 33)) await store.devices.open('anna', `device ${n}`, limitOf(3));
      expect((await namesOf(store)).length).toBe(3);
    });

    it('gets every new name reported as forgotten, when more were forgotten than are remembered', async () => {
      const store = await open();
      const names = range(1, MAX_FORGOTTEN_DEVICES + 2).map((n) => `device ${n}`);
      for (const device of names) {
        expect((await store.devices.open('anna', device, limitOf(1))).wasForgotten).toBe(false);
        stage.clock.pass(1);
      }
      expect((await store.devices.open('anna', names.at(-2) ?? '', limitOf(1))).wasForgotten).toBe(true);
      expect((await store.devices.open('anna', 'new', limitOf(1))).wasForgotten).toBe(true);
      expect(await namesOf(store)).toEqual(['new']);
      expect((await store.devices.open('ben', 'new', limitOf(1))).wasForgotten).toBe(false);
    });
  });
}

function describeSilent(stage: Stage): void {
  const { open } = stage;
  describe('a device that does not connect', () => {
    it('is forgotten when it was seen before a time, in parts', async () => {
      const first = await open();
      await openAll(stage, first, ['one', 'two', 'three']);
      await first.devices.open('ben', 'phone');
      expect(await first.devices.forgetSilent(milliseconds(0), 10)).toBe(0);
      expect(await first.devices.forgetSilent(milliseconds(0) + 1_500, 1)).toBe(1);
      expect(await first.devices.forgetSilent(milliseconds(0) + 1_500, 1)).toBe(1);
      expect(await first.devices.forgetSilent(milliseconds(0) + 1_500, 1)).toBe(0);
      await first.close();
      const store = await open();
      expect(await namesOf(store)).toEqual(['three']);
      expect((await store.devices.open('anna', 'one')).wasForgotten).toBe(true);
      expect((await store.devices.open('anna', 'four')).wasForgotten).toBe(false);
      expect((await store.devices.open('ben', 'phone')).wasForgotten).toBe(false);
    });

    it('is known while it is seen', async () => {
      const store = await open();
      await openAll(stage, store, ['one', 'two']);
      stage.clock.pass(2 * SEEN_PRECISION_MS);
      const at = stage.clock.now();
      await store.devices.saveSeen([
        { userId: 'anna', device: 'one', at },
        { userId: 'anna', device: 'unknown', at },
      ]);
      await store.devices.saveSeen([]);
      while ((await store.devices.forgetSilent(at, 10)) > 0);
      expect(await namesOf(store)).toEqual(['one']);
      while ((await store.devices.forgetSilent(at + 1, 10)) > 0);
      expect(await namesOf(store)).toEqual([]);
    });
  });
}

function describeJoining(stage: Stage): void {
  const { open } = stage;
  describe('a topic that is joined', () => {
    it('begins for each device where it was joined, until the device acknowledges', async () => {
      const store = await open();
      await createTopic(store, 'sea');
      await appendAll(store, draftsOf(5, { topic: 'sea' }));
      for (const device of ['phone', 'laptop']) await store.devices.open('ben', device);
      await store.topics.addMember('sea', member('ben'), PLENTY);
      await appendAll(store, draftsOf(5, { topic: 'sea' }));
      await store.devices.saveCursors([{ userId: 'ben', device: 'phone', topic: 'sea', seq: 7, at: 1 }]);
      await store.devices.saveCursors([{ userId: 'ben', device: 'laptop', topic: 'sea', seq: 4, at: 1 }]);
      await store.devices.saveCursors([{ userId: 'ben', device: 'unknown', topic: 'sea', seq: 9, at: 1 }]);
      expect(await placesOf(store, 'ben', 'phone')).toEqual({ ...places('ben', 0, 0), sea: 7 });
      expect(await placesOf(store, 'ben', 'laptop')).toEqual({ ...places('ben', 0, 0), sea: 5 });
    });
  });
}

/** Members 1 to `count`, each with a device and a state in the topic. */
async function crowd(store: Store, count: number): Promise<readonly string[]> {
  const users = range(1, count).map((n) => `user ${n}`);
  await createTopic(store, 'sea');
  await forMany(users, async (userId) => {
    await store.devices.open(userId, 'phone');
    await store.topics.addMember('sea', member(userId), PLENTY);
  });
  await appendAll(store, draftsOf(300, { topic: 'sea' }));
  await forMany(users, async (userId) => {
    await store.devices.saveCursors([{ userId, device: 'phone', topic: 'sea', seq: 200, at: 1 }]);
    await store.inbox.changeStates(userId, { topic: 'sea', upTo: 150 }, 'read');
  });
  return users;
}

async function expectGone(store: Store, userId: string): Promise<void> {
  expect(await store.topics.isMember('sea', userId)).toBe(false);
  expect(await membershipsOf(store, userId)).toEqual([]);
  expect((await store.inbox.list(userId, { limit: 10, state: 'any' })).items).toEqual([]);
  expect(await store.inbox.counts(userId)).toEqual({ unseen: 0, unread: 0 });
  expect(await placesOf(store, userId, 'phone')).toEqual(places(userId, 0, 0));
}

function describeDeletion(stage: Stage): void {
  const { open } = stage;
  describe('a topic that is deleted', () => {
    it('is gone at once, and its rows follow', async () => {
      const store = await open();
      const users = await crowd(store, 60);
      expect(await store.topics.delete('sea')).toBe(61);
      const [one = '', another = ''] = users;
      await expectGone(store, one);
      expect(await store.topics.get('sea')).toBeUndefined();
      expect(await membersOf(store, 'sea')).toEqual([]);
      let steps = 0;
      while (await store.removals.advance()) steps += 1;
      expect(steps).toBeGreaterThan(2);
      await expectGone(store, another);
      expect(await store.log.head('sea')).toBe(300);
      expect(await store.removals.advance()).toBe(false);
    });

    it('keeps nothing of a later one with its name, whose members were in it before', async () => {
      const store = await open();
      const users = await crowd(store, 30);
      const [ben = '', carl = '', dora = ''] = users;
      await store.topics.delete('sea');
      await store.removals.advance();
      expect(await createTopic(store, 'sea', { owner: ben })).toBeDefined();
      expect(await membersOf(store, 'sea')).toEqual([{ userId: ben, joinedAt: expect.any(String) }]);
      expect(await store.topics.addMember('sea', member(carl), PLENTY)).toEqual({ outcome: 'joined', start: 300 });
      const said = await append(store, draft({ topic: 'sea' }));
      await store.inbox.changeStates(ben, { ids: [said.id] }, 'read');
      await store.devices.saveCursors([{ userId: carl, device: 'phone', topic: 'sea', seq: 301, at: 1 }]);
      const expectLater = async () => {
        expect((await membersOf(store, 'sea')).map(({ userId }) => userId)).toEqual([ben, carl].toSorted());
        expect(await placesOf(store, ben, 'phone')).toEqual({ ...places(ben, 0, 0), sea: 300 });
        expect(await placesOf(store, carl, 'phone')).toMatchObject({ sea: 301 });
        expect(
          (await store.inbox.list(ben, { limit: 10, state: 'read' })).items.map(({ message }) => message.seq),
        ).toEqual([301]);
        expect(await store.inbox.counts(carl)).toEqual({ unseen: 1, unread: 1 });
        await expectGone(store, dora);
        expect(seqsOf(await readAll(store, 'sea'))).toEqual([301]);
      };
      await expectLater();
      await removeAll(store);
      await expectLater();
    });

    it('continues to be removed when the store is closed and opened', async () => {
      const first = await open();
      const [user = ''] = await crowd(first, 40);
      await first.topics.delete('sea');
      await first.removals.advance();
      await first.close();
      const second = await open();
      await expectGone(second, user);
      expect(await second.removals.advance()).toBe(true);
      await second.close();
      const store = await open();
      await removeAll(store);
      await expectGone(store, user);
      expect(await store.log.prune(milliseconds(0), 1_000)).toBe(0);
    });

    it('counts no membership of it against the limit of a user', async () => {
      const store = await open();
      for (const n of range(1, 3)) await createTopic(store, `topic-${n}`, { owner: 'owner' });
      for (const n of range(1, 2)) await store.topics.addMember(`topic-${n}`, member('ben'), 2);
      expect(await store.topics.addMember('topic-3', member('ben'), 2)).toEqual({ outcome: 'too_many' });
      await store.topics.delete('topic-1');
      expect(await store.topics.addMember('topic-3', member('ben'), 2)).toMatchObject({ outcome: 'joined' });
      expect((await membershipsOf(store, 'ben')).map(({ topic }) => topic)).toEqual(['topic-2', 'topic-3']);
    });
  });
}

function describeErasure(stage: Stage): void {
  const { open } = stage;
  describe('an erasure', () => {
    it('that is interrupted ends later, and affects nothing of a user who comes then', async () => {
      const first = await open();
      await createTopic(first, 'sea', { owner: 'ben' });
      await first.devices.open('anna', 'phone');
      await first.topics.addMember('sea', member('anna'), PLENTY);
      await appendAll(first, draftsOf(600));
      const erasing = first.users.erase('anna').catch(() => undefined);
      await first.close();
      await erasing;
      const store = await open();
      await removeAll(store);
      stage.clock.pass(60_000);
      await removeAll(store);
      if ((await readAll(store)).length > 0) throw new Error('the erasure had not begun');
      const places = await placesOf(store, 'anna', 'phone');
      expect(Object.keys(places).toSorted()).toEqual([BROADCAST_TOPIC, ANNA, '~anna'].toSorted());
      expect(await store.topics.isMember('sea', 'anna')).toBe(false);
      await append(store, draft());
      await removeAll(store);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
    });

    it('takes all devices, forgotten ones too', async () => {
      const store = await open();
      await openAll(stage, store, ['one', 'two', 'three']);
      await store.devices.open('anna', 'four', limitOf(2));
      expect(await store.users.erase('anna')).toMatchObject({ devices: 2 });
      expect(await namesOf(store)).toEqual([]);
      expect((await store.devices.open('anna', 'one')).wasForgotten).toBe(false);
    });
  });
}

function describePages(stage: Stage): void {
  const { open } = stage;
  describe('a list', () => {
    it.each([1, 2, 3, 100])('of members, memberships, topics and devices is complete in pages of %i', async (limit) => {
      const store = await open();
      const names = ['air', 'cave', 'land', 'sea', 'secret', 'zoo'];
      for (const name of names) await createTopic(store, name, { owner: 'owner', isPrivate: name.startsWith('s') });
      for (const name of ['cave', 'sea', 'zoo']) await store.topics.addMember(name, member('anna'), PLENTY);
      await store.topics.delete('land');
      for (const userId of ['ben', 'carl', 'dora']) await store.topics.addMember('sea', member(userId), PLENTY);
      for (const device of ['phone', 'laptop', 'watch']) await store.devices.open('anna', device);
      const topics = await topicsOf(store, 'anna', limit);
      expect(topics.map(({ name, isMember }) => [name, isMember])).toEqual([
        ['air', false],
        ['cave', true],
        ['sea', true],
        ['zoo', true],
      ]);
      const members = await membersOf(store, 'sea', limit);
      expect(members.map(({ userId }) => userId)).toEqual(['anna', 'ben', 'carl', 'dora', 'owner']);
      const memberships = await membershipsOf(store, 'anna', limit);
      expect(memberships.map(({ topic }) => topic)).toEqual(['cave', 'sea', 'zoo']);
      const devices = await devicesOf(store, 'anna', limit);
      expect(devices.map(({ device }) => device)).toEqual(['laptop', 'phone', 'watch']);
      expect([...(devices[0]?.cursors.keys() ?? [])].toSorted()).toEqual(['*', ANNA, 'cave', 'sea', 'zoo'].toSorted());
    });

    it('without items has one page', async () => {
      const store = await open();
      expect(await store.topics.members('nowhere', { limit: 5 })).toEqual({ items: [], next: undefined });
      expect(await store.topics.memberships('nobody', { limit: 5 })).toEqual({ items: [], next: undefined });
      expect(await store.topics.visibleTo('nobody', { limit: 5 })).toEqual({ items: [], next: undefined });
      expect(await store.devices.list('nobody', { limit: 5 })).toEqual({ items: [], next: undefined });
    });
  });
}
