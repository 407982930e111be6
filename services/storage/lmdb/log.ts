/** The logs of the embedded store. Methods that write run inside a transaction, check first and write last. */
import { fromIsoTime, nextTurn, toIsoTime } from '../../../utils/clock';
import { newId } from '../../../utils/ids';
import type { Message, RemovalReason } from '../../../utils/protocol';
import { isSliceOver, nextSlice, Slice } from '../../../utils/slices';
import { BROADCAST_TOPIC, ownerOfPersonalTopic, personalTopic } from '../../../utils/topic-names';
import {
  type Appended,
  type Draft,
  type Expired,
  type HistoryOptions,
  type HistoryPage,
  type LogPosition,
  type Page,
  type Reader,
  type ReadOptions,
  StoreError,
} from '../contract';
import { type About, type Entry, entryAbout, toExpired } from '../rules/entries';
import { fingerprintOf } from '../rules/fingerprint';
import { assertDraftFits } from '../rules/key-size';
import { isForReader, isThere, ListedPage, MAX_PLACES_PER_READ, ReadPage, SENDERS_PER_ID } from '../rules/log-page';
import { blocksOf, emptySlots, type Span } from '../rules/slot-row';
import { countUnread, EXCLUDED, FLAGS, isUnread, NOBODY, OWN } from '../rules/states';
import type { Access } from './access';
import { Collapse } from './collapse';
import { type IdKey, numberedFrom, startingWith, type TopicState } from './layout';
import type { Marks } from './marks';
import type { Memberships } from './memberships';
import { formatGone, formatMessage, parseMessage, type StoredMessage } from './record';

const EMPTY_TOPIC: TopicState = { head: 0, prunedUpTo: 0 };
/** Messages fetched at once: other work may run between two fetches. */
const ROWS_PER_FETCH = 50;
const KEYS_PER_FETCH = 500;
/** Snapshots that may show an incomplete log before a read is given up. */
const MAX_EARLY_ENDS = 100;

export interface Partly {
  readonly outcome: 'partly';
  /** What has gone so far. */
  readonly entries: readonly Message[];
}

interface Row {
  readonly key: [topic: string, seq: number];
  readonly value: string;
}

type ExpiringKey = [topic: string, atMilliseconds: number, seq: number];

interface LogParts {
  readonly memberships: Memberships;
  readonly marks: Marks;
}

export class Log {
  readonly collapse: Collapse;

  constructor(
    private readonly access: Access,
    private readonly parts: LogParts,
  ) {
    this.collapse = new Collapse(access.trees);
  }

  state(topic: string): TopicState {
    return this.access.trees.topics.get(topic) ?? EMPTY_TOPIC;
  }

  head(topic: string): number {
    return this.state(topic).head;
  }

  /** The message at a place; `undefined` when it is gone, expired or hidden. */
  visible(topic: string, seq: number): StoredMessage | undefined {
    const stored = seq > this.state(topic).prunedUpTo ? this.stored(topic, seq) : undefined;
    return stored !== undefined && this.#isThere(stored) ? stored : undefined;
  }

  message(topic: string, seq: number): Message | undefined {
    return this.visible(topic, seq)?.message;
  }

  stored(topic: string, seq: number): StoredMessage | undefined {
    const text = this.access.trees.messages.get([topic, seq]);
    return text === undefined ? undefined : parseMessage([topic, seq], text);
  }

  #isThere({ message, isGone }: StoredMessage): boolean {
    return !isGone && isThere(message, this.access.clock.now());
  }

  async append(draft: Draft): Promise<Appended> {
    const entries: Message[] = [];
    for (;;) {
      const appended = await this.access.write(() => this.#append(draft));
      if (appended.outcome === 'repeated' || appended.outcome === 'conflict') return appended;
      entries.push(...appended.entries);
      if (appended.outcome === 'stored') return { ...appended, entries };
    }
  }

  /** Replacing very many takes several transactions: `partly` means that it has to be called again. */
  #append(draft: Draft): Appended | Partly {
    assertDraftFits(draft);
    const earlier = draft.isClientId ? this.#appendedBefore(draft) : undefined;
    return earlier ?? this.appendNew(draft);
  }

  #appendedBefore(draft: Draft): Appended | undefined {
    if (this.access.trees.scheduled.doesExist([draft.id, draft.from])) return { outcome: 'conflict' };
    const earlier = this.findOf(draft);
    if (earlier === undefined) return undefined;
    const isSame = earlier.fingerprint === fingerprintOf(draft);
    return isSame ? { outcome: 'repeated', message: earlier.message } : { outcome: 'conflict' };
  }

  /** The message the sender stored under this id, and the fingerprint of what was sent then. */
  findOf({ id, from }: Draft): { message: Message; fingerprint: string } | undefined {
    const [topic, seq, fingerprint] = this.access.trees.ids.get([id, from, 'client']) ?? [];
    const stored = topic === undefined || seq === undefined ? undefined : this.stored(topic, seq);
    return stored && { message: stored.message, fingerprint: fingerprint ?? '' };
  }

  /** Appends without checking the id. */
  appendNew(draft: Draft): Appended | Partly {
    const { isClientId, ...content } = draft;
    const { replaced, isMore } = this.#replacedBy(draft);
    const entries = replaced.map((one) => this.#remove(one, 'replaced', draft.from));
    if (isMore) return { outcome: 'partly', entries };
    const message = this.#put(content);
    const { topic, seq, id, from, exceptUserId } = message;
    const fingerprint = isClientId ? fingerprintOf(draft) : '';
    this.access.trees.ids.put([id, from, isClientId ? 'client' : 'store'], [topic, seq, fingerprint]);
    this.collapse.add(message);
    this.#indexExpiry(message);
    if (exceptUserId !== undefined) this.parts.marks.set(message, exceptUserId, EXCLUDED);
    this.markOwn(message);
    return { outcome: 'stored', message, entries: [...entries, message] };
  }

  /** A user's own messages are read. */
  markOwn(message: Message): void {
    if (this.isInInbox(message.from, message.topic)) this.parts.marks.set(message, message.from, OWN);
  }

  isInInbox(userId: string, topic: string): boolean {
    if (topic === BROADCAST_TOPIC) return this.access.trees.users.doesExist(userId);
    if (ownerOfPersonalTopic(topic) !== undefined) return topic === personalTopic(userId);
    return this.parts.memberships.isMember(topic, userId);
  }

  #replacedBy(draft: Draft): { replaced: Message[]; isMore: boolean } {
    const { topic, collapseKey } = draft;
    const owner = ownerOfPersonalTopic(topic);
    if (collapseKey === undefined || owner === undefined) return { replaced: [], isMore: false };
    const { seqs, isMore } = this.collapse.candidates(draft);
    const replaced = seqs.flatMap((seq) => {
      const message = this.message(topic, seq);
      if (message === undefined) this.collapse.forget({ ...draft, seq });
      else if (isUnread(this.parts.marks.get(message, owner))) return [message];
      else this.collapse.putAside(message);
      return [];
    });
    return { replaced, isMore };
  }

  #put(content: Omit<Message, 'seq'>): Message {
    const { topic } = content;
    const state = this.state(topic);
    const message = { ...content, seq: state.head + 1 };
    const order = Math.max(state.order ?? 0, fromIsoTime(message.timestamp));
    this.access.trees.messages.put([topic, message.seq], formatMessage(message, { order }));
    this.access.trees.topics.put(topic, { ...state, head: message.seq, order });
    return message;
  }

  /** Appends an entry, which no inbox shows. */
  appendEntry(entry: Entry): Message {
    const now = this.access.clock.now();
    const message = this.#put({ id: newId(now), timestamp: toIsoTime(now), ...entry });
    this.#markHole(message);
    return message;
  }

  #markHole(place: LogPosition): void {
    this.#markPatchy(place.topic);
    this.parts.marks.markHole(place);
  }

  #markPatchy(topic: string): void {
    const state = this.state(topic);
    if (state.isPatchy !== true) this.access.trees.topics.put(topic, { ...state, isPatchy: true });
  }

  async find(id: string, from?: string): Promise<Message[]> {
    const { ids } = this.access.trees;
    const places: (readonly [topic: string, seq: number, fingerprint: string])[] =
      from === undefined
        ? Array.from(ids.getRange({ ...startingWith<IdKey>(id), limit: SENDERS_PER_ID }), ({ value }) => value)
        : MAKERS.map((maker) => ids.get([id, from, maker])).filter((place) => place !== undefined);
    const found: Message[] = [];
    for (const [topic, seq] of places) {
      if (isSliceOver()) await nextSlice();
      const message = this.message(topic, seq);
      if (message !== undefined) found.push(message);
    }
    return found;
  }

  update({ topic, seq }: LogPosition, data: unknown, by: string): readonly Message[] | undefined {
    const stored = this.visible(topic, seq);
    if (stored === undefined) return undefined;
    const { message, order } = stored;
    if (JSON.stringify(message.data) === JSON.stringify(data)) return [];
    this.#forgetChange(topic, stored);
    const entry = this.#appendAbout(message, { event: 'message:updated', data, from: by });
    this.access.trees.messages.put([topic, seq], formatMessage({ ...message, data }, { order, entry: entry.seq }));
    return [entry];
  }

  /** Removes the entry about an earlier change: an offline user must not receive data that was changed again. */
  #forgetChange(topic: string, { entry }: StoredMessage): void {
    const told = entry === undefined ? undefined : this.stored(topic, entry);
    if (told === undefined) return;
    this.access.trees.messages.remove([topic, told.message.seq]);
    this.#forgetIndexes(told.message);
  }

  retract({ topic, seq }: LogPosition, by: string): readonly Message[] | undefined {
    const message = this.message(topic, seq);
    return message === undefined ? undefined : [this.#remove(message, 'retracted', by)];
  }

  #remove(message: Message, reason: RemovalReason, by: string): Message {
    const stored = this.stored(message.topic, message.seq);
    if (stored !== undefined) this.#forget(stored);
    return this.#appendAbout(message, { event: 'message:removed', data: null, reason, from: by });
  }

  #appendAbout(message: Message, about: About): Message {
    const entry = this.appendEntry(entryAbout(message, about));
    this.#indexExpiry(entry);
    return entry;
  }

  #indexExpiry({ topic, seq, expiresAt }: Message): void {
    if (expiresAt === undefined) return;
    this.#markPatchy(topic);
    this.access.trees.expiring.put([topic, expiresAt, seq], true);
    this.access.trees.due.put(['expiry', expiresAt, topic, seq], true);
  }

  /** Removes the content of a message, and its id unless a client made it. */
  #forget(stored: StoredMessage): void {
    const { message } = stored;
    const { topic, seq, id, from } = message;
    this.#forgetChange(topic, stored);
    if (this.#isNamed(message, 'client')) this.access.trees.messages.put([topic, seq], formatGone(stored));
    else {
      this.access.trees.messages.remove([topic, seq]);
      if (this.#isNamed(message, 'store')) this.access.trees.ids.remove([id, from, 'store']);
    }
    this.#markHole(message);
    this.#forgetIndexes(message);
  }

  #isNamed({ topic, seq, id, from }: Message, maker: IdKey[2]): boolean {
    const place = this.access.trees.ids.get([id, from, maker]);
    return place?.[0] === topic && place[1] === seq;
  }

  #forgetIndexes(message: Message): void {
    const { topic, seq, expiresAt } = message;
    if (expiresAt !== undefined) {
      this.access.trees.expiring.remove([topic, expiresAt, seq]);
      this.access.trees.due.remove(['expiry', expiresAt, topic, seq]);
    }
    this.collapse.forget(message);
  }

  async expire(limit: number): Promise<{ taken: number; expired: readonly Expired[] }> {
    const expired = await this.access.whenDue('expiry', () => this.#expire(limit));
    return expired ?? { taken: 0, expired: [] };
  }

  #expire(limit: number): { taken: number; expired: readonly Expired[] } {
    const expired: Expired[] = [];
    const slice = new Slice();
    let taken = 0;
    for (const [, at, topic, place] of this.access.due('expiry', limit)) {
      const message = this.#expireOne(topic, Number(place), at);
      if (message !== undefined) expired.push(toExpired(message));
      taken += 1;
      if (slice.isOver) break;
    }
    return { taken, expired };
  }

  /** @returns the message if it was visible. */
  #expireOne(topic: string, seq: number, at: number): Message | undefined {
    this.access.trees.due.remove(['expiry', at, topic, seq]);
    this.access.trees.expiring.remove([topic, at, seq]);
    const stored = this.stored(topic, seq);
    if (stored === undefined || stored.isGone) return undefined;
    this.#forget(stored);
    return stored.message.ref === undefined && seq > this.state(topic).prunedUpTo ? stored.message : undefined;
  }

  /** The messages of a topic that have expired and are still stored. */
  async expiredOf(topic: string): Promise<ReadonlySet<number>> {
    const expired = new Set<number>();
    const end = [topic, this.access.clock.now() + 1] as unknown as ExpiringKey;
    let keys: ExpiringKey[];
    let start: ExpiringKey = [topic, 0, 0];
    do {
      if (isSliceOver()) await nextSlice();
      const range = { start, end, limit: KEYS_PER_FETCH, exclusiveStart: true };
      // Keys only, many at once: each count of an inbox asks for this.
      keys = Array.from(this.access.trees.expiring.getKeys(range));
      for (const [, , seq] of keys) expired.add(seq);
      start = keys.at(-1) ?? start;
    } while (keys.length === KEYS_PER_FETCH);
    return expired;
  }

  /** When something of a topic expires after `now`; `undefined`: never. */
  nextExpiry(topic: string, now: number): number | undefined {
    const start: ExpiringKey = [topic, now + 1, 0];
    const end: ExpiringKey = [topic, Number.MAX_SAFE_INTEGER, 0];
    const [first] = Array.from(this.access.trees.expiring.getKeys({ start, end, limit: 1 }));
    return first?.[1];
  }

  /** What is appended meanwhile comes with the next page; what retention removes meanwhile is reported by this one. */
  async read(topic: string, options: ReadOptions): Promise<Page> {
    const { head, prunedUpTo } = this.state(topic);
    const page = new ReadPage(options);
    let position = Math.max(options.after, prunedUpTo);
    let places = 0;
    let rows: Row[];
    do {
      rows = await this.#rowsAfter(topic, position, head);
      for (const { key, value } of rows) {
        if (isSliceOver()) await nextSlice();
        places += 1;
        const stored = parseMessage(key, value);
        const isMeant = this.#isThere(stored) && this.#isFor(stored.message, options.reader);
        if (isMeant && !page.take(stored.message, () => stored.bytes))
          return this.#pageOf(topic, page, { position, head });
        position = stored.message.seq;
      }
    } while (rows.length === ROWS_PER_FETCH && places < MAX_PLACES_PER_READ);
    if (rows.length < ROWS_PER_FETCH) position = head;
    return this.#pageOf(topic, page, { position, head });
  }

  /**
   * Rows of a log after a position. A snapshot may show an incomplete log, whose end must not be taken for that of the log.
   * @throws StoreError when none of many snapshots is complete.
   */
  async #rowsAfter(topic: string, position: number, head: number): Promise<Row[]> {
    const range = { ...numberedFrom<[string, number]>(topic, position + 1, head), limit: ROWS_PER_FETCH };
    for (let attempt = 0; attempt <= MAX_EARLY_ENDS; attempt += 1) {
      if (attempt > 0) await nextTurn();
      const rows = Array.from(this.access.trees.messages.getRange(range));
      const last = rows.at(-1)?.key[1] ?? position;
      const isWhole =
        rows.length === ROWS_PER_FETCH || last >= head || !this.access.trees.messages.doesExist([topic, head]);
      if (isWhole) return rows;
    }
    throw new StoreError(`a log that reaches ${head} shows nothing after ${position}, or not all of it`);
  }

  #pageOf(topic: string, { messages }: ReadPage, { position, head }: { position: number; head: number }): Page {
    const { prunedUpTo, erasedUpTo = 0 } = this.state(topic);
    const [reached, last] = [Math.max(position, prunedUpTo), Math.max(head, prunedUpTo)];
    return { messages, position: reached, head: last, prunedUpTo, erasedUpTo };
  }

  #isFor(message: Message, reader: Reader | undefined): boolean {
    return isForReader(message, reader, () => isUnread(this.parts.marks.get(message, reader?.userId ?? NOBODY)));
  }

  async history(topic: string, options: HistoryOptions): Promise<HistoryPage> {
    const state = this.state(topic);
    const page = new ListedPage(options, state);
    const { room, span, isForward } = page;
    for (const [block, part] of blocksOf(FLAGS, span, { isForward })) {
      const holes = state.isPatchy ? this.parts.marks.holes.row(topic, block) : undefined;
      for (const seq of emptySlots(FLAGS, holes, { ...part, isForward })) {
        if (isSliceOver()) await nextSlice();
        const isRoom = !room.isFull && !room.isSpent;
        if (!isRoom || !this.#list(topic, seq, page)) return page.endBefore(seq);
      }
      room.lookInVain();
      if (room.isSpent) return page.end(isForward ? part.upTo : part.from);
      if (isSliceOver()) await nextSlice();
    }
    return page.end();
  }

  /** Adds the message at a place. @returns false when the page is full. */
  #list(topic: string, seq: number, page: ListedPage): boolean {
    const stored = this.stored(topic, seq);
    if (stored !== undefined && this.#isThere(stored)) return page.take(stored.message, () => stored);
    page.room.lookInVain();
    return true;
  }

  /** Hides all messages so far; the next sweep removes them. */
  hide(topic: string, options: { isErased?: boolean } = {}): void {
    const state = this.state(topic);
    const { head } = state;
    if (head === 0) return;
    this.access.trees.topics.put(topic, {
      ...state,
      prunedUpTo: head,
      ...(options.isErased ? { erasedUpTo: head } : {}),
    });
  }

  /** Counts the messages of a span that are not gone. */
  async countMessages(topic: string, span: Span): Promise<number> {
    let count = 0;
    for (const [block, part] of blocksOf(FLAGS, span)) {
      if (isSliceOver()) await nextSlice();
      count += countUnread(part, { flags: undefined, holes: this.parts.marks.holes.row(topic, block) }).unread;
    }
    return count;
  }

  /** The first messages of a topic that are hidden or older than `before`: as many as fit a slice, at least one. */
  oldOf(topic: string, before: number, { limit, slice }: { limit: number; slice: Slice }): readonly Message[] {
    const { prunedUpTo, head } = this.state(topic);
    // From 1: a deleted topic leaves messages that count as removed already.
    const range = { ...numberedFrom<[string, number]>(topic, 1, head), limit };
    const old: Message[] = [];
    for (const { key, value } of this.access.trees.messages.getRange(range)) {
      const { message } = parseMessage(key, value);
      if (message.seq > prunedUpTo && fromIsoTime(message.timestamp) >= before) break;
      old.push(message);
      if (slice.isOver) break;
    }
    return old;
  }

  /** Removes the first messages of a topic, with everything known of them. */
  removeOld(topic: string, old: readonly Message[]): void {
    const { messages, ids, topics } = this.access.trees;
    for (const message of old) {
      const { seq, from, id } = message;
      messages.remove([topic, seq]);
      for (const maker of MAKERS) if (this.#isNamed(message, maker)) ids.remove([id, from, maker]);
      this.#forgetIndexes(message);
    }
    const state = this.state(topic);
    const prunedUpTo = Math.max(state.prunedUpTo, old.at(-1)?.seq ?? 0);
    topics.put(topic, { ...state, prunedUpTo });
  }

  /** Removes at most `limit` rows of states of removed messages. @returns how many. */
  removeOldMarks(topic: string, limit: number): number {
    return this.parts.marks.removeUpTo(topic, this.state(topic).prunedUpTo, limit);
  }
}

const MAKERS = ['client', 'store'] as const;
