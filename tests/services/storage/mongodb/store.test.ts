/**
 * The engine for several nodes: the contract, and what only a store behind a network, used by several, has to survive.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { Collection, type Db, MongoClient, MongoServerError } from 'mongodb';
import {
  type Appended,
  type SharedStore,
  type Store,
  StoreError,
  StoreOpenError,
} from '../../../../services/storage/contract';
import { openMongoStore } from '../../../../services/storage/mongodb/store';
import { stateOf, TRANSITIONS } from '../../../../services/storage/rules/states';
import { partsOf } from '../../../../utils/parts';
import { type Message, type MessageState, REQUESTED_STATES, type RequestedState } from '../../../../utils/protocol';
import { BROADCAST_TOPIC, stateTopic } from '../../../../utils/topic-names';
import { describeStoreContract } from '../../../contracts/store.contract';
import {
  ANNA,
  append,
  appendAll,
  createTopic,
  devicesOf,
  draft,
  draftsOf,
  membershipsOf,
  milliseconds,
  owned,
  PLENTY,
  range,
  readAll,
  SettableClock,
  seqsOf,
  topicOf,
} from '../../../contracts/support';
import { MONGODB_URL, newDatabase } from '../../../support/cluster';
import { eventually } from '../../../support/eventually';
import { describeWith } from '../../../support/needs';
import { seededRandom } from '../../../support/random';
import { startTcpProxy } from '../../../support/tcp-proxy';
import { onTestEnd } from '../../../support/temporary';

/** A start that fails does so within this time. */
const START_MS = 10_000;
/** What a call may take, and what this machine may take to notice. */
const CALL_MS = 10_000 + 2_000;

/** The URL of a new database, which is removed at the end of the test. */
function databaseUrl(): URL {
  return new URL(newDatabase());
}

/** Looks into a database as no store does. */
async function withDatabase(database: URL, work: (db: Db) => Promise<unknown>): Promise<void> {
  const client = await MongoClient.connect(database.href);
  await work(client.db());
  await client.close();
}

async function openAt(database: URL, clock = new SettableClock()): Promise<SharedStore> {
  const store = await openMongoStore(database.href, clock);
  onTestEnd(() => store.close());
  return store;
}

/** Two nodes with one database. */
async function openTwo(clock = new SettableClock()): Promise<[one: SharedStore, other: SharedStore]> {
  const database = databaseUrl();
  return [await openAt(database, clock), await openAt(database, clock)];
}

function storedOf(appended: readonly Appended[]): Message[] {
  return appended.flatMap((one) => (one.outcome === 'stored' ? one.message : []));
}

/** A message has content, and an entry about another one is sent under its own event. */
function toldWellOf({ data, ref, event, reason }: Message): boolean {
  if (ref === undefined) return data !== null;
  return event === 'message:updated' ? data !== null : event === 'message:removed' && reason !== undefined;
}

/** What a client believes that has applied everything in order. */
function foldStates(told: readonly Message[], id: string): MessageState {
  const changes = told.map(({ data }) => data as { ids: string[]; state: RequestedState });
  const flags = changes
    .filter(({ ids }) => ids.includes(id))
    .reduce((before, { state }) => TRANSITIONS[state](before), 0);
  return stateOf(flags);
}

const bySeq = (one: number, other: number) => one - other;

describeWith('a MongoDB (TEST_MONGODB_URL)', MONGODB_URL !== undefined)('with a server,', () => {
  describeStoreContract('mongodb', () => {
    const database = databaseUrl();
    const clock = new SettableClock();
    return { clock, open: () => openMongoStore(database.href, clock) };
  });
  describe('two nodes', describeTwoNodes);
  describe('recent heads', describeRecentHeads);
  describe('recent memberships', describeRecentMemberships);
  describe('recent revocations', describeRecentRevocations);
  describe('data', describeData);
  describe('what messages say of their positions', describeFacts);
  describe('a start', describeStart);
  describe('a server', describeOutage);
});

function describeTwoNodes(): void {
  it('append to one topic at once: each seq is given once, and none is left out', async () => {
    const stores = await openTwo();
    const appended = await Promise.all(
      range(1, 40).flatMap(() => stores.map((store) => appendAll(store, draftsOf(5)))),
    );
    const seqs = appended.flatMap(seqsOf);
    expect(seqs.toSorted(bySeq)).toEqual(range(1, 400));
    for (const store of stores) expect(seqsOf(await readAll(store))).toEqual(range(1, 400));
  });

  it('append one after the other in turns, whatever each remembers of the log', async () => {
    const [one, other] = await openTwo();
    for (const n of range(1, 20)) expect((await append(n % 3 === 0 ? one : other, draft())).seq).toBe(n);
  });

  it('continue after what the other one has erased or deleted, whatever each remembers of the log', async () => {
    const [one, other] = await openTwo();
    await appendAll(one, draftsOf(3));
    await appendAll(other, draftsOf(3));
    await other.users.erase('anna');
    expect(await append(one, draft())).toMatchObject({ seq: 7 });
    expect(seqsOf(await readAll(other))).toEqual([7]);
    await createTopic(one, 'sea');
    await append(one, draft({ topic: 'sea' }));
    await append(other, draft({ topic: 'sea' }));
    await other.topics.delete('sea');
    await other.topics.create(topicOf('sea'), PLENTY);
    await other.log.prune(milliseconds(-1), PLENTY);
    expect(await append(one, draft({ topic: 'sea' }))).toMatchObject({ seq: 3 });
    expect(seqsOf(await readAll(other, 'sea'))).toEqual([3]);
  });

  it('keep the positions of what is young, and nothing else of it, until nobody remembers the end of the log', async () => {
    const database = databaseUrl();
    const clock = new SettableClock();
    const store = await openAt(database, clock);
    await appendAll(store, [owned('mine', { collapseKey: 'k', expiresAt: milliseconds(1_000) }), ...draftsOf(2)]);
    await store.users.erase('anna');
    const left = async () => {
      let docs: unknown[] = [];
      await withDatabase(database, async (db) => {
        docs = await db
          .collection('messages')
          .find({ topic: ANNA }, { projection: { _id: 0 } })
          .toArray();
      });
      return docs;
    };
    const bare = { topic: ANNA, id: '', type: '', from: '', timestamp: '', data: 'null', tags: [] };
    const flags = { isGone: true, isBare: true, order: milliseconds(0) };
    expect(await left()).toEqual([1, 2, 3].map((seq) => ({ ...bare, ...flags, seq, key: seq })));
    expect(await append(store, owned('mine'))).toMatchObject({ seq: 4 });
    expect(seqsOf(await readAll(store))).toEqual([4]);
    clock.pass(86_400_001);
    expect(await store.log.prune(milliseconds(-1), PLENTY)).toBe(0);
    expect(await left()).toMatchObject([{ seq: 4 }]);
    expect(await append(store, draft())).toMatchObject({ seq: 5 });
  });

  it('make one message of 100 at once under one id', async () => {
    const stores = await openTwo();
    const appended = await Promise.all(range(1, 50).flatMap(() => stores.map((store) => store.log.append(owned('x')))));
    const [message] = storedOf(appended);
    expect(storedOf(appended)).toHaveLength(1);
    const repeated = appended.filter(({ outcome }) => outcome === 'repeated');
    expect(repeated).toHaveLength(99);
    for (const one of repeated) expect(one).toMatchObject({ message });
    expect(await readAll(stores[1])).toEqual([message]);
  });

  it('give an id to one of several topics and times', async () => {
    const [one, other] = await openTwo();
    const outcomes = await Promise.all([
      one.log.append(owned('x')),
      other.log.append(owned('x', { topic: '@ben' })),
      one.log.append(owned('x', { topic: BROADCAST_TOPIC })),
      other.schedule.add({ draft: owned('x', { topic: '@carl' }), sendAt: milliseconds(5) }),
    ]);
    expect(outcomes.filter(({ outcome }) => outcome === 'stored')).toHaveLength(1);
    expect(outcomes.filter(({ outcome }) => outcome === 'conflict')).toHaveLength(3);
  });

  it('send a scheduled message once, whoever asks for it', async () => {
    const clock = new SettableClock();
    const stores = await openTwo(clock);
    const all = range(1, 60);
    await Promise.all(all.map((n) => stores[0].schedule.add({ draft: draft({ data: n }), sendAt: milliseconds(n) })));
    clock.set(milliseconds(100));
    const sent = await Promise.all(stores.map((store) => sendAll(store)));
    const numbers = sent.flat().map(({ data }) => Number(data));
    expect(numbers.toSorted(bySeq)).toEqual(all);
    const stored = await readAll(stores[0]);
    expect(stored.map(({ data }) => Number(data)).toSorted(bySeq)).toEqual(all);
    expect(seqsOf(stored)).toEqual(all);
  });

  it('send what a node had claimed that is gone', async () => {
    const clock = new SettableClock();
    const database = databaseUrl();
    const store = await openAt(database, clock);
    await store.schedule.add({ draft: draft({ data: 'taken' }), sendAt: milliseconds(1) });
    clock.set(milliseconds(2));
    // As a node leaves it that dies between taking and sending.
    await withDatabase(database, (db) =>
      db.collection('scheduled').updateMany({}, { $set: { freeAt: milliseconds(12) } }),
    );
    expect(await store.schedule.appendDue(10)).toMatchObject({ taken: 0 });
    clock.set(milliseconds(13));
    expect(await store.schedule.appendDue(10)).toMatchObject({ taken: 1, entries: [{ data: 'taken' }] });
  });

  it('change states at once, and none undoes what the other did', async () => {
    const [one, other] = await openTwo();
    const messages = await appendAll(one, draftsOf(60));
    await Promise.all(
      messages.map(({ id, seq }) => (seq % 2 ? one : other).inbox.changeStates('anna', { ids: [id] }, 'read')),
    );
    expect(await other.inbox.counts('anna')).toEqual({ unseen: 0, unread: 0 });
    const { items } = await one.inbox.list('anna', { limit: PLENTY });
    expect(items.map(({ state }) => state)).toEqual(messages.map(() => 'read'));
    expect(seqsOf(await readAll(other, '~anna'))).toEqual(range(1, 60));
  });

  it('update one message at once: one entry is left, and it has the data of the message', async () => {
    const stores = await openTwo();
    const message = await append(stores[0], draft());
    await Promise.all(range(1, 10).map((n) => stores[n % 2]?.log.update(message, n, 'service')));
    const [changed, entry, ...others] = await readAll(stores[1]);
    expect(entry).toMatchObject({ event: 'message:updated', ref: message.id, data: changed?.data });
    expect(others).toEqual([]);
  });

  it('change, retract and replace one message at once: every frame is a message, or an entry about one', async () => {
    const stores = await openTwo();
    const random = seededRandom('changes of two nodes');
    for (const round of range(1, 40)) {
      const first = await append(stores[0], draft({ id: `first ${round}`, collapseKey: 'key' }));
      const works = range(1, 6).map((n) => async (): Promise<readonly Message[]> => {
        const store = stores[random.integer(0, 1)] as SharedStore;
        const choice = random.integer(1, 10);
        if (choice <= 6) return (await store.log.update(first, { round, n }, 'service')) ?? [];
        if (choice === 7) return (await store.log.retract(first, 'service')) ?? [];
        const appended = await store.log.append(draft({ collapseKey: 'key' }));
        return appended.outcome === 'stored' ? appended.entries : [];
      });
      const told = (await Promise.all(works.map((work) => work()))).flat();
      for (const message of told) expect(toldWellOf(message)).toBe(true);
    }
    const [all, ofOther] = await Promise.all(stores.map((store) => readAll(store)));
    for (const message of all ?? []) expect(toldWellOf(message)).toBe(true);
    expect(ofOther).toEqual(all);
  });

  it('change states at once: the last frame matches what is stored', async () => {
    const stores = await openTwo();
    const random = seededRandom('states of two nodes');
    await stores[0].devices.open('anna', 'phone');
    const [message, other] = await appendAll(stores[0], draftsOf(2));
    if (message === undefined || other === undefined) throw new Error('not appended');
    for (const _round of range(1, 30)) {
      const states = range(1, 4).map(() => REQUESTED_STATES[random.integer(0, 3)] ?? 'read');
      const ids = random.integer(0, 1) === 0 ? [message.id] : [message.id, other.id];
      const changes = states.map((state, index) =>
        (stores[index % 2] as SharedStore).inbox.changeStates('anna', { ids }, state),
      );
      await Promise.all(changes);
      const told = await readAll(stores[0], stateTopic('anna'));
      const { items } = await stores[1].inbox.list('anna', { state: 'any', limit: 10 });
      for (const { message: listed, state } of items)
        expect([listed.id, foldStates(told, listed.id)]).toEqual([listed.id, state]);
    }
  });

  it('let one of them carry out a request under a key, until it is answered', async () => {
    const [one, other] = await openTwo();
    const key = { caller: 'anna', key: 'k' };
    const claims = await Promise.all(
      range(1, 20).flatMap(() => [one.keys.claim(key, 'print'), other.keys.claim(key, 'print')]),
    );
    expect(claims.filter(({ outcome }) => outcome === 'claimed')).toHaveLength(1);
    expect(claims.filter(({ outcome }) => outcome === 'running')).toHaveLength(39);
    const isOwn = claims.findIndex(({ outcome }) => outcome === 'claimed') % 2 === 0;
    const [owner, rival] = isOwn ? [one, other] : [other, one];
    expect(await rival.keys.claim(key, 'other')).toEqual({ outcome: 'conflict' });
    await owner.keys.keepAnswer(key, 'print', { status: 201, body: 'done' });
    await owner.keys.release(key);
    expect(await rival.keys.claim(key, 'print')).toEqual({
      outcome: 'answered',
      answer: { status: 201, body: 'done' },
    });
  });

  it('take over the key of a node that is gone, which then can no longer answer for it', async () => {
    const clock = new SettableClock();
    const [gone, other] = await openTwo(clock);
    const key = { caller: 'anna', key: 'k' };
    const claimedAt = clock.now();
    await gone.keys.claim(key, 'print');
    clock.pass(59_000);
    expect(await other.keys.claim(key, 'print')).toEqual({ outcome: 'running' });
    clock.pass(2_000);
    expect(await other.keys.claim(key, 'print')).toEqual({ outcome: 'claimed', claimedAt });
    await gone.keys.keepAnswer(key, 'print', { status: 500, body: 'late' });
    await gone.keys.release(key);
    expect(await gone.keys.claim(key, 'print')).toEqual({ outcome: 'running' });
    await other.keys.keepAnswer(key, 'print', { status: 201, body: 'done' });
    expect(await gone.keys.claim(key, 'print')).toMatchObject({ answer: { body: 'done' } });
  });

  it('give a name to one topic, and a user no more topics than allowed', async () => {
    const [one, other] = await openTwo();
    const created = await Promise.all(
      range(1, 10).map((n) => (n % 2 ? one : other).topics.create(topicOf('sea', { owner: `owner ${n}` }), PLENTY)),
    );
    expect(created.filter(({ outcome }) => outcome === 'joined')).toHaveLength(1);
    expect(created.filter(({ outcome }) => outcome === 'taken')).toHaveLength(9);
    await Promise.all(range(1, 8).map((n) => createTopic(one, `topic-${n}`)));
    const joinedAt = new Date(milliseconds(1)).toISOString();
    await Promise.all(
      range(1, 8).map((n) => (n % 2 ? one : other).topics.addMember(`topic-${n}`, { userId: 'ben', joinedAt }, 4)),
    );
    expect((await membershipsOf(one, 'ben')).length).toBeLessThanOrEqual(4);
  });

  it('know the store by one name, which no other store has', async () => {
    const [one, other] = await openTwo();
    expect(one.identity).toBe(other.identity);
    expect(one.identity).not.toBe((await openAt(databaseUrl())).identity);
  });

  it('replace all that is unread with a collapseKey', async () => {
    const [one, other] = await openTwo();
    const earlier = await append(one, draft({ collapseKey: 'k' }));
    await one.inbox.changeStates('anna', { ids: [earlier.id] }, 'read');
    const last = await append(other, draft({ collapseKey: 'k' }));
    await one.inbox.changeStates('anna', { ids: [earlier.id] }, 'unread');
    await other.log.retract(last, 'service');
    expect(await one.log.append(draft({ collapseKey: 'k' }))).toMatchObject({ entries: [{ seq: 4 }, { seq: 5 }] });
    expect(seqsOf(await readAll(one))).toEqual([3, 4, 5]);
  });

  it('enter one device at once at the same position', async () => {
    const [one, other] = await openTwo();
    await appendAll(one, draftsOf(3));
    const positions = await Promise.all(range(1, 10).map((n) => (n % 2 ? one : other).devices.open('anna', 'phone')));
    for (const each of positions) expect(each.get(ANNA)).toEqual({ seq: 0, unreadUpTo: 0 });
    expect(await devicesOf(other, 'anna')).toHaveLength(1);
  });
}

async function sendAll(store: Store): Promise<Message[]> {
  const sent: Message[] = [];
  for (;;) {
    const { taken, entries } = await store.schedule.appendDue(7);
    sent.push(...entries);
    if (taken === 0) return sent;
  }
}

function describeRecentHeads(): void {
  it('are those of the logs that received entries, by whichever node', async () => {
    const [one, other] = await openTwo();
    const at = (n: number) => new Date(milliseconds(n)).toISOString();
    await appendAll(one, draftsOf(3, { topic: '@old', timestamp: at(1) }));
    await appendAll(one, draftsOf(2, { timestamp: at(9) }));
    await appendAll(other, draftsOf(4, { topic: BROADCAST_TOPIC, timestamp: at(10) }));
    await append(other, draft({ timestamp: at(11) }));
    expect(await one.recent.heads(milliseconds(10))).toEqual(
      new Map([
        [ANNA, 3],
        [BROADCAST_TOPIC, 4],
      ]),
    );
    expect(await other.recent.heads(milliseconds(12))).toEqual(new Map());
  });

  it('are of changes and states, too', async () => {
    const clock = new SettableClock();
    const [one, other] = await openTwo(clock);
    const message = await append(one, draft());
    clock.set(milliseconds(5));
    await one.log.update(message, 'new', 'service');
    await one.inbox.changeStates('anna', { ids: [message.id] }, 'read');
    expect(await other.recent.heads(milliseconds(5))).toEqual(
      new Map([
        [ANNA, 2],
        ['~anna', 1],
      ]),
    );
  });
}

function describeRecentMemberships(): void {
  it('are those that began or ended, and topics that were deleted, by whichever node', async () => {
    const clock = new SettableClock();
    const [one, other] = await openTwo(clock);
    const since = async (seconds: number) => {
      const changes = await other.recent.memberships(milliseconds(seconds));
      return changes.map(({ topic, userId = 'all', isMember }) => `${topic} ${userId} ${isMember}`).toSorted();
    };
    await createTopic(one, 'sea');
    await createTopic(one, 'land');
    clock.set(milliseconds(10));
    await one.topics.addMember('sea', { userId: 'ben', joinedAt: '' }, PLENTY);
    expect(await since(5)).toEqual(['sea ben true']);
    clock.set(milliseconds(20));
    await one.topics.removeMember('sea', 'ben');
    await one.topics.delete('land');
    expect(await since(15)).toEqual(['land all false', 'sea ben false']);
    clock.set(milliseconds(30));
    await one.topics.addMember('sea', { userId: 'ben', joinedAt: '' }, PLENTY);
    expect(await since(25)).toEqual(['sea ben true']);
    expect(await since(31)).toEqual([]);
  });
}

function describeRecentRevocations(): void {
  it('are those that were kept, or grew, by whichever node', async () => {
    const clock = new SettableClock();
    const [one, other] = await openTwo(clock);
    const anna = { userId: 'anna', issuedBefore: 100 };
    await one.revocations.keep(anna);
    await one.revocations.keep({ userId: 'ben', jti: 'token' });
    clock.set(milliseconds(5));
    await other.revocations.keep({ userId: 'cem', issuedBefore: 7 });
    expect(await one.recent.revocations(milliseconds(5))).toEqual([{ userId: 'cem', issuedBefore: 7 }]);
    expect(await other.recent.revocations(milliseconds(0))).toHaveLength(3);
    clock.set(milliseconds(9));
    await one.revocations.keep({ userId: 'ben', jti: 'token', expiresAt: 50 });
    expect(await other.recent.revocations(milliseconds(9))).toEqual([{ userId: 'ben', jti: 'token', expiresAt: 50 }]);
    expect(await other.recent.revocations(milliseconds(10))).toEqual([]);
  });
}

function describeData(): void {
  const hostile = JSON.parse(
    '{"$where":"sleep(1)","$set":{"a":1},"a.b":{"$gt":""},"":0,"__proto__":{"x":1},"constructor":null,"_id":"x"}',
  ) as unknown;

  it('is text for the database, whatever it looks like', async () => {
    const store = await openAt(databaseUrl());
    const given = [hostile, '$where', { $date: 'x' }, [null, [hostile]], { $numberLong: '1' }];
    const messages = await appendAll(
      store,
      given.map((data) => draft({ data })),
    );
    const [first] = messages;
    expect((await readAll(store)).map(({ data }) => JSON.stringify(data))).toEqual(
      given.map((data) => JSON.stringify(data)),
    );
    if (first === undefined) throw new Error('not appended');
    await store.log.update(first, { $unset: hostile }, 'service');
    expect(JSON.stringify((await readAll(store))[0]?.data)).toBe(JSON.stringify({ $unset: hostile }));
    expect(await store.log.head(ANNA)).toBe(6);
  });

  it('that is scheduled is, too', async () => {
    const clock = new SettableClock();
    const store = await openAt(databaseUrl(), clock);
    await store.schedule.add({ draft: draft({ data: hostile }), sendAt: milliseconds(1) });
    clock.set(milliseconds(1));
    const { entries } = await store.schedule.appendDue(10);
    expect(JSON.stringify(entries[0]?.data)).toBe(JSON.stringify(hostile));
  });

  it('of names is no operator either', async () => {
    const store = await openAt(databaseUrl());
    for (const name of ['$where', 'a.b', '__proto__', '$$ROOT', 'constructor']) {
      await store.devices.open(name, name);
      const message = await append(store, owned(name, { topic: `@${name}`, from: name, collapseKey: name }));
      expect(await store.log.find(name)).toEqual([message]);
      expect(await store.inbox.changeStates(name, { ids: [name] }, 'archived')).toMatchObject({ changed: 1 });
      expect((await store.inbox.list(name, { state: 'archived', limit: 10 })).items).toHaveLength(1);
    }
  });
}

/** More than a count examines before it writes down what it has found. */
const MANY = 300;

function describeFacts(): void {
  const tagged = (db: Db, tag: string) => db.collection('messages').countDocuments({ tags: tag });

  it('is examined by few counts: of many that are gone, the user’s own, or not for the user', async () => {
    const database = databaseUrl();
    const store = await openAt(database);
    await store.devices.open('anna', 'phone');
    const gone = await appendAll(store, draftsOf(MANY));
    await appendAll(store, draftsOf(MANY, { topic: BROADCAST_TOPIC, from: 'anna' }));
    await appendAll(store, draftsOf(MANY, { topic: BROADCAST_TOPIC, exceptUserId: 'anna' }));
    await appendAll(store, draftsOf(2));
    for (const part of partsOf(gone, 20))
      await Promise.all(part.map((message) => store.log.retract(message, 'service')));
    const tags = ['hole', 'from:anna', 'except:anna'];
    await withDatabase(database, async (db) => {
      for (const tag of tags) expect(await tagged(db, tag)).toBeGreaterThanOrEqual(MANY);
      await eventually(
        async () => {
          expect(await store.inbox.counts('anna')).toEqual({ unseen: 2, unread: 2 });
          return Promise.all(tags.map((tag) => tagged(db, tag)));
        },
        (left) => left.every((count) => count === 0),
      );
    });
    expect(await store.inbox.counts('anna')).toEqual({ unseen: 2, unread: 2 });
    expect((await store.inbox.list('anna', { state: 'any', limit: 1_000 })).items).toHaveLength(MANY + 2);
    expect((await store.inbox.list('anna', { state: 'read', topic: BROADCAST_TOPIC, limit: 7 })).items).toHaveLength(7);
  });

  it('needs no look when it has expired', async () => {
    const database = databaseUrl();
    const clock = new SettableClock();
    const store = await openAt(database, clock);
    await appendAll(store, [...draftsOf(5, { expiresAt: milliseconds(5) }), ...draftsOf(2)]);
    clock.set(milliseconds(5));
    expect(await store.inbox.counts('anna')).toEqual({ unseen: 2, unread: 2 });
    await store.log.expire(100);
    await withDatabase(database, async (db) => expect(await tagged(db, 'hole')).toBe(0));
    expect(await store.inbox.counts('anna')).toEqual({ unseen: 2, unread: 2 });
    expect(seqsOf((await store.log.history(ANNA, { limit: 9 })).messages)).toEqual([6, 7]);
  });

  it('is counted until it expires, even if it should have been looked at before', async () => {
    const database = databaseUrl();
    const clock = new SettableClock();
    const store = await openAt(database, clock);
    const { seq } = await append(store, draft({ expiresAt: milliseconds(9) }));
    await append(store, draft({ expiresAt: milliseconds(20) }));
    // As a change leaves it whose entry nobody has written yet.
    await withDatabase(database, (db) =>
      db.collection('messages').updateOne({ topic: ANNA, seq }, { $set: { dueAt: milliseconds(5) } }),
    );
    for (const [now, until] of [
      [4, 5],
      [5, 9],
      [8, 9],
      [9, 20],
    ] as const) {
      clock.set(milliseconds(now));
      expect(await store.inbox.counted('anna')).toMatchObject({ until: milliseconds(until) });
    }
  });

  it('is known of what an entry has replaced, before anybody has taken it out', async () => {
    const database = databaseUrl();
    const store = await openAt(database);
    await appendAll(store, draftsOf(2));
    const { message: entry } = (await store.log.append(draft({ topic: ANNA }))) as { message: Message };
    await withDatabase(database, async (db) => {
      const replaced = { event: 'message:removed', ref: 'made', reason: 'replaced', tags: ['hole'], removes: 1 };
      await db.collection('messages').updateOne({ topic: ANNA, seq: entry.seq }, { $set: replaced });
    });
    expect(await store.inbox.counts('anna')).toEqual({ unseen: 1, unread: 1 });
  });

  it('is known about what the version before wrote, and keys replace those of their sender', async () => {
    const database = databaseUrl();
    const store = await openAt(database);
    const old = await append(store, draft({ from: 'shop', collapseKey: 'k' }));
    const other = await append(store, draft({ from: 'stranger', collapseKey: 'k' }));
    await withDatabase(database, async (db) => {
      for (const { seq, from } of [old, other]) {
        const tags = [`from:${from}`, 'collapse:k'];
        await db.collection('messages').updateOne({ topic: ANNA, seq }, { $set: { tags } });
      }
    });
    expect(await store.log.append(draft({ from: 'shop', collapseKey: 'k' }))).toMatchObject({
      entries: [{ seq: 3, ref: old.id, reason: 'replaced' }, { seq: 4 }],
    });
    expect(await store.log.append(draft({ from: 'stranger', collapseKey: 'k' }))).toMatchObject({
      entries: [{ seq: 5, ref: other.id }, { seq: 6 }],
    });
  });
}

async function openErrorOf(target: string): Promise<StoreOpenError> {
  const begun = performance.now();
  const error = await openMongoStore(target, new SettableClock()).then(
    async (store) => {
      await store.close();
      throw new Error('the store was opened');
    },
    (reason: unknown) => reason,
  );
  expect(performance.now() - begun).toBeLessThan(START_MS);
  if (!(error instanceof StoreOpenError)) throw error;
  return error;
}

function describeStart(): void {
  it.each([
    ['that nobody listens on', 'mongodb://127.0.0.1:1/tidings'],
    ['with a name that is not known', 'mongodb://nowhere.invalid:27017/tidings'],
    ['without the name of a database', 'mongodb://127.0.0.1:1'],
    ['without the name of a database but with options', 'mongodb://127.0.0.1:1/?appName=x'],
    ['that is none', 'mongodb://'],
  ])('at an address %s is refused in a sentence', async (_name, target) => {
    const { message } = await openErrorOf(target);
    expect(message).toContain('STORE_URL');
    expect(message).not.toContain('\n');
  });

  it('at a host that is silent is refused in time', async () => {
    const { hostname, port } = new URL(MONGODB_URL ?? '');
    const proxy = await startTcpProxy({ host: hostname, port: Number(port) });
    proxy.hang();
    expect((await openErrorOf(`mongodb://127.0.0.1:${proxy.port}/tidings`)).message).toContain('STORE_URL');
  });

  it.each([
    ['plain', 'anna:s3cret-word@127.0.0.1:1/tidings'],
    ['encoded', 'anna:s3cret%2Dword@127.0.0.1:1/tidings'],
    ['with signs that should be encoded', 'anna:s3cret-word@@/x@127.0.0.1:1/tidings'],
    ['in an address that cannot be read', 'anna:s3cret-word@/tidings'],
    ['wrong', `anna:s3cret-word@${new URL(MONGODB_URL ?? 'mongodb://x').host}/tidings?authMechanism=SCRAM-SHA-256`],
  ])('reveals the password to nobody: %s', async (_name, rest) => {
    const { message, stack, cause } = await openErrorOf(`mongodb://${rest}`);
    for (const text of [message, stack, String(cause)]) {
      expect(text).not.toMatch(/s3cret/);
      expect(text).not.toMatch(/anna/);
    }
    expect(message).toContain('STORE_URL');
  });

  it('with another layout is refused', async () => {
    const database = databaseUrl();
    await (await openAt(database)).close();
    await withDatabase(database, (db) =>
      db.collection<{ _id: string }>('meta').updateOne({ _id: 'layout' }, { $set: { version: 99 } }),
    );
    expect((await openErrorOf(database.href)).message).toMatch(/STORE_URL has layout 99/);
  });

  it('does not let the address decide how safely it writes', async () => {
    const database = databaseUrl();
    const careless = new URL(database);
    careless.search = '?w=0&journal=false&readConcernLevel=local&readPreference=secondary';
    const stores = [await openAt(careless), await openAt(database)];
    // A node that does not wait for the answer learns of no duplicate.
    const appended = await Promise.all(range(1, 20).flatMap(() => stores.map((store) => append(store, draft()))));
    expect(seqsOf(appended).toSorted(bySeq)).toEqual(range(1, 40));
  });

  it('by several nodes at once makes one store', async () => {
    const database = databaseUrl();
    const stores = await Promise.all(range(1, 4).map(() => openAt(database)));
    const seqs = await Promise.all(stores.map(async (store) => (await append(store, draft())).seq));
    expect(seqs.toSorted(bySeq)).toEqual([1, 2, 3, 4]);
  });
}

function describeOutage(): void {
  const SECRET = 'a body that no log may hold';

  async function openBehindProxy() {
    const database = databaseUrl();
    const { hostname, port } = database;
    const proxy = await startTcpProxy({ host: hostname, port: Number(port) });
    const behind = new URL(database);
    behind.host = `127.0.0.1:${proxy.port}`;
    return { proxy, database, store: await openAt(behind) };
  }

  /** Asks until it is answered. */
  async function appendAgain(store: Store, id: string): Promise<Appended> {
    for (;;) {
      try {
        return await store.log.append(owned(id));
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
      }
    }
  }

  const KEY = { caller: 'service', key: 'key' };

  function tryToClaim(store: Store) {
    return store.keys.claim(KEY, 'body').catch(() => undefined);
  }

  it('that is down fails calls with StoreError in time, and is found again by itself', async () => {
    const { proxy, store } = await openBehindProxy();
    await append(store, owned('before'));
    proxy.cut();
    const begun = performance.now();
    const failed = await Promise.allSettled([
      store.log.append(draft({ data: SECRET })),
      store.log.append(owned('client', { data: SECRET })),
      store.log.read(ANNA, { after: 0, limit: 1 }),
      store.probe(),
      store.schedule.add({ draft: draft({ data: SECRET }), sendAt: 1 }),
    ]);
    expect(performance.now() - begun).toBeLessThan(CALL_MS);
    for (const one of failed) {
      if (one.status === 'fulfilled') throw new Error('a call without a server has ended well');
      expect(one.reason).toBeInstanceOf(StoreError);
      expect(`${one.reason.stack} ${JSON.stringify(one.reason)} ${String(one.reason.cause)}`).not.toContain(SECRET);
    }
    proxy.restore();
    expect(await appendAgain(store, 'after')).toMatchObject({ message: { id: 'after', seq: 2 } });
    expect(seqsOf(await readAll(store))).toEqual([1, 2]);
  });

  it('that breaks off running calls holds them up, refuses nothing, and has nothing twice', async () => {
    const { proxy, database, store } = await openBehindProxy();
    const direct = await openAt(database);
    await append(store, draft({ topic: '@ben' }));
    proxy.loseAnswers();
    // First, on the connection that is there.
    const stored = store.log.append(draft({ topic: '@ben' }));
    await eventually(
      () => direct.log.head('@ben'),
      (head) => head === 2,
    );
    const sends = [stored, store.log.append(owned('client'))];
    const claim = store.keys.claim({ caller: 'service', key: 'key' }, 'body');
    proxy.restore();
    for (const send of sends) expect(await send).toMatchObject({ outcome: 'stored' });
    expect(await claim).toMatchObject({ outcome: 'claimed' });
    expect(seqsOf(await readAll(direct, '@ben'))).toEqual([1, 2]);
    expect(seqsOf(await readAll(direct))).toEqual([1]);
  });

  it.each([
    ['one message', range(1, 1)],
    ['several', range(1, 5)],
  ])('that fails to read stores %s where the end of the log is known', async (_what, numbers) => {
    const store = await openAt(databaseUrl());
    await append(store, draft());
    const fail = () => Promise.reject(new MongoServerError({ message: 'interrupted', code: 11_601 }));
    const reading = jest.spyOn(Collection.prototype, 'findOne').mockImplementation(fail);
    onTestEnd(() => void jest.restoreAllMocks());
    const sent = await Promise.all(numbers.map(() => store.log.append(draft())));
    expect(reading).not.toHaveBeenCalled();
    jest.restoreAllMocks();
    expect(storedOf(sent).map(({ seq }) => seq)).toEqual(numbers.map((n) => n + 1));
    expect(seqsOf(await readAll(store))).toEqual(range(1, numbers.length + 1));
  });

  /** Destroyed or ended, and not closed yet: the driver has not been notified. */
  it.each(['destroy', 'end'] as const)(
    'whose connections end in the moment something is written to them (%s) holds it up, and refuses nothing',
    async (end) => {
      const sockets = new Set<Socket>();
      const remember = (message: unknown) => sockets.add((message as { socket: Socket }).socket);
      subscribe('net.client.socket', remember);
      onTestEnd(() => void unsubscribe('net.client.socket', remember));
      const { proxy, store } = await openBehindProxy();
      await append(store, owned('before'));
      for (const socket of sockets) if (socket.remotePort === proxy.port) socket[end]();
      expect((await append(store, owned('after'))).seq).toBe(2);
    },
  );

  it.each(['hang', 'loseAnswers'] as const)(
    'that says nothing (%s) fails calls in time, and nothing is there twice',
    async (fault) => {
      const { proxy, database, store } = await openBehindProxy();
      await append(store, owned('before'));
      await append(store, draft({ topic: '@ben' }));
      proxy[fault]();
      const begun = performance.now();
      // The first, on the connection that is there: a new one would get no further than its greeting.
      const plain = store.log.append(draft({ topic: '@ben', data: fault })).catch((error: unknown) => error);
      const failed = await Promise.allSettled(range(1, 3).map((n) => store.log.append(owned(`${n}`))));
      expect(performance.now() - begun).toBeLessThan(CALL_MS);
      for (const one of failed) expect(one).toMatchObject({ status: 'rejected', reason: expect.any(StoreError) });
      expect(await plain).toBeInstanceOf(StoreError);
      proxy.restore();
      for (const n of range(1, 3)) expect((await appendAgain(store, `${n}`)).outcome).not.toBe('conflict');
      const messages = await readAll(await openAt(database));
      expect(seqsOf(messages)).toEqual(range(1, 4));
      expect(messages.map(({ id }) => id).toSorted()).toEqual(['1', '2', '3', 'before']);
      // What the server has done is stored, although nobody was told: the next seq is the one after it.
      const isDone = fault === 'loseAnswers';
      expect((await append(store, draft({ topic: '@ben' }))).seq).toBe(isDone ? 3 : 2);
      expect((await readAll(store, '@ben')).filter(({ data }) => data === fault)).toHaveLength(isDone ? 1 : 0);
    },
  );

  it('that is down when a key is released learns it afterwards', async () => {
    const { proxy, store } = await openBehindProxy();
    const claim = () => tryToClaim(store);
    expect(await claim()).toMatchObject({ outcome: 'claimed' });
    proxy.cut();
    await store.keys.release(KEY);
    proxy.restore();
    await eventually(claim, (again) => again?.outcome === 'claimed');
  });

  it('whose answer to a claim was lost has the key free for the next one', async () => {
    const { proxy, store } = await openBehindProxy();
    const claim = () => tryToClaim(store);
    // An existing connection: the claim itself arrives.
    await store.probe();
    proxy.loseAnswers();
    expect(await claim()).toBeUndefined();
    proxy.restore();
    await eventually(claim, (again) => again?.outcome === 'claimed');
  });

  it('that comes and goes loses nothing that was answered, and leaves no gap', async () => {
    const { proxy, store } = await openBehindProxy();
    const ids = range(1, 60).map(String);
    let answered = 0;
    const appending = ids.map(async (id) => {
      await appendAgain(store, id);
      answered += 1;
      if (answered % 15 === 0) proxy.restore();
    });
    proxy.restore();
    await Promise.all(appending);
    const messages = await readAll(store);
    expect(seqsOf(messages)).toEqual(range(1, 60));
    expect(new Set(messages.map(({ id }) => id))).toEqual(new Set(ids));
  });

  it('is left alone by a closed store', async () => {
    const { store } = await openBehindProxy();
    await store.close();
    await store.close();
    await expect(store.log.head(ANNA)).rejects.toThrow(StoreError);
    await expect(store.recent.heads(0)).rejects.toThrow(StoreError);
    await expect(store.recent.revocations(0)).rejects.toThrow(StoreError);
    await expect(store.schedule.sendersOf('x')).rejects.toThrow(StoreError);
  });
}
