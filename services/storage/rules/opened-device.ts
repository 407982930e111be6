/** Where a device stands, in every engine. */
import { isOfMembers, stateTopic } from '../../../utils/topic-names';
import {
  type Cursor,
  type Device,
  type DeviceLimit,
  type OpenedDevice,
  type Position,
  SEEN_PRECISION_MS,
} from '../contract';
import { isInGap, passGaps } from './gaps';
import type { Span } from './slot-row';

export class Opened extends Map<string, Position> implements OpenedDevice {
  constructor(
    positions: Iterable<readonly [string, Position]>,
    readonly wasForgotten = false,
  ) {
    super(positions);
  }
}

/** What is known of a device beside its cursors. */
export interface DeviceFacts {
  readonly device: string;
  /** When it last acknowledged something, or was entered. */
  readonly ackedAt: number;
}

/** Forgotten when one is opened: what the bound was lowered by goes over the next openings. */
const FORGOTTEN_AT_ONCE = 10;

/**
 * Which devices make room for one more: those that have acknowledged longest ago, and those that are connected only
 * when no other is left.
 */
export function devicesToForget(devices: readonly DeviceFacts[], limit: DeviceLimit | undefined): DeviceFacts[] {
  if (limit === undefined) return [];
  const { maxDevices, connected } = limit;
  const isLater = (one: DeviceFacts, other: DeviceFacts) =>
    Number(connected.has(one.device)) - Number(connected.has(other.device)) || one.ackedAt - other.ackedAt;
  const surplus = Math.min(devices.length + 1 - maxDevices, FORGOTTEN_AT_ONCE);
  return surplus <= 0 ? [] : devices.toSorted(isLater).slice(0, surplus);
}

/** Where something begins of which nothing was acknowledged. */
export function startAt(seq: number): Position {
  return { seq, unreadUpTo: 0 };
}

/** Where a device stands that has come to `seq`, in a topic that is the user's from `start` on. */
export function positionFrom({ seq, unreadUpTo }: Position, start: number): Position {
  const reached = Math.max(seq, start);
  return { seq: reached, unreadUpTo: unreadUpTo > reached ? unreadUpTo : 0 };
}

/**
 * The positions of a device by its cursors. A named topic counts while the user is in it; without a cursor it begins
 * where the user joined.
 * @param starts after which `seq` the topics of the user are the user's.
 */
export function positionsFrom(
  cursors: Iterable<readonly [topic: string, cursor: Position]>,
  starts: ReadonlyMap<string, number>,
): Map<string, Position> {
  const positions = new Map<string, Position>();
  for (const [topic, cursor] of cursors) {
    const start = isOfMembers(topic) ? starts.get(topic) : 0;
    if (start !== undefined) positions.set(topic, positionFrom(cursor, start));
  }
  for (const [topic, start] of starts) {
    if (isOfMembers(topic) && !positions.has(topic)) positions.set(topic, startAt(start));
  }
  return positions;
}

/** Where a further device begins in a topic: before the mark of an erasure, so that the device receives it. */
export function furtherPosition(
  { head, erasedUpTo = 0 }: { readonly head: number; readonly erasedUpTo?: number },
  oldestUnread: number | undefined,
): Position {
  const start = Math.min(oldestUnread ?? head + 1, erasedUpTo === 0 ? Number.POSITIVE_INFINITY : erasedUpTo);
  return { seq: start - 1, unreadUpTo: head };
}

/** The same positions, each after the gap that follows it, and with the gaps after it. */
export function withGaps(
  positions: Map<string, Position>,
  gapsByTopic: ReadonlyMap<string, readonly Span[]>,
): Map<string, Position> {
  for (const [topic, all] of gapsByTopic) {
    const position = positions.get(topic);
    if (position === undefined) continue;
    const { seq, gaps } = passGaps(position.seq, all);
    positions.set(topic, { ...positionFrom(position, seq), ...(gaps.length === 0 ? {} : { gaps }) });
  }
  return positions;
}

/** A device as a list shows it. */
export function toDevice(userId: string, device: string, positions: ReadonlyMap<string, Position>): Device {
  const cursors = new Map(Array.from(positions, ([topic, { seq }]) => [topic, seq]));
  cursors.delete(stateTopic(userId));
  return { device, cursors };
}

/** Was it seen so long after `before` that this is to be kept? */
export function isNews(before: number, at: number): boolean {
  return before + SEEN_PRECISION_MS <= at;
}

/** Several of one batch may be for the same place: the highest stays. */
export function highestOf(cursors: readonly Cursor[]): Cursor[] {
  return lastOfEach(
    cursors,
    ({ userId, device, topic }) => [userId, device, topic],
    (one, other) => one.seq - other.seq,
  );
}

/** When devices last acknowledged something: one cursor of each. */
export function latestOf(cursors: readonly Cursor[]): Cursor[] {
  return lastOfEach(
    cursors,
    ({ userId, device }) => [userId, device],
    (one, other) => one.at - other.at,
  );
}

function lastOfEach(
  cursors: readonly Cursor[],
  nameOf: (cursor: Cursor) => readonly string[],
  compare: (one: Cursor, other: Cursor) => number,
): Cursor[] {
  const sorted = cursors.toSorted(compare);
  return [...new Map(sorted.map((cursor) => [nameOf(cursor).join('\u0000'), cursor])).values()];
}

/**
 * Is a place acknowledged by a cursor that moves over it? What was read elsewhere before the device was new has not been
 * sent to it, nor what was said while the user was not in the topic.
 * @param from where the device stood.
 */
export function isAcknowledged(
  place: number,
  from: Omit<Position, 'seq'>,
  isUnread: (seq: number) => boolean,
): boolean {
  return (place > from.unreadUpTo || isUnread(place)) && !isInGap(from.gaps ?? [], place);
}
