/**
 * Changes and removals of messages. A change is one write to the message, which also says what entry it owes, then the
 * entry, then a write that ends the debt. If a node dies in between, whoever comes next or expire() pays its debt; the
 * key of the entry prevents duplicates.
 */
import { ObjectId, type UpdateFilter } from 'mongodb';
import type { Message } from '../../../utils/protocol';
import { ownerOfPersonalTopic } from '../../../utils/topic-names';
import { type Appended, type Draft, type Expired, type LogPosition, StoreError } from '../contract';
import { entryAbout, toExpired } from '../rules/entries';
import { assertDraftFits } from '../rules/key-size';
import { isUnread } from '../rules/states';
import { pauseBefore } from '../turns';
import { writeAll } from './commands';
import type { Facts } from './facts';
import {
  COLLAPSED,
  type Collections,
  collapseTag,
  type Database,
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
/** Messages replaced by one write. */
const MAX_REPLACED = 100;

/** Fields removed from a message of which only its place remains. */
const CONTENT = [
  ...(['event', 'exceptUserId', 'expiresAt', 'collapseKey', 'dueAt', 'revision', 'entry'] as const),
  ...(['owes', 'removes'] as const),
];

function toPlace({ keeping = [], tags = [HOLE] }: { keeping?: readonly string[]; tags?: string[] } = {}) {
  const fields = CONTENT.filter((field) => !keeping.includes(field));
  const $unset = Object.fromEntries(fields.map((field) => [field, ''])) as Record<(typeof CONTENT)[number], ''>;
  return { $set: { isGone: true, data: 'null', tags }, $unset } satisfies UpdateFilter<MessageDoc>;
}

/** Removes the content at places, even if it is removed already. */
export class Graves {
  constructor(
    private readonly collections: Collections,
    private readonly facts: Facts,
  ) {}

  async bury({ topic, seq }: LogPosition): Promise<void> {
    await this.collections.messages.updateOne({ topic, seq }, toPlace());
  }

  async buryAll(places: readonly LogPosition[]): Promise<void> {
    await this.facts.enterHoles(places);
    const update = toPlace({ tags: [] });
    const operations = places.map(({ topic, seq }) => ({ updateOne: { filter: { topic, seq }, update } }));
    await writeAll(this.collections.messages, operations);
  }
}

/** What a message with a collapse key replaces. */
export class Collapse implements Replacing {
  constructor(
    private readonly db: Database,
    private readonly parts: { readonly log: Log; readonly marks: Marks; readonly graves: Graves },
  ) {}

  async find({ topic, from, collapseKey }: Content): Promise<Replaced> {
    const owner = ownerOfPersonalTopic(topic);
    if (collapseKey === undefined || owner === undefined) return { docs: [], isMore: false };
    const tags = { $in: [collapseTag(from, collapseKey), earlierCollapseTag(collapseKey)] };
    const query = this.db.collections.messages.find({ topic, tags }).sort({ seq: 1 });
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

  /** Messages that cannot be replaced now are set aside, so that the next message does not check them again. */
  async #shelve(docs: readonly MessageDoc[]): Promise<void> {
    const operations = docs.flatMap(({ _id, from, collapseKey = '', tags }) => {
      const own = collapseTag(from, collapseKey);
      const earlier = earlierCollapseTag(collapseKey);
      // From another sender, written before keys were separate for each sender.
      const isForeign = !tags.includes(own) && collapseKey !== '';
      const tag = tags.find((one) => one === own || one === earlier) ?? COLLAPSED;
      const update = { $set: { 'tags.$': isForeign ? own : COLLAPSED } };
      return [{ updateOne: { filter: { _id, tags: tag }, update } }];
    });
    await writeAll(this.db.collections.messages, operations as never);
  }

  async settle({ topic, seq, removes }: MessageDoc): Promise<void> {
    if (removes === undefined) return;
    const removed = await this.parts.log.doc({ topic, seq: removes });
    if (removed?.entry !== undefined) await this.parts.graves.bury({ topic, seq: removed.entry });
    await this.parts.graves.bury({ topic, seq: removes });
    await this.db.collections.messages.updateOne({ topic, seq }, { $unset: { removes: '', dueAt: '' } });
  }
}

export class Changes {
  constructor(
    private readonly db: Database,
    private readonly parts: {
      readonly log: Log;
      readonly writer: Writer;
      readonly graves: Graves;
      readonly collapse: Collapse;
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

  async update(place: LogPosition, data: unknown, by: string): Promise<readonly Message[] | undefined> {
    const text = toText(data);
    return this.#inOrder(place, (doc) =>
      doc.data === text
        ? undefined
        : { about: { event: 'message:updated', by }, update: { $set: { data: text } }, expiresAt: doc.expiresAt },
    );
  }

  async retract(place: LogPosition, by: string): Promise<readonly Message[] | undefined> {
    const about = { event: 'message:removed', by, reason: 'retracted' } as const;
    return this.#inOrder(place, () => ({ about, update: toPlace({ keeping: ['owes', 'revision', 'dueAt'] }) }));
  }

  /** Changes of one message happen in the order of the calls. */
  #inOrder(place: LogPosition, plan: (doc: MessageDoc) => Planned | undefined): Promise<Message[] | undefined> {
    return this.db.turns.take(`message ${place.seq} ${place.topic}`, () => this.#change(place, plan));
  }

  /** @returns the entries: none without a change, `undefined` when the message is gone. */
  async #change(place: LogPosition, plan: (doc: MessageDoc) => Planned | undefined): Promise<Message[] | undefined> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      await pauseBefore(attempt);
      const doc = await this.parts.log.visible(place);
      if (doc === undefined || isHole(doc)) return undefined;
      if (doc.owes !== undefined) {
        // Entries come in the order of their changes.
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

  /** @returns the changed message; `undefined` when somebody else changed it in between. */
  async #write(doc: MessageDoc, { about, update, expiresAt = Number.POSITIVE_INFINITY }: Planned) {
    const { topic, seq, revision = 0 } = doc;
    const owes = owedBy(doc, about);
    const dueAt = Math.min(expiresAt, this.db.clock.now() + GRACE_MS);
    const unchanged = { topic, seq, revision: doc.revision ?? null, isGone: null, owes: null } as object;
    const $set = { ...update.$set, owes, revision: revision + 1, dueAt };
    await this.db.collections.messages.updateOne(unchanged, { ...update, $set });
    // Read rather than counted: a write that the driver has repeated counts nothing.
    const changed = await this.parts.log.doc({ topic, seq });
    return changed?.owes?.nonce.equals(owes.nonce) ? changed : undefined;
  }

  /**
   * Appends the entry that a message owes, and removes the one before.
   * @returns the entry; `undefined` when it is gone because another node has paid, and a later change followed.
   */
  async pay(doc: MessageDoc): Promise<MessageDoc | undefined> {
    const { topic, seq, owes, revision } = doc;
    if (owes === undefined) return undefined;
    const { graves, writer } = this.parts;
    if (owes.earlier !== undefined) await graves.bury({ topic, seq: owes.earlier });
    const entry = await writer.appendEntry(entryOf(doc, owes), entryKey(owes.event, seq, keyRevision(doc, owes)));
    const { expiresAt } = doc;
    const isOver = doc.isGone || expiresAt === undefined;
    await this.db.collections.messages.updateOne({ topic, seq, revision } as object, {
      $set: { entry: entry.seq, ...(isOver ? {} : { dueAt: expiresAt }) },
      $unset: { owes: '', ...(isOver ? { dueAt: '' } : {}) },
    });
    const isLeft = !entry.isGone && (doc.isGone || !(await this.#hasGoneWith(doc, entry)));
    return isLeft ? entry : undefined;
  }

  /** A message may go while its entry is being appended: then the entry goes too. */
  async #hasGoneWith({ topic, seq }: MessageDoc, entry: MessageDoc): Promise<boolean> {
    const doc = await this.parts.log.doc({ topic, seq });
    if (!doc?.isGone) return false;
    await this.parts.graves.bury({ topic, seq: entry.seq });
    return true;
  }

  /** Several nodes may do this at once, or again after a crash: each message is reported by at least one of them. */
  expire(limit: number): Promise<{ taken: number; expired: readonly Expired[] }> {
    return this.db.turns.take('expire', () => this.#expire(limit));
  }

  async #expire(limit: number): Promise<{ taken: number; expired: readonly Expired[] }> {
    const now = this.db.clock.now();
    const query = this.db.collections.messages.find({ dueAt: { $lte: now } });
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

interface Planned {
  readonly about: Pick<Owed, 'event' | 'by' | 'reason'>;
  readonly update: UpdateFilter<MessageDoc>;
  readonly expiresAt?: number | undefined;
}

function owedBy({ exceptUserId, entry }: MessageDoc, about: Planned['about']): Owed {
  return { nonce: new ObjectId(), ...about, exceptUserId, earlier: entry };
}

/** A message is removed once, by whomever and after however many changes. */
function keyRevision({ revision }: MessageDoc, { event }: Owed): number {
  return event === 'message:removed' ? 0 : (revision ?? 0);
}

/** A removed message no longer says whom it was not for: the debt does. */
function entryOf({ topic, seq, id, data, expiresAt }: MessageDoc, { exceptUserId, by, ...owed }: Owed) {
  const { event, reason } = owed;
  const about = { event, from: by, ...(reason === undefined ? { data } : { data: 'null', reason }) };
  return entryAbout({ topic, seq, id, exceptUserId, expiresAt }, about);
}
