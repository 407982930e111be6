/** A store that the version before has written: layout 2, without rows of devices. */
import { type Key, open } from 'lmdb';
import { openLmdbStore } from '../../../../services/storage/lmdb/store';
import {
  devicesOf,
  draft,
  membershipsOf,
  membersOf,
  places,
  placesOf,
  removeAll,
  SettableClock,
} from '../../../contracts/support';
import { temporaryDirectory } from '../../../support/temporary';

const USERS = 300;

/** As the version before wrote it: a user with two devices in a topic, and many with one. */
async function writeLayout2(path: string): Promise<void> {
  const root = open({ path, noSubdir: false, maxDbs: 30 });
  const json = (name: string) => root.openDB<unknown, Key>({ name, encoding: 'json' });
  const [meta, users, named, topics] = [json('meta'), json('users'), json('named'), json('topics')];
  const [members, memberships, cursors] = [json('members'), json('memberships'), json('cursors')];
  const createdAt = '2026-01-01T00:00:00.000Z';
  await root.transaction(() => {
    meta.put('layoutVersion', 2);
    named.put('sea', { name: 'sea', isPrivate: false, owner: 'anna', createdAt });
    topics.put('sea', { head: 7, prunedUpTo: 0, order: Date.parse(createdAt) });
    members.put(['sea', 'anna'], createdAt);
    memberships.put(['anna', 'sea'], 2);
    users.put('anna', { broadcastStart: 0 });
    for (const [device, seq] of [
      ['laptop', [4, 6]],
      ['phone', 5],
    ] as const) {
      for (const topic of ['@anna', '*', '~anna']) cursors.put(['anna', device, topic], 0);
      cursors.put(['anna', device, 'sea'], seq);
    }
    for (let n = 0; n < USERS; n += 1) {
      users.put(`user ${n}`, { broadcastStart: 0 });
      for (const topic of [`@user ${n}`, '*', `~user ${n}`]) cursors.put([`user ${n}`, 'phone', topic], 0);
    }
  });
  await root.close();
}

describe('a store of layout 2', () => {
  it('opens, with devices at their positions and memberships as they were', async () => {
    const path = temporaryDirectory();
    await writeLayout2(path);
    const store = openLmdbStore(path, new SettableClock());
    const stood = { ...places('anna', 0, 0), sea: 5 };
    expect(await placesOf(store, 'anna', 'phone')).toEqual(stood);
    expect((await store.devices.open('anna', 'phone')).wasForgotten).toBe(false);
    expect(await membersOf(store, 'sea')).toEqual([{ userId: 'anna', joinedAt: '2026-01-01T00:00:00.000Z' }]);
    expect((await membershipsOf(store, 'anna')).map(({ topic }) => topic)).toEqual(['sea']);
    await store.devices.saveCursors([{ userId: 'anna', device: 'laptop', topic: 'sea', seq: 5, at: 1 }]);
    await removeAll(store);
    expect((await devicesOf(store, 'anna')).map(({ device }) => device)).toEqual(['laptop', 'phone']);
    expect(await placesOf(store, 'anna', 'laptop')).toEqual({ ...stood, sea: [5, 6] });
    expect(await store.topics.delete('sea')).toBe(1);
    expect(await placesOf(store, 'anna', 'phone')).toEqual(places('anna', 0, 0));
    expect((await store.log.append(draft({ topic: 'sea' }))).outcome).toBe('stored');
    await store.close();
  });

  it('has all its devices listed gradually, whatever is stopped in between', async () => {
    const path = temporaryDirectory();
    await writeLayout2(path);
    const clock = new SettableClock();
    const first = openLmdbStore(path, clock);
    expect(await devicesOf(first, 'user 299')).toEqual([]);
    await first.removals.advance();
    await first.close();
    const store = openLmdbStore(path, clock);
    await removeAll(store);
    for (const n of [0, 150, USERS - 1]) expect(await devicesOf(store, `user ${n}`)).toHaveLength(1);
    clock.pass(1);
    let forgotten = 0;
    for (let count = 1; count > 0; forgotten += count) count = await store.devices.forgetSilent(clock.now(), 100);
    expect(forgotten).toBe(USERS + 2);
    await store.close();
  });
});
