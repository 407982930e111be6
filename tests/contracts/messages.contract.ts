/** What every engine must do when messages change, are replaced, are not for everybody, or expire. */
import type { Appended, Store } from '../../services/storage/contract';
import type { Message } from '../../utils/protocol';
import { BROADCAST_TOPIC } from '../../utils/topic-names';
import {
  ANNA,
  append,
  appendAll,
  caughtUp,
  createTopic,
  draft,
  draftsOf,
  historyOf,
  mark,
  member,
  milliseconds,
  owned,
  PLENTY,
  placesOf,
  range,
  readAll,
  readFor,
  type Stage,
  type StoreHarness,
  second,
  seqsOf,
  setStage,
} from './support';

/** Runs the suite; `makeHarness` is called once for each test and cleans up by onTestEnd. */
export function describeMessageContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`messages that change in the store, on ${name}:`, () => {
    const stage = setStage(makeHarness);
    describeCollapse(stage);
    describeUpdate(stage);
    describeRetract(stage);
    describeExcept(stage);
    describeExpiry(stage);
    describeUnreadOnly(stage);
    describeFind(stage);
  });
}

const eventsOf = (messages: readonly Message[]) => messages.map(({ event = 'message' }) => event);

const dataOf = (messages: readonly Message[]) => messages.map(({ data }) => data);

/** What every way of reading returns for a topic of anna's. */
async function seen(store: Store, topic = ANNA): Promise<Record<string, readonly number[]>> {
  const { items } = await store.inbox.list('anna', { state: 'any', topic, limit: 1_000 });
  return {
    read: seqsOf((await readAll(store, topic)).filter(({ ref }) => ref === undefined)),
    history: seqsOf(await historyOf(store, topic, { limit: 1_000 })),
    inbox: seqsOf(items.map(({ message }) => message)).toReversed(),
  };
}

const everywhere = (...seqs: readonly number[]) => ({ read: seqs, history: seqs, inbox: seqs });

function entriesOf(appended: Appended): readonly Message[] {
  if (appended.outcome !== 'stored') throw new Error(`expected a new message, got ${appended.outcome}`);
  return appended.entries;
}

function describeCollapse({ open }: Stage): void {
  describe('a message with a collapseKey', () => {
    const keyed = (n: number, fields = {}) => draft({ collapseKey: 'k', data: n, ...fields });

    it('replaces the one before it: an entry message:removed comes first', async () => {
      const store = await open();
      const first = await append(store, keyed(1));
      const entries = entriesOf(await store.log.append(keyed(2)));
      expect(entries).toHaveLength(2);
      expect(entries[0]).toMatchObject({
        topic: ANNA,
        seq: 2,
        event: 'message:removed',
        ref: first.id,
        refSeq: 1,
        reason: 'replaced',
        data: null,
      });
      expect(entries[1]).toMatchObject({ seq: 3, data: 2, collapseKey: 'k' });
      expect(await readAll(store)).toStrictEqual(entries);
      expect(await seen(store)).toEqual(everywhere(3));
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
      expect(await store.log.find(first.id)).toEqual([]);
    });

    it('replaces one that was seen', async () => {
      const store = await open();
      await mark(store, 'anna', 'seen', await append(store, keyed(1)));
      expect(entriesOf(await store.log.append(keyed(2)))).toHaveLength(2);
      expect(await seen(store)).toEqual(everywhere(3));
    });

    it.each(['read', 'archived'] as const)(
      'leaves one that is %s, and replaces it when it is not any more',
      async (state) => {
        const store = await open();
        const first = await append(store, keyed(1));
        await mark(store, 'anna', state, first);
        expect(entriesOf(await store.log.append(keyed(2)))).toHaveLength(1);
        expect(await seen(store)).toEqual(everywhere(1, 2));
        expect(entriesOf(await store.log.append(keyed(3)))).toHaveLength(2);
        expect(await seen(store)).toEqual(everywhere(1, 4));
        await mark(store, 'anna', 'unread', first);
        // All that are unread, and not the newest one before it only.
        expect(dataOf(entriesOf(await store.log.append(keyed(4))))).toEqual([null, null, 4]);
        expect(await seen(store)).toEqual(everywhere(7));
      },
    );

    it('replaces only its own key, in its own topic', async () => {
      const store = await open();
      await append(store, keyed(1));
      await append(store, keyed(2, { collapseKey: 'kk' }));
      await append(store, keyed(3, { topic: '@ben' }));
      await append(store, draft());
      expect(entriesOf(await store.log.append(keyed(4, { topic: '@be' })))).toHaveLength(1);
      expect(entriesOf(await store.log.append(keyed(5)))[0]).toMatchObject({ reason: 'replaced' });
      expect(await seen(store)).toEqual(everywhere(2, 3, 5));
      expect(seqsOf(await readAll(store, '@ben'))).toEqual([1]);
    });

    it('is replaced after the store was closed and opened, once by many at once', async () => {
      const first = await open();
      await append(first, keyed(1));
      await first.close();
      const store = await open();
      const all = await Promise.all(range(2, 20).map((n) => store.log.append(keyed(n))));
      expect(all.map((appended) => entriesOf(appended).length)).toEqual(range(2, 20).map(() => 2));
      const left = (await readAll(store)).filter(({ ref }) => ref === undefined);
      expect(dataOf(left)).toEqual([20]);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
    });

    it('keeps the id of a client that was replaced', async () => {
      const store = await open();
      const first = await append(store, owned('x', { collapseKey: 'k' }));
      await append(store, keyed(2));
      const again = await store.log.append(owned('x', { collapseKey: 'k' }));
      expect(again).toMatchObject({ outcome: 'repeated', message: { id: 'x', seq: first.seq, data: null } });
      expect(await store.log.head(ANNA)).toBe(3);
    });

    it('replaces nothing when it is a repeat', async () => {
      const store = await open();
      await append(store, owned('x', { collapseKey: 'k' }));
      expect(await store.log.append(owned('x', { collapseKey: 'k' }))).toMatchObject({ outcome: 'repeated' });
      expect(await store.log.append(owned('x', { collapseKey: 'k', data: 'other' }))).toEqual({ outcome: 'conflict' });
      expect(await seen(store)).toEqual(everywhere(1));
    });

    it.each([
      ['one by one', (message: Message) => ({ ids: [message.id] })],
      ['with all', () => ({ all: true }) as const],
      ['with its topic', () => ({ topic: ANNA })],
    ])('replaces one that became unread again when the newer one was gone: %s', async (_name, which) => {
      const store = await open();
      const first = await append(store, keyed(1));
      await mark(store, 'anna', 'read', first);
      const second_ = await append(store, keyed(2));
      await store.log.retract(second_, 'service');
      await store.inbox.changeStates('anna', which(first), 'unread');
      expect(dataOf(entriesOf(await store.log.append(keyed(3))))).toEqual([null, 3]);
      expect(await seen(store)).toEqual(everywhere(5));
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
    });

    it('replaces those of its own sender only, whatever the names', async () => {
      const store = await open();
      await append(store, keyed(1, { from: 'shop' }));
      await append(store, keyed(2, { from: 'shopk', collapseKey: 'k' }));
      await append(store, keyed(3, { from: 'shop', collapseKey: 'kk' }));
      expect(entriesOf(await store.log.append(keyed(4, { from: 'sho', collapseKey: 'pk' })))).toHaveLength(1);
      expect(entriesOf(await store.log.append(keyed(5, { from: 'stranger' })))).toHaveLength(1);
      expect(entriesOf(await store.log.append(keyed(6, { from: 'shop' })))[0]).toMatchObject({ reason: 'replaced' });
      expect(await seen(store)).toEqual(everywhere(2, 3, 4, 5, 7));
    });

    it('leaves what a user has sent to themselves: it counts as read', async () => {
      const store = await open();
      await append(store, keyed(1, { from: 'anna' }));
      expect(entriesOf(await store.log.append(keyed(2, { from: 'anna' })))).toHaveLength(1);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
    });

    it('replaces more than one write holds', async () => {
      const store = await open();
      for (const n of range(1, 210)) await mark(store, 'anna', 'read', await append(store, keyed(n)));
      await store.inbox.changeStates('anna', { all: true }, 'unread');
      const entries = entriesOf(await store.log.append(keyed(211)));
      expect(seqsOf(entries)).toEqual(range(211, 421));
      expect(await seen(store)).toEqual(everywhere(421));
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
    }, 60_000);

    it('does not replace what is gone already', async () => {
      const store = await open();
      const first = await append(store, keyed(1));
      await store.log.retract(first, 'service');
      expect(entriesOf(await store.log.append(keyed(2)))).toHaveLength(1);
    });
  });
}

function describeUpdate({ open }: Stage): void {
  describe('update', () => {
    it('gives the message other data at its position, and appends an entry about it', async () => {
      const store = await open();
      const [first, second_] = await appendAll(store, [owned('x', { event: 'alert' }), draft()]);
      const entries = await store.log.update({ topic: ANNA, seq: 1 }, { new: true }, 'ben');
      expect(entries).toHaveLength(1);
      expect(entries?.[0]).toMatchObject({
        topic: ANNA,
        seq: 3,
        event: 'message:updated',
        ref: 'x',
        refSeq: 1,
        data: { new: true },
        from: 'ben',
      });
      expect(entries?.[0]).not.toHaveProperty('reason');
      expect(await readAll(store)).toStrictEqual([{ ...first, data: { new: true } }, second_, ...(entries ?? [])]);
      expect(await historyOf(store, ANNA, { limit: 9 })).toStrictEqual([{ ...first, data: { new: true } }, second_]);
      expect(await store.log.find('x')).toStrictEqual([{ ...first, data: { new: true } }]);
    });

    it('is no message of the inbox, and leaves the state of the message', async () => {
      const store = await open();
      const message = await append(store, draft());
      await mark(store, 'anna', 'read', message);
      await store.log.update(message, 'new', 'service');
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
      expect((await store.inbox.list('anna', { limit: 9 })).items).toStrictEqual([
        { message: { ...message, data: 'new' }, state: 'read' },
      ]);
    });

    it('done again removes the entry before it', async () => {
      const first = await open();
      const message = await append(first, draft());
      await first.log.update(message, 'second', 'service');
      await first.close();
      const store = await open();
      const entries = await store.log.update(message, 'third', 'service');
      expect(seqsOf(entries ?? [])).toEqual([3]);
      expect(await readAll(store)).toStrictEqual([{ ...message, data: 'third' }, ...(entries ?? [])]);
      expect(await store.log.head(ANNA)).toBe(3);
    });

    it('to the same data changes nothing', async () => {
      const store = await open();
      const message = await append(store, draft({ data: { a: [1, null], b: 'x' } }));
      expect(await store.log.update(message, { a: [1, null], b: 'x' }, 'service')).toEqual([]);
      expect(await readAll(store)).toStrictEqual([message]);
      const [entry] = (await store.log.update(message, { a: [1] }, 'service')) ?? [];
      expect(await store.log.update(message, { a: [1] }, 'service')).toEqual([]);
      expect(await readAll(store)).toStrictEqual([{ ...message, data: { a: [1] } }, entry]);
    });

    it('of what does not exist, or is gone, does nothing', async () => {
      const { store, clock } = { store: await open(), clock: milliseconds(0) };
      const [kept, retracted, expired] = await appendAll(store, [draft(), draft(), draft({ expiresAt: clock })]);
      await store.log.retract(retracted ?? { topic: ANNA, seq: 2 }, 'service');
      const head = await store.log.head(ANNA);
      for (const seq of [0, 2, 3, 99])
        expect(await store.log.update({ topic: ANNA, seq }, 1, 'service')).toBeUndefined();
      expect(await store.log.update({ topic: '@ben', seq: 1 }, 1, 'service')).toBeUndefined();
      expect(expired?.seq).toBe(3);
      expect(await store.log.head(ANNA)).toBe(head);
      expect((await readAll(store))[0]).toStrictEqual(kept);
    });

    it('of a pruned or hidden message does nothing', async () => {
      const store = await open();
      await appendAll(store, [draft(), draft({ timestamp: second(9) })]);
      await store.log.prune(milliseconds(5), 10);
      expect(await store.log.update({ topic: ANNA, seq: 1 }, 1, 'service')).toBeUndefined();
      await createTopic(store, 'sea');
      const message = await append(store, draft({ topic: 'sea' }));
      await store.topics.delete('sea');
      expect(await store.log.update(message, 1, 'service')).toBeUndefined();
    });

    it('leaves the id of a client taken by what was sent under it', async () => {
      const store = await open();
      const message = await append(store, owned('x'));
      await store.log.update(message, 'new', 'service');
      // A sender that repeats a send whose answer was lost sends the same content.
      expect(await store.log.append(owned('x'))).toMatchObject({ outcome: 'repeated', message: { id: 'x', seq: 1 } });
      expect(await store.log.append(owned('x', { data: 'another' }))).toEqual({ outcome: 'conflict' });
    });

    it('by many at once leaves one entry, and the data of the last', async () => {
      const store = await open();
      const message = await append(store, draft());
      await Promise.all(range(1, 20).map((n) => store.log.update(message, n, 'service')));
      expect(dataOf(await readAll(store))).toEqual([20, 20]);
      expect(await store.log.head(ANNA)).toBe(21);
    });

    it('is not sent to users whom the message is not for', async () => {
      const store = await open();
      const message = await append(store, draft({ topic: BROADCAST_TOPIC, exceptUserId: 'ben' }));
      await store.log.update(message, 'new', 'service');
      expect(dataOf(await readFor(store, BROADCAST_TOPIC, { userId: 'anna' }))).toEqual(['new', 'new']);
      expect(await readFor(store, BROADCAST_TOPIC, { userId: 'ben' })).toEqual([]);
    });

    it.each<[string, unknown]>([['a BigInt', 1n]])('with %s throws and changes nothing', async (_name, data) => {
      const store = await open();
      const message = await append(store, draft());
      await expect(store.log.update(message, data, 'service')).rejects.toThrow();
      expect(await readAll(store)).toStrictEqual([message]);
    });
  });
}

function describeRetract({ open }: Stage): void {
  describe('retract', () => {
    it('removes a message for ever, and appends an entry about it', async () => {
      const first = await open();
      const [kept, gone] = await appendAll(first, [draft(), draft({ event: 'alert' })]);
      const entries = await first.log.retract({ topic: ANNA, seq: 2 }, 'ben');
      expect(entries).toHaveLength(1);
      expect(entries?.[0]).toMatchObject({
        topic: ANNA,
        seq: 3,
        event: 'message:removed',
        ref: gone?.id,
        refSeq: 2,
        reason: 'retracted',
        data: null,
        from: 'ben',
      });
      await first.close();
      const store = await open();
      expect(await readAll(store)).toStrictEqual([kept, ...(entries ?? [])]);
      expect(await seen(store)).toEqual(everywhere(1));
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
      expect(await store.log.find(gone?.id ?? '')).toEqual([]);
      expect(await store.log.retract({ topic: ANNA, seq: 2 }, 'ben')).toBeUndefined();
      expect(await store.log.head(ANNA)).toBe(3);
    });

    it('removes the entry of an earlier update with it', async () => {
      const store = await open();
      const message = await append(store, draft());
      await store.log.update(message, 'secret', 'service');
      await store.log.retract(message, 'service');
      expect(eventsOf(await readAll(store))).toEqual(['message:removed']);
      expect(JSON.stringify(await readAll(store))).not.toContain('secret');
    });

    it('leaves the id taken that a client made: what is repeated has no data', async () => {
      const first = await open();
      const message = await append(first, owned('x', { event: 'alert', exceptUserId: 'ben' }));
      await first.log.retract(message, 'service');
      const expectTaken = async (store: Store) => {
        const again = await store.log.append(owned('x', { event: 'alert', exceptUserId: 'ben' }));
        expect(again).toMatchObject({ outcome: 'repeated', message: { id: 'x', topic: ANNA, seq: 1, data: null } });
        expect(await store.log.head(ANNA)).toBe(2);
        expect(await store.log.find('x')).toEqual([]);
      };
      await expectTaken(first);
      await first.close();
      await expectTaken(await open());
    });

    it('of what does not exist does nothing', async () => {
      const store = await open();
      expect(await store.log.retract({ topic: ANNA, seq: 1 }, 'service')).toBeUndefined();
      await append(store, draft());
      for (const seq of [0, 2, -1]) expect(await store.log.retract({ topic: ANNA, seq }, 'service')).toBeUndefined();
      expect(await store.log.head(ANNA)).toBe(1);
    });

    it('by many at once is done once', async () => {
      const store = await open();
      const message = await append(store, draft());
      const answers = await Promise.all(range(1, 10).map(() => store.log.retract(message, 'service')));
      expect(answers.filter((answer) => answer !== undefined)).toHaveLength(1);
      expect(await store.log.head(ANNA)).toBe(2);
    });

    it('goes before an update that comes later, whatever the id is', async () => {
      const store = await open();
      for (const given of [draft(), owned('x')]) {
        const message = await append(store, given);
        await store.log.retract(message, 'service');
        expect(await store.log.update(message, 'late', 'service')).toBeUndefined();
      }
      expect(JSON.stringify(await readAll(store))).not.toContain('late');
    });
  });
}

function describeExcept({ open }: Stage): void {
  describe('a message with exceptUserId', () => {
    it.each([BROADCAST_TOPIC, 'sea'])('is not for that user, in %s', async (topic) => {
      const store = await open();
      await createTopic(store, 'sea');
      for (const userId of ['ben', 'carl']) {
        await store.devices.open(userId, 'phone');
        await store.topics.addMember('sea', member(userId), PLENTY);
      }
      const [, left] = await appendAll(store, [
        draft({ topic }),
        draft({ topic, exceptUserId: 'ben' }),
        draft({ topic }),
      ]);
      const expectFor = async (userId: string, ...seqs: number[]) => {
        expect(seqsOf(await readFor(store, topic, { userId }))).toEqual(seqs);
        expect(seqsOf(await caughtUp(store, userId, 'phone', topic))).toEqual(seqs);
        expect(seqsOf(await historyOf(store, topic, { limit: 9, userId }))).toEqual(seqs);
        expect(seqsOf(await historyOf(store, topic, { limit: 2, after: 0, userId }))).toEqual(seqs.slice(0, 2));
        expect(await store.inbox.counts(userId)).toEqual({ unseen: seqs.length, unread: seqs.length });
        const { items } = await store.inbox.list(userId, { limit: 9, state: 'any' });
        expect(seqsOf(items.map(({ message }) => message))).toEqual(seqs.toReversed());
      };
      await expectFor('ben', 1, 3);
      await expectFor('carl', 1, 2, 3);
      expect(seqsOf(await historyOf(store, topic, { limit: 9 }))).toEqual([1, 2, 3]);
      expect(seqsOf(await readAll(store, topic))).toEqual([1, 2, 3]);
      expect(await store.inbox.changeStates('ben', { ids: [left?.id ?? ''] }, 'read')).toEqual({
        outcome: 'not_found',
        path: 'ids.0',
      });
      expect(await store.inbox.changeStates('ben', { topic }, 'read')).toMatchObject({ changed: 2 });
      await expectFor('carl', 1, 2, 3);
      expect(seqsOf(await readFor(store, topic, { userId: 'ben' }))).toEqual([1, 2, 3].filter((seq) => seq !== 2));
    });

    it('is not counted among the last unread ones of a further device', async () => {
      const store = await open();
      await store.devices.open('ben', 'phone');
      await appendAll(store, draftsOf(30, { topic: BROADCAST_TOPIC }));
      await appendAll(store, draftsOf(99, { topic: BROADCAST_TOPIC, exceptUserId: 'ben' }));
      await appendAll(store, draftsOf(80, { topic: BROADCAST_TOPIC }));
      expect((await placesOf(store, 'ben', 'laptop'))[BROADCAST_TOPIC]).toEqual([10, 209]);
      expect(await caughtUp(store, 'ben', 'laptop', BROADCAST_TOPIC)).toHaveLength(100);
    });
  });
}

function describeExpiry(stage: Stage): void {
  const { open } = stage;
  describe('a message that expires', () => {
    const until = (n: number, fields = {}) => draft({ expiresAt: milliseconds(n), ...fields });

    it('does not exist from its time on, even before it was removed', async () => {
      const store = await open();
      const [first, second_] = await appendAll(store, [until(5), until(10), draft()]);
      stage.clock.set(milliseconds(5) - 1);
      expect(await seen(store)).toEqual(everywhere(1, 2, 3));
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 3, unread: 3 });
      expect(await store.log.find(first?.id ?? '')).toStrictEqual([first]);
      stage.clock.set(milliseconds(5));
      expect(await seen(store)).toEqual(everywhere(2, 3));
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 2, unread: 2 });
      expect(await store.log.find(first?.id ?? '')).toEqual([]);
      expect(await store.log.find(second_?.id ?? '')).toStrictEqual([second_]);
      expect(await store.log.update({ topic: ANNA, seq: 1 }, 'new', 'service')).toBeUndefined();
      expect(await store.log.retract({ topic: ANNA, seq: 1 }, 'service')).toBeUndefined();
      expect(await store.inbox.changeStates('anna', { ids: [first?.id ?? ''] }, 'read')).toEqual({
        outcome: 'not_found',
        path: 'ids.0',
      });
    });

    it('is not counted twice when it was read, archived or seen before', async () => {
      const store = await open();
      const messages = await appendAll(store, [until(5), until(5), until(5), until(5), draft(), draft()]);
      const [read, archived, seenOne] = messages;
      if (read === undefined || archived === undefined || seenOne === undefined) throw new Error('not appended');
      await mark(store, 'anna', 'read', read);
      await mark(store, 'anna', 'archived', archived);
      await mark(store, 'anna', 'seen', seenOne);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 3, unread: 4 });
      stage.clock.set(milliseconds(5));
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 2, unread: 2 });
      await store.log.expire(100);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 2, unread: 2 });
    });

    it('is not affected by a change of states, removed or not', async () => {
      const store = await open();
      await appendAll(store, [until(5), draft()]);
      stage.clock.set(milliseconds(5));
      expect(await store.inbox.changeStates('anna', { all: true }, 'read')).toMatchObject({
        outcome: 'changed',
        changed: 1,
      });
      await append(store, until(6));
      stage.clock.set(milliseconds(6));
      expect(await store.inbox.changeStates('anna', { topic: ANNA }, 'read')).toEqual({
        outcome: 'changed',
        changed: 0,
        entries: [],
      });
    });

    it('does not count among the last unread ones of a further device', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await appendAll(store, draftsOf(70));
      await appendAll(
        store,
        range(1, 90).map(() => until(5)),
      );
      stage.clock.set(milliseconds(5));
      expect(await caughtUp(store, 'anna', 'laptop', ANNA)).toHaveLength(70);
    });

    it('leaves pages that continue after it', async () => {
      const store = await open();
      await appendAll(store, [draft(), ...range(1, 2_500).map(() => until(5)), draft()]);
      stage.clock.set(milliseconds(5));
      expect(seqsOf(await readAll(store))).toEqual([1, 2_502]);
      expect(seqsOf(await historyOf(store, ANNA, { limit: 5 }))).toEqual([1, 2_502]);
      expect(seqsOf(await historyOf(store, ANNA, { after: 0, limit: 2 }))).toEqual([1, 2_502]);
    });

    it('is removed and reported by expire, at most `limit` at once', async () => {
      const store = await open();
      const drafts = [until(3), until(1, { topic: '@ben' }), until(2, { topic: '*', exceptUserId: 'ben' }), until(9)];
      const [third, first, second_] = (await appendAll(store, drafts)).map(({ topic, seq, id }) => ({
        topic,
        seq,
        id,
      }));
      expect(await store.log.expire(10)).toEqual({ taken: 0, expired: [] });
      stage.clock.set(milliseconds(3));
      expect(await store.log.expire(2)).toEqual({ taken: 2, expired: [first, { ...second_, exceptUserId: 'ben' }] });
      expect(await store.log.expire(2)).toEqual({ taken: 1, expired: [third] });
      expect(await store.log.expire(2)).toEqual({ taken: 0, expired: [] });
      expect(seqsOf(await readAll(store))).toEqual([2]);
      expect(await readAll(store, '@ben')).toEqual([]);
      expect(await store.log.head(ANNA)).toBe(2);
    });

    it('is reported once when two ask at once, and after the store was closed', async () => {
      const first = await open();
      await appendAll(first, [until(1), until(1), until(2)]);
      stage.clock.set(milliseconds(1));
      const both = await Promise.all([first.log.expire(10), first.log.expire(10)]);
      expect(both.flatMap(({ expired }) => expired)).toHaveLength(2);
      await first.close();
      stage.clock.set(milliseconds(2));
      const store = await open();
      expect((await store.log.expire(10)).expired).toHaveLength(1);
      expect(await readAll(store)).toEqual([]);
    });

    it('removes the entry about its new data with it', async () => {
      const store = await open();
      const message = await append(store, until(5));
      await store.log.update(message, 'secret', 'service');
      expect(await readAll(store)).toHaveLength(2);
      stage.clock.set(milliseconds(5));
      expect(await readAll(store)).toEqual([]);
      const { expired } = await store.log.expire(100);
      expect(expired).toEqual([{ topic: ANNA, seq: 1, id: message.id }]);
      expect(await store.log.expire(100)).toEqual({ taken: 0, expired: [] });
      expect(await readAll(store)).toEqual([]);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
    });

    it('keeps the id that the client made', async () => {
      const store = await open();
      await append(store, owned('x', { expiresAt: milliseconds(5) }));
      stage.clock.set(milliseconds(5));
      await store.log.expire(10);
      expect(await store.log.append(owned('x'))).toMatchObject({
        outcome: 'repeated',
        message: { id: 'x', seq: 1, data: null },
      });
      expect(await store.log.head(ANNA)).toBe(1);
    });

    it('is not reported when it was retracted, replaced or pruned before', async () => {
      const store = await open();
      const retracted = await append(store, until(5));
      await append(store, until(5, { collapseKey: 'k' }));
      await append(store, draft({ collapseKey: 'k' }));
      await append(store, until(5, { topic: '@ben' }));
      await store.log.retract(retracted, 'service');
      await store.log.prune(milliseconds(1), 100);
      stage.clock.set(milliseconds(6));
      expect((await store.log.expire(100)).expired).toEqual([]);
    });

    it('is not replaced: a message with its key comes alone', async () => {
      const store = await open();
      await append(store, until(5, { collapseKey: 'k' }));
      stage.clock.set(milliseconds(5));
      expect(entriesOf(await store.log.append(draft({ collapseKey: 'k' })))).toHaveLength(1);
    });

    it('that has already expired when it comes is stored, and never appears', async () => {
      const store = await open();
      stage.clock.set(milliseconds(9));
      expect((await append(store, until(5))).seq).toBe(1);
      expect(await seen(store)).toEqual(everywhere());
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
      expect((await append(store, draft())).seq).toBe(2);
    });
  });
}

function describeUnreadOnly({ open }: Stage): void {
  describe('a further device', () => {
    it('receives of what was stored only unread messages, and everything that comes later', async () => {
      const first = await open();
      await first.devices.open('anna', 'phone');
      const messages = await appendAll(first, draftsOf(6));
      const [, two, three, four] = messages;
      if (two === undefined || three === undefined || four === undefined) throw new Error('not appended');
      await mark(first, 'anna', 'read', two);
      await mark(first, 'anna', 'seen', three);
      await mark(first, 'anna', 'archived', four);
      await first.log.update(three, 'new', 'service');
      expect(await placesOf(first, 'anna', 'laptop')).toMatchObject({ [ANNA]: [0, 7] });
      await first.log.update(messages[4] ?? three, 'newer', 'service');
      await first.close();
      const store = await open();
      const later = await append(store, draft());
      await mark(store, 'anna', 'read', later);
      // 7 is about a message from before, 8 about one from after.
      expect(seqsOf(await caughtUp(store, 'anna', 'laptop', ANNA))).toEqual([1, 3, 5, 6, 8, 9]);
      expect(seqsOf(await caughtUp(store, 'anna', 'phone', ANNA))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    });

    it('receives nothing of what the user has sent', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await appendAll(
        store,
        ['service', 'anna', 'service', 'anna'].map((from) => draft({ from })),
      );
      expect(seqsOf(await caughtUp(store, 'anna', 'laptop', ANNA))).toEqual([1, 3]);
    });

    it('skips what is read before it comes to it', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      const [one, two] = await appendAll(store, draftsOf(3));
      await store.devices.open('anna', 'laptop');
      if (one === undefined || two === undefined) throw new Error('not appended');
      await mark(store, 'anna', 'read', one);
      expect(seqsOf(await caughtUp(store, 'anna', 'laptop', ANNA))).toEqual([2, 3]);
      await mark(store, 'anna', 'unread', one);
      expect(seqsOf(await caughtUp(store, 'anna', 'laptop', ANNA))).toEqual([1, 2, 3]);
    });

    it('starts before the oldest of the last 100 unread, wherever it is', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      const messages = await appendAll(store, draftsOf(300));
      await store.inbox.changeStates('anna', { topic: ANNA, upTo: 250 }, 'read');
      await mark(store, 'anna', 'unread', ...messages.slice(9, 19));
      expect((await placesOf(store, 'anna', 'laptop'))[ANNA]).toEqual([9, 300]);
      expect(seqsOf(await caughtUp(store, 'anna', 'laptop', ANNA))).toEqual([...range(10, 19), ...range(251, 300)]);
      await mark(store, 'anna', 'unread', ...messages.slice(100, 200));
      expect((await placesOf(store, 'anna', 'tablet'))[ANNA]).toEqual([150, 300]);
    });

    it('starts at the head when everything is read, and has nothing to skip later', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await appendAll(store, draftsOf(20));
      await store.inbox.changeStates('anna', { all: true }, 'read');
      expect((await placesOf(store, 'anna', 'laptop'))[ANNA]).toBe(20);
      const next = await append(store, draft());
      await mark(store, 'anna', 'read', next);
      expect(seqsOf(await caughtUp(store, 'anna', 'laptop', ANNA))).toEqual([21]);
    });

    it('keeps up to where it skips until its cursor reaches that', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await appendAll(store, draftsOf(10));
      await store.devices.open('anna', 'laptop');
      const at = (seq: number) => ({ userId: 'anna', device: 'laptop', topic: ANNA, seq, at: 1 });
      await store.devices.saveCursors([at(4)]);
      expect((await placesOf(store, 'anna', 'laptop'))[ANNA]).toEqual([4, 10]);
      await store.devices.saveCursors([at(10)]);
      expect((await placesOf(store, 'anna', 'laptop'))[ANNA]).toBe(10);
    });

    it('starts the log of states at its head', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      const message = await append(store, draft());
      await mark(store, 'anna', 'seen', message);
      await mark(store, 'anna', 'read', message);
      expect((await placesOf(store, 'anna', 'laptop'))['~anna']).toBe(2);
      expect((await placesOf(store, 'anna', 'phone'))['~anna']).toBe(0);
    });
  });

  describe('a page', () => {
    it('may be empty without being the last one, and says where to continue', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await appendAll(store, draftsOf(3_000));
      await store.inbox.changeStates('anna', { topic: ANNA, upTo: 2_999 }, 'read');
      const reader = { userId: 'anna', unreadUpTo: 3_000 };
      const found: number[] = [];
      for (let after = 0; after < 3_000; ) {
        const page = await store.log.read(ANNA, { after, limit: 10, reader });
        expect(page.position).toBeGreaterThan(after);
        found.push(...seqsOf(page.messages));
        after = page.position;
      }
      expect(found).toEqual([3_000]);
    });
  });
}

function describeFind({ open }: Stage): void {
  describe('find', () => {
    it('gives one message of each sender who used the id, in whatever topic', async () => {
      const store = await open();
      const [a, b] = await appendAll(store, [owned('x', { from: 'a' }), owned('x', { from: 'b', topic: 'sea' })]);
      await append(store, owned('xx', { from: 'a' }));
      await append(store, owned('x ', { from: 'a' }));
      expect(await store.log.find('x')).toStrictEqual([a, b]);
      expect(await store.log.find('nothing')).toEqual([]);
      expect(await store.log.find('')).toEqual([]);
    });

    it('returns messages whose id was not made by a client, too', async () => {
      const store = await open();
      const message = await append(store, draft());
      expect(await store.log.find(message.id)).toStrictEqual([message]);
    });

    it('returns nothing that was pruned, or was sent in a topic that is gone', async () => {
      const store = await open();
      const pruned = await append(store, draft());
      await store.log.prune(milliseconds(5), 10);
      await createTopic(store, 'sea');
      const hidden = await append(store, draft({ topic: 'sea' }));
      await store.topics.delete('sea');
      for (const { id } of [pruned, hidden]) expect(await store.log.find(id)).toEqual([]);
    });
  });
}
