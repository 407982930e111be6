/**
 * The inbox as it can be shown: newest first, with states and counts. The list is read over HTTP after each connect and
 * follows the events from there; counts are those that the service sends. The last view is kept, so that a page has
 * something to show before it is connected.
 */
import type { Calls } from './calls.ts';
import { callSafely, TidingsError } from './errors.ts';
import { count, find, type Items, insert, keepSame, mark, NO_COUNTS, remove, replace } from './inbox-list.ts';
import { isUnanswered, type Mark, Marks, type Scope } from './marks.ts';
import type {
  Counts,
  InboxItem,
  InboxPage,
  MessageRemoved,
  MessageUpdated,
  RequestedState,
  StateChange,
} from './protocol.ts';
import type { Rest } from './rest.ts';
import { isCounts, isInboxItem, isInboxPage, isStateAnswer } from './shapes.ts';
import type { Shelf } from './storage.ts';
import { after, backoffMs, type Timer } from './timing.ts';

const PAGE_SIZE = 50;
const KEEP_DELAY_MS = 250;
/**
 * Messages that arrived since the list was read. Beyond this number they wait until it is read again, and short again.
 */
const MAX_LIVE_ITEMS = 500;
/** When counts that were computed here are compared with the service: spread, because a broadcast reaches everyone. */
const CONFIRM_AFTER_MS = { least: 5_000, most: 30_000 };
const KEPT_AS = 'inbox';

/** The inbox at one moment. It is a new object after each change, and the same one as long as nothing changes. */
export interface InboxSnapshot {
  /** Newest first, without archived messages. */
  readonly items: readonly InboxItem[];
  readonly counts: Counts;
  /** Are there older messages, for `loadMore()`? */
  readonly hasMore: boolean;
  /** Does the list come from the service? Until then, it is what this device has kept. */
  readonly isLoaded: boolean;
}

/** Which messages: one or several ids, a topic (up to a `seq`), or all. */
export type Selection = string | readonly string[] | { readonly topic: string; readonly upTo: number } | 'all';

/** How a list can be narrowed. */
export interface InboxQuery {
  readonly state?: 'unread' | 'read' | 'archived';
  readonly type?: string;
  readonly topic?: string;
  /** 1 to 200. */
  readonly limit?: number;
  /** `nextCursor` of the previous page. */
  readonly cursor?: string;
}

/** What an event means for the inbox. */
export type InboxEvent =
  | { readonly kind: 'message'; readonly item: InboxItem; readonly counts: Counts | undefined }
  | ({ readonly kind: 'updated' } & MessageUpdated)
  | ({ readonly kind: 'removed' } & MessageRemoved)
  | ({ readonly kind: 'state' } & StateChange);

export interface InboxParts {
  readonly calls: Calls;
  readonly rest: Rest;
  readonly report: (error: TidingsError) => void;
  readonly userId: () => string | undefined;
}

export const EMPTY_INBOX: InboxSnapshot = { items: [], counts: NO_COUNTS, hasMore: false, isLoaded: false };

export class Inbox {
  #snapshot = EMPTY_INBOX;
  #nextCursor: string | null = null;
  readonly #listeners = new Set<(snapshot: InboxSnapshot) => void>();
  /** Is the list in use? Before that, nothing is requested over HTTP. */
  #isWanted = false;
  /** Between `sync:done` and the end of the connection. */
  #isSynced = false;
  #isClosed = false;
  /** Identifies the newest reading of the list. */
  #reading = 0;
  /** Events since a reading began: what was read may be older than they are. */
  readonly #journals = new Set<InboxEvent[]>();
  #liveItems = 0;
  /** Changes of the counts over the socket, with the service's counts or without. */
  #countsChanges = 0;
  #confirmTimer: Timer | undefined;
  #retryTimer: Timer | undefined;
  #keepTimer: Timer | undefined;
  #shelf: Shelf | undefined;

  readonly #marks: Marks;
  readonly #apply = (items: Items, event: InboxEvent) => apply(items, event, this.parts.userId());

  constructor(private readonly parts: InboxParts) {
    const { calls, report } = parts;
    this.#marks = new Marks({ calls, report, onDone: (mark, { counts }) => this.#receiveMark(mark, counts) });
  }

  get snapshot(): InboxSnapshot {
    return this.#snapshot;
  }

  get items(): readonly InboxItem[] {
    return this.#snapshot.items;
  }

  get counts(): Counts {
    return this.#snapshot.counts;
  }

  /** Calls at once with what is known, and after each change. @returns what ends it. */
  subscribe(listener: (snapshot: InboxSnapshot) => void): () => void {
    this.#listeners.add(listener);
    listener(this.#snapshot);
    this.#want();
    return () => {
      this.#listeners.delete(listener);
    };
  }

  #want(): void {
    if (this.#isWanted) return;
    this.#isWanted = true;
    if (this.#isSynced) void this.#load(0);
  }

  /** Adds older messages to the list. @returns are there more? */
  async loadMore(): Promise<boolean> {
    const cursor = this.#nextCursor;
    if (cursor === null) return false;
    const reading = this.#reading;
    await this.#read({ cursor }, (page, journal) => {
      // The list was read again meanwhile, or another call has added the page.
      if (reading !== this.#reading || cursor !== this.#nextCursor) return;
      this.#nextCursor = page.nextCursor;
      this.#show({ items: journal.reduce(this.#apply, [...this.items, ...page.items.filter(isNotIn(this.items))]) });
    });
    return this.#nextCursor !== null;
  }

  /** A page of the inbox as requested, including archived messages; the list here stays as it is. */
  fetch(query: InboxQuery = {}): Promise<InboxPage> {
    return this.parts.rest.get('/inbox', isInboxPage, { ...query });
  }

  /** The messages have been on a screen. Resolves to the counts when the service has it on disk; so do the others. */
  markSeen(selection: Selection): Promise<Counts> {
    return this.#mark('seen', selection);
  }

  /** The messages have been opened. */
  markRead(selection: Selection): Promise<Counts> {
    return this.#mark('read', selection);
  }

  /** Undoes read and archived. */
  markUnread(selection: Selection): Promise<Counts> {
    return this.#mark('unread', selection);
  }

  /** Archives: removes it from the list; `fetch({state: 'archived'})` still has it. */
  archive(selection: Selection): Promise<Counts> {
    return this.#mark('archived', selection);
  }

  async #mark(state: RequestedState, selection: Selection): Promise<Counts> {
    if (selection === 'all') return this.#markAll(state);
    const { counts } = await this.#marks.add({ state, scope: toScope(selection) });
    return counts;
  }

  #receiveMark({ state, scope }: Mark, counts: Counts): void {
    this.receive({ kind: 'state', state, counts, ...scope });
  }

  async #markAll(state: RequestedState): Promise<Counts> {
    const shown = newestByTopic(this.items);
    try {
      // If repeated, `all` would affect messages that nobody has looked at yet.
      const { counts } = await this.parts.calls.call(
        'state',
        { state, all: true },
        { shape: isStateAnswer, mayRepeat: false, onAnswer: (answer) => this.#receiveCounts(answer.counts) },
      );
      // A message that arrived at the same moment may be included or not: only the service knows.
      this.#reloadSoon();
      return counts;
    } catch (error) {
      if (isUnanswered(error)) for (const scope of shown) this.#marks.keep({ state, scope });
      throw error;
    }
  }

  /** Applies an event. */
  receive(event: InboxEvent): void {
    const counts = this.#countsAfter(event);
    for (const journal of this.#journals) journal.push(event);
    const isBeyond = this.#isBeyond(event);
    if (event.kind === 'message') this.#liveItems += 1;
    const isTooMuch = this.#liveItems > MAX_LIVE_ITEMS;
    const isShown = this.#isWanted && !(isTooMuch && event.kind === 'message');
    this.#show(isShown ? { counts, items: this.#apply(this.items, event) } : { counts });
    if (isTooMuch || isBeyond) this.#reloadSoon();
  }

  /** Has something come back that is not in the list, or changed without a `seq`, as older services send it? */
  #isBeyond(event: InboxEvent): boolean {
    if (event.kind === 'updated' || event.kind === 'removed') return event.refSeq === undefined;
    if (event.kind !== 'state' || event.state === 'seen' || event.state === 'archived' || !('ids' in event)) {
      return false;
    }
    return event.ids.some((id) => !this.items.some((item) => item.id === id));
  }

  #receiveCounts(counts: Counts): void {
    this.#countsChanges += 1;
    this.#show({ counts });
  }

  /** The service's counts. Broadcasts and messages to topics have none, so theirs are computed here. */
  #countsAfter(event: InboxEvent): Counts {
    if (event.counts !== undefined) {
      this.#countsChanges += 1;
      return event.counts;
    }
    // Before that, the counts of `sync:done` are still to come.
    if (!this.#isSynced || event.kind === 'updated') return this.counts;
    this.#countsChanges += 1;
    this.#confirmLater();
    if (event.kind === 'message') return count(this.counts, event.item.state, 1);
    const gone = event.kind === 'removed' ? find(this.items, event) : undefined;
    return gone === undefined ? this.counts : count(this.counts, gone.state, -1);
  }

  #confirmLater(): void {
    if (!this.#isWanted || this.#isClosed) return;
    const { least, most } = CONFIRM_AFTER_MS;
    this.#confirmTimer ??= after(least + Math.random() * (most - least), () => void this.#confirm());
  }

  async #confirm(): Promise<void> {
    this.#confirmTimer = undefined;
    const changes = this.#countsChanges;
    try {
      const counts = await this.parts.rest.get('/inbox/counts', isCounts);
      // What has come over the socket meanwhile may be newer.
      if (changes === this.#countsChanges) this.#show({ counts });
      else this.#confirmLater();
    } catch (error) {
      this.#failed(error);
      this.#confirmLater();
    }
  }

  /** Shows what this device has kept, until there is something newer. */
  async restore(shelf: Shelf): Promise<void> {
    this.#shelf = shelf;
    const [kept] = await Promise.all([shelf.getJson(KEPT_AS), this.#marks.restore(shelf)]);
    if (isKept(kept)) this.#show(kept);
  }

  /** The connection has caught up. */
  synced(counts: Counts): void {
    this.#isSynced = true;
    this.#receiveCounts(counts);
    this.#marks.connected();
    if (this.#isWanted) void this.#load(0);
  }

  /** The connection has ended; the list stays as it is. */
  disconnected(): void {
    this.#isSynced = false;
    this.#marks.disconnected();
    this.#stopReading();
  }

  /** Forgets the view, here and in the storage: the user's data was erased, or the user has logged out. */
  forget(): void | Promise<void> {
    this.#nextCursor = null;
    this.#marks.forget();
    this.#show(EMPTY_INBOX);
    clearTimeout(this.#keepTimer);
    this.#keepTimer = undefined;
    return this.#shelf?.remove(KEPT_AS);
  }

  #reloadSoon(): void {
    if (!this.#isSynced || !this.#isWanted) return;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = after(0, () => void this.#load(0));
  }

  async #load(attempt: number): Promise<void> {
    this.#stopReading();
    const reading = this.#reading;
    try {
      await this.#read({ limit: PAGE_SIZE }, (page, journal) => {
        if (reading !== this.#reading) return;
        this.#nextCursor = page.nextCursor;
        this.#liveItems = 0;
        // Its counts may be older than those from the socket.
        this.#show({ items: keepSame(this.items, journal.reduce(this.#apply, page.items)), isLoaded: true });
      });
    } catch (error) {
      if (reading !== this.#reading) return;
      this.#failed(error);
      this.#retryTimer = after(backoffMs(attempt), () => void this.#load(attempt + 1));
    }
  }

  /** Reads a page, and records what happens until `use` gets both. */
  async #read(query: InboxQuery, use: (page: InboxPage, journal: readonly InboxEvent[]) => void): Promise<void> {
    const journal: InboxEvent[] = [];
    this.#journals.add(journal);
    try {
      use(await this.fetch(query), journal);
    } finally {
      this.#journals.delete(journal);
    }
  }

  #stopReading(): void {
    this.#reading += 1;
    clearTimeout(this.#retryTimer);
  }

  #failed(error: unknown): void {
    if (!(error instanceof TidingsError)) throw error;
    if (error.code !== 'closed') this.parts.report(error);
  }

  #show(changes: { items?: Items; counts?: Counts; isLoaded?: boolean }): void {
    const hasMore = this.#nextCursor !== null;
    const next = { ...this.#snapshot, ...changes, hasMore };
    if (isSame(this.#snapshot, next)) return;
    this.#snapshot = next;
    if (!this.#isClosed) this.#keepTimer ??= after(KEEP_DELAY_MS, () => void this.keep());
    for (const listener of [...this.#listeners]) callSafely(() => listener(next), this.parts.report);
  }

  /** Stores the view if it has changed since. */
  keep(): void | Promise<void> {
    if (this.#keepTimer === undefined) return;
    clearTimeout(this.#keepTimer);
    this.#keepTimer = undefined;
    const kept: Kept = { items: this.items.slice(0, PAGE_SIZE), counts: this.counts };
    return this.#shelf?.set(KEPT_AS, JSON.stringify(kept));
  }

  /** Ends all timers. Resolves when the view is stored. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.disconnected();
    this.#marks.close();
    clearTimeout(this.#confirmTimer);
    await this.keep();
  }
}

interface Kept {
  readonly items: Items;
  readonly counts: Counts;
}

function isKept(value: unknown): value is Kept {
  if (typeof value !== 'object' || value === null || !('items' in value) || !('counts' in value)) return false;
  return Array.isArray(value.items) && value.items.every(isInboxItem) && isCounts(value.counts);
}

/** Events about a list that was just read may be in it already: applying them twice changes nothing. */
function apply(items: Items, event: InboxEvent, userId: string | undefined): Items {
  if (event.kind === 'message') return insert(items, event.item);
  if (event.kind === 'state') return mark(items, event, userId);
  const known = find(items, event);
  if (known === undefined) return items;
  return event.kind === 'removed' ? remove(items, known) : replace(items, known, { data: event.data });
}

function isNotIn(items: Items) {
  return ({ topic, seq }: InboxItem) => !items.some((item) => item.topic === topic && item.seq === seq);
}

function isSame(one: InboxSnapshot, other: InboxSnapshot): boolean {
  return (
    one.items === other.items &&
    one.counts.unseen === other.counts.unseen &&
    one.counts.unread === other.counts.unread &&
    one.hasMore === other.hasMore &&
    one.isLoaded === other.isLoaded
  );
}

function toScope(selection: Exclude<Selection, 'all'>): Scope {
  if (typeof selection === 'string') return { ids: [selection] };
  return 'topic' in selection ? selection : { ids: selection };
}

/** What a user who marks the whole list has looked at. */
function newestByTopic(items: Items): Scope[] {
  const newest = new Map<string, number>();
  for (const { topic, seq } of items) newest.set(topic, Math.max(seq, newest.get(topic) ?? 0));
  return [...newest].map(([topic, upTo]) => ({ topic, upTo }));
}
