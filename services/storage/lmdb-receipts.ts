/** Who got a message and what they did with it: one walk over the stamps of its place. */
import type { Message } from '../../utils/protocol';
import { BROADCAST_TOPIC, ownerOfPersonalTopic } from '../../utils/topic-names';
import type { ReceiptPage } from './contract';
import { startingWith, type Trees } from './lmdb-layout';
import type { Marks } from './lmdb-marks';
import { Memberships } from './lmdb-memberships';
import { groupedByUser, isRecipient, type ReceiptOptions, type Stamp, toReceiptPage } from './receipt-page';

/** Rows that are read before other work gets its turn. */
const ROWS_PER_TURN = 1_000;

/** Lets other work run between two parts of a long read. */
export type Pause = () => Promise<void>;

export class Receipts {
  readonly #memberships: Memberships;

  constructor(
    private readonly trees: Trees,
    private readonly marks: Marks,
    private readonly pause: Pause,
  ) {
    this.#memberships = new Memberships(trees);
  }

  async of(message: Message, { limit, after }: ReceiptOptions): Promise<ReceiptPage> {
    const recipients = await this.#countRecipients(message);
    const isListed = (userId: string) => after === undefined || compareKeys(userId, after) > 0;
    return toReceiptPage(message, groupedByUser(this.#stamps(message), isListed), { recipients, limit });
  }

  /** The stamps of one place in the order of the store. */
  async *#stamps(message: Message): AsyncGenerator<Stamp> {
    let after: readonly [string, string] = ['', ''];
    let rows: Stamp[];
    do {
      rows = this.marks.stampsOf(message, { after, limit: ROWS_PER_TURN });
      yield* rows;
      const last = rows.at(-1);
      if (last !== undefined) after = [last.userId, last.kind];
      await this.pause();
    } while (rows.length === ROWS_PER_TURN);
  }

  async #countRecipients(message: Message): Promise<number> {
    if (ownerOfPersonalTopic(message.topic) !== undefined) return 1;
    let count = 0;
    let rows = 0;
    for (const [userId, start] of this.#audienceOf(message.topic)) {
      if (start < message.seq && isRecipient(message, userId)) count += 1;
      rows += 1;
      if (rows % ROWS_PER_TURN === 0) await this.pause();
    }
    return count;
  }

  /** Everyone who is there, with the place from which on the topic is theirs. */
  *#audienceOf(topic: string): Generator<[userId: string, start: number]> {
    if (topic === BROADCAST_TOPIC) {
      for (const { key, value } of this.trees.users.getRange({})) yield [key, value.broadcastStart];
      return;
    }
    for (const [, userId] of this.trees.members.getKeys(startingWith<[string, string]>(topic))) {
      yield [userId, this.#memberships.startOf(userId, topic) ?? Number.POSITIVE_INFINITY];
    }
  }
}

/** The order in which the store walks over names: by their bytes. */
function compareKeys(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one, 'utf8'), Buffer.from(other, 'utf8'));
}
