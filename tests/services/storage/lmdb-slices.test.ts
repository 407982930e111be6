/**
 * Work over a number of rows that users choose is done in slices: nobody waits long, however many there are. The bounds
 * are ten times what is measured on an idle machine; done at once, each of these takes a second or more.
 */
import type { Store } from '../../../services/storage/contract';
import type { Environment } from '../../../services/storage/lmdb/environment';
import { WriteQueue } from '../../../services/storage/lmdb/queue';
import { openLmdbStore } from '../../../services/storage/lmdb/store';
import {
  ANNA,
  append,
  appendAll,
  createTopic,
  draft,
  draftsOf,
  member,
  milliseconds,
  PLENTY,
  range,
  removeAll,
  SettableClock,
  second,
  topicsOf,
} from '../../contracts/support';
import { longestTurn } from '../../support/longest-turn';
import { onTestEnd, temporaryDirectory } from '../../support/temporary';

const MAX_TURN_MS = 100;
const CALLS_AT_ONCE = 500;

/** What is asked for at once shares a flush. */
async function forAll<Item>(items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < items.length; start += CALLS_AT_ONCE) {
    await Promise.all(items.slice(start, start + CALLS_AT_ONCE).map(work));
  }
}

function open(): Store {
  const store = openLmdbStore(temporaryDirectory(), new SettableClock());
  onTestEnd(() => store.close());
  return store;
}

describe('the work of one transaction', () => {
  it('is limited for a change of states that opens what may be replaced, and for a scheduled message', async () => {
    const clock = new SettableClock();
    const flushes: number[] = [];
    const store = openLmdbStore(temporaryDirectory(), clock, ({ writes }) => flushes.push(writes));
    onTestEnd(() => store.close());
    for (const n of range(1, 450)) {
      await append(store, draft({ collapseKey: 'k', data: n }));
      await store.inbox.changeStates('anna', { topic: ANNA }, 'read');
    }
    flushes.length = 0;
    const opened = await store.inbox.changeStates('anna', { topic: ANNA }, 'unread');
    // Two of 200, and the rest.
    expect(opened).toMatchObject({ outcome: 'changed', changed: 450 });
    expect('entries' in opened && opened.entries).toHaveLength(3);
    await store.schedule.add({ draft: draft({ collapseKey: 'k' }), sendAt: milliseconds(5) });
    clock.set(milliseconds(5));
    const sent: number[] = [];
    for (let taken = 1; taken > 0; sent.push(taken)) taken = (await store.schedule.appendDue(100)).taken;
    expect(sent).toEqual([1, 1, 1, 1, 1, 0]);
  }, 60_000);

  it('ends in time when each write takes long', async () => {
    const flushes: number[] = [];
    const environment = { transaction: async (work: () => void) => work() } as Environment;
    const queue = new WriteQueue(environment, temporaryDirectory(), ({ writes }) => flushes.push(writes));
    const long = () => {
      for (const startedAt = performance.now(); performance.now() < startedAt + 25; );
    };
    await Promise.all(range(1, 3).map(() => queue.write(long)));
    expect(flushes).toEqual([1, 1, 1]);
  });
});

describe('nobody waits long for', () => {
  it('the deletion of a topic with many members and messages', async () => {
    const store = open();
    const users = range(1, 600).map((n) => `user ${n}`);
    await createTopic(store, 'sea');
    await forAll(users, async (userId) => {
      await store.devices.open(userId, 'phone');
      await store.topics.addMember('sea', member(userId), PLENTY);
    });
    await appendAll(store, draftsOf(1_500, { topic: 'sea' }));
    await store.devices.saveCursors(
      users.map((userId) => ({ userId, device: 'phone', topic: 'sea', seq: 1_500, at: 1 })),
    );
    expect(await longestTurn(() => store.topics.delete('sea'))).toBeLessThan(MAX_TURN_MS);
    expect(await longestTurn(() => removeAll(store))).toBeLessThan(MAX_TURN_MS);
    expect(await store.removals.advance()).toBe(false);
  }, 120_000);

  it('a page of many topics, and a join of a user with many devices', async () => {
    const store = open();
    await forAll(range(1, 4_000), (n) => createTopic(store, `topic-${n}`, { owner: `owner ${n}` }));
    await forAll(range(1, 500), (n) => store.devices.open('anna', `device ${n}`));
    expect(await longestTurn(() => store.topics.visibleTo('anna', { limit: 1_000 }))).toBeLessThan(MAX_TURN_MS);
    expect(await longestTurn(() => topicsOf(store, 'anna', 1_000))).toBeLessThan(MAX_TURN_MS);
    expect(await longestTurn(() => store.topics.addMember('topic-1', member('anna'), PLENTY))).toBeLessThan(
      MAX_TURN_MS,
    );
    expect(await longestTurn(() => store.topics.removeMember('topic-1', 'anna'))).toBeLessThan(MAX_TURN_MS);
  }, 120_000);

  it('the erasure of a user with many messages and topics, and for what retention removes', async () => {
    const store = open();
    await forAll(range(1, 200), async (n) => {
      await createTopic(store, `topic-${n}`, { owner: 'owner' });
      await store.topics.addMember(`topic-${n}`, member('anna'), PLENTY);
    });
    await store.devices.open('anna', 'phone');
    await appendAll(store, draftsOf(6_000));
    await appendAll(store, draftsOf(6_000, { topic: '@ben', timestamp: second(-10) }));
    expect(await longestTurn(() => store.users.erase('anna'))).toBeLessThan(MAX_TURN_MS);
    const prune = async () => {
      while ((await store.log.prune(milliseconds(-5), 500)) === 500);
    };
    expect(await longestTurn(prune)).toBeLessThan(MAX_TURN_MS);
    expect(await store.log.read('@ben', { after: 0, limit: 1 })).toMatchObject({ messages: [], prunedUpTo: 6_000 });
  }, 120_000);
});
