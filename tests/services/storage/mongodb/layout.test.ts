/** A database that the version before has written: layout 1, without documents of devices. */
import { type Db, MongoClient, ObjectId } from 'mongodb';
import { openMongoStore } from '../../../../services/storage/mongodb/store';
import { devicesOf, membersOf, places, placesOf, removeAll, SettableClock } from '../../../contracts/support';
import { MONGODB_URL, newDatabase } from '../../../support/cluster';
import { describeWith } from '../../../support/needs';
import { onTestEnd } from '../../../support/temporary';

const SEPARATOR = '\u0001';
const keyOf = (...parts: string[]) => parts.join(SEPARATOR);

interface Doc {
  readonly _id: string;
}

async function writeLayout1(db: Db): Promise<void> {
  const createdAt = '2026-01-01T00:00:00.000Z';
  const insert = (name: string, docs: (Doc & Record<string, unknown>)[]) => db.collection<Doc>(name).insertMany(docs);
  await insert('meta', [{ _id: 'layout', version: 1, identity: 'known' }]);
  const topic = { isPrivate: false, owner: 'anna', createdAt, nonce: new ObjectId() };
  await insert('topics', [{ _id: 'sea', ...topic }]);
  const member = { topic: 'sea', userId: 'anna', start: 2, joinedAt: createdAt, nonce: new ObjectId() };
  await insert('members', [{ _id: keyOf('sea', 'anna'), ...member }]);
  await insert('logs', [{ _id: 'sea', prunedUpTo: 7 }]);
  await insert('users', [{ _id: 'anna', broadcastStart: 0, firstDevice: 'phone' }]);
  const cursors = ['laptop', 'phone'].flatMap((device) =>
    ['@anna', '*', 'sea', '~anna'].map((name) => ({
      _id: keyOf('anna', device, name),
      ...{ userId: 'anna', device, topic: name, seq: name === 'sea' ? 5 : 0, unreadUpTo: 0 },
    })),
  );
  await insert('cursors', cursors);
}

describeWith('a MongoDB (TEST_MONGODB_URL)', MONGODB_URL !== undefined)('a database of layout 1', () => {
  it('opens, with devices at their positions, and lists them gradually', async () => {
    const database = newDatabase();
    const client = await MongoClient.connect(database);
    onTestEnd(() => client.close());
    await writeLayout1(client.db());
    const store = await openMongoStore(database, new SettableClock());
    onTestEnd(() => store.close());
    expect(store.identity).toBe('known');
    const stood = { ...places('anna', 0, 0), sea: 5 };
    expect(await placesOf(store, 'anna', 'phone')).toEqual(stood);
    expect(await membersOf(store, 'sea')).toEqual([{ userId: 'anna', joinedAt: '2026-01-01T00:00:00.000Z' }]);
    expect((await devicesOf(store, 'anna')).map(({ device }) => device)).toEqual(['phone']);
    await removeAll(store);
    expect((await devicesOf(store, 'anna')).map(({ device }) => device)).toEqual(['laptop', 'phone']);
    expect(await placesOf(store, 'anna', 'laptop')).toEqual(stood);
    expect(await store.topics.delete('sea')).toBe(1);
    await removeAll(store);
    expect(await placesOf(store, 'anna', 'laptop')).toEqual(places('anna', 0, 0));
  });
});
