/** A page of receipts, from the times of one message. */

import type { Message } from '../../../utils/protocol';
import { ownerOfPersonalTopic } from '../../../utils/topic-names';
import type { DeviceReceipt, Receipt, ReceiptPage } from '../contract';
import { isInGap, type Stay } from './gaps';
import { ACK_PREFIX, NOBODY } from './states';

/** When something happened to a message. */
export interface Stamp {
  readonly userId: string;
  /** A StampKind, as it is stored. */
  readonly kind: string;
  /** Milliseconds since the epoch; 0: it has not happened. */
  readonly at: number;
}

/** What one user has done with a message; `isListed`: is it after the start of the page? */
export interface OfUser {
  readonly userId: string;
  readonly stamps: readonly Stamp[];
  readonly isListed: boolean;
}

interface Listing {
  readonly acknowledged: DeviceReceipt[];
  readonly seen: Receipt[];
  readonly read: Receipt[];
}

const KINDS = ['acknowledged', 'seen', 'read'] as const;

/** Groups times by user; they are in the order of users. */
export async function* groupedByUser(
  stamps: AsyncIterable<Stamp>,
  isListed: (userId: string) => boolean,
): AsyncGenerator<OfUser> {
  let current: Stamp[] = [];
  for await (const stamp of stamps) {
    const userId = current[0]?.userId ?? stamp.userId;
    if (userId !== stamp.userId) {
      yield { userId, stamps: current, isListed: isListed(userId) };
      current = [];
    }
    current.push(stamp);
  }
  const userId = current[0]?.userId;
  if (userId !== undefined) yield { userId, stamps: current, isListed: isListed(userId) };
}

/** Walks all users once. Totals are of all; lists have `limit` entries, unless one user alone has more. */
export async function toReceiptPage(
  message: Message,
  users: AsyncIterable<OfUser>,
  { recipients, limit }: { readonly recipients: number; readonly limit: number },
): Promise<ReceiptPage> {
  const totals = { recipients, acknowledged: 0, seen: 0, read: 0 };
  const lists: Listing = { acknowledged: [], seen: [], read: [] };
  let sentAt: number | undefined;
  let next: string | undefined;
  let isFull = false;
  let last: string | undefined;
  for await (const { userId, stamps, isListed } of users) {
    const happened = stamps.filter(({ at }) => at > 0);
    if (userId === NOBODY) sentAt = happened.find(({ kind }) => kind === 'sent')?.at;
    if (!isRecipient(message, userId)) continue;
    const own = listingOf(happened);
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

/** Was a user in a named topic when a message was sent there, and has not left since? */
export function wasMember(membership: Stay | undefined, seq: number): boolean {
  return membership !== undefined && membership.start < seq && !isInGap(membership.gaps ?? [], seq);
}

/** Is a reader of the topic a recipient of the message? */
export function isRecipient({ topic, from, exceptUserId }: Message, userId: string): boolean {
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
