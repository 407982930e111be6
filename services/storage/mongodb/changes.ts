/**
 * Messages that change or go. Each change is one write to the message, which says what entry is owed for it, then the
 * entry, then a write that ends the debt. Whoever comes next, or expire() after a moment, pays what a node that died
 * in between still owes; the key of the entry makes it come once.
 */
import { ObjectId, type UpdateFilter } from 'mongodb';
import type { Clock } from '../../../utils/clock';
import type { Message } from '../../../utils/protocol';
import { ownerOfPersonalTopic } from '../../../utils/topic-names';
import { type Appended, type Draft, type Expired, type Place, StoreError } from '../contract';
import { entryAbout, toExpired } from '../rules/entries';
import { assertDraftFits } from '../rules/key-size';
import { isUnread } from '../rules/states';
import { pauseBefore, type Turns } from '../turns';
import { writeAll } from './commands';
import type { Facts } from './facts';
import {
  COLLAPSED,
  type Collections,
  collapseTag,
  earlierCollapseTag,
  HOLE,
  isHole,
  type MessageDoc,
  type Owed,
} from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import { type Content, clientKey, entryKey, toContent, toMessage, toText } from './record';
import { spanOf } from './rows';
import { GRACE_MS, type Replaced, type Replacing, type Writer } from './writer';

const MAX_ATTEMPTS = 30;
/** Messages that one write replaces: more take several. */
const MAX_REPLACED = 100;

interface ChangeParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly clock: Clock;
}

/** What of a message is given up when only its place is left. */
const CONTENT = [
  ...(['event', 'exceptUserId', 'expiresAt', 'collapseKey', 'dueAt', 'revision', 'entry'] as const),
  ...(['owes', 'removes'] as const),
];

function toPlace({ keeping = [], tags = [HOLE] }: { keeping?: readonly string[]; tags?: string[] } = {}) {
  const fields = CONTENT.filter((field) => !keeping.includes(field));
  const $unset = Object.fromEntries(fields.map((field) => [field, ''])) as Record<(typeof CONTENT)[number], ''>;
  return { $set: { isGone: true, data: 'null', tags }, $unset } satisfies UpdateFilter<MessageDoc>;
}

/** Takes the content out of places; also of those where it is out already. */
export class Graves {
  constructor(
    private readonly collections: Collections,
    private readonly facts: Facts,
  ) {}

  async bury({ topic, seq }: Place): Promise<void> {
    await this.collections.messages.updateOne({ topic, seq }, toPlace());
  }

  async buryAll(places: readonly Place[]): Promise<void> {
    await this.facts.enterHoles(places);
    const update = toPlace({ tags: [] });
    const operations = places.map(({ topic, seq }) => ({ updateOne: { filter: { topic, seq }, update } }));
    await writeAll(this.collections.messages, operations);
  }
}

/** What a message with a collapse key takes the place of. */
export class Collapse implements Replacing {
  constructor(
    private readonly collections: Collections,
    private readonly graves: Graves,
    private readonly parts: ChangeParts,
  ) {}

  async find({ topic, from, collapseKey }: Content): Promise<Replaced> {
    const owner = ownerOfPersonalTopic(topic);
    if (collapseKey === undefined || owner === undefined) return { docs: [], isMore: false };
    const tags = { $in: [collapseTag(from, collapseKey), earlierCollapseTag(collapseKey)] };
    const query = this.collections.messages.find({ topic, tags }).sort({ seq: 1 });
    const found = await query.limit(MAX_REPLACED + 1).toArray();
    const visible = await this.parts.log.withoutHidden(found.filter((doc) => this.#isThereFor(doc, owner)));
    const flagsAt = await this.parts.marks.flagsAt(owner, visible.map(spanOf));
    const docs = visible.filter((doc) => doc.from === from && from !== owner && isUnread(flagsAt(doc)));
    await this.#shelve(found.filter((doc) => !docs.includes(doc)));
    return { docs, isMore: found.length > MAX_REPLACED };
  }

  #isThereFor(doc: MessageDoc, owner: string): boolean {
    return this.parts.log.isThere(doc) && doc.exceptUserId !== owner;
  }

  /** What cannot be replaced now is not looked at again by the next one. */
  async #shelve(docs: readonly MessageDoc[]): Promise<void> {
    const operations = docs.flatMap(({ _id, from, collapseKey = '', tags }) => {
      const own = collapseTag(from, collapseKey);
      const earlier = earlierCollapseTag(collapseKey);
      // Of another sender, from before keys were told apart by their senders.
      const isForeign = !tags.includes(own) && collapseKey !== '';
      const tag = tags.find((one) => one === own || one === earlier) ?? COLLAPSED;
      const update = { $set: { 'tags.$': isForeign ? own : COLLAPSED } };
      return [{ updateOne: { filter: { _id, tags: tag }, update } }];
    });
    await writeAll(this.collections.messages, operations as never);
  }

  async settle({ topic, seq, removes }: MessageDoc): Promise<void> {
    if (removes === undefined) return;
    const removed = await this.parts.log.doc({ topic, seq: removes });
    if (removed?.entry !== undefined) await this.graves.bury({ topic, seq: removed.entry });
    await this.graves.bury({ topic, seq: removes });
    await this.collections.messages.updateOne({ topic, seq }, { $unset: { removes: '', dueAt: '' } });
  }
}

export class Changes {
  constructor(
    private readonly collections: Collections,
    private readonly parts: ChangeParts & {
      readonly writer: Writer;
      readonly graves: Graves;
      readonly collapse: Collapse;
      readonly turns: Turns;
    },
  ) {}

  async append(draft: Draft): Promise<Appended> {
    assertDraftFits(draft);
    const { isClientId } = draft;
    const content = toContent(draft);
    const key = isClientId ? clientKey(draft) : undefined;
    const placed = await this.parts.writer.append({ content, key, isClaimed: isClientId });
    if (placed.outcome === 'refused') return { outcome: 'conflict' };
    const message = toMessage(placed.doc);
    if (placed.isNew) return { outcome: 'stored', message, entries: [...placed.entries.map(toMessage), message] };
    return placed.doc.said === content.said ? { outcome: 'repeated', message } : { outcome: 'conflict' };
  }

  async update(place: Place, data: unknown, by: string): Promise<readonly Message[] | undefined> {
    const text = toText(data);
    return this.#inOrder(place, (doc) => {
      if (doc.data === text) return undefined;
      const owes = owedBy(doc, { event: 'message:updated', by });
      const { owed, revision } = owes;
      return { owes, update: { $set: { data: text, revision, owes: owed, dueAt: this.#dueAt(doc) } } };
    });
  }

  async retract(place: Place, by: string): Promise<readonly Message[] | undefined> {
    return this.#inOrder(place, (doc) => {
      const owes = owedBy(doc, { event: 'message:removed', by, reason: 'retracted' });
      const gone = toPlace({ keeping: ['owes', 'revision', 'dueAt'] });
      const $set = { ...gone.$set, revision: owes.revision, owes: owes.owed, dueAt: this.#dueAt({}) };
      return { owes, update: { ...gone, $set } };
    });
  }

  #dueAt({ expiresAt = Number.POSITIVE_INFINITY }: Pick<MessageDoc, 'expiresAt'>): number {
    return Math.min(expiresAt, this.parts.clock.now() + GRACE_MS);
  }

  /** Changes of one message are made in the order of the calls. */
  #inOrder(place: Place, plan: (doc: MessageDoc) => Planned | undefined): Promise<Message[] | undefined> {
    return this.parts.turns.take(`message ${place.seq} ${place.topic}`, () => this.#change(place, plan));
  }

  /** @returns the entries; none when there is nothing to change, `undefined` when the message is gone. */
  async #change(place: Place, plan: (doc: MessageDoc) => Planned | undefined): Promise<Message[] | undefined> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      await pauseBefore(attempt);
      const doc = await this.parts.log.visible(place);
      if (doc === undefined || isHole(doc)) return undefined;
      if (doc.owes !== undefined) {
        // Entries come in the order of the changes that they tell of.
        await this.pay(doc);
        continue;
      }
      const planned = plan(doc);
      if (planned === undefined) return [];
      const changed = await this.#write(doc, planned);
      if (changed === undefined) continue;
      const entry = await this.pay(changed);
      return entry === undefined ? [] : [toMessage(entry)];
    }
    throw new StoreError('the message is changed by others all the time');
  }

  /** @returns the message as it is now; `undefined` when it was changed in between. */
  async #write({ topic, seq, revision }: MessageDoc, { owes, update }: Planned): Promise<MessageDoc | undefined> {
    const unchanged = { topic, seq, revision: revision ?? null, isGone: null, owes: null };
    await this.collections.messages.updateOne(unchanged as object, update);
    // Read rather than counted: a write that the driver has repeated counts nothing.
    const doc = await this.parts.log.doc({ topic, seq });
    return doc?.owes?.nonce.equals(owes.owed.nonce) ? doc : undefined;
  }

  /**
   * Appends the entry that a message owes, and lets the one before it vanish. @returns the entry; `undefined` when it has
   * vanished itself, because another node has paid the debt and told of a later change.
   */
  async pay(doc: MessageDoc): Promise<MessageDoc | undefined> {
    const { topic, seq, owes, revision } = doc;
    if (owes === undefined) return undefined;
    const { graves, writer } = this.parts;
    if (owes.earlier !== undefined) await graves.bury({ topic, seq: owes.earlier });
    const entry = await writer.appendEntry(entryOf(doc, owes), {
      key: entryKey(owes.event, seq, keyRevision(doc, owes)),
    });
    const { expiresAt } = doc;
    const isOver = doc.isGone || expiresAt === undefined;
    await this.collections.messages.updateOne({ topic, seq, revision } as object, {
      $set: { entry: entry.seq, ...(isOver ? {} : { dueAt: expiresAt }) },
      $unset: { owes: '', ...(isOver ? { dueAt: '' } : {}) },
    });
    const isLeft = !entry.isGone && (doc.isGone || !(await this.#hasGoneWith(doc, entry)));
    return isLeft ? entry : undefined;
  }

  /** The message may have gone while its entry was on the way: then the entry goes too. */
  async #hasGoneWith({ topic, seq }: MessageDoc, entry: MessageDoc): Promise<boolean> {
    const doc = await this.parts.log.doc({ topic, seq });
    if (!doc?.isGone) return false;
    await this.parts.graves.bury({ topic, seq: entry.seq });
    return true;
  }

  /**
   * Several nodes may do this at once: each message is told of by at least one of them, and may be by more. A place
   * that is found again after a crash is told of again.
   */
  expire(limit: number): Promise<{ taken: number; expired: readonly Expired[] }> {
    return this.parts.turns.take('expire', () => this.#expire(limit));
  }

  async #expire(limit: number): Promise<{ taken: number; expired: readonly Expired[] }> {
    const now = this.parts.clock.now();
    const query = this.collections.messages.find({ dueAt: { $lte: now } });
    const due = await query.sort({ dueAt: 1 }).limit(limit).toArray();
    for (const doc of due) {
      if (doc.owes !== undefined) await this.pay(doc);
      else if (doc.removes !== undefined) await this.parts.collapse.settle(doc);
    }
    const over = due.filter(({ expiresAt }) => expiresAt !== undefined && expiresAt <= now);
    await this.parts.graves.buryAll(over);
    const told = await this.parts.log.withoutHidden(over.filter((doc) => doc.ref === undefined && !doc.isGone));
    return { taken: due.length, expired: told.map(toExpired) };
  }
}

interface Owing {
  readonly owed: Owed;
  readonly revision: number;
}

interface Planned {
  readonly owes: Owing;
  readonly update: UpdateFilter<MessageDoc>;
}

function owedBy(doc: MessageDoc, about: Pick<Owed, 'event' | 'by' | 'reason'>): Owing {
  const { exceptUserId, entry, revision = 0 } = doc;
  const limits = {
    ...(exceptUserId === undefined ? {} : { exceptUserId }),
    ...(entry === undefined ? {} : { earlier: entry }),
  };
  return { owed: { nonce: new ObjectId(), ...about, ...limits }, revision: revision + 1 };
}

/** A message goes once, whoever takes it out and however often it was changed before. */
function keyRevision({ revision }: MessageDoc, { event }: Owed): number {
  return event === 'message:removed' ? 0 : (revision ?? 0);
}

/** A message that is gone does not say any more whom it was not for. */
function entryOf({ topic, seq, id, data, expiresAt }: MessageDoc, { exceptUserId, by, ...owed }: Owed) {
  const { event, reason } = owed;
  const about = { event, from: by, ...(reason === undefined ? { data } : { data: 'null', reason }) };
  return entryAbout({ topic, seq, id, exceptUserId, expiresAt }, about);
}
