/** Who got a message and what they did with it: one walk over the stamps of its place. */
import type { Message } from '../../utils/protocol';
import { BROADCAST_TOPIC, ownerOfPersonalTopic } from '../../utils/topic-names';
import type { DeviceReceipt, Receipt, ReceiptPage } from './contract';
import { type Collections, keyOf, startingWith } from './mongodb-layout';
import type { Marks, Stamp } from './mongodb-marks';
import { ACK_PREFIX, NOBODY } from './states';

interface Listing {
  readonly acknowledged: DeviceReceipt[];
  readonly seen: Receipt[];
  readonly read: Receipt[];
}

/** What one user has done with a message; `isListed`: behind where the page begins. */
interface OfUser {
  readonly userId: string;
  readonly stamps: readonly Stamp[];
  readonly isListed: boolean;
}

const KINDS = ['acknowledged', 'seen', 'read'] as const;

export interface ReceiptOptions {
  readonly limit: number;
  readonly after?: string | undefined;
}

export class Receipts {
  constructor(
    private readonly collections: Collections,
    private readonly marks: Marks,
  ) {}

  async of(message: Message, { limit, after }: ReceiptOptions): Promise<ReceiptPage> {
    const totals = { recipients: await this.#countRecipients(message), acknowledged: 0, seen: 0, read: 0 };
    const lists: Listing = { acknowledged: [], seen: [], read: [] };
    let sentAt: number | undefined;
    let next: string | undefined;
    let isFull = false;
    let last: string | undefined;
    for await (const { userId, stamps, isListed } of this.#byUser(message, after)) {
      if (userId === NOBODY) sentAt = stamps.find(({ at }) => at > 0)?.at;
      if (!isRecipient(message, userId)) continue;
      const own = listingOf(stamps.filter(({ at }) => at > 0));
      for (const kind of KINDS) totals[kind] += own[kind].length > 0 ? 1 : 0;
      if (isFull || !isListed) continue;
      isFull = last !== undefined && KINDS.some((kind) => lists[kind].length + own[kind].length > limit);
      if (isFull) next = last;
      else {
        for (const kind of KINDS) (lists[kind] as Receipt[]).push(...own[kind]);
        last = userId;
      }
    }
    return { sentAt, ...lists, totals, next };
  }

  /** All who are known of at one place, in the order of the store; the first is nobody. */
  async *#byUser(message: Message, after: string | undefined): AsyncGenerator<OfUser> {
    if (after !== undefined) yield* grouped(this.marks.stampsOf(message, { upTo: after }), false);
    yield* grouped(this.marks.stampsOf(message, { after }), true);
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
    const filter = { _id: { ...startingWith(topic), $nin: keys }, start: { $lt: seq } };
    return this.collections.members.countDocuments(filter);
  }
}

function isRecipient({ topic, from, exceptUserId }: Message, userId: string): boolean {
  if (userId === NOBODY || userId === exceptUserId) return false;
  return ownerOfPersonalTopic(topic) !== undefined || userId !== from;
}

function listingOf(stamps: readonly Stamp[]): Listing {
  const of = (wanted: string) => stamps.filter(({ kind }) => kind === wanted).map(({ userId, at }) => ({ userId, at }));
  const acknowledged = stamps
    .filter(({ kind }) => kind.startsWith(ACK_PREFIX))
    .map(({ userId, kind, at }) => ({ userId, device: kind.slice(ACK_PREFIX.length), at }));
  return { acknowledged, seen: of('seen'), read: of('read') };
}

/** The stamps of each user together. */
async function* grouped(stamps: AsyncIterable<Stamp>, isListed: boolean): AsyncGenerator<OfUser> {
  let current: Stamp[] = [];
  for await (const stamp of stamps) {
    if (current[0] !== undefined && current[0].userId !== stamp.userId) {
      yield { userId: current[0].userId, stamps: current, isListed };
      current = [];
    }
    current.push(stamp);
  }
  if (current[0] !== undefined) yield { userId: current[0].userId, stamps: current, isListed };
}
