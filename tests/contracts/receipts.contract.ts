/** What every engine must report about a message: sent, acknowledged, seen, read, and by whom. */
import type { Cursor, ReceiptPage, Store } from '../../services/storage/contract';
import type { Message } from '../../utils/protocol';
import { BROADCAST_TOPIC, DEFAULT_DEVICE } from '../../utils/topic-names';
import {
  ANNA,
  append,
  appendAll,
  createTopic,
  draft,
  draftsOf,
  forMany,
  mark,
  member,
  milliseconds,
  PLENTY,
  range,
  type Stage,
  type StoreHarness,
  setStage,
} from './support';

/** Runs the suite; `makeHarness` is called once for each test and cleans up by onTestEnd. */
export function describeReceiptContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`receipts in the store, on ${name}:`, () => {
    const stage = setStage(makeHarness);
    describeSent(stage);
    describeAcknowledged(stage);
    describeStates(stage);
    describeAudience(stage);
    describePages(stage);
  });
}

const receiptsOf = (store: Store, message: Message) => store.receipts.of(message, { limit: 1_000 });

function ack(device: string, topic: string, upTo: number, about: Partial<Cursor> = {}): Cursor {
  return { userId: 'anna', device, topic, seq: upTo, at: milliseconds(50), ...about };
}

const NOTHING: ReceiptPage = {
  sentAt: undefined,
  acknowledged: [],
  seen: [],
  read: [],
  totals: { recipients: 1, acknowledged: 0, seen: 0, read: 0 },
  next: undefined,
};

function describeSent({ open }: Stage): void {
  describe('the time of sending', () => {
    it('is that of the first time, and kept', async () => {
      const first = await open();
      const messages = await appendAll(first, draftsOf(4));
      const times = async (store: Store) =>
        Promise.all(messages.map(async (message) => (await receiptsOf(store, message)).sentAt));
      expect(await times(first)).toEqual([undefined, undefined, undefined, undefined]);
      await first.devices.saveSent([{ topic: ANNA, from: 2, upTo: 3, at: 1_000 }]);
      await first.devices.saveSent([
        { topic: ANNA, from: 1, upTo: 3, at: 2_000 },
        { topic: '@ben', from: 4, upTo: 4, at: 3_000 },
      ]);
      expect(await times(first)).toEqual([2_000, 1_000, 1_000, undefined]);
      await first.close();
      expect(await times(await open())).toEqual([2_000, 1_000, 1_000, undefined]);
    });

    it('is kept over more messages than one row of anything holds, and accepts an empty list', async () => {
      const store = await open();
      const messages = await appendAll(store, draftsOf(700));
      await store.devices.saveSent([]);
      await store.devices.saveSent([{ topic: ANNA, from: 100, upTo: 650, at: milliseconds(9) }]);
      const times = await Promise.all(messages.map(async (message) => (await receiptsOf(store, message)).sentAt));
      expect(times).toEqual(range(1, 700).map((seq) => (seq >= 100 && seq <= 650 ? milliseconds(9) : undefined)));
    });

    it('is nobody’s acknowledgement', async () => {
      const store = await open();
      const message = await append(store, draft());
      await store.devices.saveSent([{ topic: ANNA, from: 1, upTo: 1, at: 7 }]);
      expect(await receiptsOf(store, message)).toStrictEqual({ ...NOTHING, sentAt: 7 });
    });
  });
}

function describeAcknowledged({ open }: Stage): void {
  describe('acknowledgements', () => {
    it('give the device and the time, for everything in between', async () => {
      const first = await open();
      for (const device of ['phone', 'laptop']) await first.devices.open('anna', device);
      const messages = await appendAll(first, draftsOf(5));
      await first.devices.saveCursors([ack('phone', ANNA, 2, { at: 1_000 })]);
      await first.devices.saveCursors([ack('phone', ANNA, 4, { at: 2_000 }), ack('laptop', ANNA, 1, { at: 3_000 })]);
      // One that moves backwards acknowledges nothing.
      await first.devices.saveCursors([ack('phone', ANNA, 3, { at: 9_000 }), ack('phone', ANNA, 4, { at: 9_000 })]);
      await first.close();
      const store = await open();
      const phone = (at: number) => ({ userId: 'anna', device: 'phone', at });
      const laptop = { userId: 'anna', device: 'laptop', at: 3_000 };
      const expected = [[laptop, phone(1_000)], [phone(1_000)], [phone(2_000)], [phone(2_000)], []];
      for (const [index, message] of messages.entries()) {
        const { acknowledged, totals } = await receiptsOf(store, message);
        const byDevice = acknowledged.toSorted((one, other) => (one.device < other.device ? -1 : 1));
        expect(byDevice).toStrictEqual(expected[index]);
        expect(totals).toEqual({ recipients: 1, acknowledged: index < 4 ? 1 : 0, seen: 0, read: 0 });
      }
    });

    it('are not given for the shared device, nor for unknown devices', async () => {
      const store = await open();
      await store.devices.open('anna', DEFAULT_DEVICE);
      const message = await append(store, draft());
      await store.devices.saveCursors([ack(DEFAULT_DEVICE, ANNA, 1), ack('phone', ANNA, 1)]);
      expect(await receiptsOf(store, message)).toStrictEqual(NOTHING);
    });

    it('of a further device are not given for what it was not sent', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      const messages = await appendAll(store, draftsOf(4));
      const [one, two] = messages;
      if (one === undefined || two === undefined) throw new Error('not appended');
      await mark(store, 'anna', 'read', two);
      await store.devices.open('anna', 'laptop');
      await store.devices.saveCursors([ack('laptop', ANNA, 4)]);
      expect((await receiptsOf(store, one)).acknowledged).toMatchObject([{ device: 'laptop' }]);
      expect((await receiptsOf(store, two)).acknowledged).toEqual([]);
    });

    it('count a user once, whatever the devices', async () => {
      const store = await open();
      for (const device of ['a', 'b', 'c']) await store.devices.open('anna', device);
      const message = await append(store, draft());
      await store.devices.saveCursors(['a', 'b', 'c'].map((device) => ack(device, ANNA, 1)));
      const { acknowledged, totals } = await receiptsOf(store, message);
      expect(acknowledged.map(({ device }) => device).toSorted()).toEqual(['a', 'b', 'c']);
      expect(totals.acknowledged).toBe(1);
    });

    it('are given for one topic and one user alone', async () => {
      const store = await open();
      for (const userId of ['anna', 'ann', 'ann ']) await store.devices.open(userId, 'phone');
      const [broadcast, personal] = await appendAll(store, [draft({ topic: BROADCAST_TOPIC }), draft()]);
      if (broadcast === undefined || personal === undefined) throw new Error('not appended');
      await store.devices.saveCursors([ack('phone', BROADCAST_TOPIC, 1, { userId: 'ann' })]);
      expect((await receiptsOf(store, broadcast)).acknowledged.map(({ userId }) => userId)).toEqual(['ann']);
      expect(await receiptsOf(store, personal)).toStrictEqual(NOTHING);
    });
  });
}

function describeStates(stage: Stage): void {
  const { open } = stage;
  describe('seen and read', () => {
    it('have the time of the clock, which stays that of the first time', async () => {
      const store = await open();
      const message = await append(store, draft());
      stage.clock.set(milliseconds(1));
      await mark(store, 'anna', 'seen', message);
      stage.clock.set(milliseconds(2));
      await mark(store, 'anna', 'read', message);
      stage.clock.set(milliseconds(3));
      await mark(store, 'anna', 'read', message);
      await mark(store, 'anna', 'archived', message);
      expect(await receiptsOf(store, message)).toStrictEqual({
        ...NOTHING,
        seen: [{ userId: 'anna', at: milliseconds(1) }],
        read: [{ userId: 'anna', at: milliseconds(2) }],
        totals: { recipients: 1, acknowledged: 0, seen: 1, read: 1 },
      });
    });

    it('come together when it was read at once, and archiving is seeing', async () => {
      const store = await open();
      const [read, archived] = await appendAll(store, draftsOf(2));
      if (read === undefined || archived === undefined) throw new Error('not appended');
      stage.clock.set(milliseconds(4));
      await mark(store, 'anna', 'read', read);
      await mark(store, 'anna', 'archived', archived);
      const own = [{ userId: 'anna', at: milliseconds(4) }];
      expect(await receiptsOf(store, read)).toMatchObject({ seen: own, read: own });
      expect(await receiptsOf(store, archived)).toMatchObject({ seen: own, read: [], totals: { seen: 1, read: 0 } });
    });

    it('end being read when it is undone, and begin again', async () => {
      const store = await open();
      const message = await append(store, draft());
      await mark(store, 'anna', 'read', message);
      await mark(store, 'anna', 'unread', message);
      expect(await receiptsOf(store, message)).toMatchObject({
        seen: [{ userId: 'anna', at: milliseconds(0) }],
        read: [],
        totals: { seen: 1, read: 0 },
      });
      stage.clock.set(milliseconds(8));
      await mark(store, 'anna', 'read', message);
      expect((await receiptsOf(store, message)).read).toEqual([{ userId: 'anna', at: milliseconds(8) }]);
    });

    it('are given for every message of a change over many', async () => {
      const store = await open();
      const messages = await appendAll(store, draftsOf(300));
      const own = messages[149];
      if (own !== undefined) await mark(store, 'anna', 'archived', own);
      stage.clock.set(milliseconds(6));
      await store.inbox.changeStates('anna', { topic: ANNA, upTo: 290 }, 'read');
      const read = await Promise.all(messages.map(async (message) => (await receiptsOf(store, message)).read.length));
      expect(read).toEqual(range(1, 300).map((seq) => (seq <= 290 && seq !== 150 ? 1 : 0)));
    });
  });
}

function describeAudience({ open }: Stage): void {
  describe('the recipients', () => {
    it('of a personal message are its owner, connected or not, even when the owner sent it', async () => {
      const store = await open();
      const messages = await appendAll(store, [draft(), draft({ from: 'anna' }), draft({ from: 'ben' })]);
      for (const message of messages) expect((await receiptsOf(store, message)).totals.recipients).toBe(1);
    });

    it.each([BROADCAST_TOPIC, 'sea'])(
      'are the members at that time, without the sender and exceptUserId: %s',
      async (topic) => {
        const store = await open();
        await createTopic(store, 'sea', { owner: 'ben' });
        const come = async (userId: string) => {
          await store.devices.open(userId, 'phone');
          await store.topics.addMember('sea', member(userId), PLENTY);
        };
        for (const userId of ['ben', 'anna', 'carl', 'dora']) await come(userId);
        const [toAll, left, service] = await appendAll(store, [
          draft({ topic, from: 'ben' }),
          draft({ topic, from: 'ben', exceptUserId: 'carl' }),
          draft({ topic, from: 'service' }),
        ]);
        await come('late');
        if (toAll === undefined || left === undefined || service === undefined) throw new Error('not appended');
        for (const userId of ['anna', 'ben', 'carl', 'late']) {
          await store.devices.saveCursors([ack('phone', topic, 3, { userId })]);
          await store.inbox.changeStates(userId, { topic }, 'read');
        }
        const whoOf = async (message: Message) => {
          const { acknowledged, seen, read, totals } = await receiptsOf(store, message);
          const users = [acknowledged, seen, read].map((list) => list.map(({ userId }) => userId));
          return { users, totals };
        };
        const only = (...userIds: string[]) => [userIds, userIds, userIds];
        const counted = (recipients: number, n: number) => ({ recipients, acknowledged: n, seen: n, read: n });
        expect(await whoOf(toAll)).toEqual({ users: only('anna', 'carl'), totals: counted(3, 2) });
        expect(await whoOf(left)).toEqual({ users: only('anna'), totals: counted(2, 1) });
        expect(await whoOf(service)).toEqual({ users: only('anna', 'ben', 'carl'), totals: counted(4, 3) });
      },
    );

    it('that have left are in no list, and the totals go together', async () => {
      const store = await open();
      await createTopic(store, 'sea', { owner: 'ben' });
      for (const userId of ['anna', 'carl']) {
        await store.devices.open(userId, 'phone');
        await store.topics.addMember('sea', member(userId), PLENTY);
      }
      const message = await append(store, draft({ topic: 'sea', from: 'ben' }));
      for (const userId of ['anna', 'carl']) {
        await store.devices.saveCursors([ack('phone', 'sea', 1, { userId })]);
        await mark(store, userId, 'read', message);
      }
      await store.topics.removeMember('sea', 'carl');
      const at = { userId: 'anna', at: milliseconds(0) };
      const expected = {
        acknowledged: [{ userId: 'anna', device: 'phone', at: milliseconds(50) }],
        seen: [at],
        read: [at],
        totals: { recipients: 1, acknowledged: 1, seen: 1, read: 1 },
      };
      expect(await receiptsOf(store, message)).toMatchObject(expected);
      const meanwhile = await append(store, draft({ topic: 'sea', from: 'ben' }));
      await store.topics.addMember('sea', member('carl'), PLENTY);
      // A returning user was a member when it was sent, and was not one when the other was.
      expect((await receiptsOf(store, message)).totals).toEqual({ recipients: 2, acknowledged: 2, seen: 2, read: 2 });
      for (const userId of ['anna', 'carl']) await store.devices.saveCursors([ack('phone', 'sea', 2, { userId })]);
      expect((await receiptsOf(store, meanwhile)).totals).toMatchObject({ recipients: 1, acknowledged: 1 });
    });
  });
}

function describePages({ open }: Stage): void {
  describe('a page of receipts', () => {
    async function pagesOf(store: Store, message: Message, limit: number): Promise<ReceiptPage[]> {
      const pages: ReceiptPage[] = [];
      let after: string | undefined;
      do {
        const page = await store.receipts.of(message, { limit, after });
        pages.push(page);
        after = page.next;
      } while (after !== undefined);
      return pages;
    }

    // More than one command of any engine examines, once.
    it.each<[string, number]>([
      [BROADCAST_TOPIC, 120],
      ['sea', 1_100],
    ])('is followed by others until all are listed, and has the totals of all: %s, %i users', async (topic, size) => {
      const crowd = range(1, size).map((n) => `user ${String(n).padStart(4, '0')}`);
      const store = await open();
      await createTopic(store, 'sea', { owner: 'owner' });
      await forMany(crowd, (userId) => store.devices.open(userId, 'phone'));
      await forMany(crowd, (userId) => store.topics.addMember('sea', member(userId), PLENTY));
      const [message, other] = await appendAll(store, draftsOf(2, { topic }));
      if (message === undefined || other === undefined) throw new Error('not appended');
      const readers = crowd.filter((_userId, index) => index % 5 === 0);
      await forMany(crowd, (userId) => store.devices.saveCursors([ack('phone', topic, 1, { userId })]));
      await forMany(readers, (userId) => store.inbox.changeStates(userId, { ids: [message.id] }, 'read'));
      const recipients = topic === 'sea' ? crowd.length + 1 : crowd.length;
      const totals = {
        recipients,
        acknowledged: crowd.length,
        seen: readers.length,
        read: readers.length,
      };
      for (const limit of [1_000, 100]) {
        const pages = await pagesOf(store, message, limit);
        expect(pages.length).toBe(Math.ceil(crowd.length / limit));
        for (const page of pages) {
          expect(page.totals).toEqual(totals);
          for (const list of [page.acknowledged, page.seen, page.read]) expect(list.length).toBeLessThanOrEqual(limit);
        }
        const userIds = (kind: 'acknowledged' | 'seen' | 'read') =>
          pages.flatMap((page) => page[kind].map(({ userId }) => userId));
        expect(userIds('acknowledged')).toEqual(crowd);
        expect(userIds('seen')).toEqual(readers);
        expect(userIds('read')).toEqual(readers);
      }
      expect((await receiptsOf(store, other)).totals).toEqual({ recipients, acknowledged: 0, seen: 0, read: 0 });
    });

    it('keeps all devices of one user together', async () => {
      const store = await open();
      const devices = range(1, 12).map((n) => `device ${n}`);
      for (const userId of ['anna', 'ben', 'carl']) {
        for (const device of devices) await store.devices.open(userId, device);
      }
      const message = await append(store, draft({ topic: BROADCAST_TOPIC }));
      const all = ['anna', 'ben', 'carl'].flatMap((userId) =>
        devices.map((device) => ack(device, BROADCAST_TOPIC, 1, { userId })),
      );
      await store.devices.saveCursors(all);
      const pages = await pagesOf(store, message, 5);
      expect(pages.map(({ acknowledged }) => [...new Set(acknowledged.map(({ userId }) => userId))])).toEqual([
        ['anna'],
        ['ben'],
        ['carl'],
      ]);
      expect(pages.map(({ acknowledged }) => acknowledged.length)).toEqual([12, 12, 12]);
      expect(pages.map(({ next }) => next)).toEqual(['anna', 'ben', undefined]);
      expect(pages[0]?.totals).toEqual({ recipients: 3, acknowledged: 3, seen: 0, read: 0 });
    });

    it('continues after names of every kind', async () => {
      const store = await open();
      const names = ['a', 'a!', 'a ', 'aa', 'é', 'z', '\uffff', '😀', '日本', '0', '__proto__', 'n'.repeat(128)];
      for (const name of names) await store.devices.open(name, 'phone');
      const message = await append(store, draft({ topic: BROADCAST_TOPIC }));
      await store.devices.saveCursors(names.map((userId) => ack('phone', BROADCAST_TOPIC, 1, { userId })));
      for (const limit of [1, 2, 5]) {
        const found = (await pagesOf(store, message, limit)).flatMap(({ acknowledged }) => acknowledged);
        expect(found).toHaveLength(names.length);
        expect(found.map(({ userId }) => userId).toSorted()).toEqual(names.toSorted());
      }
    });
  });
}
