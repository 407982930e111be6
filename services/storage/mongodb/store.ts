/**
 * The engine for several nodes: MongoDB, or a server that speaks its protocol. Nothing here needs transactions,
 * counters, partial indexes, pipeline updates or change streams: see docs/decisions/0013-mongodb-without-transactions.md.
 */
import { ObjectId } from 'mongodb';
import type { Clock } from '../../../utils/clock';
import { withDeadline } from '../../../utils/deadline';
import type { Counts, Message, RequestedState } from '../../../utils/protocol';
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
  type MembershipChange,
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
  type SharedStore,
  type StateChanged,
  StoreError,
  type Topic,
  type TopicsPage,
  type User,
} from '../contract';
import type { ReceiptOptions } from '../rules/receipt-page';
import { Answers } from './answers';
import { Audit } from './audit';
import { Changes, Collapse, Graves } from './changes';
import { CALL_DEADLINE_MS, type Connection, connect } from './connection';
import { Devices } from './devices';
import { closedError, retryingDuplicates, toStoreError } from './errors';
import { Facts } from './facts';
import { Inbox } from './inbox';
import { Later } from './later';
import { assertFitsKey } from './layout';
import { Log } from './log';
import { Marks } from './marks';
import { Members } from './members';
import { Memberships } from './memberships';
import { Receipts } from './receipts';
import { clientKey, toContent, toMessage } from './record';
import { Removals } from './removals';
import { Revocations } from './revocations';
import { Sweeps } from './sweeps';
import { Turns } from './turns';
import { Writer } from './writer';

/** Messages of an erased user that go with one command. */
const ERASED_AT_ONCE = 500;

/**
 * Opens the store in the database that the URL names; collections and indexes are made when they are missing.
 * @throws StoreOpenError within ten seconds when that cannot be.
 */
export async function openMongoStore(
  url: string,
  clock: Clock,
  onFlush: FlushListener = () => {},
): Promise<SharedStore> {
  return new MongoStore(await connect(url), clock, onFlush);
}

/** Every call goes through `#call` or, where it may take long, `#sweep`; what they do is in the files beside. */
class MongoStore implements SharedStore {
  readonly identity: string;
  readonly #turns = new Turns();
  readonly #log: Log;
  readonly #marks: Marks;
  readonly #writer: Writer;
  readonly #changes: Changes;
  readonly #sweeps: Sweeps;
  readonly #inbox: Inbox;
  readonly #devices: Devices;
  readonly #memberships: Memberships;
  readonly #members: Members;
  readonly #removals: Removals;
  readonly #later: Later;
  readonly #answers: Answers;
  readonly #receipts: Receipts;
  readonly #revocations: Revocations;
  readonly #audit: Audit;
  readonly #underWay = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  constructor(
    private readonly connection: Connection,
    clock: Clock,
    onFlush: FlushListener,
  ) {
    const { collections } = connection;
    this.identity = connection.identity;
    const turns = this.#turns;
    const marks = new Marks(collections);
    const later = (work: () => Promise<void>) => void this.#sweep(work).catch(() => undefined);
    const facts = new Facts(collections, { marks, clock, later });
    const log = new Log(collections, { marks, facts, clock });
    const graves = new Graves(collections, facts);
    const collapse = new Collapse(collections, graves, { log, marks, clock });
    const writer = new Writer(collections, { log, clock, replacing: collapse, onFlush });
    const sweeps = new Sweeps(collections, { log, marks });
    const memberships = new Memberships(collections, log);
    const inbox = new Inbox(collections, { log, marks, facts, memberships, writer, clock, turns });
    const devices = new Devices(collections, { log, marks, inbox, memberships, turns, clock });
    const now = () => clock.now();
    const members = new Members(collections, { log, marks, sweeps, memberships, turns, now });
    this.#marks = marks;
    this.#log = log;
    this.#writer = writer;
    this.#changes = new Changes(collections, { log, marks, clock, writer, graves, collapse });
    this.#sweeps = sweeps;
    this.#inbox = inbox;
    this.#devices = devices;
    this.#memberships = memberships;
    this.#members = members;
    this.#removals = new Removals(collections, {
      members,
      marks,
      sweeps,
      now,
      erase: async (userId) => {
        await this.#erase(userId, 0);
      },
    });
    this.#later = new Later(collections, { writer, memberships, clock });
    this.#answers = new Answers(collections, clock);
    this.#receipts = new Receipts(collections, { marks, memberships });
    this.#revocations = new Revocations(collections, clock);
    this.#audit = new Audit(collections);
  }

  append(draft: Draft): Promise<Appended> {
    return this.#call(() => this.#append(draft));
  }

  async #append(draft: Draft): Promise<Appended> {
    const { topic, id, from, isClientId, collapseKey = '', exceptUserId = '' } = draft;
    assertFitsKey(topic, id, from, collapseKey, exceptUserId);
    const content = toContent(draft);
    const key = isClientId ? clientKey(draft) : undefined;
    const placed = await this.#writer.append({ content, key, isClaimed: isClientId });
    if (placed.outcome === 'refused') return { outcome: 'conflict' };
    const message = toMessage(placed.doc);
    if (placed.isNew) return { outcome: 'stored', message, entries: [...placed.entries.map(toMessage), message] };
    return placed.doc.said === content.said ? { outcome: 'repeated', message } : { outcome: 'conflict' };
  }

  read(topic: string, options: ReadOptions): Promise<Page> {
    return this.#call(() => this.#log.read(topic, options));
  }

  history(topic: string, options: HistoryOptions): Promise<HistoryPage> {
    return this.#call(() => this.#log.history(topic, options));
  }

  head(topic: string): Promise<number> {
    return this.#call(async () => (await this.#log.state(topic)).head);
  }

  find(id: string, from?: string): Promise<readonly Message[]> {
    return this.#call(() => this.#log.find(id, from));
  }

  update(place: Place, data: unknown, by: string): Promise<readonly Message[] | undefined> {
    return this.#call(() => this.#inOrder(place, () => this.#changes.update(place, data, by)));
  }

  retract(place: Place, by: string): Promise<readonly Message[] | undefined> {
    return this.#call(() => this.#inOrder(place, () => this.#changes.retract(place, by)));
  }

  /** Changes of one message are made in the order of the calls. */
  #inOrder<Result>({ topic, seq }: Place, work: () => Promise<Result>): Promise<Result> {
    return this.#turns.take(`message ${seq} ${topic}`, work);
  }

  expire(limit: number): Promise<{ taken: number; expired: readonly Expired[] }> {
    return this.#sweep(() => this.#turns.take('expire', () => this.#changes.expire(limit)));
  }

  prune(before: number, limit: number): Promise<number> {
    // One at a time: two would find the same messages old, and count them twice.
    return this.#sweep(() => this.#turns.take('prune', () => this.#sweeps.prune(before, limit)));
  }

  openDevice(userId: string, device: string, limit?: DeviceLimit): Promise<OpenedDevice> {
    return this.#call(() => this.#devices.open(userId, device, limit));
  }

  saveSeen(seen: readonly SeenDevice[]): Promise<void> {
    return this.#call(() => this.#devices.saveSeen(seen));
  }

  forgetDevices(before: number, limit: number): Promise<number> {
    return this.#sweep(() => this.#devices.forgetSilent(before, limit));
  }

  saveCursors(saved: readonly Cursor[]): Promise<void> {
    return this.#call(() => this.#devices.saveCursors(saved));
  }

  saveSent(sendings: readonly Sending[]): Promise<void> {
    return this.#call(() => this.#devices.saveSent(sendings));
  }

  user(userId: string): Promise<User | undefined> {
    return this.#call(() => this.#devices.user(userId));
  }

  devices(userId: string, page: NamePage): Promise<DevicesPage> {
    return this.#call(() => this.#devices.page(userId, page));
  }

  saveLastSeen(times: ReadonlyMap<string, number>): Promise<void> {
    return this.#call(() => this.#devices.saveLastSeen(times));
  }

  createTopic(topic: Topic, maxTopics: number): Promise<Joined | { readonly outcome: 'taken' }> {
    return this.#call(() => this.#members.create(topic, maxTopics));
  }

  topic(name: string): Promise<Topic | undefined> {
    return this.#call(() => this.#members.topic(name));
  }

  visibleTopics(userId: string, page: NamePage): Promise<TopicsPage> {
    return this.#call(() => this.#members.visibleTopics(userId, page));
  }

  deleteTopic(name: string): Promise<number | undefined> {
    return this.#call(() => this.#members.delete(name));
  }

  removeDeleted(): Promise<boolean> {
    return this.#sweep(() => this.#turns.take('removals', () => this.#removals.advance()));
  }

  addMember(name: string, member: Joining, maxTopics: number): Promise<Joined> {
    return this.#call(() => this.#members.add(name, member, maxTopics));
  }

  removeMember(name: string, userId: string): Promise<boolean> {
    return this.#call(() => this.#members.remove(name, userId));
  }

  isMember(name: string, userId: string): Promise<boolean> {
    return this.#call(() => this.#members.isMember(name, userId));
  }

  members(name: string, page: NamePage): Promise<MembersPage> {
    return this.#call(() => this.#memberships.members(name, page));
  }

  memberships(userId: string, page: NamePage): Promise<MembershipsPage> {
    return this.#call(() => this.#memberships.memberships(userId, page));
  }

  inbox(userId: string, query: InboxQuery): Promise<InboxPage> {
    return this.#call(() => this.#inbox.list(userId, query));
  }

  counts(userId: string): Promise<Counts> {
    return this.#call(() => this.#inbox.counts(userId));
  }

  changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged> {
    return this.#call(() => this.#inbox.changeStates(userId, selection, state));
  }

  receipts(message: Message, options: ReceiptOptions): Promise<ReceiptPage> {
    return this.#call(() => this.#receipts.of(message, options));
  }

  schedule(scheduled: Scheduled, maxWaiting = Number.POSITIVE_INFINITY): Promise<ScheduleOutcome> {
    return this.#call(() => this.#later.schedule(scheduled, maxWaiting));
  }

  appendDue(limit: number, mayBeSent: MayBeSent = () => true): Promise<DueSent> {
    // One at a time: two would find the same messages due, and the second take nothing where something is left.
    return this.#sweep(() => this.#turns.take('due', () => this.#later.appendDue(limit, mayBeSent)));
  }

  scheduled(options: {
    from?: string | undefined;
    limit: number;
    after?: ScheduledPosition | undefined;
  }): Promise<readonly Scheduled[]> {
    return this.#call(() => this.#later.scheduled(options));
  }

  sendersOfScheduled(id: string): Promise<readonly string[]> {
    return this.#call(() => this.#later.sendersOf(id));
  }

  cancelScheduled(id: string, from: string): Promise<boolean> {
    return this.#call(() => this.#later.cancel(id, from));
  }

  async claimKey(key: IdempotencyKey, fingerprint: string): Promise<Claim> {
    const claiming = this.#sweep(() => this.#answers.claim(key, fingerprint));
    try {
      return await inTime(claiming);
    } catch (error) {
      // Nobody waits for it any more, and nobody would give it back.
      void claiming.then(
        ({ outcome }) => (outcome === 'claimed' ? this.#answers.release(key) : undefined),
        () => undefined,
      );
      throw error;
    }
  }

  keepAnswer(key: IdempotencyKey, fingerprint: string, answer: KeptAnswer): Promise<void> {
    return this.#call(() => this.#answers.keep(key, fingerprint, answer));
  }

  releaseKey(key: IdempotencyKey): Promise<void> {
    return this.#call(() => this.#answers.release(key));
  }

  forgetAnswers(limit: number): Promise<number> {
    return this.#sweep(() => this.#answers.forget(limit));
  }

  erase(userId: string): Promise<Erased> {
    const own = personalTopic(userId);
    return this.#sweep(async () => {
      // Has its place among the appends at once: what is said from now on is not erased.
      const hiding = this.#writer.between(own, () => this.#hideAll(own));
      const erasing = this.#turns.take(`user ${userId}`, async () => {
        await this.#removals.beginErasure(userId);
        const erased = await this.#erase(userId, await hiding);
        await this.#removals.endErasure(userId);
        return erased;
      });
      const [erased] = await Promise.all([erasing, hiding]);
      return erased;
    });
  }

  /** @returns how many messages were there. */
  async #hideAll(topic: string): Promise<number> {
    const { head, prunedUpTo } = await this.#log.state(topic);
    const filter = { topic, seq: { $gt: prunedUpTo, $lte: head }, isGone: { $exists: false }, ref: { $exists: false } };
    const count = await this.connection.collections.messages.countDocuments(filter);
    await this.#sweeps.hideUpTo(topic, head, { isErased: true });
    return count;
  }

  /** In an order that can be begun again after a crash: what names the rest goes last. */
  async #erase(userId: string, messages: number): Promise<Erased> {
    const own = personalTopic(userId);
    await this.#sweeps.hide(stateTopic(userId));
    const scheduled = await this.#later.cancelOf(userId, own);
    await this.#answers.forgetOf(userId);
    const memberships = await this.#memberships.ofUser(userId);
    const left = await this.#memberships.allLeftOf(userId);
    for (const membership of [...memberships, ...left]) await this.#members.forget(membership);
    const devices = await this.#devices.count(userId);
    await this.#forgetStates(userId);
    for (const topic of [own, stateTopic(userId)]) await this.#sweeps.removeHiddenOf(topic, ERASED_AT_ONCE);
    await this.#devices.forgetUser(userId);
    return { messages, devices, memberships: memberships.length, scheduled };
  }

  async #forgetStates(userId: string): Promise<void> {
    const start = (await this.#devices.user(userId))?.broadcastStart;
    await this.#marks.removeTopic(personalTopic(userId));
    if (start === undefined) return;
    const { head } = await this.#log.state(BROADCAST_TOPIC);
    await this.#marks.removeUser(userId, { topic: BROADCAST_TOPIC, from: start + 1, upTo: head });
  }

  revoke(revocation: Revocation): Promise<void> {
    return this.#call(() => this.#revocations.keep(revocation));
  }

  revocations(options: { limit: number; after?: Revocation | undefined }): Promise<readonly Revocation[]> {
    return this.#call(() => this.#revocations.list(options));
  }

  recentRevocations(since: number): Promise<readonly Revocation[]> {
    return this.#call(() => this.#revocations.recent(since));
  }

  forgetRevocations(limit: number): Promise<number> {
    return this.#sweep(() => this.#revocations.forget(limit));
  }

  saveAudit(entries: readonly AuditEntry[]): Promise<void> {
    return this.#call(() => this.#audit.save(entries));
  }

  audit(query: AuditQuery): Promise<readonly AuditEntry[]> {
    return this.#call(() => this.#audit.list(query));
  }

  pruneAudit(before: number, limit: number): Promise<number> {
    return this.#sweep(() => this.#audit.prune(before, limit));
  }

  recentHeads(since: number): Promise<ReadonlyMap<string, number>> {
    return this.#call(() => this.#log.recentHeads(since));
  }

  get heldClaims(): number {
    return this.#answers.heldClaims;
  }

  recentMemberships(since: number): Promise<readonly MembershipChange[]> {
    return this.#call(() => this.#memberships.recent(since));
  }

  get queuedWrites(): number {
    return this.#writer.queuedLines;
  }

  probe(): Promise<void> {
    return this.#call(async () => {
      const { meta } = this.connection.collections;
      const write = () => meta.updateOne({ _id: 'probe' }, { $set: { nonce: new ObjectId() } }, { upsert: true });
      await retryingDuplicates(write);
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
    // What fails here ends by itself after a while.
    await this.#answers.close().catch(() => undefined);
    await this.connection.client.close();
  }

  /** Ends by the deadline, whatever the server does; what was begun then ends by itself, and is waited for by close(). */
  #call<Result>(work: () => Promise<Result>): Promise<Result> {
    return inTime(this.#sweep(work));
  }

  /** Has no deadline: it is made of many commands, each of which has one. */
  async #sweep<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#closing !== undefined) throw closedError();
    const done = work();
    this.#underWay.add(done);
    try {
      return await done;
    } catch (error) {
      throw toStoreError(error);
    } finally {
      this.#underWay.delete(done);
    }
  }
}

function inTime<Result>(work: Promise<Result>): Promise<Result> {
  const late = () => new StoreError(`the database did not answer within ${CALL_DEADLINE_MS} ms`);
  return withDeadline(work, CALL_DEADLINE_MS, late);
}
