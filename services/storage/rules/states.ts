/** States of messages: flags of one byte. */
import type { Counts, MessageState, RequestedState } from '../../../utils/protocol';
import type { InboxQuery } from '../contract';
import { emptySlots, readSlot, type Span } from './slot-row';

export const SEEN = 1;
export const READ = 2;
export const ARCHIVED = 4;
/** The message is not for this user. */
export const EXCLUDED = 8;
/** Sent by the user: seen and read, whatever is asked for. */
const SENT = 16;
export const OWN = SENT | SEEN | READ;

const NOT_UNREAD = READ | ARCHIVED | EXCLUDED;
const NO_BYTES = Buffer.alloc(0);

/** Messages per row: a hundred reads count an inbox of 100,000. */
export const FLAGS = { count: 1_024, width: 1 } as const;
/** Six bytes per time, and a row is rewritten for each one. */
export const STAMPS = { count: 128, width: 6 } as const;

/** What happened at a time; `ack:<device>`: an acknowledgement. */
export type StampKind = 'seen' | 'read' | 'sent' | `ack:${string}`;
export const ACK_PREFIX = 'ack:';
/** Delivery is a fact about the message, not about a user. */
export const NOBODY = '';

/** Neither read nor archived. */
export function isUnread(flags: number): boolean {
  return (flags & NOT_UNREAD) === 0;
}

export function stateOf(flags: number): MessageState {
  if (flags & ARCHIVED) return 'archived';
  if (flags & READ) return 'read';
  return flags & SEEN ? 'seen' : 'unseen';
}

/** How a requested state changes flags. */
export const TRANSITIONS: Readonly<Record<RequestedState, (flags: number) => number>> = {
  seen: (flags) => flags | SEEN,
  read: (flags) => (flags | SEEN | READ) & ~ARCHIVED,
  unread: (flags) => flags & ~(flags & SENT ? ARCHIVED : READ | ARCHIVED),
  archived: (flags) => flags | SEEN | ARCHIVED,
};

/** Does a list for this state show a message? */
export function isListed(state: InboxQuery['state'], flags: number): boolean {
  return (flags & EXCLUDED) === 0 && LISTED[state ?? 'open'](flags);
}

const LISTED: Readonly<Record<'open' | 'unread' | 'read' | 'archived' | 'any', (flags: number) => boolean>> = {
  open: (flags) => (flags & ARCHIVED) === 0,
  unread: isUnread,
  read: (flags) => (flags & (READ | ARCHIVED)) === READ,
  archived: (flags) => (flags & ARCHIVED) !== 0,
  any: () => true,
};

/** The rows of one block for one user; a slot of 1 in `holes` is a hole. */
export interface BlockRows {
  readonly flags: Buffer | undefined;
  readonly holes: Buffer | undefined;
}

/** Counts a span within a block. Bare loops over bytes: 100,000 messages take less than a millisecond. */
export function countUnread(span: Span, { flags = NO_BYTES, holes = NO_BYTES }: BlockRows): Counts {
  const first = span.from % FLAGS.count;
  const end = first + span.upTo - span.from + 1;
  let unseen = 0;
  let unread = 0;
  for (let slot = first; slot < end; slot += 1) {
    const value = slot < flags.length ? (flags[slot] ?? 0) : 0;
    if ((value & NOT_UNREAD) !== 0 || (slot < holes.length && holes[slot] !== 0)) continue;
    unread += 1;
    if ((value & SEEN) === 0) unseen += 1;
  }
  return { unseen, unread };
}

/** The same for some places within the span. */
export function countPlaces(span: Span, { flags, holes }: BlockRows, places: readonly number[]): Counts {
  const within = places.filter((seq) => seq >= span.from && seq <= span.upTo);
  const counted = within.filter((seq) => readSlot(FLAGS, holes, seq) === 0 && isUnread(readSlot(FLAGS, flags, seq)));
  const unseen = counted.filter((seq) => (readSlot(FLAGS, flags, seq) & SEEN) === 0);
  return { unseen: unseen.length, unread: counted.length };
}

/** The places of a span within a block that a list shows, newest first. */
export function* listedPlaces(span: Span, rows: BlockRows, state: InboxQuery['state']): Generator<number> {
  for (const seq of emptySlots(FLAGS, rows.holes, { ...span, isForward: false })) {
    if (isListed(state, readSlot(FLAGS, rows.flags, seq))) yield seq;
  }
}
