/**
 * What every engine must do: each sentence of services/storage/contract/, on a store that the engine's own test
 * file opens.
 */
import {
  type Appended,
  type Cursor,
  type Draft,
  FURTHER_DEVICE_MESSAGES,
  type HistoryOptions,
  type Store,
  StoreError,
  type Topic,
} from '../../services/storage/contract';
import type { Message } from '../../utils/protocol';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../utils/topic-names';
import {
  ANNA,
  append,
  appendAll,
  createTopic,
  draft,
  draftsOf,
  forMany,
  historyOf,
  member,
  membersOf,
  milliseconds,
  owned,
  PLENTY,
  places,
  placesOf,
  range,
  readAll,
  type StoreHarness,
  second,
  seqsOf,
  setStage,
  toMessage,
  topicOf,
  topicsOf,
} from './support';

type Open = () => Promise<Store>;

/** Runs the suite; `makeHarness` is called once for each test and cleans up by onTestEnd. */
export function describeStoreContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`the contract of the store, on ${name}:`, () => {
    const { open } = setStage(makeHarness);
    describeAppend(open);
    describeClientIds(open);
    describeNames(open);
    describeData(open);
    describeRead(open);
    describeHistory(open);
    describeDevices(open);
    describeCursors(open);
    describeUsers(open);
    describeTopics(open);
    describeMembers(open);
    describePrune(open);
    describeFailures(open);
    describeClose(open);
  });
}

/** Longer than any name that a door admits, and than any key that an engine could be expected to accept. */
const ENDLESS = 'n'.repeat(100_000);

/** Removes in chunks until nothing is left to remove; how many each chunk removed. */
async function pruneAll(store: Store, before: number, limit: number): Promise<number[]> {
  const chunks: number[] = [];
  for (let removed = limit; removed === limit; chunks.push(removed)) removed = await store.log.prune(before, limit);
  return chunks;
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

function describeAppend(open: Open): void {
  describe('append', () => {
    it('gives 1, 2, 3, … in each topic', async () => {
      const store = await open();
      for (const expected of [1, 2, 3]) {
        expect((await append(store, draft())).seq).toBe(expected);
        expect((await append(store, draft({ topic: '@ben' }))).seq).toBe(expected);
      }
    });

    it.each([
      ['with an event', draft({ event: 'alert' })],
      ['without one', draft()],
      ['with an id of the client', owned('mine')],
      ['with a key to collapse', draft({ collapseKey: 'k' })],
      ['with a user left out', draft({ exceptUserId: 'ben' })],
      ['with an end', draft({ expiresAt: milliseconds(5) })],
      ['with a time it was planned for', draft({ scheduledFor: second(-1) })],
    ])('stores the fields of the draft, %s', async (_name, given) => {
      const store = await open();
      const expected = toMessage(1, given);
      const entries = [expected];
      expect(await store.log.append(given)).toStrictEqual({ outcome: 'stored', message: expected, entries });
      expect((await store.log.read(ANNA, { after: 0, limit: 1 })).messages).toStrictEqual([expected]);
    });

    it('gives seq in the order of the calls, and resolves in that order', async () => {
      const store = await open();
      const all = draftsOf(2_500);
      const resolved: string[] = [];
      const messages = await Promise.all(
        all.map(async (one) => {
          const message = await append(store, one);
          resolved.push(message.id);
          return message;
        }),
      );
      const ids = all.map(({ id }) => id);
      expect(seqsOf(messages)).toEqual(range(1, all.length));
      expect(messages.map(({ id }) => id)).toEqual(ids);
      expect(resolved).toEqual(ids);
      expect(await readAll(store)).toStrictEqual(messages);
    });

    it('leaves no gap between many callers', async () => {
      const store = await open();
      const topics = [ANNA, '@ben', BROADCAST_TOPIC];
      const caller = async (from: string) => {
        const seqs: number[] = [];
        for (let n = 0; n < 30; n += 1) {
          const topic = topics[n % topics.length] ?? ANNA;
          const { seq } = await append(store, draft({ from, topic }));
          if (topic === ANNA) seqs.push(seq);
        }
        return seqs;
      };
      const seqsOfCallers = await Promise.all(range(1, 20).map((n) => caller(`caller ${n}`)));
      for (const seqs of seqsOfCallers) expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
      expect(seqsOfCallers.flat().toSorted((a, b) => a - b)).toEqual(range(1, 200));
      for (const topic of topics) expect(seqsOf(await readAll(store, topic))).toEqual(range(1, 200));
    });

    it('continues from there after the store was closed and opened', async () => {
      const first = await open();
      const before = await appendAll(first, draftsOf(20));
      await first.close();
      const second = await open();
      const after = await appendAll(second, draftsOf(20));
      expect(await readAll(second)).toStrictEqual([...before, ...after]);
      expect(seqsOf(after)).toEqual(range(21, 40));
    });
  });
}

function describeClientIds(open: Open): void {
  describe('an id made by the client', () => {
    it('makes the append idempotent: the first message is the answer', async () => {
      const store = await open();
      const message = await append(store, owned('x', { timestamp: second(1) }));
      const again = await store.log.append(owned('x', { timestamp: second(2) }));
      expect(again).toStrictEqual({ outcome: 'repeated', message });
      expect(await readAll(store)).toStrictEqual([message]);
    });

    it('is remembered after the store was closed and opened', async () => {
      const first = await open();
      const message = await append(first, owned('x'));
      await first.close();
      expect(await (await open()).log.append(owned('x'))).toStrictEqual({ outcome: 'repeated', message });
    });

    it.each<[string, Partial<Draft>]>([
      ['data', { data: 'other' }],
      ['type', { type: 'other' }],
      ['event', { event: 'other' }],
      ['topic', { topic: '@ben' }],
    ])('conflicts with other content: %s', async (_name, other) => {
      const store = await open();
      const message = await append(store, owned('x'));
      expect(await store.log.append(owned('x', other))).toStrictEqual({ outcome: 'conflict' });
      expect(await readAll(store)).toStrictEqual([message]);
      expect(await store.log.head('@ben')).toBe(0);
      expect(await store.log.append(owned('x'))).toStrictEqual({ outcome: 'repeated', message });
    });

    it('belongs to its sender', async () => {
      const store = await open();
      const messages = await appendAll(store, [owned('x', { from: 'a' }), owned('x', { from: 'b', data: 'other' })]);
      expect(seqsOf(messages)).toEqual([1, 2]);
      expect(await store.log.append(owned('x', { from: 'a' }))).toStrictEqual({
        outcome: 'repeated',
        message: messages[0],
      });
    });

    it('is not confused with another pair that joins to the same text', async () => {
      const store = await open();
      const pairs = ['a|bc', 'ab|c', 'abc|', '|abc', 'a\u00ad|bc'].map((pair) => pair.split('|'));
      const all = pairs.map(([from = '', id = '']) => owned(`i${id}`, { from: `f${from}` }));
      expect(seqsOf(await appendAll(store, all))).toEqual(range(1, all.length));
    });

    it('has no effect when it was not made by the client', async () => {
      const store = await open();
      const [first, second, third] = [draft({ id: 'x' }), draft({ id: 'x' }), owned('x')];
      expect(seqsOf(await appendAll(store, [first, second, third, draft({ id: 'x' })]))).toEqual([1, 2, 3, 4]);
      expect(await store.log.append(owned('x'))).toStrictEqual({ outcome: 'repeated', message: toMessage(3, third) });
    });

    it('makes one message of 100 at once', async () => {
      const store = await open();
      const answers = await Promise.all(
        range(1, 100).map((n) => store.log.append(owned('x', { timestamp: second(n) }))),
      );
      const stored = answers.filter(({ outcome }) => outcome === 'stored');
      expect(stored).toHaveLength(1);
      expect(answers.filter(({ outcome }) => outcome === 'repeated')).toHaveLength(99);
      const messages = new Set(answers.map((answer) => JSON.stringify(messageOf(answer))));
      expect([...messages]).toEqual([JSON.stringify(messageOf(stored[0]))]);
      expect(await readAll(store)).toHaveLength(1);
    });

    it('makes one message of 100 at once with two contents, and refuses the other content', async () => {
      const store = await open();
      const answers = await Promise.all(range(1, 100).map((n) => store.log.append(owned('x', { data: n % 2 }))));
      const [message] = await readAll(store);
      const expected = range(1, 100).map((n) => (n % 2 === message?.data ? expect.anything() : undefined));
      expect(answers.map(messageOf)).toEqual(expected);
      expect(await store.log.head(ANNA)).toBe(1);
    });

    it('makes one message each of many ids in a mixed crowd', async () => {
      const store = await open();
      const crowd = range(0, 299).map((n) => owned(`id ${n % 30}`, { from: `sender ${n % 2}` }));
      const answers = await Promise.all(crowd.map((one) => store.log.append(one)));
      expect(answers.filter(({ outcome }) => outcome === 'stored')).toHaveLength(30);
      expect(answers.filter(({ outcome }) => outcome === 'conflict')).toHaveLength(0);
      const found = await readAll(store);
      expect(seqsOf(found)).toEqual(range(1, 30));
      expect(new Set(found.map(({ id }) => id)).size).toBe(30);
    });
  });
}

function messageOf(appended: Appended | undefined): Message | undefined {
  return appended === undefined || appended.outcome === 'conflict' ? undefined : appended.message;
}

const words = (text: string) => text.split(' ');

const NAMES = [
  ...words('__proto__ constructor toString hasOwnProperty undefined null true 0 -1 1e3 507f1f77bcf86cd799439011'),
  ...words(
    '$gt $where a.b . .. / a/b %00 \\ " \' {} [] , : | @ * @anna A a b ab ss ß é e\u0301 İ שלום 日本 😀 👩‍👩‍👧‍👦 🇩🇪',
  ),
  ...words('\u200b \ufeff \u202eanna \uffff \uffff\uffff \u{10ffff}'),
  ...[' ', ' a', 'a ', '\u00a0', '\u2028'],
  ...['a'.repeat(128), '日'.repeat(128), '😀'.repeat(64), `${'a'.repeat(127)}b`, `${'日'.repeat(127)}月`],
];

function describeNames(open: Open): void {
  describe('names', () => {
    it('may be any text, and none receives what belongs to another', async () => {
      const store = await open();
      const all = NAMES.map((name) =>
        draft({ id: name.slice(0, 64), isClientId: true, topic: personalTopic(name), from: name, type: name }),
      );
      const messages = await appendAll(store, all);
      expect(messages).toStrictEqual(all.map((one) => toMessage(1, one)));
      for (const message of messages) {
        expect(await readAll(store, message.topic)).toStrictEqual([message]);
        expect(await historyOf(store, message.topic, { limit: 10 })).toStrictEqual([message]);
      }
      const again = await Promise.all(all.map((one) => store.log.append(one)));
      expect(again).toStrictEqual(messages.map((message) => ({ outcome: 'repeated', message })));
    });

    it('of users and devices do not run into each other', async () => {
      const store = await open();
      const devices = NAMES.flatMap((name) => [
        { userId: name, device: 'phone' },
        { userId: 'anna', device: name },
      ]);
      for (const { userId, device } of devices) await store.devices.open(userId, device);
      const cursors = devices.map((place, index) => ({ ...place, topic: BROADCAST_TOPIC, seq: index + 1, at: 1 }));
      await store.devices.saveCursors(cursors);
      await store.users.saveLastSeen(new Map(NAMES.map((name, index) => [name, index])));
      for (const { userId, device, seq } of cursors) {
        expect(await placesOf(store, userId, device)).toEqual(places(userId, 0, seq));
      }
      for (const [index, name] of NAMES.entries()) expect((await store.users.get(name))?.lastSeenAt).toBe(index);
    });

    it('survive closing and opening', async () => {
      const first = await open();
      const messages = await appendAll(
        first,
        NAMES.map((name) => draft({ topic: personalTopic(name), from: name, type: name })),
      );
      await first.close();
      const second = await open();
      for (const message of messages) expect(await readAll(second, message.topic)).toStrictEqual([message]);
    });
  });
}

function nested(depth: number): unknown {
  return depth === 0 ? 'bottom' : [nested(depth - 1)];
}

const DATA: [string, unknown][] = [
  ['null', null],
  ['false', false],
  ['zero', 0],
  ['an empty text', ''],
  ['an empty list', []],
  ['an empty object', {}],
  ['the greatest number', Number.MAX_VALUE],
  ['the least number', Number.MIN_VALUE],
  ['the greatest safe integer', Number.MAX_SAFE_INTEGER],
  ['operators of a query', { $gt: '', $where: 'true', $ne: null, $set: { a: 1 } }],
  ['dots in keys', { 'a.b': { '.': 1, '..': 2, '': 3 } }],
  ['keys of prototypes', JSON.parse('{"__proto__":{"a":1},"constructor":{"prototype":1},"toString":"x"}')],
  ['keys that look like numbers', { 2: 'b', 1: 'a', '01': 'c' }],
  ['keys of message fields', { id: 'x', seq: 99, topic: '*', _id: 'y', isClientId: true }],
  ['extended JSON', { $oid: '507f1f77bcf86cd799439011', $date: '2026-01-01T00:00:00Z', $numberLong: '1' }],
  ['lone surrogates', JSON.parse('{"\\ud800":"\\udc00 and \\ud83d","pair":"\\ud83d\\ude00"}')],
  ['control characters', '\u0000\u0001\u001f\u007f\u2028\u2029\ufeff'],
  ['what looks binary', '\u0010binary-data\u0002'],
  ['deep nesting', nested(200)],
  ['many keys', Object.fromEntries(range(1, 2_000).map((n) => [`key ${n}`, n]))],
  ['64 KiB of text', 'x'.repeat(65_534)],
  ['64 KiB of emoji', '😀'.repeat(16_000)],
];

function describeData(open: Open): void {
  describe('data', () => {
    // Compared as text: toEqual would not see a key `__proto__`.
    const textOf = (message: Message | undefined) => JSON.stringify(message?.data);

    it.each(DATA)('comes back as it was given: %s', async (_name, data) => {
      const store = await open();
      const expected = JSON.stringify(data);
      expect(textOf(await append(store, owned('x', { data })))).toBe(expected);
      expect(textOf((await readAll(store))[0])).toBe(expected);
      expect(textOf((await historyOf(store, ANNA, { limit: 1 }))[0])).toBe(expected);
    });

    it.each(DATA)('is recognized as the same content: %s', async (_name, data) => {
      const store = await open();
      await append(store, owned('x', { data }));
      const again = await store.log.append(owned('x', { data: JSON.parse(JSON.stringify(data)) }));
      expect(again.outcome).toBe('repeated');
      expect((await store.log.append(owned('x', { data: [data] }))).outcome).toBe('conflict');
    });

    it('of messages side by side comes back after closing and opening', async () => {
      const first = await open();
      await appendAll(
        first,
        DATA.map(([, data]) => draft({ data })),
      );
      await first.close();
      expect((await readAll(await open())).map(textOf)).toEqual(DATA.map(([, data]) => JSON.stringify(data)));
    });
  });
}

/** Topics beside that of the tests, whose messages must not show. */
const NEIGHBOURS = ['@ann', '@anna ', '@anna.', '@annb', '@Anna', BROADCAST_TOPIC, '@ann\u0061\u0301', 'anna'];

async function openWithMessages(open: Open, count: number): Promise<{ store: Store; messages: Message[] }> {
  const store = await open();
  const around = NEIGHBOURS.flatMap((topic) => draftsOf(3, { topic }));
  const messages = await appendAll(store, draftsOf(count));
  await appendAll(store, around);
  return { store, messages };
}

function describeRead(open: Open): void {
  describe('read', () => {
    it('of a topic without messages gives an empty page', async () => {
      const { store } = await openWithMessages(open, 0);
      const empty = { messages: [], position: 0, head: 0, prunedUpTo: 0, erasedUpTo: 0 };
      expect(await store.log.read(ANNA, { after: 0, limit: 10 })).toStrictEqual(empty);
      expect(await store.log.head(ANNA)).toBe(0);
    });

    it('returns at most `limit` messages after `after`, and says where to continue', async () => {
      const { store, messages } = await openWithMessages(open, 12);
      for (const after of range(0, 12)) {
        for (const limit of range(1, 13)) {
          const expected = messages.slice(after, after + limit);
          const page = await store.log.read(ANNA, { after, limit });
          expect(page).toStrictEqual({
            messages: expected,
            position: expected.at(-1)?.seq ?? 12,
            head: 12,
            prunedUpTo: 0,
            erasedUpTo: 0,
          });
        }
      }
    });

    it('after the head returns nothing', async () => {
      const { store } = await openWithMessages(open, 3);
      expect(await store.log.read(ANNA, { after: 9, limit: 10 })).toMatchObject({ messages: [], position: 3, head: 3 });
    });

    it('of no messages has examined none', async () => {
      const { store } = await openWithMessages(open, 3);
      expect(await store.log.read(ANNA, { after: 1, limit: 0 })).toMatchObject({ messages: [], position: 1, head: 3 });
    });

    it('stops before `maxBytes` of JSON are exceeded, and always gives the first message', async () => {
      const store = await open();
      const sizes = [10, 500, 3, 3, 3, 90, 2_000, 1, 1, 40, 400, 5];
      // Three bytes a character: bytes are counted, not characters.
      const messages = await appendAll(
        store,
        sizes.map((size) => draft({ data: '日'.repeat(size) })),
      );
      const bytesOf = (some: readonly Message[]) => sum(some.map((one) => Buffer.byteLength(JSON.stringify(one))));
      for (const maxBytes of [1, 200, 700, 1_500, 2_500, 6_500, 100_000]) {
        const found: Message[] = [];
        for (let after = 0; after < sizes.length; ) {
          const page = await store.log.read(ANNA, { after, limit: 100, maxBytes });
          const next = messages[page.position];
          expect(page.messages.length).toBeGreaterThan(0);
          expect(page.messages.length === 1 || bytesOf(page.messages) <= maxBytes).toBe(true);
          expect(next === undefined || bytesOf([...page.messages, next]) > maxBytes).toBe(true);
          found.push(...page.messages);
          after = page.position;
        }
        expect(found).toStrictEqual(messages);
      }
    });

    it('keeps to `limit` where `maxBytes` would allow more', async () => {
      const { store } = await openWithMessages(open, 5);
      const page = await store.log.read(ANNA, { after: 1, limit: 2, maxBytes: 1e9 });
      expect(seqsOf(page.messages)).toEqual([2, 3]);
      expect(page.position).toBe(3);
    });

    it('sees every append whose promise has resolved', async () => {
      const store = await open();
      const appendAndRead = async () => {
        const message = await append(store, draft());
        const { messages, head } = await store.log.read(ANNA, { after: message.seq - 1, limit: 1 });
        expect(messages).toStrictEqual([message]);
        expect(head).toBeGreaterThanOrEqual(message.seq);
        expect(await store.log.head(ANNA)).toBeGreaterThanOrEqual(message.seq);
      };
      for (let n = 0; n < 50; n += 1) await appendAndRead();
      await Promise.all(range(1, 300).map(appendAndRead));
    });

    it('never gives a seq whose predecessor may still come', async () => {
      const store = await open();
      const total = 600;
      const appending = appendAll(store, draftsOf(total));
      const seen: number[] = [];
      while (seen.length < total) {
        const after = seen.at(-1) ?? 0;
        const { messages, position, head } = await store.log.read(ANNA, { after, limit: 50 });
        expect(seqsOf(messages)).toEqual(range(after + 1, position));
        expect(position).toBeLessThanOrEqual(head);
        seen.push(...seqsOf(messages));
        // The appends run beside this loop only when it yields.
        await new Promise((resolve) => setImmediate(resolve));
      }
      await appending;
    });
  });
}

function describeHistory(open: Open): void {
  describe('history', () => {
    it('returns the oldest messages after `after`, otherwise the newest before `before`, in the order of seq', async () => {
      const { store, messages } = await openWithMessages(open, 12);
      for (const after of [undefined, 0, 1, 5, 11, 12, 20]) {
        for (const before of [undefined, 1, 2, 6, 12, 13, 20]) {
          for (const limit of [1, 2, 5, 12, 100]) {
            const between = messages.filter(
              ({ seq }) => seq > (after ?? 0) && seq < (before ?? Number.POSITIVE_INFINITY),
            );
            const expected = after === undefined ? between.slice(-limit) : between.slice(0, limit);
            const options: HistoryOptions = {
              limit,
              ...(after === undefined ? {} : { after }),
              ...(before === undefined ? {} : { before }),
            };
            expect([options, await historyOf(store, ANNA, options)]).toStrictEqual([options, expected]);
          }
        }
      }
    });

    it('of a topic without messages is empty', async () => {
      const { store } = await openWithMessages(open, 0);
      expect(await historyOf(store, ANNA, { limit: 10 })).toEqual([]);
      expect(await historyOf(store, ANNA, { after: 0, limit: 10 })).toEqual([]);
      expect(await historyOf(store, ANNA, { before: 5, limit: 10 })).toEqual([]);
    });

    it('returns what is left after a removal', async () => {
      const store = await open();
      await appendAll(
        store,
        range(1, 10).map((n) => draft({ timestamp: second(n) })),
      );
      await store.log.prune(milliseconds(5), 100);
      expect(seqsOf(await historyOf(store, ANNA, { limit: 100 }))).toEqual(range(5, 10));
      expect(seqsOf(await historyOf(store, ANNA, { limit: 3, after: 0 }))).toEqual(range(5, 7));
      expect(seqsOf(await historyOf(store, ANNA, { limit: 100, before: 7 }))).toEqual([5, 6]);
      expect(await historyOf(store, ANNA, { limit: 100, before: 5 })).toEqual([]);
    });
  });
}

/** How many messages wait for anna, and how many broadcasts there are. */
async function appendWaiting(store: Store, waiting: { personal?: number; broadcast?: number }): Promise<void> {
  await appendAll(store, [
    ...draftsOf(waiting.personal ?? 0),
    ...draftsOf(waiting.broadcast ?? 0, { topic: BROADCAST_TOPIC }),
  ]);
}

function describeDevices(open: Open): void {
  describe('openDevice', () => {
    it('starts the first device of a user at the beginning of the personal topic and the head of broadcasts', async () => {
      const store = await open();
      await appendWaiting(store, { personal: 150, broadcast: 130 });
      expect(await placesOf(store, 'anna', 'phone')).toEqual(places('anna', 0, 130));
    });

    it('starts a user without any message at 0', async () => {
      const store = await open();
      expect(await placesOf(store, 'anna', 'phone')).toEqual(places('anna', 0, 0));
    });

    it('starts a further device at most 100 unread messages before the heads', async () => {
      const store = await open();
      await appendWaiting(store, { personal: 50, broadcast: 20 });
      await store.devices.open('anna', 'phone');
      expect(await placesOf(store, 'anna', 'second')).toEqual(places('anna', [0, 50], 20));
      await appendWaiting(store, { personal: FURTHER_DEVICE_MESSAGES, broadcast: FURTHER_DEVICE_MESSAGES + 1 });
      expect(await placesOf(store, 'anna', 'third')).toEqual(places('anna', [50, 150], [21, 121]));
    });

    it('gives no broadcast to a further device from before its user was first seen', async () => {
      const store = await open();
      await appendWaiting(store, { broadcast: 90 });
      await store.devices.open('anna', 'phone');
      await appendWaiting(store, { broadcast: 5 });
      expect(await placesOf(store, 'anna', 'laptop')).toEqual(places('anna', 0, [90, 95]));
    });

    it('gives a device that is known its own cursors', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await store.devices.open('anna', 'laptop');
      await appendWaiting(store, { personal: 300, broadcast: 300 });
      await store.devices.saveCursors([{ userId: 'anna', device: 'phone', topic: ANNA, seq: 7, at: 1 }]);
      expect(await placesOf(store, 'anna', 'phone')).toEqual(places('anna', 7, 0));
      expect(await placesOf(store, 'anna', 'laptop')).toEqual(places('anna', 0, 0));
    });

    it('remembers the device after the store was closed and opened', async () => {
      const first = await open();
      await first.devices.open('anna', 'phone');
      await appendWaiting(first, { personal: 300, broadcast: 10 });
      const laptop = await first.devices.open('anna', 'laptop');
      await first.close();
      const second = await open();
      await appendWaiting(second, { personal: 300, broadcast: 300 });
      expect(await placesOf(second, 'anna', 'phone')).toEqual(places('anna', 0, 0));
      expect(await second.devices.open('anna', 'laptop')).toEqual(laptop);
    });

    it('enters one device once, however many callers ask at once', async () => {
      const store = await open();
      await appendWaiting(store, { personal: 300, broadcast: 300 });
      const answers = await Promise.all(
        range(1, 60).map(async (n) => {
          if (n % 3 === 0) await appendWaiting(store, { personal: 1, broadcast: 1 });
          return store.devices.open('anna', 'phone');
        }),
      );
      const [first] = answers;
      expect(first?.get(ANNA)?.seq).toBe(0);
      expect(first?.get(BROADCAST_TOPIC)?.seq).toBeGreaterThanOrEqual(300);
      for (const answer of answers) expect(answer).toEqual(first);
    });

    it('makes exactly one of many devices at once the first one', async () => {
      const store = await open();
      await appendWaiting(store, { personal: 300, broadcast: 300 });
      const devices = range(1, 50).map((n) => `device ${n}`);
      const opened = await Promise.all(devices.map((device) => placesOf(store, 'anna', device)));
      const further = devices.slice(1).map(() => places('anna', [200, 300], 300));
      expect(opened.toSorted((one, other) => (one[ANNA] === 0 ? -1 : Number(other[ANNA] === 0)))).toEqual([
        places('anna', 0, 300),
        ...further,
      ]);
      expect(await Promise.all(devices.map((device) => placesOf(store, 'anna', device)))).toEqual(opened);
    });
  });
}

function describeCursors(open: Open): void {
  describe('saveCursors', () => {
    const at = (seq: number, place: Partial<Cursor> = {}): Cursor => ({
      userId: 'anna',
      device: 'phone',
      topic: ANNA,
      seq,
      at: 1,
      ...place,
    });

    it('moves each cursor by itself, and keeps it', async () => {
      const first = await open();
      for (const device of ['phone', 'laptop']) await first.devices.open('anna', device);
      await first.devices.open('ben', 'phone');
      await first.devices.saveCursors([
        at(3),
        at(4, { topic: BROADCAST_TOPIC }),
        at(5, { device: 'laptop' }),
        at(6, { userId: 'ben', topic: '@ben' }),
      ]);
      const expectPlaces = async (store: Store) => {
        expect(await placesOf(store, 'anna', 'phone')).toEqual(places('anna', 3, 4));
        expect(await placesOf(store, 'anna', 'laptop')).toEqual(places('anna', 5, 0));
        expect(await placesOf(store, 'ben', 'phone')).toEqual(places('ben', 6, 0));
      };
      await expectPlaces(first);
      await first.close();
      await expectPlaces(await open());
    });

    it('leaves one that would move backwards', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      for (const seq of [5, 4, 5, 0]) {
        await store.devices.saveCursors([at(seq)]);
        expect((await store.devices.open('anna', 'phone')).get(ANNA)?.seq).toBe(5);
      }
      await store.devices.saveCursors([at(8), at(6), at(7)]);
      expect((await store.devices.open('anna', 'phone')).get(ANNA)?.seq).toBe(8);
    });

    it('ends at the highest of many that come at once in any order', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      // 7 and 101 have no common factor: every number from 0 to 100 once, in disorder.
      await Promise.all(range(0, 100).map((n) => store.devices.saveCursors([at((n * 7) % 101)])));
      expect((await store.devices.open('anna', 'phone')).get(ANNA)?.seq).toBe(100);
    });

    it('ignores unknown devices, and does not make them known', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await appendWaiting(store, { personal: 150 });
      await store.devices.saveCursors([at(9, { device: 'laptop' }), at(9, { userId: 'ben', topic: '@ben' }), at(2)]);
      expect(await store.users.get('ben')).toBeUndefined();
      expect(await placesOf(store, 'anna', 'phone')).toEqual(places('anna', 2, 0));
      expect(await placesOf(store, 'anna', 'laptop')).toEqual(places('anna', [50, 150], 0));
      expect(await placesOf(store, 'ben', 'phone')).toEqual(places('ben', 0, 0));
    });

    it('takes an empty list', async () => {
      const store = await open();
      await expect(store.devices.saveCursors([])).resolves.toBeUndefined();
    });
  });
}

function describeUsers(open: Open): void {
  describe('users', () => {
    it('are unknown until they connect, and keep where broadcasts began for them', async () => {
      const store = await open();
      expect(await store.users.get('anna')).toBeUndefined();
      await appendWaiting(store, { broadcast: 4 });
      await store.devices.open('anna', 'phone');
      expect(await store.users.get('anna')).toEqual({ broadcastStart: 4 });
      await appendWaiting(store, { broadcast: 200 });
      await store.devices.open('anna', 'laptop');
      expect(await store.users.get('anna')).toEqual({ broadcastStart: 4 });
    });

    it('have a time at which they were last seen', async () => {
      const first = await open();
      await appendWaiting(first, { broadcast: 4 });
      for (const user of ['anna', 'ben', 'carl']) await first.devices.open(user, 'phone');
      await first.users.saveLastSeen(
        new Map([
          ['anna', 1_000],
          ['ben', 2_000],
        ]),
      );
      await first.users.saveLastSeen(new Map([['anna', 3_000]]));
      await first.close();
      const second = await open();
      expect(await second.users.get('anna')).toEqual({ broadcastStart: 4, lastSeenAt: 3_000 });
      expect(await second.users.get('ben')).toEqual({ broadcastStart: 4, lastSeenAt: 2_000 });
      expect(await second.users.get('carl')).toEqual({ broadcastStart: 4 });
    });

    it('that are unknown are ignored when last-seen times are saved', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await store.users.saveLastSeen(
        new Map([
          ['nobody', 1],
          ['anna', 2],
          ['__proto__', 3],
        ]),
      );
      expect(await store.users.get('anna')).toEqual({ broadcastStart: 0, lastSeenAt: 2 });
      expect(await store.users.get('nobody')).toBeUndefined();
      expect(await store.users.get('__proto__')).toBeUndefined();
      await expect(store.users.saveLastSeen(new Map())).resolves.toBeUndefined();
    });
  });
}

const namesOf = (topics: readonly Topic[]) => topics.map(({ name }) => name);

function describeTopics(open: Open): void {
  describe('named topics', () => {
    it('are created with their owner as the first member, and kept', async () => {
      const first = await open();
      const topics = [topicOf('sea', { isPrivate: true }), topicOf('land', { owner: 'ben' })];
      for (const topic of topics) {
        expect(await first.topics.get(topic.name)).toBeUndefined();
        expect(await first.topics.create(topic, PLENTY)).toStrictEqual({ outcome: 'joined', start: 0 });
      }
      await first.close();
      const second = await open();
      for (const topic of topics) {
        expect(await second.topics.get(topic.name)).toStrictEqual(topic);
        expect(await membersOf(second, topic.name)).toStrictEqual([{ userId: topic.owner, joinedAt: topic.createdAt }]);
      }
    });

    it('are created once', async () => {
      const store = await open();
      const topic = await createTopic(store, 'sea');
      const other = topicOf('sea', { owner: 'ben', isPrivate: true });
      expect(await store.topics.create(other, PLENTY)).toStrictEqual({ outcome: 'taken' });
      expect(await store.topics.get('sea')).toStrictEqual(topic);
      expect(await store.topics.isMember('sea', 'ben')).toBe(false);
    });

    it('are created once by many at once', async () => {
      const store = await open();
      const owners = range(1, 40).map((n) => `owner ${n}`);
      const answers = await Promise.all(owners.map((owner) => store.topics.create(topicOf('sea', { owner }), PLENTY)));
      const outcomes = answers.map(({ outcome }) => outcome);
      expect(outcomes.filter((outcome) => outcome === 'joined')).toHaveLength(1);
      expect(outcomes.filter((outcome) => outcome === 'taken')).toHaveLength(39);
      const owner = owners[outcomes.indexOf('joined')];
      expect((await store.topics.get('sea'))?.owner).toBe(owner);
      expect((await membersOf(store, 'sea')).map(({ userId }) => userId)).toEqual([owner]);
    });

    it('are refused to a user who is in as many as allowed, also of many at once', async () => {
      const store = await open();
      const answers = await Promise.all(range(1, 10).map((n) => store.topics.create(topicOf(`topic ${n}`), 3)));
      expect(answers.map(({ outcome }) => outcome)).toEqual([
        ...['joined', 'joined', 'joined'],
        ...range(4, 10).map(() => 'too_many'),
      ]);
      expect(namesOf(await topicsOf(store, 'ben'))).toEqual(['topic 1', 'topic 2', 'topic 3']);
      expect(await store.topics.get('topic 4')).toBeUndefined();
      expect(await store.topics.create(topicOf('topic 4', { owner: 'ben' }), 3)).toMatchObject({ outcome: 'joined' });
    });

    it('are visible to their members, and public ones to all, by name', async () => {
      const store = await open();
      for (const name of ['sea', 'air', 'land']) await createTopic(store, name, { owner: 'carl' });
      for (const name of ['secret', 'cave']) await createTopic(store, name, { isPrivate: true });
      await store.topics.addMember('cave', member('ben'), PLENTY);
      expect(namesOf(await topicsOf(store, 'anna'))).toEqual(['air', 'cave', 'land', 'sea', 'secret']);
      expect(namesOf(await topicsOf(store, 'ben'))).toEqual(['air', 'cave', 'land', 'sea']);
      expect(namesOf(await topicsOf(store, 'nobody'))).toEqual(['air', 'land', 'sea']);
    });

    it('are removed with their memberships and cursors', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await createTopic(store, 'sea', { isPrivate: true });
      await store.topics.addMember('sea', member('ben'), PLENTY);
      await createTopic(store, 'land');
      expect(await store.topics.delete('sea')).toBe(2);
      expect(await store.topics.get('sea')).toBeUndefined();
      expect(await membersOf(store, 'sea')).toEqual([]);
      expect(await store.topics.isMember('sea', 'ben')).toBe(false);
      expect(namesOf(await topicsOf(store, 'anna'))).toEqual(['land']);
      expect([...(await store.devices.open('anna', 'phone')).keys()].toSorted()).toEqual([
        '*',
        '@anna',
        'land',
        '~anna',
      ]);
      expect(await store.topics.delete('sea')).toBeUndefined();
    });

    it('are removed for one of many callers at once', async () => {
      const store = await open();
      await createTopic(store, 'sea');
      const answers = await Promise.all(range(1, 20).map(() => store.topics.delete('sea')));
      expect(answers.filter((answer) => answer !== undefined)).toEqual([1]);
    });

    it('that are created again continue their seq, and show no earlier messages', async () => {
      const first = await open();
      await createTopic(first, 'sea');
      await appendAll(first, draftsOf(3, { topic: 'sea' }));
      await first.topics.delete('sea');
      const again = topicOf('sea', { owner: 'ben' });
      expect(await first.topics.create(again, PLENTY)).toStrictEqual({ outcome: 'joined', start: 3 });
      const message = await append(first, draft({ topic: 'sea' }));
      expect(message.seq).toBe(4);
      const expectNew = async (store: Store) => {
        const page = { messages: [message], position: 4, head: 4, prunedUpTo: 3, erasedUpTo: 0 };
        expect(await store.log.read('sea', { after: 0, limit: 10 })).toStrictEqual(page);
        expect(await historyOf(store, 'sea', { limit: 10 })).toStrictEqual([message]);
        expect(await historyOf(store, 'sea', { after: 0, limit: 10 })).toStrictEqual([message]);
        expect(await historyOf(store, 'sea', { before: 4, limit: 10 })).toEqual([]);
      };
      await expectNew(first);
      await pruneAll(first, milliseconds(0), 2);
      await expectNew(first);
      await first.close();
      await expectNew(await open());
    });
  });
}

function describeMembers(open: Open): void {
  describe('members', () => {
    it('are listed by user id, with the time of joining', async () => {
      const store = await open();
      await createTopic(store, 'sea', { owner: 'mia' });
      for (const [userId, n] of [
        ['zoe', 1],
        ['anna', 2],
        ['ben', 3],
      ] as const) {
        expect(await store.topics.addMember('sea', member(userId, n), PLENTY)).toStrictEqual({
          outcome: 'joined',
          start: 0,
        });
      }
      const expected = [member('anna', 2), member('ben', 3), member('mia', 0), member('zoe', 1)];
      expect(await membersOf(store, 'sea')).toStrictEqual(expected);
      expect(await membersOf(store, 'nowhere')).toEqual([]);
    });

    it('join once', async () => {
      const store = await open();
      await createTopic(store, 'sea');
      await store.topics.addMember('sea', member('ben', 1), PLENTY);
      await store.devices.open('ben', 'phone');
      await appendAll(store, draftsOf(5, { topic: 'sea' }));
      expect(await store.topics.addMember('sea', member('ben', 9), PLENTY)).toStrictEqual({ outcome: 'member' });
      expect(await membersOf(store, 'sea')).toStrictEqual([member('anna', 0), member('ben', 1)]);
      expect((await store.devices.open('ben', 'phone')).get('sea')?.seq).toBe(0);
      const answers = await Promise.all(
        range(1, 20).map((n) => store.topics.addMember('sea', member('carl', n), PLENTY)),
      );
      expect(answers.filter(({ outcome }) => outcome === 'joined')).toEqual([{ outcome: 'joined', start: 5 }]);
    });

    it('cannot join a topic that does not exist, nor more than allowed', async () => {
      const store = await open();
      expect(await store.topics.addMember('sea', member('ben'), PLENTY)).toStrictEqual({ outcome: 'no_topic' });
      expect(await store.topics.isMember('sea', 'ben')).toBe(false);
      for (const n of range(1, 9)) await createTopic(store, `topic ${n}`);
      const answers = await Promise.all(range(1, 9).map((n) => store.topics.addMember(`topic ${n}`, member('ben'), 4)));
      expect(answers.filter(({ outcome }) => outcome === 'joined')).toHaveLength(4);
      expect(answers.filter(({ outcome }) => outcome === 'too_many')).toHaveLength(5);
      const isMember = await Promise.all(range(1, 9).map((n) => store.topics.isMember(`topic ${n}`, 'ben')));
      expect(isMember).toEqual(answers.map(({ outcome }) => outcome === 'joined'));
      const [known] = range(1, 9).filter((n) => isMember[n - 1]);
      expect(await store.topics.addMember(`topic ${known}`, member('ben'), 4)).toStrictEqual({ outcome: 'member' });
    });

    it('have all their cursors at the head when they join', async () => {
      const store = await open();
      for (const device of ['phone', 'laptop']) await store.devices.open('ben', device);
      await createTopic(store, 'sea');
      await appendAll(store, draftsOf(150, { topic: 'sea' }));
      expect(await store.topics.addMember('sea', member('ben'), PLENTY)).toStrictEqual({
        outcome: 'joined',
        start: 150,
      });
      for (const device of ['phone', 'laptop']) {
        expect(await placesOf(store, 'ben', device)).toEqual({ ...places('ben', 0, 0), sea: 150 });
      }
    });

    it('receive messages from then on: the first device all of them, a further one at most 100', async () => {
      const store = await open();
      await createTopic(store, 'sea');
      await appendAll(store, draftsOf(10, { topic: 'sea' }));
      await store.topics.addMember('sea', member('ben'), PLENTY);
      await appendAll(store, draftsOf(150, { topic: 'sea' }));
      expect((await store.devices.open('ben', 'phone')).get('sea')?.seq).toBe(10);
      expect((await store.devices.open('ben', 'laptop')).get('sea')?.seq).toBe(60);
      await store.topics.addMember('sea', member('carl'), PLENTY);
      await appendAll(store, draftsOf(20, { topic: 'sea' }));
      expect((await store.devices.open('carl', 'phone')).get('sea')?.seq).toBe(160);
      expect((await store.devices.open('carl', 'laptop')).get('sea')?.seq).toBe(160);
    });

    it('move their cursors in the topic as in any other', async () => {
      const first = await open();
      await createTopic(first, 'sea');
      await first.devices.open('anna', 'phone');
      await first.devices.saveCursors([{ userId: 'anna', device: 'phone', topic: 'sea', seq: 7, at: 1 }]);
      await first.devices.saveCursors([{ userId: 'anna', device: 'phone', topic: 'sea', seq: 6, at: 2 }]);
      await first.close();
      expect((await (await open()).devices.open('anna', 'phone')).get('sea')?.seq).toBe(7);
    });

    it('begin at the head when they come back and nothing was sent during their membership', async () => {
      const store = await open();
      await createTopic(store, 'sea');
      await store.devices.open('ben', 'phone');
      await store.topics.addMember('sea', member('ben'), PLENTY);
      expect(await store.topics.removeMember('sea', 'ben')).toBe(true);
      expect(await store.topics.removeMember('sea', 'ben')).toBe(false);
      expect(await store.topics.removeMember('nowhere', 'ben')).toBe(false);
      expect(await store.topics.isMember('sea', 'ben')).toBe(false);
      await store.devices.saveCursors([{ userId: 'ben', device: 'phone', topic: 'sea', seq: 9, at: 1 }]);
      expect(await placesOf(store, 'ben', 'phone')).toEqual(places('ben', 0, 0));
      expect(await placesOf(store, 'ben', 'laptop')).toEqual(places('ben', 0, 0));
      await appendAll(store, draftsOf(5, { topic: 'sea' }));
      expect(await store.topics.addMember('sea', member('ben'), PLENTY)).toStrictEqual({ outcome: 'joined', start: 5 });
      expect((await store.devices.open('ben', 'phone')).get('sea')?.seq).toBe(5);
      expect(await store.topics.isMember('sea', 'anna')).toBe(true);
    });

    it('may have any name, and none is taken for another', async () => {
      const store = await open();
      await createTopic(store, 'all', { owner: '__proto__' });
      for (const [index, name] of NAMES.entries()) {
        await createTopic(store, `topic-${index}`, { isPrivate: true, owner: name });
        if (name !== '__proto__') await store.topics.addMember('all', member(name), PLENTY);
      }
      expect((await membersOf(store, 'all')).map(({ userId }) => userId).toSorted()).toEqual(NAMES.toSorted());
      for (const [index, name] of NAMES.entries()) {
        expect((await membersOf(store, `topic-${index}`)).map(({ userId }) => userId)).toEqual([name]);
        expect(namesOf(await topicsOf(store, name))).toEqual(['all', `topic-${index}`]);
        expect([...(await store.devices.open(name, name)).keys()].toSorted()).toEqual(
          ['*', personalTopic(name), stateTopic(name), 'all', `topic-${index}`].toSorted(),
        );
      }
      for (const name of NAMES) expect(await store.topics.removeMember('all', name)).toBe(true);
      expect(await membersOf(store, 'all')).toEqual([]);
      for (const [index, name] of NAMES.entries())
        expect(await store.topics.isMember(`topic-${index}`, name)).toBe(true);
    });
  });
}

/** One message for each number, that many seconds old. */
function appendAtSeconds(store: Store, seconds: readonly number[], topic = ANNA): Promise<Message[]> {
  return appendAll(
    store,
    seconds.map((n) => draft({ topic, timestamp: second(n) })),
  );
}

function describePrune(open: Open): void {
  describe('prune', () => {
    it('removes from the beginning of each topic up to the first message that is younger', async () => {
      const store = await open();
      await appendAtSeconds(store, [1, 2, 9, 3, 9]);
      await appendAtSeconds(store, [9, 1], '@ben');
      await appendAtSeconds(store, [3, 4, 4.999, 5], '@carl');
      expect(await store.log.prune(milliseconds(5), 100)).toBe(5);
      expect(seqsOf(await readAll(store))).toEqual([3, 4, 5]);
      expect(seqsOf(await readAll(store, '@ben'))).toEqual([1, 2]);
      expect(seqsOf(await readAll(store, '@carl'))).toEqual([4]);
    });

    it('reports to readers up to where messages are gone', async () => {
      const store = await open();
      await appendAtSeconds(store, [1, 2, 3, 9, 9]);
      await store.log.prune(milliseconds(5), 100);
      const page = await store.log.read(ANNA, { after: 0, limit: 1 });
      expect(page).toMatchObject({ position: 4, head: 5, prunedUpTo: 3 });
      expect(seqsOf(page.messages)).toEqual([4]);
    });

    it('removes nothing where nothing is old', async () => {
      const store = await open();
      expect(await store.log.prune(milliseconds(5), 100)).toBe(0);
      await appendAtSeconds(store, [5, 6]);
      expect(await store.log.prune(milliseconds(5), 100)).toBe(0);
      expect(await store.log.read(ANNA, { after: 0, limit: 5 })).toMatchObject({ head: 2, prunedUpTo: 0 });
    });

    it('removes at most `limit`, and fewer only when nothing is left to remove', async () => {
      const store = await open();
      for (const topic of [ANNA, '@ben', '@carl']) await appendAtSeconds(store, [1, 1, 1, 1, 1, 1, 1, 9], topic);
      expect(await pruneAll(store, milliseconds(5), 4)).toEqual([4, 4, 4, 4, 4, 1]);
      for (const topic of [ANNA, '@ben', '@carl']) expect(seqsOf(await readAll(store, topic))).toEqual([8]);
      expect(await store.log.prune(milliseconds(5), 4)).toBe(0);
    });

    it('reaches every one of many topics', async () => {
      const store = await open();
      const topics = range(1, 450).map((n) => `@user ${n}`);
      await forMany(topics, (topic) => appendAtSeconds(store, [1, 9], topic));
      expect(sum(await pruneAll(store, milliseconds(5), 100))).toBe(450);
      for (const topic of topics) expect(seqsOf(await readAll(store, topic))).toEqual([2]);
    });

    it('reaches every topic although an earlier removal was not finished', async () => {
      const store = await open();
      for (const topic of ['@a', '@b', '@c']) await appendAtSeconds(store, [1, 1, 3, 9], topic);
      expect(await store.log.prune(milliseconds(2), 3)).toBe(3);
      // Later the bound is another one: @a, which was done for the first bound, has something to remove again.
      expect(await store.log.prune(milliseconds(5), 100)).toBe(6);
      for (const topic of ['@a', '@b', '@c']) expect(seqsOf(await readAll(store, topic))).toEqual([4]);
    });

    it('counts each message once when it is called by two at once', async () => {
      const store = await open();
      for (const topic of ['@a', '@b', '@c']) await appendAtSeconds(store, [1, 1, 1, 9], topic);
      const removed = await Promise.all([store.log.prune(milliseconds(5), 100), store.log.prune(milliseconds(5), 100)]);
      expect(sum(removed)).toBe(9);
    });

    it('lets appends go on meanwhile', async () => {
      const store = await open();
      await appendAtSeconds(
        store,
        Array.from({ length: 1_000 }, () => 1),
      );
      const [chunks] = await Promise.all([
        pruneAll(store, milliseconds(5), 50),
        ...range(1, 200).map(() => appendAtSeconds(store, [9])),
      ]);
      expect(sum(chunks)).toBe(1_000);
      expect(seqsOf(await readAll(store))).toEqual(range(1_001, 1_200));
    });

    it('never has a seq given again, even after everything was removed', async () => {
      const first = await open();
      await appendAtSeconds(first, [1, 2, 3]);
      expect(await first.log.prune(milliseconds(5), 100)).toBe(3);
      const empty = { messages: [], position: 3, head: 3, prunedUpTo: 3, erasedUpTo: 0 };
      expect(await first.log.read(ANNA, { after: 0, limit: 5 })).toStrictEqual(empty);
      expect(await first.log.head(ANNA)).toBe(3);
      expect((await append(first, draft({ timestamp: second(4) }))).seq).toBe(4);
      await first.log.prune(milliseconds(5), 100);
      await first.close();
      const second_ = await open();
      expect((await append(second_, draft())).seq).toBe(5);
      expect(await second_.log.read(ANNA, { after: 0, limit: 5 })).toMatchObject({
        position: 5,
        head: 5,
        prunedUpTo: 4,
      });
    });

    it('frees the ids of clients with their messages, and no other', async () => {
      const store = await open();
      const owners = [owned('gone', { timestamp: second(1) }), owned('kept', { timestamp: second(9) })];
      const [, kept] = await appendAll(store, owners);
      await store.log.prune(milliseconds(5), 100);
      expect(await store.log.append(owned('kept'))).toStrictEqual({ outcome: 'repeated', message: kept });
      const again = await append(store, owned('gone', { data: 'other', timestamp: second(9) }));
      expect(again.seq).toBe(3);
      expect(await store.log.append(owned('gone', { data: 'other' }))).toStrictEqual({
        outcome: 'repeated',
        message: again,
      });
    });

    it('keeps the id of a client when a message goes that only looks like its own', async () => {
      const store = await open();
      const kept = await append(store, owned('x', { topic: '@ben', timestamp: second(9) }));
      await append(store, draft({ id: 'x', timestamp: second(1) }));
      await append(store, owned('x', { from: 'other', timestamp: second(1) }));
      expect(await store.log.prune(milliseconds(5), 100)).toBe(2);
      expect(await store.log.append(owned('x', { topic: '@ben' }))).toStrictEqual({
        outcome: 'repeated',
        message: kept,
      });
    });

    it('leaves cursors and users unchanged', async () => {
      const store = await open();
      await appendAtSeconds(store, [1, 1, 1]);
      await store.devices.open('anna', 'phone');
      await store.devices.saveCursors([{ userId: 'anna', device: 'phone', topic: ANNA, seq: 1, at: 1 }]);
      await store.log.prune(milliseconds(5), 100);
      expect(await placesOf(store, 'anna', 'phone')).toEqual(places('anna', 1, 0));
    });
  });
}

/** Calls that every engine may refuse, and must refuse in one way. */
const ENDLESS_CALLS: [string, (store: Store) => Promise<unknown>][] = [
  ['append to a topic', (store) => store.log.append(draft({ topic: personalTopic(ENDLESS) }))],
  ['append with an id of the client', (store) => store.log.append(owned(ENDLESS))],
  ['append from a sender', (store) => store.log.append(owned('x', { from: ENDLESS }))],
  ['read', (store) => store.log.read(ENDLESS, { after: 0, limit: 1 })],
  ['history', (store) => store.log.history(ENDLESS, { limit: 1 })],
  ['head', (store) => store.log.head(ENDLESS)],
  ['openDevice of a user', (store) => store.devices.open(ENDLESS, 'phone')],
  ['openDevice', (store) => store.devices.open('carl', ENDLESS)],
  ['saveCursors', (store) => store.devices.saveCursors([cursorOfPhone(9), { ...cursorOfPhone(9), device: ENDLESS }])],
  ['user', (store) => store.users.get(ENDLESS)],
  ['saveLastSeen', (store) => store.users.saveLastSeen(new Map([...lastSeenOfAnna, [ENDLESS, 1]]))],
  ['createTopic', (store) => store.topics.create(topicOf(ENDLESS), PLENTY)],
  ['createTopic of a user', (store) => store.topics.create(topicOf('sea', { owner: ENDLESS }), PLENTY)],
  ['topic', (store) => store.topics.get(ENDLESS)],
  ['visibleTopics', (store) => topicsOf(store, ENDLESS)],
  ['deleteTopic', (store) => store.topics.delete(ENDLESS)],
  ['addMember', (store) => store.topics.addMember('land', member(ENDLESS), PLENTY)],
  ['removeMember', (store) => store.topics.removeMember('land', ENDLESS)],
  ['isMember', (store) => store.topics.isMember('land', ENDLESS)],
  ['members', (store) => membersOf(store, ENDLESS)],
];

const lastSeenOfAnna: ReadonlyMap<string, number> = new Map([['anna', 99]]);

function cursorOfPhone(seq: number): Cursor {
  return { userId: 'anna', device: 'phone', topic: ANNA, seq, at: 1 };
}

function describeFailures(open: Open): void {
  describe('a method that fails', () => {
    const circular: unknown[] = [];
    circular.push(circular);

    it.each<[string, unknown]>([
      ['a BigInt', 1n],
      ['a circle', circular],
    ])('throws StoreError and stores nothing: data with %s', async (_name, data) => {
      const store = await open();
      await expect(store.log.append(owned('x', { data }))).rejects.toBeInstanceOf(StoreError);
      expect(await store.log.read(ANNA, { after: 0, limit: 5 })).toMatchObject({ messages: [], head: 0 });
      expect((await append(store, owned('x'))).seq).toBe(1);
    });

    it('affects no other that runs at the same time', async () => {
      const store = await open();
      const all = range(1, 30).map((n) => draft({ data: n % 3 === 0 ? BigInt(n) : n }));
      const answers = await Promise.allSettled(all.map((one) => store.log.append(one)));
      expect(answers.filter(({ status }) => status === 'rejected')).toHaveLength(10);
      const kept = all.filter(({ data }) => typeof data === 'number');
      expect(await readAll(store)).toStrictEqual(kept.map((one, index) => toMessage(index + 1, one)));
    });

    it.each(ENDLESS_CALLS)(
      'throws StoreError and has changed nothing: %s with an endless name',
      async (_name, call) => {
        const store = await open();
        const { seq } = await append(store, draft());
        await createTopic(store, 'land');
        await store.devices.open('anna', 'phone');
        const look = async () => [
          await readAll(store),
          await store.devices.open('anna', 'phone'),
          await Promise.all(['anna', 'carl'].map((user) => store.users.get(user))),
          await topicsOf(store, 'anna'),
          await membersOf(store, 'land'),
        ];
        const before = await look();
        const outcome = await call(store).then(
          () => 'done',
          (error: unknown) => error,
        );
        // An engine that can take such a name may take it.
        if (outcome === 'done') return;
        expect(outcome).toBeInstanceOf(StoreError);
        expect(await look()).toEqual(before);
        expect((await append(store, owned('x'))).seq).toBe(seq + 1);
      },
    );
  });
}

const CALLS: [string, (store: Store) => Promise<unknown>][] = [
  ['append', (store) => store.log.append(draft())],
  ['read', (store) => store.log.read(ANNA, { after: 0, limit: 1 })],
  ['history', (store) => store.log.history(ANNA, { limit: 1 })],
  ['head', (store) => store.log.head(ANNA)],
  ['openDevice of a new device', (store) => store.devices.open('anna', 'laptop')],
  ['openDevice of a known device', (store) => store.devices.open('anna', 'phone')],
  ['saveCursors', (store) => store.devices.saveCursors([cursorOfPhone(1)])],
  ['saveCursors of none', (store) => store.devices.saveCursors([])],
  ['user', (store) => store.users.get('anna')],
  ['saveLastSeen', (store) => store.users.saveLastSeen(lastSeenOfAnna)],
  ['saveLastSeen of none', (store) => store.users.saveLastSeen(new Map())],
  ['createTopic', (store) => store.topics.create(topicOf('sea'), PLENTY)],
  ['topic', (store) => store.topics.get('land')],
  ['visibleTopics', (store) => topicsOf(store, 'anna')],
  ['deleteTopic', (store) => store.topics.delete('land')],
  ['addMember', (store) => store.topics.addMember('land', member('ben'), PLENTY)],
  ['removeMember', (store) => store.topics.removeMember('land', 'anna')],
  ['isMember', (store) => store.topics.isMember('land', 'anna')],
  ['members', (store) => membersOf(store, 'land')],
  ['prune', (store) => store.log.prune(milliseconds(5), 10)],
  ['probe', (store) => store.probe()],
];

function describeClose(open: Open): void {
  describe('close', () => {
    it.each(CALLS)('makes later calls throw StoreError: %s', async (_name, call) => {
      const store = await open();
      await appendAtSeconds(store, [1]);
      await createTopic(store, 'land');
      await store.devices.open('anna', 'phone');
      await store.close();
      await expect(call(store)).rejects.toBeInstanceOf(StoreError);
    });

    it('done twice does nothing', async () => {
      const store = await open();
      await append(store, draft());
      await store.close();
      await store.close();
      expect(await readAll(await open())).toHaveLength(1);
    });

    it('done twice at once does nothing', async () => {
      const store = await open();
      await append(store, draft());
      await Promise.all([store.close(), store.close()]);
      expect(await readAll(await open())).toHaveLength(1);
    });

    it('waits for what is in progress', async () => {
      const first = await open();
      // More than an engine is likely to write at once.
      const appending = Promise.all(draftsOf(2_500).map((one) => append(first, one)));
      const opening = first.devices.open('anna', 'phone');
      await first.close();
      const second = await open();
      expect(await readAll(second)).toStrictEqual(await appending);
      expect(await second.devices.open('anna', 'phone')).toEqual(await opening);
    });

    it('during a removal leaves a store that is intact', async () => {
      const first = await open();
      const topics = range(1, 30).map((n) => `@user ${n}`);
      await forMany(topics, (topic) => appendAtSeconds(first, [1, 1, 1, 9], topic));
      const removal = first.log.prune(milliseconds(5), 1_000).catch((error: unknown) => error);
      await first.close();
      const outcome = await removal;
      if (typeof outcome !== 'number') expect(outcome).toBeInstanceOf(StoreError);
      const second = await open();
      for (const topic of topics) {
        const { messages, prunedUpTo } = await second.log.read(topic, { after: 0, limit: 10 });
        expect(seqsOf(messages)).toEqual(range(prunedUpTo + 1, 4));
      }
      await pruneAll(second, milliseconds(5), 7);
      for (const topic of topics) expect(seqsOf(await readAll(second, topic))).toEqual([4]);
    });
  });

  describe('probe', () => {
    it('resolves while the store can be written, and is no message', async () => {
      const store = await open();
      await append(store, draft());
      await Promise.all(range(1, 100).map(() => store.probe()));
      expect(await readAll(store)).toHaveLength(1);
    });
  });

  describe('queuedWrites', () => {
    it('counts appends from the call to the answer', async () => {
      const store = await open();
      expect(store.queuedWrites).toBe(0);
      const appending = appendAll(store, draftsOf(5));
      expect(store.queuedWrites).toBe(5);
      await appending;
      expect(store.queuedWrites).toBe(0);
    });

    it('counts nothing that was requested from a closed store', async () => {
      const store = await open();
      await store.close();
      await expect(append(store, draft())).rejects.toThrow('closed');
      expect(store.queuedWrites).toBe(0);
    });
  });
}
