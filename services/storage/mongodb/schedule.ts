/** Scheduled messages. */

import { type Filter, ObjectId } from 'mongodb';
import { toIsoTime } from '../../../utils/clock';
import type { Message } from '../../../utils/protocol';
import { isNamedTopic } from '../../../utils/topic-names';
import {
  type Draft,
  type DueSent,
  type MayBeSent,
  type Scheduled,
  type ScheduledPosition,
  type ScheduledQuery,
  type ScheduleOutcome,
  type Standing,
  StoreError,
} from '../contract';
import { fingerprintOf } from '../rules/fingerprint';
import { assertDraftFits } from '../rules/key-size';
import { NOTHING_SENT, outcomeUnder, sentNow, toScheduled, verdictOn } from '../rules/schedule';
import type { Claims } from './claims';
import { put } from './commands';
import { ignoringDuplicates } from './errors';
import { type ClaimDoc, type Database, keyOf, type ScheduledDoc } from './layout';
import type { Memberships } from './memberships';
import { clientKey, sendingKey, toContent, toMessage, toText } from './record';
import type { Writer } from './writer';

/** When a node dies while sending, another one sends after this time. */
const SENDING_MS = 10_000;

interface ScheduleParts {
  readonly claims: Claims;
  readonly memberships: Memberships;
  readonly writer: Writer;
}

export class Schedule {
  constructor(
    private readonly db: Database,
    private readonly parts: ScheduleParts,
  ) {}

  async add(scheduled: Scheduled, maxWaiting = Number.POSITIVE_INFINITY): Promise<ScheduleOutcome> {
    const { topic, from } = scheduled.draft;
    assertDraftFits(scheduled.draft);
    const doc = toDoc(scheduled, (await this.#homesOf([topic])).get(topic));
    if (!scheduled.draft.isClientId) {
      if (await this.#isFull(from, maxWaiting)) return { outcome: 'too_many' };
      await put(this.db.collections.scheduled, doc);
      return { outcome: 'stored' };
    }
    const claim = await this.#claim(doc);
    const earlier = claim === undefined ? undefined : await this.#before(claim, scheduled);
    if (earlier !== undefined) return earlier;
    if (!(await this.#isFull(from, maxWaiting))) return this.#insert(doc, scheduled.draft);
    await this.parts.claims.free(topic, [doc._id]);
    return { outcome: 'too_many' };
  }

  async #isFull(from: string, max: number): Promise<boolean> {
    if (max === Number.POSITIVE_INFINITY) return false;
    return (await this.db.collections.scheduled.countDocuments({ from }, { limit: max })) >= max;
  }

  /** @returns the earlier claim of the id, if there is one. */
  async #claim({ _id, topic, sendAt }: ScheduledDoc): Promise<ClaimDoc | undefined> {
    const { ids } = this.db.collections;
    const isNew = await ignoringDuplicates(ids.insertOne({ _id, topic, sendAt }));
    return isNew ? undefined : ((await ids.findOne({ _id })) ?? undefined);
  }

  /** What was done with the id; nothing when a node died between the claim and the message. */
  async #before(claim: ClaimDoc, { draft, standing }: Scheduled): Promise<ScheduleOutcome | undefined> {
    const waiting = await this.db.collections.scheduled.findOne({ _id: claim._id });
    if (waiting !== null) return this.#repeat(waiting, draft, standing);
    const { messages } = this.db.collections;
    const sent = await messages.findOne({ topic: claim.topic, key: claim._id });
    const isFree = sent === null && claim.topic === draft.topic && claim.sendAt !== undefined;
    return isFree ? undefined : outcomeUnder(sent?.said, draft, sent?.scheduledFor);
  }

  async #repeat(waiting: ScheduledDoc, draft: Draft, standing: Standing | undefined): Promise<ScheduleOutcome> {
    const { _id, nonce } = waiting;
    const outcome = outcomeOf(waiting, draft);
    if (outcome.outcome === 'repeated' && standing !== undefined) {
      await this.db.collections.scheduled.updateOne({ _id, nonce }, { $set: { standing } });
    }
    return outcome;
  }

  async #insert(doc: ScheduledDoc, draft: Draft): Promise<ScheduleOutcome> {
    await ignoringDuplicates(this.db.collections.scheduled.insertOne(doc));
    const kept = await this.db.collections.scheduled.findOne({ _id: doc._id });
    // It may have been sent and removed already.
    if (kept === null || kept.nonce.equals(doc.nonce)) return { outcome: 'stored' };
    return outcomeOf(kept, draft);
  }

  /**
   * Takes due messages, so that nobody else sends or cancels them, appends and then forgets them. After a crash they
   * are taken again, and their keys prevent duplicates.
   */
  async appendDue(limit: number, mayBeSent: MayBeSent = () => true): Promise<DueSent> {
    // One at a time: two would find the same messages, and the second would take none of them.
    return this.db.turns.take('due', () => this.#appendDue(limit, mayBeSent));
  }

  async #appendDue(limit: number, mayBeSent: MayBeSent): Promise<DueSent> {
    const takenBy = new ObjectId();
    const due = await this.#takeDue(limit, takenBy);
    if (due.length === 0) return NOTHING_SENT;
    const [homes, members] = await Promise.all([this.#homesOf(due.map(({ topic }) => topic)), this.#membersIn(due)]);
    const refused: Scheduled[] = [];
    const now = this.db.clock.now();
    const carryOn = async (doc: ScheduledDoc): Promise<Message[]> => {
      const { _id, topic, from, home } = doc;
      const scheduled = fromDoc(doc);
      const isSameTopic = home !== undefined && homes.get(topic)?.equals(home) === true;
      const isMember = members.has(keyOf(topic, from));
      const verdict = verdictOn(scheduled, { now, isSameTopic, isMember, mayBeSent });
      if (verdict === 'sent') return this.#send(doc, sentNow(scheduled, now));
      if (verdict === 'refused') refused.push(scheduled);
      if (scheduled.draft.isClientId) await this.parts.claims.free(topic, [_id]);
      return [];
    };
    // Started together: messages for one topic are appended in this order.
    const appended = await Promise.allSettled(due.map(carryOn));
    const done = due.filter((_one, index) => appended[index]?.status === 'fulfilled');
    await this.db.collections.scheduled.deleteMany({ _id: { $in: done.map(({ _id }) => _id) }, takenBy });
    const failed = appended.find(({ status }) => status === 'rejected');
    if (done.length === 0 && failed?.status === 'rejected') throw failed.reason;
    const entries = appended.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
    return { taken: done.length, entries, refused };
  }

  /** Which senders are in the named topics of their messages. */
  async #membersIn(due: readonly ScheduledDoc[]): Promise<ReadonlySet<string>> {
    const places = due.filter(({ topic }) => isNamedTopic(topic)).map(({ topic, from: userId }) => ({ topic, userId }));
    return new Set((await this.parts.memberships.findAll(places)).keys());
  }

  async #takeDue(limit: number, takenBy: ObjectId): Promise<ScheduledDoc[]> {
    const now = this.db.clock.now();
    const { scheduled } = this.db.collections;
    const order = { sendAt: 1, id: 1, from: 1 } as const;
    const isDue = { sendAt: { $lte: now }, freeAt: { $lte: now } };
    const find = async (filter: Filter<ScheduledDoc>, most: number): Promise<string[]> => {
      const found = scheduled
        .find(filter, { projection: { _id: 1 } })
        .sort(order)
        .limit(most);
      return (await found.toArray()).map(({ _id }) => _id);
    };
    const oldest = await find(isDue, limit);
    if (oldest.length === 0) return [];
    // Messages of services never wait for those of people.
    const ofServices = oldest.length < limit ? [] : await find({ ...isDue, isOfService: true }, Math.ceil(limit / 2));
    const ids = [...new Set([...ofServices, ...oldest])].slice(0, limit);
    const update = { $set: { freeAt: now + SENDING_MS, takenBy } };
    await scheduled.updateMany({ _id: { $in: ids }, freeAt: { $lte: now } }, update);
    return scheduled
      .find({ _id: { $in: ids }, takenBy })
      .sort(order)
      .toArray();
  }

  async #send({ _id, nonce }: ScheduledDoc, draft: Draft): Promise<Message[]> {
    const key = draft.isClientId ? _id : sendingKey(nonce);
    const placed = await this.parts.writer.append({ content: toContent(draft), key });
    return placed.outcome === 'placed' && placed.isNew ? [...placed.entries, placed.doc].map(toMessage) : [];
  }

  /** Distinguishes named topics from later ones with the same name; only existing ones. */
  async #homesOf(topics: readonly string[]): Promise<ReadonlyMap<string, ObjectId>> {
    const names = [...new Set(topics.filter(isNamedTopic))];
    const found = await this.db.collections.topics.find({ _id: { $in: names }, deletedBy: null } as object).toArray();
    return new Map(found.map(({ _id, nonce }) => [_id, nonce]));
  }

  async list({ from, limit, after }: ScheduledQuery): Promise<Scheduled[]> {
    const filter = { ...(from === undefined ? {} : { from }), ...(after === undefined ? {} : behind(after)) };
    const found = await this.db.collections.scheduled
      .find(filter as Filter<ScheduledDoc>)
      .sort({ sendAt: 1, id: 1, from: 1 })
      .limit(limit)
      .toArray();
    return found.map(fromDoc);
  }

  async sendersOf(id: string): Promise<string[]> {
    const query = this.db.collections.scheduled.find({ id }, { projection: { _id: 0, from: 1 } });
    return (await query.sort({ from: 1 }).toArray()).map(({ from }) => from);
  }

  async cancel(id: string, from: string): Promise<boolean> {
    const found = await this.db.collections.scheduled.findOne({ _id: clientKey({ from, id }) });
    return found !== null && this.#cancel(found);
  }

  /** A message that is being sent cannot be cancelled. */
  async #cancel({ _id, topic, nonce }: ScheduledDoc): Promise<boolean> {
    const free = { _id, nonce, freeAt: { $lte: this.db.clock.now() } };
    const { deletedCount } = await this.db.collections.scheduled.deleteOne(free);
    if (deletedCount === 0) return false;
    await this.parts.claims.free(topic, [_id]);
    return true;
  }

  /** Cancels messages from and to a user. @returns how many. */
  async cancelOf(userId: string, personalTopic: string): Promise<number> {
    const filter = { $or: [{ from: userId }, { topic: personalTopic }] };
    const found = await this.db.collections.scheduled.find(filter).toArray();
    let cancelled = 0;
    for (const doc of found) cancelled += (await this.#cancel(doc)) ? 1 : 0;
    return cancelled;
  }
}

function toDoc({ draft, sendAt, standing, isOfService }: Scheduled, home: ObjectId | undefined): ScheduledDoc {
  const { id, from, topic } = draft;
  const text = toText(draft);
  const isService = isOfService === true ? isOfService : undefined;
  const fields = { id, from, topic, sendAt, home, draft: text, standing, isOfService: isService };
  return { _id: clientKey(draft), ...fields, nonce: new ObjectId(), freeAt: 0 };
}

function fromDoc({ draft, sendAt, standing }: ScheduledDoc): Scheduled {
  return toScheduled({ draft: parseDraft(draft), sendAt, standing });
}

function parseDraft(text: string): Draft {
  try {
    return JSON.parse(text) as Draft;
  } catch {
    // The parser quotes what it read, and bodies never reach a log.
    throw new StoreError('a scheduled message is damaged in the store');
  }
}

function outcomeOf({ draft: text, sendAt }: ScheduledDoc, draft: Draft): ScheduleOutcome {
  return outcomeUnder(fingerprintOf(parseDraft(text)), draft, toIsoTime(sendAt));
}

function behind({ sendAt, id, from }: ScheduledPosition): object {
  return {
    $or: [{ sendAt: { $gt: sendAt } }, { sendAt, id: { $gt: id } }, { sendAt, id, from: { $gt: from } }],
  };
}
