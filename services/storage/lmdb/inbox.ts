/** The inbox of a user: lists and counts from the logs and the states of their messages. */
import { groupedBy, partsOf } from '../../../utils/parts';
import type { Counts, Message, RequestedState } from '../../../utils/protocol';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import { stateTopic } from '../../../utils/topic-names';
import type { CountedInbox, InboxPage, InboxPosition, InboxQuery, Selection, StateChanged } from '../contract';
import { stateEntry } from '../rules/entries';
import { latestOrderAfter, listed, mergePage, type Stream, streamAfter } from '../rules/inbox-merge';
import { PageRoom } from '../rules/page-room';
import { blockOf, blocksOf, type Span } from '../rules/slot-row';
import {
  entryData,
  type FlagChange,
  isHeld,
  isReopened,
  type Refused,
  sectionOf,
  selected,
  stampsOf,
  startsOf,
  transitionOf,
  type Section as WholeSection,
} from '../rules/state-change';
import { type BlockRows, countPlaces, countUnread, EXCLUDED, FLAGS, listedPlaces, stateOf } from '../rules/states';
import { Turns } from '../turns';
import type { Access } from './access';
import type { Log } from './log';
import type { Marks } from './marks';
import type { Memberships } from './memberships';
import type { StoredMessage } from './record';

interface Section extends WholeSection {
  /** Is something in it gone, or can it expire? */
  readonly isPatchy: boolean;
  /** The order of its last message; absent in data of an earlier version. */
  readonly order: number | undefined;
}

/** Messages whose state one transaction changes: some milliseconds. */
const PLACES_PER_PART = 32 * FLAGS.count;
/** A row costs as much as so many messages in it. */
const ROW_COST = 64;
const IDS_PER_PART = 100;

/** A place, or the start of a row of them. */
interface Looked {
  readonly seq: number;
  readonly isListed: boolean;
}

/** One topic of a list. */
interface TopicStream extends Stream<StoredMessage> {
  readonly section: Section;
  /** Places still to be looked at, newest first; created when it is the turn of the topic. */
  places: Generator<Looked> | undefined;
}

/** Places of one topic whose state changes, without expired ones. */
interface Change extends WholeSection {
  readonly expired: ReadonlySet<number>;
}

/** What one transaction changes. */
interface ChangePart {
  readonly selection: Selection;
  readonly changes: readonly Change[];
}

interface InboxParts {
  readonly memberships: Memberships;
  readonly log: Log;
  readonly marks: Marks;
}

export class Inbox {
  /** One change of a user at a time. */
  readonly #turns = new Turns();

  constructor(
    private readonly access: Access,
    private readonly parts: InboxParts,
  ) {}

  /** The topics of a user, each from where it is the user's up to its head; some are empty. */
  async sections(userId: string): Promise<Section[]> {
    const sections: Section[] = [];
    for (const [topic, start] of this.#starts(userId)) {
      if (isSliceOver()) await nextSlice();
      const state = this.parts.log.state(topic);
      sections.push({ ...sectionOf(topic, start, state), isPatchy: state.isPatchy ?? false, order: state.order });
    }
    return sections;
  }

  #starts(userId: string): Map<string, number> {
    return startsOf(userId, this.access.trees.users.get(userId), this.parts.memberships.startsOf(userId));
  }

  /** Counts in slices: what changes meanwhile is counted or not. */
  async counts(userId: string): Promise<Counts> {
    return this.#count(userId, await this.sections(userId));
  }

  /** Heads before rows: whatever changes in between has an entry that comes later. */
  async counted(userId: string): Promise<CountedInbox> {
    const { log } = this.parts;
    const now = this.access.clock.now();
    const states = stateTopic(userId);
    const heads = new Map([[states, log.head(states)]]);
    const sections = await this.sections(userId);
    for (const { topic, upTo } of sections) heads.set(topic, upTo);
    const counts = await this.#count(userId, sections);
    const expiries = sections.map(({ topic, isPatchy }) => (isPatchy ? log.nextExpiry(topic, now) : undefined));
    const until = Math.min(...expiries.filter((at) => at !== undefined));
    return { counts, heads, until: Number.isFinite(until) ? until : undefined };
  }

  async #count(userId: string, sections: readonly Section[]): Promise<Counts> {
    const total = { unseen: 0, unread: 0 };
    for (const section of sections) {
      const expired = groupedBy(await this.#expiredOf(section), (seq) => blockOf(FLAGS, seq));
      for (const [block, span] of blocksOf(FLAGS, section)) {
        if (isSliceOver()) await nextSlice();
        const rows = this.#rowsOf(section, block, userId);
        const all = countUnread(span, rows);
        const over = countPlaces(span, rows, expired.get(block) ?? []);
        total.unseen += all.unseen - over.unseen;
        total.unread += all.unread - over.unread;
      }
    }
    return total;
  }

  /** The oldest of the last `count` unread places of a section, or of fewer. */
  async lastUnread(userId: string, section: Section, count: number): Promise<number | undefined> {
    const expired = await this.#expiredOf(section);
    let oldest: number | undefined;
    let found = 0;
    for (const { seq, isListed } of this.#places(userId, section, 'unread')) {
      if (isSliceOver()) await nextSlice();
      if (!isListed || expired.has(seq)) continue;
      oldest = seq;
      found += 1;
      if (found === count) break;
    }
    return oldest;
  }

  /** The places of a section that a list shows, newest first, including expired ones. */
  *#places(userId: string, section: Section, state: InboxQuery['state']): Generator<Looked> {
    for (const [block, span] of blocksOf(FLAGS, section, { isForward: false })) {
      if (span.upTo < section.upTo) yield { seq: span.upTo, isListed: false };
      const rows = this.#rowsOf(section, block, userId);
      for (const seq of listedPlaces(span, rows, state)) yield { seq, isListed: true };
    }
  }

  async #expiredOf({ topic, isPatchy }: Pick<Section, 'topic' | 'isPatchy'>): Promise<ReadonlySet<number>> {
    return isPatchy ? this.parts.log.expiredOf(topic) : NONE;
  }

  /** The rows of one block. Most topics have no holes: none are looked up there. */
  #rowsOf({ topic, isPatchy }: Section, block: number, userId: string): BlockRows {
    const { flags, holes } = this.parts.marks;
    return { flags: flags.row(topic, block, userId), holes: isPatchy ? holes.row(topic, block) : undefined };
  }

  async list(userId: string, query: InboxQuery): Promise<InboxPage> {
    const sections = listed(await this.sections(userId), query);
    const room = new PageRoom(query.limit);
    return mergePage<StoredMessage, TopicStream>(
      sections.map((section) => this.#stream(section, query.after)),
      {
        room,
        atOnce: 1,
        look: ([stream]) => this.#look(stream as TopicStream, userId, { query, room }),
        toListed: ({ message, bytes }) => {
          if (query.type !== undefined && message.type !== query.type) return undefined;
          return { item: { message, state: stateOf(this.parts.marks.get(message, userId)) }, bytes };
        },
      },
    );
  }

  #stream(section: Section, after: InboxPosition | undefined): TopicStream {
    const newest = section.order ?? this.#orderUpTo(section, section.upTo) ?? 0;
    return { ...streamAfter(after, section, newest), section, places: undefined };
  }

  /** Finds what of a topic is listed next. */
  async #look(
    stream: TopicStream,
    userId: string,
    { query, room }: { readonly query: InboxQuery; readonly room: PageRoom },
  ): Promise<void> {
    const { section } = stream;
    stream.places ??= this.#places(userId, { ...section, upTo: this.#placeAfter(section, query.after) }, query.state);
    for (let next = stream.places.next(); !next.done; next = stream.places.next()) {
      if (isSliceOver()) await nextSlice();
      const { seq, isListed } = next.value;
      if (room.isSpent) return this.#standAt(stream, seq);
      const found = isListed ? this.parts.log.visible(section.topic, seq) : undefined;
      if (found === undefined) {
        room.lookInVain();
        continue;
      }
      stream.item = found;
      stream.position = { order: found.order, topic: section.topic, seq };
      return;
    }
    stream.isOver = true;
  }

  /** Where a stream continues: this place and what comes after it have not been looked at. */
  #standAt(stream: TopicStream, seq: number): void {
    const { section } = stream;
    const order = this.#orderUpTo(section, seq);
    if (order === undefined) stream.isOver = true;
    else stream.position = { order, topic: section.topic, seq };
  }

  /** The greatest `seq` of a section that comes after a position in the order of the list. */
  #placeAfter(section: Section, after: InboxPosition | undefined): number {
    if (after === undefined) return section.upTo;
    if (section.topic === after.topic) return Math.min(section.upTo, after.seq - 1);
    const latest = latestOrderAfter(after, section.topic);
    let low = section.from - 1;
    let high = section.upTo;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#orderUpTo(section, middle) ?? Number.NEGATIVE_INFINITY) <= latest) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The order of the last message at or before a place. */
  #orderUpTo({ topic, from }: Section, seq: number): number | undefined {
    const here = this.parts.log.stored(topic, seq);
    if (here !== undefined) return here.order;
    const start: [string, number] = [topic, seq];
    const end: [string, number] = [topic, from - 1];
    const [found] = this.access.trees.messages.getKeys({ start, end, reverse: true, limit: 1 });
    return found === undefined ? undefined : this.parts.log.stored(...found)?.order;
  }

  /**
   * Changes happen in the order of the calls. A change is planned first, then made in parts, each with its own entry:
   * if it is interrupted, readers are still notified of what has happened.
   */
  async changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged> {
    const turn = await this.#turns.take(userId, async () => {
      const parts = await this.access.walking(() => this.#planChange(userId, selection, state));
      if ('outcome' in parts) return parts;
      const writes = parts.map((part) => () => this.access.write(() => this.#changePart(userId, part, state)));
      const done = [];
      for (const write of writes.slice(0, -1)) done.push(await write());
      // It is queued: the next change need not wait for the disk.
      return { done, last: writes.at(-1)?.() };
    });
    if ('outcome' in turn) return turn;
    const all = [...turn.done, (await turn.last) ?? NO_CHANGE];
    const changed = all.reduce((sum, part) => sum + part.changed, 0);
    return { outcome: 'changed', changed, entries: all.flatMap(({ entries }) => entries) };
  }

  /** Plans a change, in slices: one part for each transaction. */
  async #planChange(userId: string, selection: Selection, state: RequestedState): Promise<ChangePart[] | Refused> {
    if ('ids' in selection) return this.#partsOfSome(userId, selection.ids);
    const sections = selected(await this.sections(userId), selection);
    if ('outcome' in sections) return sections;
    return (await this.#cut(sections, state)).map((changes) => ({ selection, changes }));
  }

  async #partsOfSome(userId: string, ids: readonly string[]): Promise<ChangePart[] | Refused> {
    const starts = this.#starts(userId);
    const isInInbox = (message: Message) => isHeld(starts, userId, message, this.parts.marks.get(message, userId));
    const places: { id: string; changes: Change[] }[] = [];
    for (const [index, id] of ids.entries()) {
      if (isSliceOver()) await nextSlice();
      const found = (await this.parts.log.find(id)).filter(isInInbox);
      if (found.length === 0) return { outcome: 'not_found', path: `ids.${index}` };
      const changes = found.map(({ topic, seq }) => ({ topic, from: seq, upTo: seq, expired: NONE }));
      places.push({ id, changes });
    }
    return Array.from(partsOf(places, IDS_PER_PART), (part) => ({
      selection: { ids: part.map(({ id }) => id) },
      changes: part.flatMap(({ changes }) => changes),
    }));
  }

  /** Sections cut into parts for one transaction each, oldest places first. */
  async #cut(sections: readonly Section[], state: RequestedState): Promise<Change[][]> {
    const parts: Change[][] = [[]];
    let room = PLACES_PER_PART;
    for (const section of sections) {
      const expired = await this.#expiredOf(section);
      for (const { from, upTo, isWhole } of await this.#spansOf(section, state)) {
        if (room < ROW_COST) {
          parts.push([]);
          room = PLACES_PER_PART;
        }
        parts.at(-1)?.push({ topic: section.topic, from, upTo, expired });
        room -= isWhole ? PLACES_PER_PART : upTo - from + 1 + ROW_COST;
      }
    }
    return parts;
  }

  /** `isWhole`: it fills a part, because messages that may be replaced again cost extra writes. */
  async #spansOf({ topic, ...section }: Section, state: RequestedState): Promise<(Span & { isWhole: boolean })[]> {
    const spans: (Span & { isWhole: boolean })[] = [];
    for (const [, { from, upTo }] of blocksOf({ ...FLAGS, count: PLACES_PER_PART }, section)) {
      const ends = state === 'unread' ? await this.parts.log.collapse.cutsOf(topic, { from, upTo }) : [];
      let start = from;
      for (const end of ends) {
        spans.push({ from: start, upTo: end, isWhole: true });
        start = end + 1;
      }
      if (start <= upTo) spans.push({ from: start, upTo, isWhole: false });
    }
    return spans;
  }

  /** Changes one part, and appends the entry about it. */
  #changePart(userId: string, { selection, changes }: ChangePart, state: RequestedState): typeof NO_CHANGE {
    const transition = transitionOf(selection, state);
    const topics = new Set<string>();
    let changed = 0;
    for (const change of changes) {
      // The membership may have ended since the plan was made.
      const count = this.parts.log.isInInbox(userId, change.topic) ? this.#change(userId, change, transition) : 0;
      changed += count;
      if (count > 0) topics.add(change.topic);
    }
    if (changed === 0) return NO_CHANGE;
    const data = entryData(selection, state, { spans: changes, topics });
    return { changed, entries: [this.parts.log.appendEntry(stateEntry(userId, data))] };
  }

  #change(userId: string, { topic, expired, ...span }: Change, transition: (flags: number) => number): number {
    const { marks, log } = this.parts;
    const changes: FlagChange[] = [];
    const isHole = marks.holeReader(topic);
    const change = (before: number, seq: number): number => {
      if (before & EXCLUDED || isHole(seq) || expired.has(seq)) return before;
      const after = transition(before);
      if (after !== before) changes.push({ seq, before, after });
      return after;
    };
    marks.flags.update(topic, span, change, userId);
    const reopened = new Set(changes.filter(isReopened).map(({ seq }) => seq));
    if (reopened.size > 0) log.collapse.takeBack(topic, span, (seq) => reopened.has(seq));
    for (const { kind, at, changes: stamped } of stampsOf(changes, this.access.clock.now())) {
      const places = new Set(stamped.map(({ seq }) => seq));
      marks.stamp(topic, span, { userId, kind, at }, (seq) => places.has(seq));
    }
    return changes.length;
  }
}

const NONE: ReadonlySet<number> = new Set();
const NO_CHANGE: { readonly changed: number; readonly entries: readonly Message[] } = { changed: 0, entries: [] };
