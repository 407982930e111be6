/**
 * The inbox of a user, counted and listed from the logs and what the user has done with their messages. That a message
 * is one's own, not for oneself, expired or gone is looked up in the messages at that moment: nothing can drift apart.
 */
import type { Clock } from '../../utils/clock';
import type { Counts, Message, RequestedState } from '../../utils/protocol';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../utils/topic-names';
import {
  type InboxItem,
  type InboxPage,
  type InboxPosition,
  type InboxQuery,
  type Selection,
  type StateChanged,
  StoreError,
} from './contract';
import {
  type Collections,
  EXPIRES,
  exceptTag,
  fromTag,
  generationOf,
  HOLE,
  type MemberDoc,
  type MessageDoc,
  type UserDoc,
} from './mongodb-layout';
import type { Log } from './mongodb-log';
import type { Marks, TopicSpan } from './mongodb-marks';
import type { Memberships } from './mongodb-memberships';
import { toMessage } from './mongodb-record';
import type { ChangedRow, SlotChange } from './mongodb-rows';
import { partsOf, pauseBefore, type Turns } from './mongodb-turns';
import type { Writer } from './mongodb-writer';
import { blockOf, blocksOf, readSlot, type Span } from './slot-row';
import { bulkTransition, countUnread, EXCLUDED, FLAGS, isListed, READ, SEEN, stateOf, TRANSITIONS } from './states';

/** Messages that one page looks at: a rare type in a large inbox must not hold up others. */
const MAX_LOOKED_AT = 2_000;
/** Blocks of flags that a list reads at once behind the newest one. */
const BLOCKS_AT_ONCE = 8;
const DOCS_AT_ONCE = 500;
const SECTIONS_PER_QUERY = 50;
const MAX_ATTEMPTS = 30;

interface InboxParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly memberships: Memberships;
  readonly writer: Writer;
  readonly clock: Clock;
  readonly turns: Turns;
}

/** A message of an inbox, with what its user has done with it. */
interface Found {
  readonly doc: MessageDoc;
  readonly flags: number;
}

/** What is done with places of an inbox, and what is said of it afterwards. */
interface StateChange {
  readonly change: (flags: number) => number;
  readonly overlayOf: Overlays;
  readonly told: (topics: ReadonlySet<string>) => object;
}

/** What messages say of some places of one block, in the form of rows. */
interface Overlay {
  /** SEEN on one's own messages, EXCLUDED on what is not for the user. */
  readonly flags: Buffer;
  readonly holes: Buffer;
}

type Overlays = (topic: string, block: number) => Overlay | undefined;
type Special = Pick<MessageDoc, 'topic' | 'seq' | 'tags' | 'expiresAt'>;

function startsAmong(userId: string, user: UserDoc | null, memberships: readonly MemberDoc[]): Map<string, number> {
  return new Map([
    [personalTopic(userId), 0],
    ...(user === null ? [] : [[BROADCAST_TOPIC, user.broadcastStart] as const]),
    ...memberships.map(({ topic, start }) => [topic, start] as const),
  ]);
}

export class Inbox {
  constructor(
    private readonly collections: Collections,
    private readonly parts: InboxParts,
  ) {}

  /** The topics of a user, each from where it is the user's; empty ones are left out. */
  async sections(userId: string): Promise<TopicSpan[]> {
    const [user, docs] = await Promise.all([
      this.collections.users.findOne({ _id: userId }),
      this.parts.memberships.docsOf(userId),
    ]);
    const ownTopics = [personalTopic(userId), BROADCAST_TOPIC];
    const states = await this.parts.log.states([...ownTopics, ...docs.map(({ topic }) => topic)]);
    const memberships = docs.filter((doc) => generationOf(doc) === generationOf(states.get(doc.topic)));
    const sections = Array.from(startsAmong(userId, user, memberships), ([topic, start]) => {
      const { head = 0, prunedUpTo = 0 } = states.get(topic) ?? {};
      return { topic, from: Math.max(start, prunedUpTo) + 1, upTo: head };
    });
    return sections.filter(({ from, upTo }) => from <= upTo);
  }

  /** Behind which `seq` each topic of an inbox is the user's. */
  async starts(userId: string): Promise<Map<string, number>> {
    const [user, memberships] = await Promise.all([
      this.collections.users.findOne({ _id: userId }),
      this.parts.memberships.ofUser(userId),
    ]);
    return startsAmong(userId, user, memberships);
  }

  async counts(userId: string): Promise<Counts> {
    const sections = await this.sections(userId);
    const [rowOf, overlayOf] = await Promise.all([
      this.parts.marks.flagRows(userId, sections),
      this.#overlays(userId, sections),
    ]);
    let unseen = 0;
    let unread = 0;
    for (const { topic, ...section } of sections) {
      for (const [block, span] of blocksOf(FLAGS, section)) {
        const overlay = overlayOf(topic, block);
        const counts = countUnread(span, { flags: merged(rowOf(topic, block), overlay), holes: overlay?.holes });
        unseen += counts.unseen;
        unread += counts.unread;
      }
    }
    return { unseen, unread };
  }

  /** What follows from the messages of some sections for a user. */
  async #overlays(userId: string, sections: readonly TopicSpan[]): Promise<Overlays> {
    const overlays = new Map<string, Overlay>();
    for await (const special of this.#specials(userId, sections)) this.#enter(overlays, special, userId);
    return (topic, block) => overlays.get(overlayKey(topic, block));
  }

  #overlaysOf(userId: string, docs: readonly Special[]): Overlays {
    const overlays = new Map<string, Overlay>();
    for (const doc of docs) this.#enter(overlays, doc, userId);
    return (topic, block) => overlays.get(overlayKey(topic, block));
  }

  async *#specials(userId: string, sections: readonly TopicSpan[]): AsyncGenerator<Special> {
    const tags = { $in: [HOLE, EXPIRES, fromTag(userId), exceptTag(userId)] };
    const projection = { _id: 0, topic: 1, seq: 1, tags: 1, expiresAt: 1 };
    for (const part of partsOf(sections, SECTIONS_PER_QUERY)) {
      const $or = part.map(({ topic, from, upTo }) => ({ topic, tags, seq: { $gte: from, $lte: upTo } }));
      yield* this.collections.messages.find<Special>({ $or }, { projection });
    }
  }

  #enter(overlays: Map<string, Overlay>, { topic, seq, tags, expiresAt }: Special, userId: string): void {
    const key = overlayKey(topic, blockOf(FLAGS, seq));
    const overlay = overlays.get(key) ?? { flags: Buffer.alloc(FLAGS.count), holes: Buffer.alloc(FLAGS.count) };
    overlays.set(key, overlay);
    const { flags, holes } = overlay;
    const slot = seq % FLAGS.count;
    const isOver = expiresAt !== undefined && expiresAt <= this.parts.clock.now();
    if (tags.includes(HOLE) || isOver) holes[slot] = 1;
    const own = tags.includes(fromTag(userId)) ? SEEN : 0;
    flags[slot] = own | (tags.includes(exceptTag(userId)) ? EXCLUDED : 0);
  }

  /** The oldest of the last `count` unread messages of a section, or of fewer. */
  async lastUnread(userId: string, section: TopicSpan, count: number): Promise<number | undefined> {
    let oldest: number | undefined;
    let found = 0;
    for await (const { doc } of this.#listed(userId, section, { state: 'unread', atOnce: count })) {
      oldest = doc.seq;
      found += 1;
      if (found === count) break;
    }
    return oldest;
  }

  /** The messages of a section that a list shows, newest first. */
  async *#listed(
    userId: string,
    section: TopicSpan,
    { state, atOnce }: { state: InboxQuery['state']; atOnce: number },
  ): AsyncGenerator<Found> {
    let size = Math.min(atOnce, DOCS_AT_ONCE);
    for (const span of groupsOfBlocks(section)) {
      const flagsAt = await this.parts.marks.flagsOf(userId, { topic: section.topic, ...span });
      const places: number[] = [];
      for (let seq = span.upTo; seq >= span.from; seq -= 1) if (isListed(state, flagsAt(seq))) places.push(seq);
      for (let start = 0; start < places.length; ) {
        const part = places.slice(start, start + size);
        start += part.length;
        size = Math.min(size * 2, DOCS_AT_ONCE);
        yield* await this.#foundAt(userId, section.topic, part, flagsAt);
      }
    }
  }

  async #foundAt(
    userId: string,
    topic: string,
    places: readonly number[],
    flagsAt: (seq: number) => number,
  ): Promise<Found[]> {
    const docs = await this.parts.log.docsAt(topic, places);
    return docs
      .filter((doc) => this.parts.log.isThere(doc) && !doc.tags.includes(HOLE) && doc.exceptUserId !== userId)
      .toSorted((one, other) => other.seq - one.seq)
      .map((doc) => ({ doc, flags: flagsAt(doc.seq) | (doc.from === userId ? SEEN : 0) }));
  }

  async list(userId: string, query: InboxQuery): Promise<InboxPage> {
    const sections = (await this.sections(userId)).filter(({ topic }) => (query.topic ?? topic) === topic);
    const streams = await Promise.all(sections.map((section) => this.#stream(userId, section, query)));
    const items: InboxItem[] = [];
    let last: InboxPosition | undefined;
    for (let looked = 0; looked < MAX_LOOKED_AT; looked += 1) {
      const stream = newestOf(streams);
      if (stream?.next === undefined) return { items, next: undefined };
      if (items.length === query.limit) return { items, next: last };
      const { doc, flags } = stream.next;
      last = { order: doc.order, topic: doc.topic, seq: doc.seq };
      if (query.type === undefined || doc.type === query.type) {
        items.push({ message: toMessage(doc), state: stateOf(flags) });
      }
      await stream.advance();
    }
    return { items, next: last };
  }

  async #stream(userId: string, section: TopicSpan, { state, after, limit }: InboxQuery): Promise<Stream> {
    const upTo = after === undefined ? section.upTo : await this.#placeBehind(section, after);
    const found = this.#listed(userId, { ...section, upTo }, { state, atOnce: limit + 1 });
    const stream: Stream = {
      next: undefined,
      advance: async () => {
        const { value, done } = await found.next();
        stream.next = done ? undefined : value;
      },
    };
    await stream.advance();
    return stream;
  }

  /** The greatest `seq` of a section that comes behind a position in the order of the list. */
  async #placeBehind(section: TopicSpan, { order, topic, seq }: InboxPosition): Promise<number> {
    if (section.topic === topic) return Math.min(section.upTo, seq - 1);
    // Of messages of one moment those of the topic that sorts first are listed first.
    const latest = section.topic > topic ? order : order - 1;
    let low = section.from - 1;
    let high = section.upTo;
    for (let middle = high; low < high; middle = Math.ceil((low + high) / 2)) {
      if ((await this.#orderAt(section.topic, middle)) <= latest) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** A place that retention has taken in between was older than all others. */
  async #orderAt(topic: string, seq: number): Promise<number> {
    const projection = { _id: 0, order: 1 };
    const found = await this.collections.messages.findOne({ topic, seq }, { projection });
    return found?.order ?? Number.NEGATIVE_INFINITY;
  }

  /** One after the other for each user: who asks twice at once has it done once. */
  changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged> {
    return this.parts.turns.take(`states ${userId}`, () => this.#changeStates(userId, selection, state));
  }

  async #changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged> {
    if ('ids' in selection) return this.#changeSome(userId, selection.ids, state);
    if ('all' in selection) {
      const sections = await this.sections(userId);
      // A device that hears of it later must know what came afterwards.
      const told = (topics: ReadonlySet<string>) => ({ all: true, cursors: cursorsOf(sections, topics), state });
      const overlayOf = await this.#overlays(userId, sections);
      return this.#changeSpans(userId, sections, { change: bulkTransition(state), overlayOf, told });
    }
    const { topic } = selection;
    const [starts, { head }] = await Promise.all([this.starts(userId), this.parts.log.state(topic)]);
    if (!starts.has(topic)) return { outcome: 'not_found', path: 'topic' };
    const upTo = selection.upTo ?? head;
    if (upTo > head) return { outcome: 'ahead', head };
    const spans = (await this.sections(userId)).filter((section) => section.topic === topic);
    const within = spans.map((span) => ({ ...span, upTo })).filter((span) => span.from <= span.upTo);
    return this.#changeSpans(userId, within, {
      change: bulkTransition(state),
      overlayOf: await this.#overlays(userId, within),
      told: () => ({ topic, upTo, state }),
    });
  }

  async #changeSome(userId: string, ids: readonly string[], state: RequestedState): Promise<StateChanged> {
    const [starts, found] = await Promise.all([this.starts(userId), this.parts.log.findAll([...new Set(ids)])]);
    const held = found.filter((doc) => isHeld(starts, userId, doc));
    const known = new Set(held.map(({ id }) => id));
    const missing = ids.findIndex((id) => !known.has(id));
    if (missing !== -1) return { outcome: 'not_found', path: `ids.${missing}` };
    const spans = held.map(({ topic, seq }) => ({ topic, from: seq, upTo: seq }));
    const told = () => ({ ids: [...new Set(ids)], state });
    return this.#changeSpans(userId, spans, {
      change: TRANSITIONS[state],
      overlayOf: this.#overlaysOf(userId, held),
      told,
    });
  }

  /**
   * The entry comes after the rows: nobody is told of what did not happen. When another node has told of a change in
   * between, its rows may have come after these though its entry came before: then this change is made once more, so that
   * what was told last is what is so.
   */
  async #changeSpans(userId: string, spans: readonly TopicSpan[], stateChange: StateChange): Promise<StateChanged> {
    const log = stateTopic(userId);
    const entries: Message[] = [];
    let changed = 0;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      await pauseBefore(attempt);
      const before = await this.parts.writer.headOf(log);
      const changes = await this.#apply(userId, spans, stateChange);
      if (attempt === 0) changed = changes.length;
      if (changes.length === 0) return { outcome: 'changed', changed, entries };
      const entry = await this.#tell(userId, stateChange.told(new Set(changes.map(({ topic }) => topic))));
      entries.push(entry);
      if (entry.seq === before + 1) return { outcome: 'changed', changed, entries };
    }
    throw new StoreError('states are changed by others all the time');
  }

  async #apply(userId: string, spans: readonly TopicSpan[], { change, overlayOf }: StateChange) {
    const rows = await this.parts.marks.flags.apply(spans.map((span) => changeOf(userId, span, change, overlayOf)));
    const changes = rows.flatMap((row) => slotsOf(row, overlayOf(row.topic, row.block)));
    if (changes.length > 0) await this.#stamp(userId, changes);
    return changes;
  }

  async #tell(userId: string, told: object): Promise<Message> {
    const data = JSON.stringify(told);
    const entry = { topic: stateTopic(userId), type: 'state', event: 'state', data, from: userId };
    return toMessage(await this.parts.writer.appendEntry(entry));
  }

  async #stamp(userId: string, changes: readonly ChangedSlot[]): Promise<void> {
    const at = this.parts.clock.now();
    const gained = (flag: number) => changes.filter(({ before, after }) => (after & flag & ~before) !== 0);
    const lost = changes.filter(({ before, after }) => (before & READ & ~after) !== 0);
    await this.parts.marks.stamp([
      ...spansOf(gained(SEEN)).map((span) => ({ ...span, userId, kind: 'seen', at }) as const),
      ...spansOf(gained(READ)).map((span) => ({ ...span, userId, kind: 'read', at }) as const),
      ...spansOf(lost).map((span) => ({ ...span, userId, kind: 'read', at: 0 }) as const),
    ]);
  }
}

function overlayKey(topic: string, block: number): string {
  return `${block} ${topic}`;
}

/** Up to where something was done, in the topics in which anything has changed. */
function cursorsOf(sections: readonly TopicSpan[], topics: ReadonlySet<string>): Record<string, number> {
  const concerned = sections.filter(({ topic }) => topics.has(topic));
  return Object.fromEntries(concerned.map(({ topic, upTo }) => [topic, upTo]));
}

function isHeld(
  starts: ReadonlyMap<string, number>,
  userId: string,
  { topic, seq, exceptUserId }: Message | MessageDoc,
) {
  return exceptUserId !== userId && seq > (starts.get(topic) ?? Number.POSITIVE_INFINITY);
}

/** A row of flags with what follows from the messages. */
function merged(row: Buffer | undefined, overlay: Overlay | undefined): Buffer | undefined {
  if (overlay === undefined || row === undefined) return overlay?.flags ?? row;
  const flags = Buffer.from(overlay.flags);
  for (const [slot, value] of row.entries()) flags[slot] = (flags[slot] ?? 0) | value;
  return flags;
}

function changeOf(
  userId: string,
  { topic, ...span }: TopicSpan,
  transition: (flags: number) => number,
  overlayOf: Overlays,
): SlotChange {
  const change = (kept: number, seq: number): number => {
    const overlay = overlayOf(topic, blockOf(FLAGS, seq));
    const before = kept | readSlot(FLAGS, overlay?.flags, seq);
    if ((before & EXCLUDED) !== 0 || readSlot(FLAGS, overlay?.holes, seq) === 1) return kept;
    const after = transition(before);
    return after === before ? kept : after;
  };
  return { topic, span, owner: [userId], change };
}

interface ChangedSlot {
  readonly topic: string;
  readonly seq: number;
  readonly before: number;
  readonly after: number;
}

function slotsOf({ topic, block, before, after }: ChangedRow, overlay: Overlay | undefined): ChangedSlot[] {
  const slots: ChangedSlot[] = [];
  for (const [slot, value] of after.entries()) {
    const kept = before?.[slot] ?? 0;
    if (kept === value) continue;
    slots.push({ topic, seq: block * FLAGS.count + slot, before: kept | (overlay?.flags[slot] ?? 0), after: value });
  }
  return slots;
}

/** Places in a row make one span. */
function spansOf(slots: readonly ChangedSlot[]): TopicSpan[] {
  const spans: { topic: string; from: number; upTo: number }[] = [];
  for (const { topic, seq } of slots) {
    const last = spans.at(-1);
    if (last?.topic === topic && last.upTo === seq - 1) last.upTo = seq;
    else spans.push({ topic, from: seq, upTo: seq });
  }
  return spans;
}

/** The blocks of a section, newest first: one, then several at once. */
function groupsOfBlocks(section: Span): Span[] {
  const spans = Array.from(blocksOf(FLAGS, section), ([, span]) => span).reverse();
  const groups = [spans.slice(0, 1), ...partsOf(spans.slice(1), BLOCKS_AT_ONCE)];
  return groups.flatMap((group) => {
    const [newest] = group;
    const oldest = group.at(-1);
    return newest === undefined || oldest === undefined ? [] : [{ from: oldest.from, upTo: newest.upTo }];
  });
}

/** One topic of a list, newest first. */
interface Stream {
  next: Found | undefined;
  readonly advance: () => Promise<void>;
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

function comesFirst({ doc: one }: Found, { doc: other }: Found): boolean {
  return one.order === other.order ? one.topic < other.topic : one.order > other.order;
}
