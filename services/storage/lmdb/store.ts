/**
 * The embedded engine: LMDB through lmdb-js, one node, one directory.
 * Every write goes through one queue; what has gathered while a transaction was being flushed goes into the
 * next one, so the number of flushes does not grow with the load (group commit). `overlappingSync: false` makes a
 * transaction resolve after its fdatasync; the scenario of fault F2 in tests/chaos traces that the answer comes later.
 */

import { realpathSync } from 'node:fs';
import { type Clock, nextTurn } from '../../../utils/clock';
import type { Counts, Message, RequestedState } from '../../../utils/protocol';
import { Slice } from '../../../utils/slices';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../../utils/topic-names';
import {
  type Appended,
  type AuditEntry,
  type AuditQuery,
  type Claim,
  type Cursor,
  type DeviceLimit,
  type DevicesPage,
  type Draft,
  type DueSent,
  type Erased,
  type Expired,
  type FlushListener,
  type HistoryOptions,
  type HistoryPage,
  type IdempotencyKey,
  type InboxPage,
  type InboxQuery,
  type Joined,
  type Joining,
  type KeptAnswer,
  type MayBeSent,
  type MembershipsPage,
  type MembersPage,
  type NamePage,
  type OpenedDevice,
  type Page,
  type Place,
  type ReadOptions,
  type ReceiptPage,
  type Revocation,
  type Scheduled,
  type ScheduledPosition,
  type ScheduleOutcome,
  type SeenDevice,
  type Selection,
  type Sending,
  type StateChanged,
  type Store,
  StoreOpenError,
  type Topic,
  type TopicsPage,
  type User,
} from '../contract';
import { prepareDirectory } from '../directory';
import { Turns } from '../mongodb/turns';
import type { ReceiptOptions } from '../rules/receipt-page';
import type { Span } from '../rules/slot-row';
import { Audit } from './audit';
import { Devices } from './devices';
import { Environment, inUse } from './environment';
import { Inbox } from './inbox';
import { Later } from './later';
import type { RemovalKey, Trees } from './layout';
import { Log, type Partly } from './log';
import { Marks } from './marks';
import { Members } from './members';
import { Memberships } from './memberships';
import { closedError, messageOf, toStoreError, WriteQueue } from './queue';
import { Receipts } from './receipts';
import { Removals, type Tally } from './removals';
import { Revocations } from './revocations';

/** Topics looked at by a sweep before other work gets its turn. */
const TOPICS_PER_TURN = 200;
const MARKS_PER_TRANSACTION = 200;
const PRUNED_PER_TRANSACTION = 200;
/** Places of a log that are counted before other work gets its turn. */
const PLACES_PER_TURN = 50_000;
const MEMBERS_PER_TURN = 500;

const directoriesInUse = new Set<string>();

/**
 * Opens the store in a directory, which is made when it is missing.
 * @throws StoreOpenError when it is damaged, in use by another process, or of another version.
 */
export function openLmdbStore(directory: string, clock: Clock, onFlush: FlushListener = () => {}): Store {
  const path = pathOf(directory);
  if (directoriesInUse.has(path)) throw inUse(directory, `this process (${process.pid})`);
  try {
    const environment = new Environment(path);
    directoriesInUse.add(path);
    return new LmdbStore(environment, { clock, path, onFlush, onClose: () => directoriesInUse.delete(path) });
  } catch (error) {
    if (error instanceof StoreOpenError) throw error;
    throw new StoreOpenError(
      `The store in ${directory} cannot be opened: ${messageOf(error)}. Check DATA_DIR, or STORE_URL if that names the directory.`,
      error,
    );
  }
}

function pathOf(directory: string): string {
  const fault = prepareDirectory(directory);
  if (fault === undefined) return realpathSync(directory);
  throw new StoreOpenError(
    `The directory of the store, ${directory}, ${fault}. Check DATA_DIR, or STORE_URL if that names the directory.`,
  );
}

interface LmdbParts {
  readonly clock: Clock;
  readonly path: string;
  readonly onFlush: FlushListener;
  readonly onClose: () => void;
}

/** Every read goes through `#reading`, every write through the queue; what they do is in the files beside. */
class LmdbStore implements Store {
  private readonly trees: Trees;
  readonly #queue: WriteQueue;
  readonly #log: Log;
  readonly #inbox: Inbox;
  readonly #memberships: Memberships;
  readonly #devices: Devices;
  readonly #members: Members;
  readonly #removals: Removals;
  readonly #later: Later;
  readonly #receipts: Receipts;
  readonly #revocations: Revocations;
  readonly #audit: Audit;
  /** One erasure of a user at a time, and what it has taken so far. */
  readonly #turns = new Turns();
  readonly #tallies = new Map<string, Tally>();
  #isClosed = false;
  /** Where the sweep under way goes on; `undefined` starts over. */
  #pruneAfter: string | undefined;
  #pruning: Promise<number> = Promise.resolve(0);

  constructor(
    private readonly environment: Environment,
    private readonly parts: LmdbParts,
  ) {
    const { clock, path, onFlush } = parts;
    const { trees } = environment;
    this.trees = trees;
    const marks = new Marks(trees);
    const log = new Log(trees, marks, clock);
    const inbox = new Inbox(trees, { log, marks, clock });
    this.#queue = new WriteQueue(environment, path, onFlush);
    this.#log = log;
    this.#inbox = inbox;
    const now = () => clock.now();
    const memberships = new Memberships(trees);
    const devices = new Devices(trees, { log, marks, inbox, memberships, clock });
    const members = new Members(trees, { log, marks, memberships, devices, now });
    const later = new Later(trees, log, clock);
    this.#memberships = memberships;
    this.#devices = devices;
    this.#members = members;
    this.#later = later;
    this.#removals = new Removals(trees, { log, marks, memberships, devices, members, later, now });
    this.#receipts = new Receipts(trees, marks);
    this.#revocations = new Revocations(trees, clock);
    this.#audit = new Audit(trees);
  }

  append(draft: Draft): Promise<Appended> {
    const appended = this.#write(() => this.#log.append(draft));
    return draft.collapseKey === undefined ? (appended as Promise<Appended>) : this.#appendWhole(draft, appended);
  }

  async #appendWhole(draft: Draft, first: Promise<Appended | Partly>): Promise<Appended> {
    const entries: Message[] = [];
    for (let appended = await first; ; appended = await this.#write(() => this.#log.append(draft))) {
      if (appended.outcome === 'repeated' || appended.outcome === 'conflict') return appended;
      entries.push(...appended.entries);
      if (appended.outcome === 'stored') return { ...appended, entries };
    }
  }

  read(topic: string, options: ReadOptions): Promise<Page> {
    return this.#walking(() => this.#log.read(topic, options));
  }

  history(topic: string, options: HistoryOptions): Promise<HistoryPage> {
    return this.#walking(() => this.#log.history(topic, options));
  }

  head(topic: string): Promise<number> {
    return this.#reading(() => this.#log.state(topic).head);
  }

  find(id: string, from?: string): Promise<readonly Message[]> {
    return this.#walking(() => this.#log.find(id, from));
  }

  update(place: Place, data: unknown, by: string): Promise<readonly Message[] | undefined> {
    return this.#write(() => this.#log.update(place, data, by));
  }

  retract(place: Place, by: string): Promise<readonly Message[] | undefined> {
    return this.#write(() => this.#log.retract(place, by));
  }

  async expire(limit: number): Promise<{ taken: number; expired: readonly Expired[] }> {
    if (!(await this.#isDue('expiry'))) return { taken: 0, expired: [] };
    return this.#write(() => this.#log.expire(limit));
  }

  /** A look before a write: nothing is flushed while nothing is due. */
  #isDue(kind: 'expiry' | 'send' | 'answer' | 'revocation' | 'device', by = this.parts.clock.now()): Promise<boolean> {
    return this.#reading(() => {
      const range = { start: [kind, 0], end: [kind, by + 1], limit: 1 } as unknown as object;
      return this.trees.due.getKeysCount(range) > 0;
    });
  }

  async openDevice(userId: string, device: string, limit?: DeviceLimit): Promise<OpenedDevice> {
    const erasure: RemovalKey = ['user', userId, ''];
    const isUnderWay = this.#read(() => this.#removals.isUnderWay(erasure));
    // Whoever comes back is new: nothing of the one before is left.
    if (isUnderWay instanceof Promise ? await isUnderWay : isUnderWay) await this.#removeAll(erasure);
    const found = this.#read(() => this.#devices.positionsOf(userId, device));
    // Without a turn in between: what was asked for before close() is still done.
    const known = found instanceof Promise ? await found : found;
    return known ?? this.#enterDevice(userId, device, limit);
  }

  /** Looks for what is unread before the write; where somebody was faster to make the user known, once more. */
  async #enterDevice(userId: string, device: string, limit: DeviceLimit | undefined): Promise<OpenedDevice> {
    const isNew = this.#read(() => !this.#devices.isKnown(userId)) === true;
    const further = isNew ? undefined : await this.#walking(() => this.#devices.furtherDevice(userId));
    const entered = await this.#write(() => this.#devices.enter(userId, device, { limit, further }));
    return entered ?? this.#enterDevice(userId, device, limit);
  }

  saveCursors(saved: readonly Cursor[]): Promise<void> {
    if (saved.length === 0) return this.#reading(() => undefined);
    return this.#write(() => this.#devices.saveCursors(saved));
  }

  async saveSeen(seen: readonly SeenDevice[]): Promise<void> {
    const unseen = await this.#reading(() => this.#devices.unseen(seen));
    if (unseen.length > 0) await this.#write(() => this.#devices.saveSeen(unseen));
  }

  async forgetDevices(before: number, limit: number): Promise<number> {
    if (!(await this.#isDue('device', before - 1))) return 0;
    return this.#write(() => this.#devices.forgetSilent(before, limit));
  }

  saveSent(sendings: readonly Sending[]): Promise<void> {
    if (sendings.length === 0) return this.#reading(() => undefined);
    return this.#write(() => this.#devices.saveSent(sendings));
  }

  user(userId: string): Promise<User | undefined> {
    return this.#reading(() => this.trees.users.get(userId));
  }

  devices(userId: string, page: NamePage): Promise<DevicesPage> {
    return this.#reading(() => this.#devices.page(userId, page));
  }

  saveLastSeen(times: ReadonlyMap<string, number>): Promise<void> {
    if (times.size === 0) return this.#reading(() => undefined);
    return this.#write(() => {
      const { users } = this.trees;
      const known = Array.from(times, ([userId, lastSeenAt]) => ({ userId, lastSeenAt, user: users.get(userId) }));
      for (const { userId, lastSeenAt, user } of known) {
        if (user !== undefined) users.put(userId, { ...user, lastSeenAt });
      }
    });
  }

  createTopic(topic: Topic, maxTopics: number): Promise<Joined | { readonly outcome: 'taken' }> {
    return this.#write(() => this.#members.create(topic, maxTopics));
  }

  topic(name: string): Promise<Topic | undefined> {
    return this.#reading(() => this.trees.named.get(name));
  }

  visibleTopics(userId: string, page: NamePage): Promise<TopicsPage> {
    return this.#reading(() => this.#members.visibleTopics(userId, page));
  }

  async deleteTopic(name: string): Promise<number | undefined> {
    const members = await this.#countMembers(name);
    return (await this.#write(() => this.#members.delete(name))) ? members : undefined;
  }

  async #countMembers(name: string): Promise<number> {
    let count = 0;
    let after: string | undefined;
    do {
      const page = await this.#reading(() => this.#memberships.members(name, { after, limit: MEMBERS_PER_TURN }));
      count += page.members.length;
      after = page.next;
      if (after !== undefined) await nextTurn();
    } while (after !== undefined);
    return count;
  }

  async removeDeleted(): Promise<boolean> {
    const key = await this.#reading(() =>
      this.#removals.next(([kind, name]) => kind === 'user' && this.#tallies.has(name)),
    );
    if (key !== undefined) await this.#write(() => this.#removals.advance(key));
    return key !== undefined;
  }

  async #removeAll(key: RemovalKey): Promise<void> {
    while (await this.#write(() => this.#removals.advance(key, this.#tallies.get(key[1]))));
  }

  addMember(name: string, member: Joining, maxTopics: number): Promise<Joined> {
    return this.#write(() => this.#members.add(name, member, maxTopics));
  }

  removeMember(name: string, userId: string): Promise<boolean> {
    return this.#write(() => this.#members.remove(name, userId));
  }

  isMember(name: string, userId: string): Promise<boolean> {
    return this.#reading(() => this.#memberships.isMember(name, userId));
  }

  members(name: string, page: NamePage): Promise<MembersPage> {
    return this.#reading(() => this.#memberships.members(name, page));
  }

  memberships(userId: string, page: NamePage): Promise<MembershipsPage> {
    return this.#reading(() => this.#memberships.memberships(userId, page));
  }

  inbox(userId: string, query: InboxQuery): Promise<InboxPage> {
    return this.#walking(() => this.#inbox.list(userId, query));
  }

  counts(userId: string): Promise<Counts> {
    return this.#walking(() => this.#inbox.counts(userId));
  }

  /**
   * In the order of the calls. What it is for is looked up first, then it is changed in parts, each with the entry that
   * tells of it: whatever is stopped in between, who is told is told of what has happened.
   */
  async changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged> {
    const turn = await this.#turns.take(`states ${userId}`, async () => {
      const parts = await this.#walking(() => this.#inbox.planChange(userId, selection, state));
      if ('outcome' in parts) return { refused: parts, done: [], last: undefined };
      const writes = parts.map((part) => () => this.#write(() => this.#inbox.changePart(userId, part)));
      const done = [];
      for (const write of writes.slice(0, -1)) done.push(await write());
      // Has its place among the writes: the next change need not wait for the disk.
      return { refused: undefined, done, last: writes.at(-1)?.() };
    });
    if (turn.refused !== undefined) return turn.refused;
    const all = [...turn.done, ...(turn.last === undefined ? [] : [await turn.last])];
    const changed = all.reduce((sum, part) => sum + part.changed, 0);
    return { outcome: 'changed', changed, entries: all.flatMap(({ entries }) => entries) };
  }

  receipts(message: Message, options: ReceiptOptions): Promise<ReceiptPage> {
    return this.#walking(() => this.#receipts.of(message, options));
  }

  schedule(scheduled: Scheduled, maxWaiting = Number.POSITIVE_INFINITY): Promise<ScheduleOutcome> {
    return this.#write(() => this.#later.schedule(scheduled, maxWaiting));
  }

  async appendDue(limit: number, mayBeSent: MayBeSent = () => true): Promise<DueSent> {
    if (!(await this.#isDue('send'))) return { taken: 0, entries: [], refused: [] };
    return this.#write(() => this.#later.appendDue(limit, mayBeSent));
  }

  scheduled(options: {
    from?: string | undefined;
    limit: number;
    after?: ScheduledPosition | undefined;
  }): Promise<readonly Scheduled[]> {
    return this.#reading(() => this.#later.scheduled(options));
  }

  sendersOfScheduled(id: string): Promise<readonly string[]> {
    return this.#reading(() => this.#later.sendersOf(id));
  }

  cancelScheduled(id: string, from: string): Promise<boolean> {
    return this.#write(() => this.#later.cancel(id, from));
  }

  async claimKey(key: IdempotencyKey, fingerprint: string): Promise<Claim> {
    let claim: Claim | undefined;
    try {
      return await this.#write(() => {
        claim = this.#later.claim(key, fingerprint);
        return claim;
      });
    } catch (error) {
      // The claim was undone with its transaction: the key must not look taken.
      if (claim?.outcome === 'claimed') this.#later.release(key);
      throw error;
    }
  }

  keepAnswer(key: IdempotencyKey, fingerprint: string, answer: KeptAnswer): Promise<void> {
    return this.#write(() => this.#later.keep(key, fingerprint, answer));
  }

  releaseKey(key: IdempotencyKey): Promise<void> {
    return this.#reading(() => this.#later.release(key));
  }

  async forgetAnswers(limit: number): Promise<number> {
    if (!(await this.#isDue('answer'))) return 0;
    return this.#write(() => this.#later.forget(limit));
  }

  /** Out of sight at once where it matters, see #beginErasure; the rows follow in parts that hold nobody up. */
  async erase(userId: string): Promise<Erased> {
    const key: RemovalKey = ['user', userId, ''];
    // Has its place among the appends at once: what is said from now on is not erased.
    const hiding = this.#write(() => this.#beginErasure(key));
    const [erased] = await Promise.all([this.#turns.take(userId, async () => this.#erase(key, await hiding)), hiding]);
    return erased;
  }

  async #erase(key: RemovalKey, hidden: Span): Promise<Erased> {
    const [, userId] = key;
    const tally: Tally = { devices: 0, memberships: 0, scheduled: 0 };
    this.#tallies.set(userId, tally);
    try {
      const messages = await this.#countMessages(personalTopic(userId), hidden);
      await this.#removeAll(key);
      return { messages, ...tally };
    } finally {
      this.#tallies.delete(userId);
    }
  }

  async #countMessages(topic: string, { from, upTo }: Span): Promise<number> {
    let count = 0;
    for (let start = from; start <= upTo; start += PLACES_PER_TURN) {
      const part = { from: start, upTo: Math.min(upTo, start + PLACES_PER_TURN - 1) };
      count += await this.#reading(() => this.#log.countMessages(topic, part));
      if (part.upTo < upTo) await nextTurn();
    }
    return count;
  }

  /** @returns the part of the personal topic that is out of sight from now on. */
  #beginErasure(key: RemovalKey): Span {
    const [, userId] = key;
    const own = personalTopic(userId);
    const { users, removals } = this.trees;
    const { prunedUpTo, head } = this.#log.state(own);
    const { head: upTo } = this.#log.state(BROADCAST_TOPIC);
    // One that was interrupted knew where the broadcasts of this user began.
    const from = Math.min(users.get(userId)?.broadcastStart ?? upTo, removals.get(key)?.from ?? upTo);
    removals.put(key, { at: this.parts.clock.now(), step: 0, from, upTo });
    users.remove(userId);
    this.#log.hide(own, { isErased: true });
    this.#log.hide(stateTopic(userId));
    return { from: prunedUpTo + 1, upTo: head };
  }

  /** There is a row for each user who did something: more than a transaction may hold. */
  async #removeOldMarks(topic: string): Promise<void> {
    while ((await this.#write(() => this.#log.removeOldMarks(topic, MARKS_PER_TRANSACTION))) > 0);
  }

  revoke(revocation: Revocation): Promise<void> {
    return this.#write(() => this.#revocations.keep(revocation));
  }

  revocations(options: { limit: number; after?: Revocation | undefined }): Promise<readonly Revocation[]> {
    return this.#reading(() => this.#revocations.list(options));
  }

  async forgetRevocations(limit: number): Promise<number> {
    if (!(await this.#isDue('revocation'))) return 0;
    return this.#write(() => this.#revocations.forget(limit));
  }

  saveAudit(entries: readonly AuditEntry[]): Promise<void> {
    if (entries.length === 0) return this.#reading(() => undefined);
    return this.#write(() => this.#audit.save(entries));
  }

  audit(query: AuditQuery): Promise<readonly AuditEntry[]> {
    return this.#reading(() => this.#audit.list(query));
  }

  async pruneAudit(before: number, limit: number): Promise<number> {
    if (!(await this.#reading(() => this.#audit.hasOlder(before)))) return 0;
    return this.#write(() => this.#audit.prune(before, limit));
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
    return Array.from(this.trees.topics.getKeys({ ...range, limit: TOPICS_PER_TURN }));
  }

  async #pruneTopic(topic: string, before: number, limit: number): Promise<number> {
    let removed = 0;
    while (removed < limit) {
      const bounds = { limit: Math.min(limit - removed, PRUNED_PER_TRANSACTION), slice: new Slice() };
      const old = await this.#reading(() => this.#log.oldOf(topic, before, bounds));
      if (old.length === 0) break;
      await this.#write(() => this.#log.removeOld(topic, old));
      removed += old.length;
    }
    if (removed > 0) await this.#removeOldMarks(topic);
    return removed;
  }

  get heldClaims(): number {
    return this.#later.heldClaims;
  }

  get queuedWrites(): number {
    return this.#queue.length;
  }

  async probe(): Promise<void> {
    await this.#write(() => {
      this.trees.meta.put('probe', ((this.trees.meta.get('probe') ?? 0) + 1) % Number.MAX_SAFE_INTEGER);
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#queue.close();
    await this.environment.close();
    this.parts.onClose();
  }

  #write<Result>(apply: () => Result): Promise<Result> {
    return this.#queue.write(apply);
  }

  /** Every read goes through here: whatever LMDB throws becomes a StoreError. */
  async #reading<Result>(work: () => Result): Promise<Result> {
    return this.#read(work);
  }

  /**
   * At once, but for one case: when a write fails the engine may give up, and reads too fail until it is opened anew.
   * Who reads then waits for that; it takes milliseconds.
   */
  #read<Result>(work: () => Result): Result | Promise<Result> {
    const { underWay, isUsable } = this.environment;
    if (underWay === undefined) return this.#readNowOrThrow(work);
    try {
      if (isUsable) return this.#readNowOrThrow(work);
    } catch (error) {
      if (this.#isClosed) throw error;
    }
    return underWay.then(() => this.#readNowOrThrow(work));
  }

  #readNowOrThrow<Result>(work: () => Result): Result {
    if (this.#isClosed) throw closedError();
    try {
      return work();
    } catch (error) {
      throw toStoreError(error);
    }
  }

  /** A read in slices. It is begun again when the engine gave up under it. */
  async #walking<Result>(work: () => Promise<Result>): Promise<Result> {
    if (!this.environment.isUsable) await this.environment.underWay;
    try {
      return await this.#failing(work);
    } catch (error) {
      const { underWay } = this.environment;
      if (underWay === undefined || this.#isClosed) throw error;
      await underWay;
      return this.#failing(work);
    }
  }

  async #failing<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#isClosed) throw closedError();
    try {
      return await work();
    } catch (error) {
      throw this.#isClosed ? closedError() : toStoreError(error);
    }
  }
}
