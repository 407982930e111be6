/** Receipts of a message: one walk over the times stored for its place. */

import type { Message } from '../../../utils/protocol';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import { BROADCAST_TOPIC, isNamedTopic, ownerOfPersonalTopic } from '../../../utils/topic-names';
import type { ReceiptOptions, ReceiptPage } from '../contract';
import { groupedByUser, isRecipient, type Stamp, toReceiptPage, wasMember } from '../rules/receipt-page';
import { NOBODY } from '../rules/states';
import type { Access } from './access';
import { startingWith, walk } from './layout';
import type { Marks } from './marks';
import type { Memberships } from './memberships';

export class Receipts {
  constructor(
    private readonly access: Access,
    private readonly parts: { readonly marks: Marks; readonly memberships: Memberships },
  ) {}

  async of(message: Message, { limit, after }: ReceiptOptions): Promise<ReceiptPage> {
    const recipients = await this.#countRecipients(message);
    const isListed = (userId: string) => after === undefined || compareKeys(userId, after) > 0;
    return toReceiptPage(message, groupedByUser(this.#stamps(message), isListed), { recipients, limit });
  }

  /** The times of one place in the order of the store, only of users who were there. */
  async *#stamps(message: Message): AsyncGenerator<Stamp> {
    for (const stamp of this.parts.marks.stampsOf(message)) {
      if (isSliceOver()) await nextSlice();
      if (stamp.userId === NOBODY || this.#wasThere(message, stamp.userId)) yield stamp;
    }
  }

  #wasThere({ topic, seq }: Message, userId: string): boolean {
    return !isNamedTopic(topic) || wasMember(this.parts.memberships.find(topic, userId), seq);
  }

  async #countRecipients(message: Message): Promise<number> {
    if (ownerOfPersonalTopic(message.topic) !== undefined) return 1;
    let count = 0;
    for (const userId of this.#audienceOf(message)) {
      if (isSliceOver()) await nextSlice();
      if (isRecipient(message, userId) && this.#wasThere(message, userId)) count += 1;
    }
    return count;
  }

  *#audienceOf({ topic, seq }: Message): Generator<string> {
    if (topic !== BROADCAST_TOPIC) {
      for (const { key } of walk(this.access.trees, 'members', startingWith<[string, string]>(topic))) yield key[1];
      return;
    }
    for (const { key, value } of walk(this.access.trees, 'users', {})) if (value.broadcastStart < seq) yield key;
  }
}

/** Names in the order of the store: by their bytes. */
function compareKeys(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one, 'utf8'), Buffer.from(other, 'utf8'));
}
