/** Who got a message and what they did with it: one walk over the stamps of its place. */
import type { Message } from '../../../utils/protocol';

import { isSliceOver, nextSlice } from '../../../utils/slices';

import { BROADCAST_TOPIC, isNamedTopic, ownerOfPersonalTopic } from '../../../utils/topic-names';

import type { ReceiptOptions, ReceiptPage } from '../contract';
import { isInGap } from '../rules/gaps';
import { groupedByUser, isRecipient, type Stamp, toReceiptPage } from '../rules/receipt-page';
import { NOBODY } from '../rules/states';
import { startingWith, type Trees } from './layout';
import type { Marks } from './marks';
import { Memberships } from './memberships';

/** Rows that one range fetches: between two of them other work may have its turn. */
const ROWS_PER_FETCH = 200;

export class Receipts {
  readonly #memberships: Memberships;

  constructor(
    private readonly trees: Trees,
    private readonly marks: Marks,
  ) {
    this.#memberships = new Memberships(trees);
  }

  async of(message: Message, { limit, after }: ReceiptOptions): Promise<ReceiptPage> {
    const recipients = await this.#countRecipients(message);
    const isListed = (userId: string) => after === undefined || compareKeys(userId, after) > 0;
    return toReceiptPage(message, groupedByUser(this.#stamps(message), isListed), { recipients, limit });
  }

  /** Has the user left, or had left when it was said? */
  #isAway({ topic, seq }: Message, userId: string): boolean {
    if (!isNamedTopic(topic)) return false;
    const start = this.#memberships.startOf(userId, topic);
    return start === undefined || start >= seq || isInGap(this.#memberships.gapsOf(userId, topic), seq);
  }

  #wasThere(message: Message, userId: string): boolean {
    return isRecipient(message, userId) && !this.#isAway(message, userId);
  }

  /** The stamps of one place in the order of the store. */
  async *#stamps(message: Message): AsyncGenerator<Stamp> {
    let after: readonly [string, string] = ['', ''];
    let rows: Stamp[];
    do {
      if (isSliceOver()) await nextSlice();
      rows = this.marks.stampsOf(message, { after, limit: ROWS_PER_FETCH });
      yield* rows.filter(({ userId }) => userId === NOBODY || !this.#isAway(message, userId));
      const last = rows.at(-1);
      if (last !== undefined) after = [last.userId, last.kind];
    } while (rows.length === ROWS_PER_FETCH);
  }

  async #countRecipients(message: Message): Promise<number> {
    if (ownerOfPersonalTopic(message.topic) !== undefined) return 1;
    let count = 0;
    let audience: Reader[];
    let after = '';
    do {
      if (isSliceOver()) await nextSlice();
      audience = this.#audienceAfter(message.topic, after);
      count += audience.filter(([userId, start]) => start < message.seq && this.#wasThere(message, userId)).length;
      after = audience.at(-1)?.[0] ?? after;
    } while (audience.length === ROWS_PER_FETCH);
    return count;
  }

  /** Some of those who are there, with the place from which on the topic is theirs. */
  #audienceAfter(topic: string, after: string): Reader[] {
    const { users, members } = this.trees;
    const range = { limit: ROWS_PER_FETCH, exclusiveStart: true };
    if (topic === BROADCAST_TOPIC) {
      const found = users.getRange(after === '' ? { limit: ROWS_PER_FETCH } : { ...range, start: after });
      return Array.from(found, ({ key, value }) => [key, value.broadcastStart]);
    }
    const keys = members.getKeys({ ...range, start: [topic, after], end: startingWith<[string, string]>(topic).end });
    return Array.from(keys, ([, userId]) => [
      userId,
      this.#memberships.startOf(userId, topic) ?? Number.POSITIVE_INFINITY,
    ]);
  }
}

type Reader = [userId: string, start: number];

/** The order in which the store walks over names: by their bytes. */
function compareKeys(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one, 'utf8'), Buffer.from(other, 'utf8'));
}
