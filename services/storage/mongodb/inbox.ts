/**
 * The inbox of a user: counts from the logs and the states of their messages. Whether a message is own, not for the
 * user, expired or gone is read from the messages, so that nothing can drift apart.
 */

import { partsOf } from '../../../utils/parts';
import type { Counts, Message, RequestedState } from '../../../utils/protocol';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../../utils/topic-names';
import { type CountedInbox, type Selection, type StateChanged, StoreError } from '../contract';
import { stateEntry } from '../rules/entries';
import { addBits, blockOf, blocksOf, readSlot } from '../rules/slot-row';
import {
  entryData,
  type FlagChange,
  isFilled,
  isHeld,
  type Section,
  sectionOf,
  selected,
  stampsOf,
  startsOf,
  transitionOf,
} from '../rules/state-change';
import { countUnread, EXCLUDED, FLAGS } from '../rules/states';
import { pauseBefore } from '../turns';
import { writeAll } from './commands';
import type { Facts, Overlay, Overlays } from './facts';
import { COLLAPSED, collapseTag, type Database, generationOf, type MemberDoc, type UserDoc } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import type { Memberships } from './memberships';
import { toMessage } from './record';
import { type ChangedRow, type SlotChange, spanOf, type TopicSpan, taggedIn } from './rows';
import type { Writer } from './writer';

const MAX_ATTEMPTS = 30;
const SPANS_PER_QUERY = 200;

interface InboxParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly memberships: Memberships;
  readonly facts: Facts;
  readonly writer: Writer;
}

/** A change, and what the messages imply. */
interface StateChange {
  readonly selection: Selection;
  readonly state: RequestedState;
  readonly overlayOf: Overlays;
}

/** A section, and what bounds the position of anything in it in the order of lists. */
export interface OrderedSection extends Section {
  readonly order: number;
}

function startsAmong(userId: string, user: UserDoc | null, memberships: readonly MemberDoc[]): Map<string, number> {
  const joined = memberships.map(({ topic, start }) => [topic, start] as const);
  return startsOf(userId, user ?? undefined, joined);
}

export class Inbox {
  constructor(
    private readonly db: Database,
    private readonly parts: InboxParts,
  ) {}

  /** The topics of a user, each from where it is the user's up to its head; some are empty. */
  async sections(userId: string): Promise<OrderedSection[]> {
    const [user, docs] = await Promise.all([
      this.db.collections.users.findOne({ _id: userId }),
      this.parts.memberships.docsOf(userId),
    ]);
    const ownTopics = [personalTopic(userId), BROADCAST_TOPIC];
    const states = await this.parts.log.states([...ownTopics, ...docs.map(({ topic }) => topic)]);
    const memberships = docs.filter((doc) => generationOf(doc) === generationOf(states.get(doc.topic)));
    return Array.from(startsAmong(userId, user, memberships), ([topic, start]) => {
      const state = states.get(topic);
      return { ...sectionOf(topic, start, state), order: state?.order ?? 0 };
    });
  }

  /** After which `seq` each topic of an inbox is the user's, and what of each is not for the user. */
  async openings(userId: string) {
    const [user, memberships] = await Promise.all([
      this.db.collections.users.findOne({ _id: userId }),
      this.parts.memberships.ofUser(userId),
    ]);
    const gaps = new Map(memberships.flatMap(({ topic, gaps: all }) => (all === undefined ? [] : [[topic, all]])));
    return { starts: startsAmong(userId, user, memberships), gaps };
  }

  async counts(userId: string): Promise<Counts> {
    return this.#count(userId, await this.sections(userId));
  }

  /** Heads before rows: a row is written before the entry that tells of it. */
  async counted(userId: string): Promise<CountedInbox> {
    const { log } = this.parts;
    const now = this.db.clock.now();
    const states = stateTopic(userId);
    const [stateHead, sections] = await Promise.all([log.head(states), this.sections(userId)]);
    const topics = sections.filter(isFilled).map(({ topic }) => topic);
    const [counts, until] = await Promise.all([this.#count(userId, sections), log.nextDue(topics, now)]);
    const heads = new Map([[states, stateHead], ...sections.map(({ topic, upTo }) => [topic, upTo] as const)]);
    return { counts, heads, until };
  }

  async #count(userId: string, all: readonly Section[]): Promise<Counts> {
    const sections = all.filter(isFilled);
    // Tags before rows, see Facts.
    const overlayOf = await this.parts.facts.overlays(userId, sections);
    const rowOf = await this.parts.marks.flags.read(sections, [userId]);
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

  /** One at a time for each user: a change requested twice is made once. */
  changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged> {
    return this.db.turns.take(`states ${userId}`, () => this.#changeStates(userId, selection, state));
  }

  async #changeStates(userId: string, selection: Selection, state: RequestedState): Promise<StateChanged> {
    if ('ids' in selection) return this.#changeSome(userId, selection.ids, state);
    const spans = selected(await this.sections(userId), selection);
    if ('outcome' in spans) return spans;
    return this.#changeSpans(userId, spans, {
      ...{ selection, state },
      overlayOf: await this.parts.facts.overlays(userId, spans),
    });
  }

  async #changeSome(userId: string, ids: readonly string[], state: RequestedState): Promise<StateChanged> {
    const [{ starts }, found] = await Promise.all([this.openings(userId), this.parts.log.findAll([...new Set(ids)])]);
    const flagsAt = await this.parts.marks.flagsAt(userId, found.map(spanOf));
    const held = found.filter((doc) => isHeld(starts, userId, doc, flagsAt(doc)));
    const known = new Set(held.map(({ id }) => id));
    const missing = ids.findIndex((id) => !known.has(id));
    if (missing !== -1) return { outcome: 'not_found', path: `ids.${missing}` };
    const overlayOf = this.parts.facts.overlaysOf(userId, held);
    return this.#changeSpans(userId, held.map(spanOf), { selection: { ids }, state, overlayOf });
  }

  /**
   * The entry comes after the rows: nobody is notified of what did not happen. If another node has written an entry in
   * between, its rows may have come after these: then the change is made again, so that the last entry is right.
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
      const topics = new Set(changes.map(({ topic }) => topic));
      const data = entryData(stateChange.selection, stateChange.state, { spans, topics });
      const entry = toMessage(await this.parts.writer.appendEntry(stateEntry(userId, JSON.stringify(data))));
      entries.push(entry);
      if (entry.seq === before + 1) return { outcome: 'changed', changed, entries };
    }
    throw new StoreError('states are changed by others all the time');
  }

  async #apply(userId: string, spans: readonly TopicSpan[], { selection, state, overlayOf }: StateChange) {
    if (state === 'unread') await this.#unshelve(userId, spans);
    const change = transitionOf(selection, state);
    const rows = await this.parts.marks.flags.apply(spans.map((span) => changeOf(userId, span, change, overlayOf)));
    const changes = rows.flatMap((row) => slotsOf(row, overlayOf(row.topic, row.block)));
    const stamps = stampsOf(changes, this.db.clock.now());
    await this.parts.marks.stamp(
      stamps.flatMap(({ changes: stamped, ...stamp }) =>
        spansOf(stamped).map((span) => ({ ...span, userId, ...stamp })),
      ),
    );
    return changes;
  }

  /** Messages that become unread again may be replaced again. */
  async #unshelve(userId: string, spans: readonly TopicSpan[]): Promise<void> {
    const own = spans.filter(({ topic }) => topic === personalTopic(userId));
    const { messages } = this.db.collections;
    for (const $or of partsOf(taggedIn(own, COLLAPSED), SPANS_PER_QUERY)) {
      const shelved = await messages.find({ $or }, { projection: { from: 1, collapseKey: 1 } }).toArray();
      const operations = shelved.map(({ _id, from, collapseKey = '' }) => {
        const update = { $set: { 'tags.$': collapseTag(from, collapseKey) } };
        return { updateOne: { filter: { _id, tags: COLLAPSED }, update } };
      });
      await writeAll(messages, operations as never);
    }
  }
}

/** A row of flags with what the messages imply. */
function merged(row: Buffer | undefined, overlay: Overlay | undefined): Buffer | undefined {
  if (overlay === undefined || row === undefined) return overlay?.flags ?? row;
  const flags = Buffer.from(overlay.flags);
  addBits(flags, row);
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

/** Joins consecutive places. */
function spansOf(slots: readonly ChangedSlot[]): TopicSpan[] {
  const spans: { topic: string; from: number; upTo: number }[] = [];
  for (const { topic, seq } of slots) {
    const last = spans.at(-1);
    if (last?.topic === topic && last.upTo === seq - 1) last.upTo = seq;
    else spans.push({ topic, from: seq, upTo: seq });
  }
  return spans;
}
