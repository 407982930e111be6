/**
 * Work over a number of rows that users choose goes in slices: nobody waits long, however many there are. The bounds are
 * ten times what is measured on an idle machine; done in one go each of these takes a second or more.
 */
import type { Store } from '../../../services/storage/contract';
import { openLmdbStore } from '../../../services/storage/lmdb';
import {
  appendAll,
  createTopic,
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

describe('nobody waits long for', () => {
  it('the deletion of a topic with many members and messages', async () => {
    const store = open();
    const users = range(1, 600).map((n) => `user ${n}`);
    await createTopic(store, 'sea');
    await forAll(users, async (userId) => {
      await store.openDevice(userId, 'phone');
      await store.addMember('sea', member(userId), PLENTY);
    });
    await appendAll(store, draftsOf(1_500, { topic: 'sea' }));
    await store.saveCursors(users.map((userId) => ({ userId, device: 'phone', topic: 'sea', seq: 1_500, at: 1 })));
    expect(await longestTurn(() => store.deleteTopic('sea'))).toBeLessThan(MAX_TURN_MS);
    expect(await longestTurn(() => removeAll(store))).toBeLessThan(MAX_TURN_MS);
    expect(await store.removeDeleted()).toBe(false);
  }, 120_000);

  it('a page of many topics, and a join of a user with many devices', async () => {
    const store = open();
    await forAll(range(1, 4_000), (n) => createTopic(store, `topic-${n}`, { owner: `owner ${n}` }));
    await forAll(range(1, 500), (n) => store.openDevice('anna', `device ${n}`));
    expect(await longestTurn(() => store.visibleTopics('anna', { limit: 1_000 }))).toBeLessThan(MAX_TURN_MS);
    expect(await longestTurn(() => topicsOf(store, 'anna', 1_000))).toBeLessThan(MAX_TURN_MS);
    expect(await longestTurn(() => store.addMember('topic-1', member('anna'), PLENTY))).toBeLessThan(MAX_TURN_MS);
    expect(await longestTurn(() => store.removeMember('topic-1', 'anna'))).toBeLessThan(MAX_TURN_MS);
  }, 120_000);

  it('the erasure of a user with many messages and topics, and for what retention removes', async () => {
    const store = open();
    await forAll(range(1, 200), async (n) => {
      await createTopic(store, `topic-${n}`, { owner: 'owner' });
      await store.addMember(`topic-${n}`, member('anna'), PLENTY);
    });
    await store.openDevice('anna', 'phone');
    await appendAll(store, draftsOf(6_000));
    await appendAll(store, draftsOf(6_000, { topic: '@ben', timestamp: second(-10) }));
    expect(await longestTurn(() => store.erase('anna'))).toBeLessThan(MAX_TURN_MS);
    const prune = async () => {
      while ((await store.prune(milliseconds(-5), 500)) === 500);
    };
    expect(await longestTurn(prune)).toBeLessThan(MAX_TURN_MS);
    expect(await store.read('@ben', { after: 0, limit: 1 })).toMatchObject({ messages: [], prunedUpTo: 6_000 });
  }, 120_000);
});
