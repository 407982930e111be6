/**
 * The embedded engine: LMDB through lmdb-js, one node, one directory.
 * Every write goes through one queue; what has gathered while a transaction was being flushed goes into the
 * next one, so the number of flushes does not grow with the load (group commit). `overlappingSync: false` makes a
 * transaction resolve after its fdatasync; tests/services/storage/flush.test.ts traces that the answer comes later.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, realpathSync, statfsSync } from 'node:fs';
import { extname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Database, open, type RootDatabase } from 'lmdb';
import type { Message } from '../../utils/protocol';
import { BROADCAST_TOPIC, personalTopic } from '../../utils/topic-names';
import {
  type Appended,
  type Cursor,
  type Draft,
  FURTHER_DEVICE_MESSAGES,
  type HistoryOptions,
  type Joined,
  type Member,
  type Page,
  type ReadOptions,
  type Store,
  StoreError,
  StoreOpenError,
  type Topic,
  type User,
} from './contract';
import { type DataFile, inspectDataFile } from './lmdb-file';
import { DATABASES, type DatabaseName, LAYOUT_VERSION } from './lmdb-layout';

interface TopicState {
  readonly head: number;
  readonly prunedUpTo: number;
}

interface QueuedWrite {
  /** Runs inside the write transaction, where every read sees the writes before it. Checks first, writes last. */
  readonly apply: () => () => void;
  readonly fail: (error: StoreError) => void;
}

const EMPTY_TOPIC: TopicState = { head: 0, prunedUpTo: 0 };
/** A transaction of this size flushes in a few milliseconds; more would make the first waiter wait for the last. */
const MAX_WRITES_PER_TRANSACTION = 2_000;
/** Below this LMDB cannot grow its file by a page or two: the disk is full. */
const MIN_FREE_BYTES = 64 * 1024;
/** Topics looked at by a sweep before other work gets its turn. */
const TOPICS_PER_TURN = 200;
/** Sorts behind every topic (their names begin with an ASCII character), and behind every text but the rarest. */
const AFTER_ALL_TOPICS = '\uffff';

const directoriesInUse = new Set<string>();

/**
 * Opens the store in a directory, which is made when it is missing.
 * @throws StoreOpenError when it is damaged, in use by another process, or of another version.
 */
export function openLmdbStore(directory: string): Store {
  const path = prepareDirectory(directory);
  if (directoriesInUse.has(path)) throw inUse(directory, `this process (${process.pid})`);
  verify(path);
  const root = openEnvironment(path);
  try {
    const databases = openDatabases(root);
    refuseOtherProcess(root, databases.topics, directory);
    refuseOtherLayout(databases.meta, directory);
    directoriesInUse.add(path);
    return new LmdbStore(path, root, databases, () => directoriesInUse.delete(path));
  } catch (error) {
    void root.close();
    if (error instanceof StoreOpenError) throw error;
    throw new StoreOpenError(`The store in ${directory} cannot be opened: ${messageOf(error)}`, error);
  }
}

function prepareDirectory(directory: string): string {
  try {
    mkdirSync(directory, { recursive: true });
    return realpathSync(directory);
  } catch (error) {
    throw new StoreOpenError(`${directory} cannot be used as the directory of the store: ${messageOf(error)}`, error);
  }
}

function inspect(directory: string): DataFile | undefined {
  try {
    return inspectDataFile(directory);
  } catch (error) {
    if (error instanceof StoreOpenError) throw error;
    throw new StoreOpenError(`The store in ${directory} cannot be opened: ${messageOf(error)}`, error);
  }
}

/** Lets a child walk the store first: a damaged page would end this process without a word. */
function verify(directory: string): void {
  if (inspect(directory) === undefined) return;
  const script = require.resolve('./verify-lmdb');
  const loader = extname(script) === '.ts' ? ['--import', 'tsx'] : [];
  const child = spawnSync(process.execPath, [...loader, script, directory], { stdio: 'ignore', env: process.env });
  if (child.status === 0) return;
  if (child.error !== undefined) throw new StoreOpenError(`The store could not be checked: ${child.error.message}`);
  throw new StoreOpenError(
    `The store in ${directory} is damaged: reading it through failed (${child.signal ?? `exit ${child.status}`}). ` +
      'Nothing was changed. Restore the directory from a backup, or start with another one.',
  );
}

function openEnvironment(path: string): RootDatabase {
  try {
    // Turns are batched by the queue. lmdb-js's own batching would leave a promise behind that nobody can hold, and
    // so an unhandled rejection for every commit that fails.
    return open({ path, noSubdir: false, overlappingSync: false, eventTurnBatching: false, maxDbs: DATABASES.length });
  } catch (error) {
    throw new StoreOpenError(`The store in ${path} cannot be opened: ${messageOf(error)}`, error);
  }
}

interface Databases {
  readonly messages: Database<string, [string, number]>;
  readonly topics: Database<TopicState, string>;
  readonly ids: Database<[string, number], [string, string]>;
  readonly cursors: Database<number, [string, string, string]>;
  readonly users: Database<User, string>;
  readonly named: Database<Topic, string>;
  readonly members: Database<string, [string, string]>;
  readonly memberships: Database<number, [string, string]>;
  readonly meta: Database<number, string>;
}

function openDatabases(root: RootDatabase): Databases {
  const opened = new Map(DATABASES.map(({ name, encoding }) => [name, root.openDB({ name, encoding })]));
  const get = (name: DatabaseName) => opened.get(name);
  return {
    messages: get('messages') as Databases['messages'],
    topics: get('topics') as Databases['topics'],
    ids: get('ids') as Databases['ids'],
    cursors: get('cursors') as Databases['cursors'],
    users: get('users') as Databases['users'],
    named: get('named') as Databases['named'],
    members: get('members') as Databases['members'],
    memberships: get('memberships') as Databases['memberships'],
    meta: get('meta') as Databases['meta'],
  };
}

/**
 * LMDB keeps a table of the processes that read, each entry guarded by a file lock that ends with its process.
 * Entering it before looking means that of two processes that start at once at least one sees the other.
 */
function refuseOtherProcess(root: RootDatabase, topics: Databases['topics'], directory: string): void {
  topics.get(BROADCAST_TOPIC);
  root.readerCheck();
  const rows = root.readerList().split('\n').slice(1);
  const processes = rows.map((row) => Number.parseInt(row.trim(), 10)).filter((pid) => !Number.isNaN(pid));
  const other = processes.find((pid) => pid !== process.pid);
  if (other !== undefined) throw inUse(directory, `process ${other}`);
}

function inUse(directory: string, user: string): StoreOpenError {
  return new StoreOpenError(
    `The store in ${directory} is in use by ${user}. One process can use an embedded store: stop the other one, ` +
      'or give this one another directory (STORE_URL=lmdb:DIRECTORY).',
  );
}

function refuseOtherLayout(meta: Databases['meta'], directory: string): void {
  const version = meta.get('layoutVersion');
  if (version === undefined) meta.putSync('layoutVersion', LAYOUT_VERSION);
  else if (version !== LAYOUT_VERSION) {
    throw new StoreOpenError(
      `The store in ${directory} has layout ${version}, this version reads ${LAYOUT_VERSION}: start the version that wrote it.`,
    );
  }
}

class LmdbStore implements Store {
  #queue: QueuedWrite[] = [];
  #isCommitting = false;
  #isClosed = false;
  #whenIdle: (() => void)[] = [];
  /** Where the sweep under way goes on; `undefined` starts over. */
  #pruneAfter: string | undefined;
  #pruning: Promise<number> = Promise.resolve(0);

  constructor(
    private readonly path: string,
    private readonly root: RootDatabase,
    private readonly databases: Databases,
    private readonly onClose: () => void,
  ) {}

  append(draft: Draft): Promise<Appended> {
    return this.#write(() => this.#appendNow(draft));
  }

  #appendNow(draft: Draft): Appended {
    const earlier = draft.isClientId ? this.#findByClientId(draft) : undefined;
    if (earlier !== undefined) {
      return hasSameContent(earlier, draft) ? { outcome: 'repeated', message: earlier } : { outcome: 'conflict' };
    }
    const { isClientId, ...content } = draft;
    const { head, prunedUpTo } = this.#topic(draft.topic);
    const message: Message = { ...content, seq: head + 1 };
    const { messages, topics, ids } = this.databases;
    messages.put([draft.topic, message.seq], JSON.stringify(message));
    topics.put(draft.topic, { head: message.seq, prunedUpTo });
    if (isClientId) ids.put([draft.from, draft.id], [draft.topic, message.seq]);
    return { outcome: 'stored', message };
  }

  #findByClientId(draft: Draft): Message | undefined {
    const place = this.databases.ids.get([draft.from, draft.id]);
    return place === undefined ? undefined : this.#message(...place);
  }

  read(topic: string, options: ReadOptions): Promise<Page> {
    return this.#reading(() => this.#readNow(topic, options));
  }

  #readNow(topic: string, { after, limit, maxBytes = Number.POSITIVE_INFINITY }: ReadOptions): Page {
    const { head, prunedUpTo } = this.#topic(topic);
    const messages: Message[] = [];
    let bytes = 0;
    const first = Math.max(after, prunedUpTo) + 1;
    const range = { start: [topic, first], end: [topic, head + 1], limit } satisfies RangeOf<[string, number]>;
    for (const { key, value } of this.databases.messages.getRange(range)) {
      bytes += Buffer.byteLength(value);
      if (bytes > maxBytes && messages.length > 0) break;
      messages.push(parseMessage(key, value));
    }
    const last = messages.at(-1);
    const isFull = messages.length === limit || bytes > maxBytes;
    return { messages, position: isFull ? (last?.seq ?? after) : head, head, prunedUpTo };
  }

  history(topic: string, options: HistoryOptions): Promise<readonly Message[]> {
    return this.#reading(() => this.#historyNow(topic, options));
  }

  #historyNow(topic: string, { after, before, limit }: HistoryOptions): readonly Message[] {
    const { head, prunedUpTo } = this.#topic(topic);
    const first = Math.max(after ?? 0, prunedUpTo) + 1;
    const last = Math.min(before ?? Number.POSITIVE_INFINITY, head + 1) - 1;
    if (first > last) return [];
    const isForward = after !== undefined;
    const range: RangeOf<[string, number]> & { reverse?: boolean } = isForward
      ? { start: [topic, first], end: [topic, last + 1], limit }
      : { start: [topic, last], end: [topic, first - 1], limit, reverse: true };
    const found = Array.from(this.databases.messages.getRange(range), ({ key, value }) => parseMessage(key, value));
    return isForward ? found : found.reverse();
  }

  head(topic: string): Promise<number> {
    return this.#reading(() => this.#topic(topic).head);
  }

  async openDevice(userId: string, device: string): Promise<ReadonlyMap<string, number>> {
    // Without a turn in between: what was asked for before close() is still done.
    const known = this.#readNowOrThrow(() => this.#cursorsOf(userId, device));
    return known.size > 0 ? known : this.#write(() => this.#enterDevice(userId, device));
  }

  #enterDevice(userId: string, device: string): ReadonlyMap<string, number> {
    const known = this.#cursorsOf(userId, device);
    if (known.size > 0) return known;
    const { users, cursors } = this.databases;
    const user = users.get(userId);
    const broadcastHead = this.#topic(BROADCAST_TOPIC).head;
    const own = personalTopic(userId);
    const recent = (head: number) => Math.max(0, head - FURTHER_DEVICE_MESSAGES);
    const entered = new Map([
      [own, user === undefined ? 0 : recent(this.#topic(own).head)],
      [BROADCAST_TOPIC, user === undefined ? broadcastHead : Math.max(user.broadcastStart, recent(broadcastHead))],
    ]);
    for (const [topic, start] of this.#membershipsOf(userId)) {
      entered.set(topic, user === undefined ? start : Math.max(start, recent(this.#topic(topic).head)));
    }
    if (user === undefined) users.put(userId, { broadcastStart: broadcastHead });
    for (const [topic, seq] of entered) cursors.put([userId, device, topic], seq);
    return entered;
  }

  #cursorsOf(userId: string, device: string): Map<string, number> {
    const range = {
      start: [userId, device, ''],
      end: [userId, device, AFTER_ALL_TOPICS],
    } satisfies RangeOf<[string, string, string]>;
    const found = new Map<string, number>();
    for (const { key, value } of this.databases.cursors.getRange(range)) found.set(key[2], value);
    return found;
  }

  saveCursors(saved: readonly Cursor[]): Promise<void> {
    if (saved.length === 0) return this.#reading(() => undefined);
    return this.#write(() => {
      const { cursors } = this.databases;
      const ahead = saved.filter(({ userId, device, topic, seq }) => {
        const known = cursors.get([userId, device, topic]);
        return known !== undefined && seq > known;
      });
      // Several of one batch may be for the same place: the highest stays.
      for (const { userId, device, topic, seq } of ahead.toSorted((one, other) => one.seq - other.seq)) {
        cursors.put([userId, device, topic], seq);
      }
    });
  }

  user(userId: string): Promise<User | undefined> {
    return this.#reading(() => this.databases.users.get(userId));
  }

  saveLastSeen(times: ReadonlyMap<string, number>): Promise<void> {
    if (times.size === 0) return this.#reading(() => undefined);
    return this.#write(() => {
      const { users } = this.databases;
      const known = Array.from(times, ([userId, lastSeenAt]) => ({ userId, lastSeenAt, user: users.get(userId) }));
      for (const { userId, lastSeenAt, user } of known) {
        if (user !== undefined) users.put(userId, { ...user, lastSeenAt });
      }
    });
  }

  createTopic(topic: Topic, maxTopics: number): Promise<Joined | { readonly outcome: 'taken' }> {
    return this.#write(() => {
      const { named } = this.databases;
      if (named.doesExist(topic.name)) return { outcome: 'taken' };
      const member = { userId: topic.owner, joinedAt: topic.createdAt };
      if (this.#membershipsOf(topic.owner).size >= maxTopics) return { outcome: 'too_many' };
      named.put(topic.name, topic);
      this.#hideHistory(topic.name);
      return this.#join(topic.name, member);
    });
  }

  topic(name: string): Promise<Topic | undefined> {
    return this.#reading(() => this.databases.named.get(name));
  }

  visibleTopics(userId: string): Promise<readonly Topic[]> {
    return this.#reading(() => {
      const own = this.#membershipsOf(userId);
      const all = Array.from(this.databases.named.getRange({}), ({ value }) => value);
      return all.filter(({ name, isPrivate }) => !isPrivate || own.has(name));
    });
  }

  deleteTopic(name: string): Promise<readonly string[] | undefined> {
    return this.#write(() => {
      const { named } = this.databases;
      if (!named.doesExist(name)) return undefined;
      const members = this.#membersOf(name).map(({ userId }) => userId);
      for (const userId of members) this.#leave(name, userId);
      named.remove(name);
      this.#hideHistory(name);
      return members;
    });
  }

  /** What was said so far is out of sight from now on; the next sweep removes it. */
  #hideHistory(name: string): void {
    const { head } = this.#topic(name);
    if (head > 0) this.databases.topics.put(name, { head, prunedUpTo: head });
  }

  addMember(name: string, member: Member, maxTopics: number): Promise<Joined> {
    return this.#write(() => {
      const { named, members } = this.databases;
      if (!named.doesExist(name)) return { outcome: 'no_topic' };
      if (members.doesExist([name, member.userId])) return { outcome: 'member' };
      if (this.#membershipsOf(member.userId).size >= maxTopics) return { outcome: 'too_many' };
      return this.#join(name, member);
    });
  }

  #join(name: string, { userId, joinedAt }: Member): Joined {
    const { members, memberships, cursors } = this.databases;
    const start = this.#topic(name).head;
    members.put([name, userId], joinedAt);
    memberships.put([userId, name], start);
    for (const device of this.#devicesOf(userId)) cursors.put([userId, device, name], start);
    return { outcome: 'joined', start };
  }

  removeMember(name: string, userId: string): Promise<boolean> {
    return this.#write(() => {
      const isMember = this.databases.members.doesExist([name, userId]);
      if (isMember) this.#leave(name, userId);
      return isMember;
    });
  }

  #leave(name: string, userId: string): void {
    const { members, memberships, cursors } = this.databases;
    members.remove([name, userId]);
    memberships.remove([userId, name]);
    for (const device of this.#devicesOf(userId)) cursors.remove([userId, device, name]);
  }

  isMember(name: string, userId: string): Promise<boolean> {
    return this.#reading(() => this.databases.members.doesExist([name, userId]));
  }

  members(name: string): Promise<readonly Member[]> {
    return this.#reading(() => this.#membersOf(name));
  }

  #membersOf(name: string): Member[] {
    const range = startingWith<[string, string]>(name);
    return Array.from(this.databases.members.getRange(range), ({ key, value }) => ({
      userId: key[1],
      joinedAt: value,
    }));
  }

  #membershipsOf(userId: string): Map<string, number> {
    const range = startingWith<[string, string]>(userId);
    return new Map(Array.from(this.databases.memberships.getRange(range), ({ key, value }) => [key[1], value]));
  }

  /** Every device has a cursor in the personal topic, so these keys name them all. */
  #devicesOf(userId: string): Set<string> {
    const keys = this.databases.cursors.getKeys(startingWith<[string, string, string]>(userId));
    return new Set(Array.from(keys, ([, device]) => device));
  }

  prune(before: number, limit: number): Promise<number> {
    // One at a time: two would find the same messages old, and count them twice.
    const run = () => this.#pruneNow(before, limit);
    this.#pruning = this.#pruning.then(run, run);
    return this.#pruning;
  }

  /** Goes on behind the topic where the last call ended, and once more from the beginning: then nothing is left. */
  async #pruneNow(before: number, limit: number): Promise<number> {
    let removed = 0;
    let isLastRound = this.#pruneAfter === undefined;
    for (;;) {
      const topics = await this.#reading(() => this.#topicsToPrune());
      for (const topic of topics) {
        removed += await this.#pruneTopic(topic, before, limit - removed);
        if (removed === limit) return removed;
        this.#pruneAfter = topic;
      }
      if (topics.length > 0) await nextTurn();
      else {
        this.#pruneAfter = undefined;
        if (isLastRound) return removed;
        isLastRound = true;
      }
    }
  }

  #topicsToPrune(): string[] {
    const start = this.#pruneAfter;
    const range = start === undefined ? {} : { start, exclusiveStart: true };
    return Array.from(this.databases.topics.getKeys({ ...range, limit: TOPICS_PER_TURN }));
  }

  async #pruneTopic(topic: string, before: number, limit: number): Promise<number> {
    const { prunedUpTo, head } = this.#topic(topic);
    // From 1 on: a deleted topic leaves messages behind that count as removed already.
    const range = { start: [topic, 1], end: [topic, head + 1], limit } satisfies RangeOf<[string, number]>;
    const old: Message[] = [];
    for (const { key, value } of this.databases.messages.getRange(range)) {
      const message = parseMessage(key, value);
      if (message.seq > prunedUpTo && Date.parse(message.timestamp) >= before) break;
      old.push(message);
    }
    if (old.length > 0) await this.#write(() => this.#remove(topic, old));
    return old.length;
  }

  #remove(topic: string, old: readonly Message[]): void {
    const { messages, ids, topics } = this.databases;
    for (const { seq, from, id } of old) {
      messages.remove([topic, seq]);
      const place = ids.get([from, id]);
      if (place?.[0] === topic && place[1] === seq) ids.remove([from, id]);
    }
    const { head, prunedUpTo } = this.#topic(topic);
    topics.put(topic, { head, prunedUpTo: Math.max(prunedUpTo, old.at(-1)?.seq ?? 0) });
  }

  probe(): Promise<void> {
    return this.#write(() => {
      this.databases.meta.put('probe', ((this.databases.meta.get('probe') ?? 0) + 1) % Number.MAX_SAFE_INTEGER);
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#isCommitting) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
    await this.root.close();
    this.onClose();
  }

  #write<Result>(apply: () => Result): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      if (this.#isClosed) return reject(closedError());
      this.#queue.push({
        apply: () => {
          const result = apply();
          return () => resolve(result);
        },
        fail: reject,
      });
      if (!this.#isCommitting) void this.#commitQueue();
    });
  }

  async #commitQueue(): Promise<void> {
    this.#isCommitting = true;
    while (this.#queue.length > 0) {
      // Requests that were read in the same turn of the event loop share a flush.
      await nextTurn();
      await this.#commit(this.#queue.splice(0, MAX_WRITES_PER_TRANSACTION));
    }
    this.#isCommitting = false;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  async #commit(writes: readonly QueuedWrite[]): Promise<void> {
    let settle: (() => void)[] = [];
    try {
      await this.root.transaction(() => {
        settle = writes.map(applyOne);
      });
    } catch (error) {
      const failure = toStoreError(await causeOf(error), this.#hasSpace());
      settle = writes.map(
        ({ fail }) =>
          () =>
            fail(failure),
      );
    }
    for (const tell of settle) tell();
  }

  /** A full disk shows as an I/O error of the commit: only the file system tells them apart. */
  #hasSpace(): boolean {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize >= MIN_FREE_BYTES;
  }

  #topic(topic: string): TopicState {
    return this.databases.topics.get(topic) ?? EMPTY_TOPIC;
  }

  #message(topic: string, seq: number): Message | undefined {
    const text = this.databases.messages.get([topic, seq]);
    return text === undefined ? undefined : parseMessage([topic, seq], text);
  }

  /** Every read goes through here: whatever LMDB throws becomes a StoreError. */
  async #reading<Result>(work: () => Result): Promise<Result> {
    return this.#readNowOrThrow(work);
  }

  #readNowOrThrow<Result>(work: () => Result): Result {
    if (this.#isClosed) throw closedError();
    try {
      return work();
    } catch (error) {
      throw toStoreError(error);
    }
  }
}

interface RangeOf<Key> {
  readonly start: Key;
  readonly end: Key;
  readonly limit?: number;
}

/**
 * The range of all keys with this first part: no name contains a control character, so nothing lies between it and
 * the same text with one. Not NUL: long texts are encoded as they are, and NUL is what separates the parts.
 */
function startingWith<Key extends [string, string, ...string[]]>(first: string): RangeOf<Key> {
  return { start: [first, ''] as unknown as Key, end: [`${first}\u0001`, ''] as unknown as Key };
}

/** One write that fails must not take the others of its transaction with it: it has written nothing yet. */
function applyOne({ apply, fail }: QueuedWrite): () => void {
  try {
    return apply();
  } catch (error) {
    const failure = toStoreError(error);
    return () => fail(failure);
  }
}

function hasSameContent(message: Message, draft: Draft): boolean {
  return (
    message.topic === draft.topic &&
    message.type === draft.type &&
    message.event === draft.event &&
    JSON.stringify(message.data) === JSON.stringify(draft.data)
  );
}

function parseMessage([topic, seq]: readonly [string, number], text: string): Message {
  try {
    return JSON.parse(text) as Message;
  } catch (error) {
    // The parser's message quotes what it read, and bodies never reach a log.
    void error;
    throw new StoreError(`message ${seq} of topic ${topic} is damaged in the store`);
  }
}

/**
 * Why a commit failed. lmdb-js rejects with a general error that carries the promise of the real one; left alone,
 * that promise would be an unhandled rejection.
 */
async function causeOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error;
  try {
    await error.commitError;
    return error;
  } catch (cause) {
    return cause;
  }
}

function toStoreError(error: unknown, hasSpace = true): StoreError {
  if (error instanceof StoreError) return error;
  const reason = messageOf(error);
  return new StoreError(reason, {
    isFull: !hasSpace || /no space left|MDB_MAP_FULL|quota/i.test(reason),
    cause: error,
  });
}

function closedError(): StoreError {
  return new StoreError('the store is closed');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
