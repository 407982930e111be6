/** Receipts of a message: one walk over the times stored for its place. */
import type { Message } from '../../../utils/protocol';
import { BROADCAST_TOPIC, isNamedTopic, ownerOfPersonalTopic } from '../../../utils/topic-names';
import type { ReceiptOptions, ReceiptPage } from '../contract';
import { groupedByUser, type OfUser, toReceiptPage, wasMember } from '../rules/receipt-page';
import { NOBODY } from '../rules/states';
import { type Collections, generationIs, keyOf, startingWith } from './layout';
import type { Marks } from './marks';
import type { Memberships } from './memberships';

const USERS_AT_ONCE = 500;

export class Receipts {
  constructor(
    private readonly collections: Collections,
    private readonly parts: { readonly marks: Marks; readonly memberships: Memberships },
  ) {}

  async of(message: Message, { limit, after }: ReceiptOptions): Promise<ReceiptPage> {
    const recipients = await this.#countRecipients(message);
    const users = isNamedTopic(message.topic)
      ? this.#whoWereThere(message, this.#byUser(message, after))
      : this.#byUser(message, after);
    return toReceiptPage(message, users, { recipients, limit });
  }

  /** Only users who were in the topic. */
  async *#whoWereThere({ topic, seq }: Message, users: AsyncGenerator<OfUser>): AsyncGenerator<OfUser> {
    let part: OfUser[] = [];
    for await (const user of users) {
      part.push(user);
      if (part.length < USERS_AT_ONCE) continue;
      yield* await this.#amongMembers(topic, seq, part);
      part = [];
    }
    yield* await this.#amongMembers(topic, seq, part);
  }

  async #amongMembers(topic: string, seq: number, users: readonly OfUser[]): Promise<readonly OfUser[]> {
    const members = await this.parts.memberships.findAll(users.map(({ userId }) => ({ topic, userId })));
    return users.filter(({ userId }) => userId === NOBODY || wasMember(members.get(keyOf(topic, userId)), seq));
  }

  /** All users with times for a place, in the order of the store; the first is nobody. */
  async *#byUser(message: Message, after: string | undefined): AsyncGenerator<OfUser> {
    if (after !== undefined) yield* groupedByUser(this.parts.marks.stampsOf(message, { upTo: after }), () => false);
    yield* groupedByUser(this.parts.marks.stampsOf(message, { after }), () => true);
  }

  async #countRecipients(message: Message): Promise<number> {
    const { topic, seq, from, exceptUserId } = message;
    if (ownerOfPersonalTopic(topic) !== undefined) return 1;
    const without = [from, ...(exceptUserId === undefined ? [] : [exceptUserId])];
    if (topic === BROADCAST_TOPIC) {
      const filter = { broadcastStart: { $lt: seq } };
      return this.collections.users.countDocuments({ ...filter, _id: { $nin: without } });
    }
    const keys = without.map((userId) => keyOf(topic, userId));
    const floor = await this.collections.logs.findOne({ _id: topic });
    const generation = generationIs(floor?.generation ?? 0);
    const gaps = { $not: { $elemMatch: { from: { $lte: seq }, upTo: { $gte: seq } } } };
    const filter = { _id: { ...startingWith(topic), $nin: keys }, start: { $lt: seq }, generation, gaps };
    return this.collections.members.countDocuments(filter as object);
  }
}
