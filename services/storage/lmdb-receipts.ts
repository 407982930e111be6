/** Who got a message and what they did with it: one walk over the stamps of its place. */
import type { Message } from '../../utils/protocol';
import { BROADCAST_TOPIC, ownerOfPersonalTopic } from '../../utils/topic-names';
import type { DeviceReceipt, Receipt, ReceiptPage } from './contract';
import { startingWith, type Trees } from './lmdb-layout';
import type { Marks, Stamp } from './lmdb-marks';
import { ACK_PREFIX } from './states';

/** Rows that are read before other work gets its turn. */
const ROWS_PER_TURN = 1_000;

interface Listing {
  readonly acknowledged: DeviceReceipt[];
  readonly seen: Receipt[];
  readonly read: Receipt[];
}

export interface ReceiptOptions {
  readonly limit: number;
  readonly after?: string | undefined;
}

/** Lets other work run between two parts of a long read. */
export type Pause = () => Promise<void>;

export class Receipts {
  constructor(
    private readonly trees: Trees,
    private readonly marks: Marks,
    private readonly pause: Pause,
  ) {}

  async of(message: Message, { limit, after }: ReceiptOptions): Promise<ReceiptPage> {
    const totals = { recipients: await this.#countRecipients(message), acknowledged: 0, seen: 0, read: 0 };
    const lists: Listing = { acknowledged: [], seen: [], read: [] };
    let next: string | undefined;
    let isFull = false;
    let last: string | undefined;
    for await (const [userId, stamps] of this.#byUser(message)) {
      const own = listingOf(stamps);
      totals.acknowledged += own.acknowledged.length > 0 ? 1 : 0;
      totals.seen += own.seen.length;
      totals.read += own.read.length;
      if (isFull || (after !== undefined && compareKeys(userId, after) <= 0)) continue;
      isFull = last !== undefined && KINDS.some((kind) => lists[kind].length + own[kind].length > limit);
      if (isFull) next = last;
      else {
        for (const kind of KINDS) (lists[kind] as Receipt[]).push(...own[kind]);
        last = userId;
      }
    }
    return { sentAt: this.marks.sentAt(message), ...lists, totals, next };
  }

  /** The stamps of one place, user by user in the order of the store. */
  async *#byUser(message: Message): AsyncGenerator<[userId: string, stamps: Stamp[]]> {
    let current: Stamp[] = [];
    for await (const stamp of this.#stamps(message)) {
      if (current[0] !== undefined && current[0].userId !== stamp.userId) {
        yield [current[0].userId, current];
        current = [];
      }
      if (stamp.at > 0 && isRecipient(message, stamp.userId)) current.push(stamp);
    }
    if (current[0] !== undefined) yield [current[0].userId, current];
  }

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
      yield [userId, this.trees.memberships.get([userId, topic]) ?? 0];
    }
  }
}

const KINDS = ['acknowledged', 'seen', 'read'] as const;

function isRecipient({ topic, from, exceptUserId }: Message, userId: string): boolean {
  if (userId === '' || userId === exceptUserId) return false;
  return ownerOfPersonalTopic(topic) !== undefined || userId !== from;
}

function listingOf(stamps: readonly Stamp[]): Listing {
  const of = (wanted: string) => stamps.filter(({ kind }) => kind === wanted).map(({ userId, at }) => ({ userId, at }));
  const acknowledged = stamps
    .filter(({ kind }) => kind.startsWith(ACK_PREFIX))
    .map(({ userId, kind, at }) => ({ userId, device: kind.slice(ACK_PREFIX.length), at }));
  return { acknowledged, seen: of('seen'), read: of('read') };
}

/** The order in which the store walks over names: by their bytes. */
function compareKeys(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one, 'utf8'), Buffer.from(other, 'utf8'));
}
