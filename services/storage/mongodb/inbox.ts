/**
 * The inbox of a user, counted and listed from the logs and what the user has done with their messages. That a message
 * is one's own, not for oneself, expired or gone is looked up in the messages at that moment: nothing can drift apart.
 */
import type { Clock } from '../../../utils/clock';
import { partsOf } from '../../../utils/parts';
import type { Counts, Message, RequestedState } from '../../../utils/protocol';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../../utils/topic-names';
import { type InboxPage, type InboxQuery, type Selection, type StateChanged, StoreError } from '../contract';
import { stateEntry } from '../rules/entries';
import { blockOf, blocksOf, readSlot, type Span } from '../rules/slot-row';
import { type FlagChange, isHeld, type Section, sectionOf, stampsOf, startsOf, told } from '../rules/state-change';
import { bulkTransition, countUnread, EXCLUDED, FLAGS, TRANSITIONS } from '../rules/states';
import { pauseBefore, type Turns } from '../turns';
import type { Facts, Overlay, Overlays } from './facts';
import {
  COLLAPSED,
  type Collections,
  collapseTag,
  generationOf,
  type MemberDoc,
  type MessageDoc,
  type UserDoc,
} from './layout';
import { InboxList } from './list';
import type { Log } from './log';
import type { Marks, TopicSpan } from './marks';
import type { Memberships } from './memberships';
import { toMessage } from './record';
import type { ChangedRow, SlotChange } from './rows';
import type { Writer } from './writer';

const MAX_ATTEMPTS = 30;
const SPANS_PER_QUERY = 200;

interface InboxParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly memberships: Memberships;
  readonly facts: Facts;
  readonly writer: Writer;
  readonly clock: Clock;
  readonly turns: Turns;
}

/** What is done with places of an inbox, and what is said of it afterwards. */
interface StateChange {
  readonly change: (flags: number) => number;
  readonly overlayOf: Overlays;
  readonly told: (topics: ReadonlySet<string>) => object;
  /** May it make something unread again? */
  readonly isReopening: boolean;
}

function startsAmong(userId: string, user: UserDoc | null, memberships: readonly MemberDoc[]): Map<string, number> {
  const joined = memberships.map(({ topic, start }) => [topic, start] as const);
  return startsOf(userId, user ?? undefined, joined);
}

/** After which `seq` topics are a user's, and what of them is not. */
export interface Openings {
  readonly starts: Map<string, number>;
  readonly gaps: ReadonlyMap<string, readonly Span[]>;
}

export class Inbox {
  readonly #list: InboxList;

  constructor(
    private readonly collections: Collections,
    private readonly parts: InboxParts,
  ) {
    this.#list = new InboxList(parts);
  }

  /** The topics of a user, each from where it is the user's; empty ones are left out. */
  async sections(userId: string): Promise<Section[]> {
    const [user, docs] = await Promise.all([
      this.collections.users.findOne({ _id: userId }),
      this.parts.memberships.docsOf(userId),
    ]);
    const ownTopics = [personalTopic(userId), BROADCAST_TOPIC];
    const states = await this.parts.log.states([...ownTopics, ...docs.map(({ topic }) => topic)]);
    const memberships = docs.filter((doc) => generationOf(doc) === generationOf(states.get(doc.topic)));
    const sections = Array.from(startsAmong(userId, user, memberships), ([topic, start]) =>
      sectionOf(topic, start, states.get(topic)),
    );
    return sections.filter(({ from, upTo }) => from <= upTo);
  }

  /** After which `seq` each topic of an inbox is the user's. */
  async starts(userId: string): Promise<Map<string, number>> {
    return (await this.openings(userId)).starts;
  }

  /** The same, and what of each is not for the user. */
  async openings(userId: string): Promise<Openings> {
    const [user, memberships] = await Promise.all([
      this.collections.users.findOne({ _id: userId }),
      this.parts.memberships.ofUser(userId),
    ]);
    const gaps = new Map(memberships.flatMap(({ topic, gaps: all }) => (all === undefined ? [] : [[topic, all]])));
    return { starts: startsAmong(userId, user, memberships), gaps };
  }

  async counts(userId: string): Promise<Counts> {
    const sections = await this.sections(userId);
    // Tags before rows, see Facts.
    const overlayOf = await this.parts.facts.overlays(userId, sections);
    const rowOf = await this.parts.marks.flagRows(userId, sections);
    let unseen = 0;
    let unread = 0;
    for (const { topic, from, upTo } of sections) {
      for (const [block, span] of blocksOf(FLAGS, { from, upTo })) {
        if (isSliceOver()) await nextSlice();
        const overlay = overlayOf(topic, block);
        const counts = countUnread(span, { flags: merged(rowOf(topic, block), overlay), holes: overlay?.holes });
        unseen += counts.unseen;
        unread += counts.unread;
      }
    }
    return { unseen, unread };
  }

  lastUnread(userId: string, sections: readonly Section[], count: number): Promise<ReadonlyMap<string, number>> {
    return this.#list.lastUnread(userId, sections, count);
  }

  async list(userId: string, query: InboxQuery): Promise<InboxPage> {
    const sections = (await this.sections(userId)).filter(({ topic }) => (query.topic ?? topic) === topic);
    return this.#list.page(userId, sections, query);
  }

  /** One after the other for each user: who asks twice at once has it done once. */
  changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged> {
    return this.parts.turns.take(`states ${userId}`, () => this.#changeStates(userId, selection, state));
  }

  async #changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged> {
    if ('ids' in selection) return this.#changeSome(userId, selection.ids, state);
    const isReopening = state === 'unread';
    if ('all' in selection) {
      const sections = await this.sections(userId);
      return this.#changeSpans(userId, sections, {
        change: bulkTransition(state),
        overlayOf: await this.parts.facts.overlays(userId, sections),
        told: (topics) => told.all(cursorsOf(sections, topics), state),
        isReopening,
      });
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
      overlayOf: await this.parts.facts.overlays(userId, within),
      told: () => told.topic(topic, upTo, state),
      isReopening,
    });
  }

  async #changeSome(userId: string, ids: readonly string[], state: RequestedState): Promise<StateChanged> {
    const [starts, found] = await Promise.all([this.starts(userId), this.parts.log.findAll([...new Set(ids)])]);
    const held = await this.#withoutExcluded(
      userId,
      found.filter((doc) => isHeld(starts, userId, doc)),
    );
    const known = new Set(held.map(({ id }) => id));
    const missing = ids.findIndex((id) => !known.has(id));
    if (missing !== -1) return { outcome: 'not_found', path: `ids.${missing}` };
    const spans = held.map(({ topic, seq }) => ({ topic, from: seq, upTo: seq }));
    return this.#changeSpans(userId, spans, {
      change: TRANSITIONS[state],
      overlayOf: this.parts.facts.overlaysOf(userId, held),
      told: () => told.some(ids, state),
      isReopening: state === 'unread',
    });
  }

  /** Without what was said in a topic while the user had left it. */
  async #withoutExcluded(userId: string, docs: readonly MessageDoc[]): Promise<readonly MessageDoc[]> {
    const spans = docs.map(({ topic, seq }) => ({ topic, from: seq, upTo: seq }));
    const rowOf = await this.parts.marks.flagRows(userId, spans);
    return docs.filter(({ topic, seq }) => {
      const flags = readSlot(FLAGS, rowOf(topic, blockOf(FLAGS, seq)), seq);
      return (flags & EXCLUDED) === 0;
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
      const data = JSON.stringify(stateChange.told(new Set(changes.map(({ topic }) => topic))));
      const entry = toMessage(await this.parts.writer.appendEntry(stateEntry(userId, data)));
      entries.push(entry);
      if (entry.seq === before + 1) return { outcome: 'changed', changed, entries };
    }
    throw new StoreError('states are changed by others all the time');
  }

  async #apply(userId: string, spans: readonly TopicSpan[], { change, overlayOf, isReopening }: StateChange) {
    if (isReopening) await this.#unshelve(userId, spans);
    const rows = await this.parts.marks.flags.apply(spans.map((span) => changeOf(userId, span, change, overlayOf)));
    const changes = rows.flatMap((row) => slotsOf(row, overlayOf(row.topic, row.block)));
    if (changes.length > 0) await this.#stamp(userId, changes);
    return changes;
  }

  /** What has a collapse key and becomes unread again may be replaced again. */
  async #unshelve(userId: string, spans: readonly TopicSpan[]): Promise<void> {
    const own = spans.filter(({ topic }) => topic === personalTopic(userId));
    for (const part of partsOf(own, SPANS_PER_QUERY)) {
      const places = part.map(({ topic, from, upTo }) => ({ topic, tags: COLLAPSED, seq: { $gte: from, $lte: upTo } }));
      const projection = { from: 1, collapseKey: 1 };
      const query = this.collections.messages.find({ $or: places }, { projection });
      const shelved = (await query.toArray()).filter(({ collapseKey }) => collapseKey !== undefined);
      for (const some of partsOf(shelved, SPANS_PER_QUERY)) {
        const operations = some.map(({ _id, from, collapseKey = '' }) => ({
          updateOne: {
            filter: { _id, tags: COLLAPSED },
            update: { $set: { 'tags.$': collapseTag(from, collapseKey) } },
          },
        }));
        await this.collections.messages.bulkWrite(operations as never, { ordered: false });
      }
    }
  }

  async #stamp(userId: string, changes: readonly ChangedSlot[]): Promise<void> {
    const stamps = stampsOf(changes, this.parts.clock.now());
    await this.parts.marks.stamp(
      stamps.flatMap(({ changes: stamped, ...stamp }) =>
        spansOf(stamped).map((span) => ({ ...span, userId, ...stamp })),
      ),
    );
  }
}

/** Up to where something was done, in the topics in which anything has changed. */
function cursorsOf(sections: readonly TopicSpan[], topics: ReadonlySet<string>): Record<string, number> {
  const concerned = sections.filter(({ topic }) => topics.has(topic));
  return Object.fromEntries(concerned.map(({ topic, upTo }) => [topic, upTo]));
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

interface ChangedSlot extends FlagChange {
  readonly topic: string;
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
