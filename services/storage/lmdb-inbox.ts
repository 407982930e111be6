/** The inbox of a user, counted and listed from the logs and what the user has done with their messages. */
import type { Clock } from '../../utils/clock';
import type { Counts, Message, RequestedState } from '../../utils/protocol';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../utils/topic-names';
import type { InboxItem, InboxPage, InboxPosition, InboxQuery, Selection, StateChanged } from './contract';
import type { Trees } from './lmdb-layout';
import type { Log } from './lmdb-log';
import type { Marks } from './lmdb-marks';
import { Memberships } from './lmdb-memberships';
import type { StoredMessage } from './lmdb-record';
import type { Span } from './slot-row';
import {
  bulkTransition,
  countUnread,
  EXCLUDED,
  isUnread,
  listedPlaces,
  READ,
  type Rows,
  SEEN,
  stateOf,
  TRANSITIONS,
} from './states';

/** The part of a topic that belongs to an inbox. */
interface Section extends Span {
  readonly topic: string;
  /** Is something in it gone, or can it expire? */
  readonly isPatchy: boolean;
}

/** Messages that one page looks at: a rare type in a large inbox must not hold up others. */
const MAX_LOOKED_AT = 2_000;

export class Inbox {
  readonly #memberships: Memberships;

  constructor(
    private readonly trees: Trees,
    private readonly parts: { readonly log: Log; readonly marks: Marks; readonly clock: Clock },
  ) {
    this.#memberships = new Memberships(trees);
  }

  /** The topics of a user, each from where it is the user's. */
  sections(userId: string): Section[] {
    const user = this.trees.users.get(userId);
    const sections = [this.#section(personalTopic(userId), 0)];
    if (user !== undefined) sections.push(this.#section(BROADCAST_TOPIC, user.broadcastStart));
    for (const [topic, start] of this.#memberships.startsOf(userId)) sections.push(this.#section(topic, start));
    return sections.filter(({ from, upTo }) => from <= upTo);
  }

  #section(topic: string, start: number): Section {
    const { head, prunedUpTo, isPatchy = false } = this.parts.log.state(topic);
    return { topic, from: Math.max(start, prunedUpTo) + 1, upTo: head, isPatchy };
  }

  counts(userId: string): Counts {
    let unseen = 0;
    let unread = 0;
    for (const section of this.sections(userId)) {
      const counts = this.#countSection(userId, section);
      unseen += counts.unseen;
      unread += counts.unread;
    }
    return { unseen, unread };
  }

  #countSection(userId: string, section: Section): Counts {
    const { marks } = this.parts;
    const { topic } = section;
    let unseen = 0;
    let unread = 0;
    for (const [block, span] of marks.flags.blocksOf(section)) {
      const counts = countUnread(span, this.#rowsOf(section, block, userId));
      unseen += counts.unseen;
      unread += counts.unread;
    }
    for (const seq of this.#expiredOf(section)) {
      const place = { topic, seq };
      const flags = marks.get(place, userId);
      if (seq < section.from || marks.isHole(place) || !isUnread(flags)) continue;
      unread -= 1;
      if ((flags & SEEN) === 0) unseen -= 1;
    }
    return { unseen, unread };
  }

  /** The last `count` unread places of a section, or fewer: from the oldest of them on. */
  lastUnread(userId: string, section: Section, count: number): number | undefined {
    let oldest: number | undefined;
    let found = 0;
    for (const seq of this.#places(userId, section, 'unread')) {
      oldest = seq;
      found += 1;
      if (found === count) break;
    }
    return oldest;
  }

  /** The places of a section that a list shows, newest first. */
  *#places(userId: string, section: Section, state: InboxQuery['state']): Generator<number> {
    const expired = this.#expiredOf(section);
    for (const [block, span] of [...this.parts.marks.flags.blocksOf(section)].reverse()) {
      for (const seq of listedPlaces(span, this.#rowsOf(section, block, userId), state)) {
        if (!expired.has(seq)) yield seq;
      }
    }
  }

  #expiredOf({ topic, isPatchy }: Pick<Section, 'topic' | 'isPatchy'>): ReadonlySet<number> {
    return new Set(isPatchy ? this.parts.log.expiredOf(topic) : []);
  }

  /** What is known of one block. Most topics have nothing that is gone: nothing is looked up for it there. */
  #rowsOf({ topic, isPatchy }: Section, block: number, userId: string): Rows {
    const { flags, holes } = this.parts.marks;
    return { flags: flags.row(topic, block, userId), holes: isPatchy ? holes.row(topic, block) : undefined };
  }

  list(userId: string, query: InboxQuery): InboxPage {
    const sections = this.sections(userId).filter(({ topic }) => query.topic === undefined || query.topic === topic);
    const streams = sections.map((section) => this.#stream(userId, section, query));
    const items: InboxItem[] = [];
    let last: InboxPosition | undefined;
    for (let looked = 0; looked < MAX_LOOKED_AT; looked += 1) {
      const stream = newestOf(streams);
      if (stream?.next === undefined) return { items, next: undefined };
      if (items.length === query.limit) return { items, next: last };
      const { message, order } = stream.next;
      last = { order, topic: message.topic, seq: message.seq };
      if (query.type === undefined || message.type === query.type) {
        items.push({ message, state: stateOf(this.parts.marks.get(message, userId)) });
      }
      stream.advance();
    }
    return { items, next: last };
  }

  #stream(userId: string, section: Section, { state, after }: InboxQuery): Stream {
    const upTo = after === undefined ? section.upTo : this.#placeBehind(section, after);
    const places = this.#places(userId, { ...section, upTo }, state);
    const take = (): StoredMessage | undefined => {
      for (const seq of skippable(places)) {
        const found = this.parts.log.visible(section.topic, seq);
        if (found !== undefined) return found;
      }
      return undefined;
    };
    const stream: Stream = {
      next: take(),
      advance: () => {
        stream.next = take();
      },
    };
    return stream;
  }

  /** The greatest `seq` of a section that comes behind a position in the order of the list. */
  #placeBehind(section: Section, { order, topic, seq }: InboxPosition): number {
    if (section.topic === topic) return Math.min(section.upTo, seq - 1);
    // Of messages of one moment those of the topic that sorts first are listed first.
    const latest = section.topic > topic ? order : order - 1;
    let low = section.from - 1;
    let high = section.upTo;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#orderUpTo(section, middle) <= latest) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The order of the last message at or before a place. */
  #orderUpTo({ topic, from }: Section, seq: number): number {
    const start: [string, number] = [topic, seq];
    const end: [string, number] = [topic, from - 1];
    const [found] = this.trees.messages.getKeys({ start, end, reverse: true, limit: 1 });
    return found === undefined ? Number.NEGATIVE_INFINITY : (this.parts.log.stored(...found)?.order ?? 0);
  }

  changeStates(userId: string, selection: Selection, state: RequestedState): StateChanged {
    const sections = this.sections(userId);
    if ('ids' in selection) return this.#changeSome(userId, selection.ids, state);
    if ('all' in selection) return this.#changeAll(userId, sections, state);
    const { topic } = selection;
    const { head } = this.parts.log.state(topic);
    if (!this.#isInInbox(userId, topic)) return { outcome: 'not_found', path: 'topic' };
    const upTo = selection.upTo ?? head;
    if (upTo > head) return { outcome: 'ahead', head };
    const spans = sections.filter((section) => section.topic === topic).map((section) => ({ ...section, upTo }));
    return this.#told(userId, this.#changeSpans(userId, spans, state).changed, { topic, upTo, state });
  }

  #isInInbox(userId: string, topic: string): boolean {
    if (topic === BROADCAST_TOPIC) return this.trees.users.doesExist(userId);
    return topic === personalTopic(userId) || this.#memberships.isMember(topic, userId);
  }

  #changeSome(userId: string, ids: readonly string[], state: RequestedState): StateChanged {
    const places: Message[] = [];
    const sections = this.sections(userId);
    for (const [index, id] of ids.entries()) {
      const found = this.parts.log.find(id).filter((message) => isIn(sections, userId, message));
      if (found.length === 0) return { outcome: 'not_found', path: `ids.${index}` };
      places.push(...found);
    }
    let changed = 0;
    for (const { topic, seq } of places) {
      changed += this.#change(userId, topic, { from: seq, upTo: seq }, TRANSITIONS[state]);
    }
    return this.#told(userId, changed, { ids: [...new Set(ids)], state });
  }

  #changeAll(userId: string, sections: readonly Section[], state: RequestedState): StateChanged {
    const { changed, cursors } = this.#changeSpans(userId, sections, state);
    // A device that hears of it later must know what came afterwards.
    return this.#told(userId, changed, { all: true, cursors, state });
  }

  /** @returns how many have changed, and up to where in the topics concerned. */
  #changeSpans(userId: string, spans: readonly Section[], state: RequestedState) {
    const changes = spans.map(({ topic, ...span }) => ({
      topic,
      upTo: span.upTo,
      changed: this.#change(userId, topic, span, bulkTransition(state)),
    }));
    const concerned = changes.filter(({ changed }) => changed > 0);
    return {
      changed: concerned.reduce((sum, { changed }) => sum + changed, 0),
      cursors: Object.fromEntries(concerned.map(({ topic, upTo }) => [topic, upTo])),
    };
  }

  #change(userId: string, topic: string, span: Span, change: (flags: number) => number): number {
    const { marks, clock } = this.parts;
    const seen = new Set<number>();
    const read = new Set<number>();
    const unread = new Set<number>();
    const isHole = marks.holeReader(topic);
    const expired = this.#expiredOf({ topic, isPatchy: true });
    let changed = 0;
    marks.flags.update(
      topic,
      span,
      (before, seq) => {
        const after = before & EXCLUDED || isHole(seq) || expired.has(seq) ? before : change(before);
        if (after === before) return before;
        changed += 1;
        if (after & SEEN & ~before) seen.add(seq);
        if (after & READ & ~before) read.add(seq);
        if (before & READ & ~after) unread.add(seq);
        return after;
      },
      userId,
    );
    const at = clock.now();
    if (seen.size > 0) marks.stamp(topic, span, { userId, kind: 'seen', at }, (seq) => seen.has(seq));
    if (read.size > 0) marks.stamp(topic, span, { userId, kind: 'read', at }, (seq) => read.has(seq));
    if (unread.size > 0) marks.stamp(topic, span, { userId, kind: 'read', at: 0 }, (seq) => unread.has(seq));
    return changed;
  }

  #told(userId: string, changed: number, data: object): StateChanged {
    if (changed === 0) return { outcome: 'changed', changed, entries: [] };
    const entry = { topic: stateTopic(userId), type: 'state', event: 'state', data, from: userId };
    return { outcome: 'changed', changed, entries: [this.parts.log.appendEntry(entry)] };
  }
}

/** Is this message in an inbox of these sections? */
function isIn(sections: readonly Section[], userId: string, { topic, seq, exceptUserId }: Message): boolean {
  if (exceptUserId === userId) return false;
  return sections.some((section) => section.topic === topic && section.from <= seq);
}

/** One topic of a list, newest first. */
interface Stream {
  next: StoredMessage | undefined;
  readonly advance: () => void;
}

function newestOf(streams: readonly Stream[]): Stream | undefined {
  let newest: Stream | undefined;
  for (const stream of streams) {
    if (stream.next !== undefined && (newest?.next === undefined || comesFirst(stream.next, newest.next))) {
      newest = stream;
    }
  }
  return newest;
}

function comesFirst(one: StoredMessage, other: StoredMessage): boolean {
  return one.order === other.order ? one.message.topic < other.message.topic : one.order > other.order;
}

/** Lets a loop stop in the middle without ending the generator. */
function skippable<Value>(values: Generator<Value>): Iterable<Value> {
  return { [Symbol.iterator]: () => ({ next: () => values.next() }) };
}
