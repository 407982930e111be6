/**
 * Messages that change or go. Each change is one write to the message, which says what entry is owed for it, then the
 * entry, then a write that ends the debt. Whoever comes next, or expire() after a moment, pays what a node that died
 * in between still owes; the key of the entry makes it come once.
 */
import { ObjectId, type UpdateFilter } from 'mongodb';
import type { Clock } from '../../utils/clock';
import type { Message } from '../../utils/protocol';
import { ownerOfPersonalTopic } from '../../utils/topic-names';
import { type Expired, type Place, StoreError } from './contract';
import { type Collections, collapseTag, HOLE, type MessageDoc, type Owed } from './mongodb-layout';
import type { Log } from './mongodb-log';
import type { Marks } from './mongodb-marks';
import { type Content, entryKey, toMessage, toText } from './mongodb-record';
import { pauseBefore } from './mongodb-turns';
import { GRACE_MS, type Replacing, type Writer } from './mongodb-writer';
import { isUnread } from './states';

const MAX_ATTEMPTS = 30;

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

function toPlace(keeping: readonly string[] = []): UpdateFilter<MessageDoc> {
  const fields = CONTENT.filter((field) => !keeping.includes(field));
  const $unset = Object.fromEntries(fields.map((field) => [field, ''])) as Record<(typeof CONTENT)[number], ''>;
  // The other tags stay: what came last with a collapse key did so also when it is gone.
  return { $set: { isGone: true, data: 'null' }, $addToSet: { tags: HOLE }, $unset };
}

/** Takes the content out of places; also of those where it is out already. */
export class Graves {
  constructor(private readonly collections: Collections) {}

  async bury({ topic, seq }: Place): Promise<void> {
    await this.collections.messages.updateOne({ topic, seq }, toPlace());
  }

  async buryAll(places: readonly Place[]): Promise<void> {
    if (places.length === 0) return;
    const operations = places.map(({ topic, seq }) => ({ updateOne: { filter: { topic, seq }, update: toPlace() } }));
    await this.collections.messages.bulkWrite(operations, { ordered: false });
  }
}

/** What a message with a collapse key takes the place of. */
export class Collapse implements Replacing {
  constructor(
    private readonly collections: Collections,
    private readonly graves: Graves,
    private readonly parts: ChangeParts,
  ) {}

  async find({ topic, collapseKey }: Content): Promise<MessageDoc | undefined> {
    const owner = ownerOfPersonalTopic(topic);
    if (collapseKey === undefined || owner === undefined) return undefined;
    const filter = { topic, tags: collapseTag(collapseKey) };
    const newest = await this.collections.messages.findOne(filter, { sort: { seq: -1 } });
    if (newest === null || !this.parts.log.isThere(newest) || newest.exceptUserId === owner) return undefined;
    const [visible] = await this.parts.log.withoutHidden([newest]);
    const { seq } = newest;
    const flagsAt = await this.parts.marks.flagsOf(owner, { topic, from: seq, upTo: seq });
    return isUnread(flagsAt(seq)) ? visible : undefined;
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
    },
  ) {}

  async update(place: Place, data: unknown, by: string): Promise<readonly Message[] | undefined> {
    const text = toText(data);
    return this.#change(place, (doc) => {
      if (doc.data === text) return undefined;
      const owes = owedBy(doc, { event: 'message:updated', by });
      const { owed, revision } = owes;
      return { owes, update: { $set: { data: text, revision, owes: owed, dueAt: this.#dueAt(doc) } } };
    });
  }

  async retract(place: Place, by: string): Promise<readonly Message[] | undefined> {
    return this.#change(place, (doc) => {
      const owes = owedBy(doc, { event: 'message:removed', by, reason: 'retracted' });
      const gone = toPlace(['owes', 'revision', 'dueAt']);
      const $set = { ...gone.$set, revision: owes.revision, owes: owes.owed, dueAt: this.#dueAt({}) };
      return { owes, update: { ...gone, $set } };
    });
  }

  #dueAt({ expiresAt = Number.POSITIVE_INFINITY }: Pick<MessageDoc, 'expiresAt'>): number {
    return Math.min(expiresAt, this.parts.clock.now() + GRACE_MS);
  }

  /** @returns the entries; none when there is nothing to change, `undefined` when the message is gone. */
  async #change(place: Place, plan: (doc: MessageDoc) => Planned | undefined): Promise<Message[] | undefined> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      await pauseBefore(attempt);
      const doc = await this.parts.log.visible(place);
      if (doc === undefined || doc.tags.includes(HOLE)) return undefined;
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
  async expire(limit: number): Promise<{ taken: number; expired: readonly Expired[] }> {
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

/** Who never got a message is not told of it either, and new data is not to outlive the message. */
function entryOf(doc: MessageDoc, { event, by, reason, exceptUserId }: Owed): Omit<Content, 'id' | 'timestamp'> {
  const { topic, id, data, expiresAt } = doc;
  return {
    topic,
    type: event,
    event,
    ref: id,
    from: by,
    data: reason === undefined ? data : 'null',
    ...(reason === undefined ? {} : { reason }),
    ...(exceptUserId === undefined ? {} : { exceptUserId }),
    ...(expiresAt === undefined || reason !== undefined ? {} : { expiresAt }),
  };
}

function toExpired({ topic, id, exceptUserId }: MessageDoc): Expired {
  return { topic, id, ...(exceptUserId === undefined ? {} : { exceptUserId }) };
}
