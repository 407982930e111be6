/** Who got a message and what they did with it: one walk over the stamps of its place. */
import type { Message } from '../../utils/protocol';
import { BROADCAST_TOPIC, ownerOfPersonalTopic } from '../../utils/topic-names';
import type { ReceiptPage } from './contract';
import { type Collections, keyOf, startingWith } from './mongodb-layout';
import type { Marks } from './mongodb-marks';
import { groupedByUser, type OfUser, type ReceiptOptions, toReceiptPage } from './receipt-page';

export class Receipts {
  constructor(
    private readonly collections: Collections,
    private readonly marks: Marks,
  ) {}

  async of(message: Message, { limit, after }: ReceiptOptions): Promise<ReceiptPage> {
    const recipients = await this.#countRecipients(message);
    return toReceiptPage(message, this.#byUser(message, after), { recipients, limit });
  }

  /** All who are known of at one place, in the order of the store; the first is nobody. */
  async *#byUser(message: Message, after: string | undefined): AsyncGenerator<OfUser> {
    if (after !== undefined) yield* groupedByUser(this.marks.stampsOf(message, { upTo: after }), () => false);
    yield* groupedByUser(this.marks.stampsOf(message, { after }), () => true);
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
    const generation = floor?.generation ?? null;
    const filter = { _id: { ...startingWith(topic), $nin: keys }, start: { $lt: seq }, generation };
    return this.collections.members.countDocuments(filter as object);
  }
}
