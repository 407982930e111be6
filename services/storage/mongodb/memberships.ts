/**
 * Who is in which named topic, as documents. A topic that is deleted takes its memberships with it at once, though
 * their documents are removed later: one counts only in the generation of the topic in which it was written.
 */
import type { Joining, MembershipsPage, MembersPage, NamePage } from '../contract';
import { MAX_LEFT_TOPICS } from '../rules/gaps';
import { pageOf } from './commands';
import { retryingDuplicates } from './errors';
import { type AbsenceDoc, type Collections, generationOf, keyOf, type MemberDoc, startingWith } from './layout';
import type { Log } from './log';

type Place = Pick<MemberDoc, 'topic' | 'userId'>;
type Remembered = Pick<MemberDoc, '_id' | 'start' | 'gaps'> & Partial<Pick<AbsenceDoc, 'leftAt'>>;

export class Memberships {
  constructor(
    private readonly collections: Collections,
    private readonly log: Log,
  ) {}

  async find({ topic, userId }: Place): Promise<MemberDoc | undefined> {
    const [doc, floor] = await Promise.all([
      this.collections.members.findOne({ _id: keyOf(topic, userId) }),
      this.log.floor(topic),
    ]);
    return doc !== null && generationOf(doc) === generationOf(floor) ? doc : undefined;
  }

  /** What is remembered of a membership that has ended. */
  async leftOf({ topic, userId }: Place): Promise<AbsenceDoc | undefined> {
    const [doc, floor] = await Promise.all([
      this.collections.absences.findOne({ _id: keyOf(topic, userId) }),
      this.log.floor(topic),
    ]);
    return doc !== null && generationOf(doc) === generationOf(floor) ? doc : undefined;
  }

  /** All of them, those of topics that were deleted too. */
  allLeftOf(userId: string): Promise<AbsenceDoc[]> {
    return this.collections.absences.find({ userId }).sort({ changedAt: 1 }).toArray();
  }

  /** Keeps what is to be remembered of a membership that ends: of so many topics of a user. */
  async rememberLeft(doc: AbsenceDoc): Promise<void> {
    const { absences } = this.collections;
    const others = (await this.allLeftOf(doc.userId)).filter(({ _id }) => _id !== doc._id);
    const surplus = others.slice(0, Math.max(0, others.length + 1 - MAX_LEFT_TOPICS)).map(({ _id }) => _id);
    if (surplus.length > 0) await absences.deleteMany({ _id: { $in: surplus } });
    await retryingDuplicates(() => absences.replaceOne({ _id: doc._id }, doc, { upsert: true }));
  }

  /** Those of some members that are there, by id. */
  async findAll(places: readonly Place[]): Promise<ReadonlyMap<string, MemberDoc>> {
    if (places.length === 0) return new Map();
    const ids = [...new Set(places.map(({ topic, userId }) => keyOf(topic, userId)))];
    const found = await this.#living(await this.collections.members.find({ _id: { $in: ids } }).toArray());
    return new Map(found.map((doc) => [doc._id, doc]));
  }

  /** The same, and of the others what is remembered of those that have ended. */
  async findAllOrLeft(places: readonly Place[]): Promise<ReadonlyMap<string, Remembered>> {
    const members = await this.findAll(places);
    const ids = places.map(({ topic, userId }) => keyOf(topic, userId)).filter((id) => !members.has(id));
    if (ids.length === 0) return members;
    const left = await this.#living(
      await this.collections.absences.find({ _id: { $in: [...new Set(ids)] } }).toArray(),
    );
    const all: readonly Remembered[] = [...left, ...members.values()];
    return new Map(all.map((doc) => [doc._id, doc]));
  }

  /** The memberships of a user, by topic. */
  async ofUser(userId: string): Promise<MemberDoc[]> {
    return this.#living(await this.docsOf(userId));
  }

  /** The same with those of topics that were deleted. */
  docsOf(userId: string): Promise<MemberDoc[]> {
    return this.collections.members.find({ userId }).sort({ _id: 1 }).toArray();
  }

  /** How many there are to which others have added the user, or of the others. */
  async count(userId: string, kind: Pick<Joining, 'isInvited'>): Promise<number> {
    return (await this.ofUser(userId)).filter((doc) => isOfKind(doc, kind)).length;
  }

  async #living<Doc extends Pick<MemberDoc, 'topic' | 'generation'>>(docs: readonly Doc[]): Promise<Doc[]> {
    const floors = await this.log.floors([...new Set(docs.map(({ topic }) => topic))]);
    return docs.filter((doc) => generationOf(doc) === generationOf(floors.get(doc.topic)));
  }

  async members(topic: string, { after, limit }: NamePage): Promise<MembersPage> {
    const range = startingWith(topic);
    const _id = after === undefined ? range : { $gt: keyOf(topic, after), $lt: range.$lt };
    const query = this.collections.members.find({ _id }).sort({ _id: 1 });
    const { docs, next } = await pageOf(query, limit, ({ userId }) => userId);
    const members = (await this.#living(docs)).map(({ userId, joinedAt }) => ({ userId, joinedAt }));
    return { members, next };
  }

  async memberships(userId: string, { after, limit }: NamePage): Promise<MembershipsPage> {
    const filter = after === undefined ? { userId } : { userId, _id: { $gt: keyOf(after, userId) } };
    const query = this.collections.members.find(filter).sort({ _id: 1 });
    const { docs, next } = await pageOf(query, limit, ({ topic }) => topic);
    const memberships = (await this.#living(docs)).map(({ topic, joinedAt }) => ({ topic, joinedAt }));
    return { memberships, next };
  }
}

export function isOfKind(doc: MemberDoc, { isInvited = false }: Pick<Joining, 'isInvited'>): boolean {
  return (doc.isInvited ?? false) === isInvited;
}
