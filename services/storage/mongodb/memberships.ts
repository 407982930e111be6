/**
 * Who is in which named topic. Deleting a topic ends its memberships at once, though their documents are removed later:
 * one counts only in the generation of the topic in which it was written.
 */
import type { Collection } from 'mongodb';
import type { Joining, Listed, Member, Membership, NamePage } from '../contract';
import { forgottenFor, type Stay } from '../rules/gaps';
import { findByIds, pageOf, put } from './commands';
import {
  type AbsenceDoc,
  type Collections,
  generationOf,
  keyOf,
  type MemberDoc,
  type MemberKey,
  startingWith,
} from './layout';
import type { Log } from './log';

export class Memberships {
  constructor(
    private readonly collections: Collections,
    private readonly log: Log,
  ) {}

  find(place: MemberKey): Promise<MemberDoc | undefined> {
    return this.#current(this.collections.members, place);
  }

  async isMember(topic: string, userId: string): Promise<boolean> {
    return (await this.find({ topic, userId })) !== undefined;
  }

  /** A membership that has ended, if it is remembered. */
  leftOf(place: MemberKey): Promise<AbsenceDoc | undefined> {
    return this.#current(this.collections.absences, place);
  }

  async #current<Doc extends MemberDoc | AbsenceDoc>(of: Collection<Doc>, place: MemberKey): Promise<Doc | undefined> {
    return (await this.#currentOf(of, [place])).get(idOf(place));
  }

  /** By id, without those of deleted topics. */
  async #currentOf<Doc extends MemberDoc | AbsenceDoc>(
    of: Collection<Doc>,
    places: readonly MemberKey[],
  ): Promise<ReadonlyMap<string, Doc>> {
    const [docs, floors] = await Promise.all([
      findByIds(of, places.map(idOf)),
      this.log.floors(places.map(({ topic }) => topic)),
    ]);
    return new Map([...docs].filter(([, doc]) => generationOf(doc) === generationOf(floors.get(doc.topic))));
  }

  /** All that a user has ended, including those of deleted topics. */
  allLeftOf(userId: string): Promise<AbsenceDoc[]> {
    return this.collections.absences.find({ userId }).sort({ changedAt: 1 }).toArray();
  }

  /** Remembers a membership that ends; of each user only the last ones. */
  async rememberLeft(doc: AbsenceDoc): Promise<void> {
    const { absences } = this.collections;
    const others = (await this.allLeftOf(doc.userId)).filter(({ _id }) => _id !== doc._id);
    const surplus = forgottenFor(others).map(({ _id }) => _id);
    if (surplus.length > 0) await absences.deleteMany({ _id: { $in: surplus } });
    await put(absences, doc);
  }

  /** Existing memberships, by id. */
  findAll(places: readonly MemberKey[]): Promise<ReadonlyMap<string, MemberDoc>> {
    return this.#currentOf(this.collections.members, places);
  }

  /** The same, and ended ones that are remembered. */
  async findAllOrLeft(places: readonly MemberKey[]): Promise<ReadonlyMap<string, Stay>> {
    const members = await this.findAll(places);
    const others = places.filter((place) => !members.has(idOf(place)));
    return new Map<string, Stay>([...members, ...(await this.#currentOf(this.collections.absences, others))]);
  }

  /** The memberships of a user, by topic. */
  async ofUser(userId: string): Promise<MemberDoc[]> {
    return this.#living(await this.docsOf(userId));
  }

  /** The same, including those of deleted topics. */
  docsOf(userId: string): Promise<MemberDoc[]> {
    return this.collections.members.find({ userId }).sort({ _id: 1 }).toArray();
  }

  /** How many there are, either added by others or not. */
  async count(userId: string, kind: Pick<Joining, 'isInvited'>): Promise<number> {
    return (await this.ofUser(userId)).filter((doc) => isOfKind(doc, kind)).length;
  }

  async #living<Doc extends Pick<MemberDoc, 'topic' | 'generation'>>(docs: readonly Doc[]): Promise<Doc[]> {
    const floors = await this.log.floors(docs.map(({ topic }) => topic));
    return docs.filter((doc) => generationOf(doc) === generationOf(floors.get(doc.topic)));
  }

  async members(topic: string, { after, limit }: NamePage): Promise<Listed<Member>> {
    const range = startingWith(topic);
    const _id = after === undefined ? range : { $gt: keyOf(topic, after), $lt: range.$lt };
    const query = this.collections.members.find({ _id }).sort({ _id: 1 });
    const { docs, next } = await pageOf(query, limit, ({ userId }) => userId);
    const items = (await this.#living(docs)).map(({ userId, joinedAt }) => ({ userId, joinedAt }));
    return { items, next };
  }

  async memberships(userId: string, { after, limit }: NamePage): Promise<Listed<Membership>> {
    const filter = after === undefined ? { userId } : { userId, _id: { $gt: keyOf(after, userId) } };
    const query = this.collections.members.find(filter).sort({ _id: 1 });
    const { docs, next } = await pageOf(query, limit, ({ topic }) => topic);
    const items = (await this.#living(docs)).map(({ topic, joinedAt }) => ({ topic, joinedAt }));
    return { items, next };
  }
}

function idOf({ topic, userId }: MemberKey): string {
  return keyOf(topic, userId);
}

export function isOfKind(doc: MemberDoc, { isInvited = false }: Pick<Joining, 'isInvited'>): boolean {
  return (doc.isInvited ?? false) === isInvited;
}
