/** What every engine must do with inboxes: states, counts, and the list. */
import type { Draft, InboxPosition, InboxQuery, Store } from '../../services/storage/contract';
import type { Message, MessageState, RequestedState } from '../../utils/protocol';
import { BROADCAST_TOPIC } from '../../utils/topic-names';
import {
  ANNA,
  append,
  appendAll,
  createTopic,
  draft,
  draftsOf,
  mark,
  member,
  milliseconds,
  owned,
  PLENTY,
  range,
  readAll,
  type SettableClock,
  type Stage,
  type StoreHarness,
  second,
  seqsOf,
  setStage,
} from '../contracts/support';
import { type Random, seededRandom } from '../support/random';

/** Runs the suite; `makeHarness` is called once for each test and cleans up by onTestEnd. */
export function describeInboxContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`inboxes in the store, on ${name}:`, () => {
    const stage = setStage(makeHarness);
    describeStates(stage);
    describeSelections(stage);
    describeCounts(stage);
    describeList(stage);
    describePaging(stage);
    describeModel(stage);
  });
}

type Open = Stage['open'];

/** More than any list of these tests has. */
const MAX_PAGES = 5_000;

const STATES: readonly RequestedState[] = ['seen', 'read', 'unread', 'archived'];

async function stateOf(store: Store, { id }: Message, userId = 'anna'): Promise<MessageState | undefined> {
  const { items } = await store.inbox.list(userId, { state: 'any', limit: 1_000 });
  return items.find(({ message }) => message.id === id)?.state;
}

/** All pages of a list. */
async function listAll(store: Store, query: Partial<InboxQuery> = {}, userId = 'anna'): Promise<Message[]> {
  const found: Message[] = [];
  let after: InboxPosition | undefined;
  let pages = 0;
  do {
    const page = await store.inbox.list(userId, { limit: 1_000, ...query, after });
    found.push(...page.items.map(({ message }) => message));
    after = page.next;
    pages += 1;
    // A list that turns in a circle must not keep the test from failing.
    if (pages > MAX_PAGES) throw new Error(`the list goes on after ${pages} pages: ${JSON.stringify(after)}`);
  } while (after !== undefined);
  return found;
}

/** A user who has a device and is a member of a topic. */
async function openWithMember(open: Open): Promise<Store> {
  const store = await open();
  await store.devices.open('anna', 'phone');
  await createTopic(store, 'sea', { owner: 'ben' });
  await store.topics.addMember('sea', member('anna'), PLENTY);
  return store;
}

/** After which requests a message is in which state: the last one is applied to what those before it made. */
const TRANSITIONS: [RequestedState[], MessageState][] = [
  [[], 'unseen'],
  [['seen'], 'seen'],
  [['read'], 'read'],
  [['archived'], 'archived'],
  [['unread'], 'unseen'],
  [['seen', 'unread'], 'seen'],
  [['read', 'seen'], 'read'],
  [['read', 'unread'], 'seen'],
  [['archived', 'seen'], 'archived'],
  [['archived', 'unread'], 'seen'],
  [['archived', 'read'], 'read'],
  [['read', 'archived'], 'archived'],
  [['read', 'archived', 'unread'], 'seen'],
  [['read', 'archived', 'seen'], 'archived'],
  [['read', 'unread', 'read'], 'read'],
];

const COUNTS: Readonly<Record<MessageState, object>> = {
  unseen: { unseen: 1, unread: 1 },
  seen: { unseen: 0, unread: 1 },
  read: { unseen: 0, unread: 0 },
  archived: { unseen: 0, unread: 0 },
};

function describeStates({ open }: Stage): void {
  describe('the state of a message', () => {
    it.each(TRANSITIONS)('after %j is %s', async (requests, expected) => {
      const store = await openWithMember(open);
      const messages = await appendAll(store, [draft(), draft({ topic: BROADCAST_TOPIC }), draft({ topic: 'sea' })]);
      for (const message of messages) {
        const before = await store.inbox.counts('anna');
        for (const request of requests) await mark(store, 'anna', request, message);
        expect(await stateOf(store, message)).toBe(expected);
        const { unseen, unread } = await store.inbox.counts('anna');
        const own = { unseen: unseen - before.unseen + 1, unread: unread - before.unread + 1 };
        expect(own).toEqual(COUNTS[expected]);
      }
    });

    it('is kept when the store is closed and opened', async () => {
      const first = await open();
      const messages = await appendAll(first, draftsOf(4));
      for (const [index, message] of messages.entries()) await mark(first, 'anna', STATES[index] ?? 'seen', message);
      await first.close();
      const store = await open();
      const states = await Promise.all(messages.map((message) => stateOf(store, message)));
      expect(states).toEqual(['seen', 'read', 'unseen', 'archived']);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 2 });
    });

    it('belongs to one user', async () => {
      const store = await open();
      await store.devices.open('anna', 'phone');
      await store.devices.open('ann', 'phone');
      const message = await append(store, draft({ topic: BROADCAST_TOPIC }));
      await mark(store, 'anna', 'read', message);
      expect(await stateOf(store, message, 'anna')).toBe('read');
      expect(await stateOf(store, message, 'ann')).toBe('unseen');
      expect(await store.inbox.counts('ann')).toEqual({ unseen: 1, unread: 1 });
    });

    it('goes with the membership, and comes back with it', async () => {
      const store = await openWithMember(open);
      const message = await append(store, draft({ topic: 'sea' }));
      await mark(store, 'anna', 'read', message);
      await store.topics.removeMember('sea', 'anna');
      expect(await listAll(store, { state: 'any' })).toEqual([]);
      const meanwhile = await append(store, draft({ topic: 'sea' }));
      expect(await store.inbox.changeStates('anna', { ids: [message.id] }, 'unread')).toMatchObject({
        outcome: 'not_found',
      });
      await store.topics.addMember('sea', member('anna'), PLENTY);
      expect(await listAll(store, { state: 'any' })).toEqual([message]);
      expect(await stateOf(store, message)).toBe('read');
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
      // Messages from in between are in no list, and have no state.
      expect(await store.inbox.changeStates('anna', { ids: [meanwhile.id] }, 'read')).toMatchObject({
        outcome: 'not_found',
      });
      expect(await store.inbox.changeStates('anna', { topic: 'sea' }, 'unread')).toMatchObject({ changed: 1 });
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 1 });
      const next = await append(store, draft({ topic: 'sea' }));
      expect(await stateOf(store, next)).toBe('unseen');
    });
  });
}

const statesOf = (store: Store) => readAll(store, '~anna');

function describeSelections(stage: Stage): void {
  const { open } = stage;
  describe('a change of states', () => {
    it('by ids appends one entry to the log of states', async () => {
      const store = await open();
      const [one, two] = await appendAll(store, draftsOf(3));
      const ids = [two?.id ?? '', one?.id ?? ''];
      const changed = await store.inbox.changeStates('anna', { ids }, 'read');
      expect(changed).toMatchObject({ outcome: 'changed', changed: 2 });
      const log = await statesOf(store);
      expect(log).toMatchObject([{ topic: '~anna', seq: 1, event: 'state', data: { ids, state: 'read' } }]);
      expect(changed).toMatchObject({ entries: log });
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
    });

    it('appends nothing when every message had the state already', async () => {
      const store = await openWithMember(open);
      const [one] = await appendAll(store, draftsOf(2));
      const nothing = { outcome: 'changed', changed: 0, entries: [] };
      expect(await store.inbox.changeStates('anna', { ids: [one?.id ?? ''] }, 'unread')).toEqual(nothing);
      expect(await store.inbox.changeStates('anna', { all: true }, 'unread')).toEqual(nothing);
      expect(await store.inbox.changeStates('anna', { topic: ANNA, upTo: 0 }, 'read')).toEqual(nothing);
      expect(await store.inbox.changeStates('anna', { topic: 'sea' }, 'read')).toEqual(nothing);
      expect(await store.inbox.changeStates('anna', { topic: BROADCAST_TOPIC }, 'read')).toEqual(nothing);
      expect(await store.inbox.changeStates('anna', { ids: [] }, 'read')).toEqual(nothing);
      await store.inbox.changeStates('anna', { all: true }, 'read');
      expect(await store.inbox.changeStates('anna', { all: true }, 'read')).toEqual(nothing);
      expect(await store.inbox.changeStates('anna', { all: true }, 'seen')).toEqual(nothing);
      expect(await statesOf(store)).toHaveLength(1);
    });

    it('by ids is all or nothing, and names the first that does not exist', async () => {
      const store = await openWithMember(open);
      const [one] = await appendAll(store, [draft(), draft({ topic: '@ben' })]);
      const [, stranger] = [one, await append(store, draft({ topic: '@ben' }))];
      for (const missing of ['nothing', stranger.id, '']) {
        const ids = [one?.id ?? '', missing, 'nor this'];
        expect(await store.inbox.changeStates('anna', { ids }, 'read')).toEqual({
          outcome: 'not_found',
          path: 'ids.1',
        });
      }
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
      expect(await statesOf(store)).toEqual([]);
    });

    it('by ids finds nothing from before the user came, nor entries about other messages', async () => {
      const store = await open();
      const broadcast = await append(store, draft({ topic: BROADCAST_TOPIC }));
      await store.devices.open('anna', 'phone');
      await createTopic(store, 'sea', { owner: 'ben' });
      const before = await append(store, draft({ topic: 'sea' }));
      await store.topics.addMember('sea', member('anna'), PLENTY);
      const message = await append(store, draft());
      const [entry] = (await store.log.update(message, 'new', 'service')) ?? [];
      for (const { id } of [broadcast, before, ...(entry === undefined ? [] : [entry])]) {
        expect(await store.inbox.changeStates('anna', { ids: [id] }, 'read')).toEqual({
          outcome: 'not_found',
          path: 'ids.0',
        });
      }
    });

    it('by an id that two senders used changes both, and counts one that is named twice once', async () => {
      const store = await open();
      const messages = await appendAll(store, [owned('x', { from: 'a' }), owned('x', { from: 'b' })]);
      expect(await store.inbox.changeStates('anna', { ids: ['x', 'x'] }, 'read')).toMatchObject({ changed: 2 });
      for (const message of messages) expect(await stateOf(store, message)).toBe('read');
    });

    it('of a topic goes up to a seq, or over all of it, and skips what is archived', async () => {
      const store = await openWithMember(open);
      const messages = await appendAll(store, draftsOf(5));
      const others = await appendAll(store, [draft({ topic: 'sea' }), draft({ topic: BROADCAST_TOPIC })]);
      const second_ = messages[1];
      if (second_ !== undefined) await mark(store, 'anna', 'archived', second_);
      const changed = await store.inbox.changeStates('anna', { topic: ANNA, upTo: 3 }, 'read');
      expect(changed).toMatchObject({ changed: 2, entries: [{ data: { topic: ANNA, upTo: 3, state: 'read' } }] });
      const states = () => Promise.all(messages.map((message) => stateOf(store, message)));
      expect(await states()).toEqual(['read', 'archived', 'read', 'unseen', 'unseen']);
      expect(await store.inbox.changeStates('anna', { topic: ANNA }, 'unread')).toMatchObject({ changed: 2 });
      expect(await states()).toEqual(['seen', 'archived', 'seen', 'unseen', 'unseen']);
      expect(await store.inbox.changeStates('anna', { topic: ANNA }, 'seen')).toMatchObject({ changed: 2 });
      for (const message of others) expect(await stateOf(store, message)).toBe('unseen');
    });

    it('of all goes over the inbox, and skips what is archived', async () => {
      const store = await openWithMember(open);
      const messages = await appendAll(
        store,
        [ANNA, BROADCAST_TOPIC, 'sea', '@ben'].flatMap((topic) => draftsOf(2, { topic })),
      );
      const [first] = messages;
      if (first !== undefined) await mark(store, 'anna', 'archived', first);
      const changed = await store.inbox.changeStates('anna', { all: true }, 'read');
      const cursors = { [ANNA]: 2, [BROADCAST_TOPIC]: 2, sea: 2 };
      expect(changed).toMatchObject({ changed: 5, entries: [{ data: { all: true, cursors, state: 'read' } }] });
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
      expect(await store.inbox.changeStates('anna', { all: true }, 'archived')).toMatchObject({ changed: 5 });
      expect(await store.inbox.changeStates('anna', { all: true }, 'unread')).toMatchObject({ changed: 0 });
      expect(await store.inbox.counts('ben')).toEqual({ unseen: 4, unread: 4 });
    });

    it.each<[string, number]>([
      [ANNA, 3],
      [BROADCAST_TOPIC, 2],
      ['sea', 0],
    ])('ahead of the topic is refused, and tells its head: %s', async (topic, head) => {
      const store = await openWithMember(open);
      await appendAll(store, [...draftsOf(3), ...draftsOf(2, { topic: BROADCAST_TOPIC })]);
      const ahead = { outcome: 'ahead', head };
      expect(await store.inbox.changeStates('anna', { topic, upTo: head + 1 }, 'read')).toEqual(ahead);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 5, unread: 5 });
      expect(await statesOf(store)).toEqual([]);
    });

    it.each(['@ben', 'land', 'nowhere', '~anna', '~ben', ''])(
      'of a topic that is not in the inbox is refused: %j',
      async (topic) => {
        const store = await openWithMember(open);
        await createTopic(store, 'land', { owner: 'ben' });
        await appendAll(store, [draft(), draft({ topic: '@ben' }), draft({ topic: 'land' })]);
        await mark(store, 'anna', 'seen', ...(await listAll(store)));
        expect(await store.inbox.changeStates('anna', { topic }, 'read')).toEqual({
          outcome: 'not_found',
          path: 'topic',
        });
        expect(await store.inbox.changeStates('anna', { topic, upTo: 1 }, 'read')).toEqual({
          outcome: 'not_found',
          path: 'topic',
        });
      },
    );

    it('of broadcasts is refused to a user who never connected', async () => {
      const store = await open();
      await append(store, draft({ topic: BROADCAST_TOPIC }));
      const refused = { outcome: 'not_found', path: 'topic' };
      expect(await store.inbox.changeStates('anna', { topic: BROADCAST_TOPIC }, 'read')).toEqual(refused);
      await append(store, draft());
      expect(await store.inbox.changeStates('anna', { topic: ANNA }, 'read')).toMatchObject({ changed: 1 });
    });

    it('covers more messages than one row of anything holds', async () => {
      const store = await open();
      await appendAll(store, draftsOf(2_100));
      expect(await store.inbox.changeStates('anna', { topic: ANNA, upTo: 2_050 }, 'read')).toMatchObject({
        changed: 2_050,
      });
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 50, unread: 50 });
      expect(await store.inbox.changeStates('anna', { topic: ANNA, upTo: 1_030 }, 'unread')).toMatchObject({
        changed: 1_030,
      });
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 50, unread: 1_080 });
    });

    it('comes in the order of the calls, whatever each has to look up', async () => {
      const store = await open();
      const messages = await appendAll(store, draftsOf(20));
      const ids = messages.map(({ id }) => id);
      const [first = ''] = ids;
      const changes = await Promise.all([
        store.inbox.changeStates('anna', { ids }, 'read'),
        store.inbox.changeStates('anna', { ids: [first] }, 'unread'),
        store.inbox.changeStates('anna', { all: true }, 'seen'),
        store.inbox.changeStates('anna', { ids: [first] }, 'archived'),
      ]);
      expect(changes.map((change) => 'changed' in change && change.changed)).toEqual([20, 1, 0, 1]);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
      expect((await store.inbox.list('anna', { state: 'archived', limit: 9 })).items).toHaveLength(1);
    });

    it('requested by many at once is made once', async () => {
      const store = await open();
      await appendAll(store, draftsOf(10));
      const answers = await Promise.all(
        range(1, 20).map(() => store.inbox.changeStates('anna', { all: true }, 'read')),
      );
      expect(answers.filter((answer) => answer.outcome === 'changed' && answer.changed === 10)).toHaveLength(1);
      expect(await statesOf(store)).toHaveLength(1);
    });

    it('has the time of the clock', async () => {
      const store = await open();
      const message = await append(store, draft());
      stage.clock.set(milliseconds(77));
      await mark(store, 'anna', 'read', message);
      expect(await statesOf(store)).toMatchObject([{ timestamp: second(77) }]);
    });
  });
}

function describeCounts(stage: Stage): void {
  const { open } = stage;
  describe('counts', () => {
    it('cover the personal topic, broadcasts and named topics since the user joined', async () => {
      const store = await open();
      await createTopic(store, 'sea', { owner: 'ben' });
      await appendAll(
        store,
        [ANNA, BROADCAST_TOPIC, 'sea'].flatMap((topic) => draftsOf(3, { topic })),
      );
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 3, unread: 3 });
      await store.devices.open('anna', 'phone');
      await store.topics.addMember('sea', member('anna'), PLENTY);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 3, unread: 3 });
      await appendAll(
        store,
        [ANNA, BROADCAST_TOPIC, 'sea', '@ben', 'land'].map((topic) => draft({ topic })),
      );
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 6, unread: 6 });
      await store.topics.removeMember('sea', 'anna');
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 5, unread: 5 });
      await store.topics.delete('sea');
      expect(await store.inbox.counts('ben')).toEqual({ unseen: 1, unread: 1 });
    });

    it('count the user’s own messages as read, whatever is requested', async () => {
      const store = await openWithMember(open);
      const topics = [ANNA, BROADCAST_TOPIC, 'sea'];
      const messages = await appendAll(
        store,
        topics.map((topic) => draft({ topic, from: 'anna' })),
      );
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
      await store.inbox.changeStates('anna', { ids: messages.map(({ id }) => id) }, 'archived');
      await store.inbox.changeStates('anna', { ids: messages.map(({ id }) => id) }, 'unread');
      expect(await store.inbox.changeStates('anna', { all: true }, 'unread')).toMatchObject({ changed: 0 });
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
      for (const message of messages) expect(await stateOf(store, message)).toBe('read');
      await store.devices.open('ben', 'phone');
      expect(await store.inbox.counts('ben')).toEqual({ unseen: 1, unread: 1 });
    });

    it('leave out what is pruned, retracted or replaced', async () => {
      const store = await open();
      const old = await appendAll(store, draftsOf(3));
      const [, , message] = await appendAll(store, draftsOf(3, { timestamp: second(9) }));
      await append(store, draft({ collapseKey: 'k', timestamp: second(9) }));
      await append(store, draft({ collapseKey: 'k', timestamp: second(9) }));
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 7, unread: 7 });
      if (message !== undefined) await store.log.retract(message, 'service');
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 6, unread: 6 });
      await store.log.prune(milliseconds(5), old.length);
      expect(await store.inbox.counts('anna')).toEqual({ unseen: 3, unread: 3 });
    });

    it('say where the logs stand that they are of, and when something may expire next', async () => {
      const store = await openWithMember(open);
      const counted = async () => {
        const { heads, ...rest } = await store.inbox.counted('anna');
        expect(rest.counts).toEqual(await store.inbox.counts('anna'));
        return { ...rest, heads: Object.fromEntries(heads) };
      };
      const empty = { [ANNA]: 0, '*': 0, sea: 0, '~anna': 0 };
      expect(await counted()).toEqual({ counts: { unseen: 0, unread: 0 }, heads: empty, until: undefined });
      const later = [80, 30, 50].map((n) => draft({ topic: BROADCAST_TOPIC, expiresAt: milliseconds(n) }));
      await appendAll(store, [...later, draft(), draft({ topic: 'land', expiresAt: milliseconds(1) })]);
      await store.inbox.changeStates('anna', { topic: ANNA }, 'seen');
      const heads = { ...empty, [ANNA]: 1, '*': 3, '~anna': 1 };
      expect(await counted()).toEqual({ counts: { unseen: 3, unread: 4 }, heads, until: milliseconds(30) });
      stage.clock.set(milliseconds(30));
      expect(await counted()).toEqual({ counts: { unseen: 2, unread: 3 }, heads, until: milliseconds(50) });
      await store.log.expire(100);
      expect(await counted()).toEqual({ counts: { unseen: 2, unread: 3 }, heads, until: milliseconds(50) });
      stage.clock.set(milliseconds(80));
      expect(await counted()).toEqual({ counts: { unseen: 0, unread: 1 }, heads, until: undefined });
    });

    it('of an unknown user are zero', async () => {
      expect(await (await open()).inbox.counts('nobody')).toEqual({ unseen: 0, unread: 0 });
    });
  });
}

/** Messages at different seconds over the topics of anna's inbox, in the order of appending. */
async function openWithInbox(open: Open): Promise<{ store: Store; messages: Message[] }> {
  const store = await openWithMember(open);
  const topics = [ANNA, 'sea', ANNA, BROADCAST_TOPIC, 'sea', ANNA, BROADCAST_TOPIC, ANNA];
  const drafts = topics.map((topic, n) => draft({ topic, timestamp: second(n), type: n % 3 === 0 ? 'third' : 'test' }));
  const messages: Message[] = [];
  for (const one of drafts) messages.push(await append(store, one));
  return { store, messages };
}

function describeList({ open }: Stage): void {
  describe('the inbox', () => {
    it('is newest first over all topics', async () => {
      const { store, messages } = await openWithInbox(open);
      const { items, next } = await store.inbox.list('anna', { limit: 100 });
      expect(items).toStrictEqual(messages.toReversed().map((message) => ({ message, state: 'unseen' })));
      expect(next).toBeUndefined();
    });

    it('is within a topic in the order of seq when the clock goes back', async () => {
      const store = await open();
      const times = [5, 9, 1, 3, 7, 20, 2];
      for (const n of times) await append(store, draft({ timestamp: second(n) }));
      expect(seqsOf(await listAll(store))).toEqual([7, 6, 5, 4, 3, 2, 1]);
      expect(seqsOf(await listAll(store, { limit: 2 }))).toEqual([7, 6, 5, 4, 3, 2, 1]);
    });

    it('has filters for state, type and topic', async () => {
      const { store, messages } = await openWithInbox(open);
      const [, one, two, three, four] = messages;
      if (one === undefined || two === undefined || three === undefined || four === undefined) throw new Error('none');
      await mark(store, 'anna', 'seen', one);
      await mark(store, 'anna', 'read', two, three);
      await mark(store, 'anna', 'archived', four);
      await mark(store, 'anna', 'archived', three);
      const list = async (query: Partial<InboxQuery>) =>
        (await listAll(store, query)).map(({ id }) => messages.findIndex((message) => message.id === id));
      expect(await list({})).toEqual([7, 6, 5, 2, 1, 0]);
      expect(await list({ state: 'unread' })).toEqual([7, 6, 5, 1, 0]);
      expect(await list({ state: 'read' })).toEqual([2]);
      expect(await list({ state: 'archived' })).toEqual([4, 3]);
      expect(await list({ state: 'any' })).toEqual([7, 6, 5, 4, 3, 2, 1, 0]);
      expect(await list({ type: 'third' })).toEqual([6, 0]);
      expect(await list({ type: 'third', state: 'any' })).toEqual([6, 3, 0]);
      expect(await list({ type: 'nothing' })).toEqual([]);
      expect(await list({ topic: ANNA })).toEqual([7, 5, 2, 0]);
      expect(await list({ topic: 'sea', state: 'any' })).toEqual([4, 1]);
      expect(await list({ topic: 'sea', state: 'unread', type: 'test' })).toEqual([1]);
      expect(await list({ topic: '@ben' })).toEqual([]);
      expect(await list({ topic: 'nowhere' })).toEqual([]);
    });

    it('of a user who never connected has what is waiting in the personal topic', async () => {
      const store = await open();
      await appendAll(store, [draft(), draft({ topic: BROADCAST_TOPIC })]);
      expect(await listAll(store)).toHaveLength(1);
      expect(await listAll(store, {}, 'nobody')).toEqual([]);
    });
  });
}

function describePaging({ open }: Stage): void {
  describe('continuing the inbox', () => {
    it('neither loses nor repeats anything, wherever a page ends', async () => {
      const { store, messages } = await openWithInbox(open);
      for (const limit of range(1, 9)) {
        const pages: number[] = [];
        const found: Message[] = [];
        let after: InboxPosition | undefined;
        do {
          const page = await store.inbox.list('anna', { limit, after });
          found.push(...page.items.map(({ message }) => message));
          pages.push(page.items.length);
          after = page.next;
        } while (after !== undefined);
        expect(found).toStrictEqual(messages.toReversed());
        expect(Math.max(...pages)).toBe(Math.min(limit, 8));
      }
    });

    it('does so with messages of one moment in several topics', async () => {
      const store = await openWithMember(open);
      const topics = [ANNA, BROADCAST_TOPIC, 'sea'];
      await appendAll(
        store,
        range(1, 20).flatMap(() => topics.map((topic) => draft({ topic }))),
      );
      for (const limit of [1, 2, 7]) {
        const found = await listAll(store, { limit });
        expect(found).toHaveLength(60);
        for (const topic of topics) {
          expect(seqsOf(found.filter((one) => one.topic === topic))).toEqual(range(1, 20).toReversed());
        }
      }
    });

    it.each([1_000, 0, -5_000])('does so while messages are appended, the clock moving by %i ms each', async (step) => {
      const store = await openWithMember(open);
      const random = seededRandom('inbox pages');
      const topics = [ANNA, BROADCAST_TOPIC, 'sea'];
      const before: Message[] = [];
      let now = milliseconds(500);
      const say = async () => {
        now += step;
        const topic = topics[random.integer(0, 2)] ?? ANNA;
        return append(store, draft({ topic, timestamp: new Date(now).toISOString() }));
      };
      for (let n = 0; n < 60; n += 1) before.push(await say());
      const found: Message[] = [];
      let after: InboxPosition | undefined;
      do {
        const page = await store.inbox.list('anna', { limit: random.integer(1, 6), after });
        found.push(...page.items.map(({ message }) => message));
        after = page.next;
        await say();
        await say();
      } while (after !== undefined);
      const ids = found.map(({ id }) => id);
      expect(new Set(ids).size).toBe(ids.length);
      expect(before.filter(({ id }) => !ids.includes(id))).toEqual([]);
    });

    it('does so after a message that is gone, sent while the clock was back', async () => {
      const store = await openWithMember(open);
      const times = [1_000, 1_000, 500, 1_000];
      for (const [index, n] of times.entries()) {
        await append(store, owned(`own ${index + 1}`, { timestamp: second(n) }));
      }
      for (const n of [100, 701]) await append(store, draft({ topic: 'sea', timestamp: second(n) }));
      await store.log.retract({ topic: ANNA, seq: 3 }, 'service');
      const all = await listAll(store);
      expect(all.map(({ topic, seq }) => `${topic} ${seq}`)).toEqual([
        '@anna 4',
        '@anna 2',
        '@anna 1',
        'sea 2',
        'sea 1',
      ]);
      for (const limit of [1, 2, 3]) expect(await listAll(store, { limit })).toStrictEqual(all);
    });

    it('finds what is rare in a large inbox, however many pages examine other messages', async () => {
      const store = await open();
      await appendAll(store, [draft({ type: 'rare' }), ...draftsOf(4_500), draft({ type: 'rare' })]);
      expect(seqsOf(await listAll(store, { type: 'rare', limit: 5 }))).toEqual([4_502, 1]);
      await store.inbox.changeStates('anna', { topic: ANNA, upTo: 4_000 }, 'archived');
      expect((await listAll(store, { limit: 100 })).length).toBe(502);
    });
  });
}

interface Known {
  readonly message: Message;
  /** Said while anna had left the topic. */
  readonly isMeanwhile: boolean;
  isGone: boolean;
  isSeen: boolean;
  isRead: boolean;
  isArchived: boolean;
  /** Said by anna herself: read, whatever is asked for. */
  readonly isOwn: boolean;
}

const TOPICS = [ANNA, BROADCAST_TOPIC, 'sea', 'land'];

/** The inbox of anna in the simplest data that can hold it. */
class Model {
  readonly known: Known[] = [];
  readonly heads = new Map<string, number>();
  /** From where each topic is anna's. */
  readonly starts = new Map<string, number>([[ANNA, 0]]);
  /** From where topics were that anna has left. */
  readonly left = new Map<string, number>();
  states = 0;

  constructor(private readonly clock: SettableClock) {}

  head(topic: string): number {
    return this.heads.get(topic) ?? 0;
  }

  isThere({ message, isGone }: Known): boolean {
    return !isGone && (message.expiresAt === undefined || message.expiresAt > this.clock.now());
  }

  inbox(): Known[] {
    return this.known.filter((one) => {
      const { topic, seq, exceptUserId } = one.message;
      const start = this.starts.get(topic);
      const isHers = start !== undefined && seq > start && !one.isMeanwhile && exceptUserId !== 'anna';
      return isHers && this.isThere(one);
    });
  }

  counts(): { unseen: number; unread: number } {
    const unread = this.inbox().filter(({ isRead, isArchived }) => !isRead && !isArchived);
    return { unseen: unread.filter(({ isSeen }) => !isSeen).length, unread: unread.length };
  }

  /** @returns how many it changed. */
  change(chosen: readonly Known[], state: RequestedState): number {
    let changed = 0;
    for (const one of chosen) {
      const before = JSON.stringify(one);
      if (state === 'unread') Object.assign(one, { isRead: one.isOwn, isArchived: false });
      else one.isSeen = true;
      if (state === 'read') Object.assign(one, { isRead: true, isArchived: false });
      if (state === 'archived') one.isArchived = true;
      if (JSON.stringify(one) !== before) changed += 1;
    }
    return changed;
  }
}

const LISTED: Readonly<Record<string, (one: Known) => boolean>> = {
  open: ({ isArchived }) => !isArchived,
  unread: ({ isRead, isArchived }) => !isRead && !isArchived,
  read: ({ isRead, isArchived }) => isRead && !isArchived,
  archived: ({ isArchived }) => isArchived,
  any: () => true,
};

interface Scene {
  readonly store: Store;
  readonly model: Model;
  readonly random: Random;
  readonly clock: SettableClock;
}

function describeModel(stage: Stage): void {
  it('counts and lists what the contract says, whatever happens in whatever order', async () => {
    const random = seededRandom('inboxes in the store');
    const model = new Model(stage.clock);
    let store = await stage.open();
    for (const name of ['sea', 'land']) await createTopic(store, name, { owner: 'ben' });
    for (let step = 1; step <= 900; step += 1) {
      const scene = { store, model, random, clock: stage.clock };
      await takeStep(scene);
      expect([step, await store.inbox.counts('anna')]).toEqual([step, model.counts()]);
      if (step % 30 === 0) await expectList(scene);
      if (step % 300 !== 0) continue;
      await store.close();
      store = await stage.open();
    }
    expect(model.known.length).toBeGreaterThan(200);
  });
}

function pick<Value>(random: Random, values: readonly Value[]): Value | undefined {
  return values[random.integer(0, values.length - 1)];
}

async function takeStep(scene: Scene): Promise<void> {
  const { store, model, random, clock } = scene;
  const choice = random.integer(1, 24);
  if (choice <= 9) await say(scene);
  else if (choice <= 11) await changeSome(scene);
  else if (choice <= 14) await changeMany(scene);
  else if (choice === 15) await retractOne(scene);
  else if (choice === 16) await updateOne(scene);
  else if (choice <= 18) clock.pass(random.integer(1, 5_000));
  else if (choice === 19) await store.log.expire(random.integer(1, 50));
  else if (choice === 20) await joinOrLeave(scene);
  else if (choice === 21 && !model.starts.has(BROADCAST_TOPIC)) {
    await store.devices.open('anna', 'phone');
    model.starts.set(BROADCAST_TOPIC, model.head(BROADCAST_TOPIC));
  } else if (choice === 22) {
    const before = clock.now() - random.integer(0, 60_000);
    await store.log.prune(before, 1_000);
    prune(model, before);
  }
}

/** From the beginning of each topic up to the first younger one: entries are no younger than what they are about. */
function prune(model: Model, before: number): void {
  for (const topic of TOPICS) {
    for (const one of model.known.filter(({ message }) => message.topic === topic)) {
      if (Date.parse(one.message.timestamp) >= before) break;
      one.isGone = true;
    }
  }
}

function randomDraft({ random, clock }: Scene): Draft {
  const isOne = (of: number) => random.integer(1, of) === 1;
  return draft({
    topic: pick(random, TOPICS) ?? ANNA,
    from: pick(random, ['anna', 'ben', 'service']) ?? 'service',
    type: pick(random, ['test', 'other']) ?? 'test',
    isClientId: isOne(2),
    timestamp: new Date(clock.now()).toISOString(),
    ...(isOne(4) ? { expiresAt: clock.now() + random.integer(0, 20_000) } : {}),
    ...(isOne(6) ? { exceptUserId: 'anna' } : {}),
  });
}

async function say(scene: Scene): Promise<void> {
  const { store, model, random } = scene;
  const given = randomDraft(scene);
  const isKeyed = given.topic === ANNA && random.integer(1, 2) === 1;
  const { exceptUserId, ...toAll } = given;
  const own = given.topic === ANNA ? toAll : given;
  const appended = await store.log.append(isKeyed ? { ...own, collapseKey: 'k' } : own);
  if (appended.outcome !== 'stored') throw new Error(appended.outcome);
  const { message } = appended;
  const keyed = model.known.filter((one) => isKeyed && one.message.collapseKey === 'k' && model.isThere(one));
  const replaced = keyed.filter((one) => one.message.from === message.from && !one.isRead && !one.isArchived);
  for (const one of replaced) one.isGone = true;
  expect(message.seq).toBe(model.head(message.topic) + replaced.length + 1);
  model.heads.set(message.topic, message.seq);
  const isOwn = message.from === 'anna' && model.starts.has(message.topic);
  const isMeanwhile = model.left.has(message.topic);
  model.known.push({ message, isMeanwhile, isGone: false, isSeen: isOwn, isRead: isOwn, isArchived: false, isOwn });
}

async function changeSome({ store, model, random }: Scene): Promise<void> {
  const inbox = model.inbox();
  if (inbox.length === 0) return;
  const chosen = [...new Set(range(1, random.integer(1, 5)).map(() => pick(random, inbox)))].flatMap(
    (one) => one ?? [],
  );
  const state = pick(random, STATES) ?? 'read';
  const ids = chosen.map(({ message }) => message.id);
  const changed = await store.inbox.changeStates('anna', { ids }, state);
  await expectChanged({ store, model }, changed, model.change(chosen, state));
}

async function changeMany({ store, model, random }: Scene): Promise<void> {
  // Some steps sweep first: an expired message is in nobody's inbox.
  await store.log.expire(10_000);
  const state = pick(random, STATES) ?? 'read';
  const topic = pick(random, [...model.starts.keys()]) ?? ANNA;
  const isAll = random.integer(1, 4) === 1;
  const upTo = random.integer(0, model.head(topic));
  const open = model.inbox().filter(({ isArchived }) => !isArchived);
  const within = open.filter(({ message }) => isAll || (message.topic === topic && message.seq <= upTo));
  const changed = await store.inbox.changeStates('anna', isAll ? { all: true } : { topic, upTo }, state);
  await expectChanged({ store, model }, changed, model.change(within, state));
}

async function expectChanged({ store, model }: Pick<Scene, 'store' | 'model'>, changed: object, count: number) {
  expect(changed).toMatchObject({ outcome: 'changed', changed: count });
  if (count > 0) model.states += 1;
  expect(await store.log.head('~anna')).toBe(model.states);
}

async function retractOne({ store, model, random }: Scene): Promise<void> {
  const one = pick(random, model.known);
  if (one === undefined) return;
  const entries = await store.log.retract(one.message, 'service');
  expect(entries?.length).toBe(model.isThere(one) ? 1 : undefined);
  one.isGone = true;
  for (const { topic, seq } of entries ?? []) model.heads.set(topic, seq);
}

async function updateOne({ store, model, random }: Scene): Promise<void> {
  const one = pick(random, model.known);
  if (one === undefined) return;
  const entries = await store.log.update(one.message, { changed: random.integer(0, 2 ** 30) }, 'service');
  expect(entries?.length).toBe(model.isThere(one) ? 1 : undefined);
  for (const { topic, seq } of entries ?? []) model.heads.set(topic, seq);
}

async function joinOrLeave({ store, model, random }: Scene): Promise<void> {
  const name = pick(random, ['sea', 'land']) ?? 'sea';
  const start = model.starts.get(name);
  if (start !== undefined) {
    await store.topics.removeMember(name, 'anna');
    model.starts.delete(name);
    model.left.set(name, start);
  } else {
    await store.topics.addMember(name, member('anna'), PLENTY);
    model.starts.set(name, model.left.get(name) ?? model.head(name));
    model.left.delete(name);
  }
}

async function expectList({ store, model, random }: Scene): Promise<void> {
  for (const state of [undefined, 'unread', 'read', 'archived', 'any'] as const) {
    const type = pick(random, [undefined, 'test']);
    const topic = pick(random, [undefined, undefined, ...TOPICS]);
    const listed = await listAll(store, { state, type, topic, limit: random.integer(1, 40) });
    const times = listed.map(({ timestamp }) => timestamp);
    expect(times).toEqual(times.toSorted().toReversed());
    const wanted = model.inbox().filter(LISTED[state ?? 'open'] ?? (() => false));
    const inBoth = wanted.filter(({ message }) => (type ?? message.type) === message.type);
    for (const each of TOPICS) {
      const expected =
        topic === undefined || topic === each ? inBoth.filter(({ message }) => message.topic === each) : [];
      const seqs = seqsOf(listed.filter((message) => message.topic === each));
      expect([state, type, each, seqs]).toEqual([
        ...[state, type, each],
        seqsOf(expected.map(({ message }) => message)).toReversed(),
      ]);
    }
  }
}
