/** Where devices stand. */
import { DEFAULT_DEVICE, isOfMembers, isStateTopic, stateTopic } from '../../../utils/topic-names';
import {
  type Cursor,
  type Device,
  type DeviceLimit,
  type OpenedDevice,
  type Position,
  SEEN_PRECISION_MS,
} from '../contract';
import { isInGap, passGaps, type Stay } from './gaps';
import type { Span } from './slot-row';

export class Opened extends Map<string, Position> implements OpenedDevice {
  constructor(
    positions: Iterable<readonly [string, Position]>,
    readonly wasForgotten = false,
  ) {
    super(positions);
  }
}

/** Stands for forgotten devices of a user: there were more than are kept by their names. */
export const OTHERS = '';

/** What is known of a device besides its cursors. */
export interface DeviceFacts {
  readonly device: string;
  /** When it last acknowledged something, or was entered. */
  readonly ackedAt: number;
  /** When it last connected, to the day. */
  readonly seenAt: number;
  /** Unknown since then; a record stays, so that the device is notified when it returns. */
  readonly forgottenAt?: number;
}

/** Devices forgotten per connect; after the limit was lowered, the rest follow at later connects. */
const FORGOTTEN_AT_ONCE = 10;

/** Which devices make room for this one: those that acknowledged longest ago, connected ones last. */
export function devicesToForget<Facts extends DeviceFacts>(
  devices: readonly Facts[],
  device: string,
  limit: DeviceLimit | undefined,
): Facts[] {
  if (limit === undefined) return [];
  const { maxDevices, connected } = limit;
  const others = devices.filter((one) => one.forgottenAt === undefined && one.device !== device);
  const byUse = (one: Facts, other: Facts) =>
    Number(connected.has(one.device)) - Number(connected.has(other.device)) || one.ackedAt - other.ackedAt;
  const surplus = Math.min(others.length + 1 - maxDevices, FORGOTTEN_AT_ONCE);
  return others.toSorted(byUse).slice(0, Math.max(0, surplus));
}

/** The start of a topic without acknowledgements. */
export function startAt(seq: number): Position {
  return { seq, unreadUpTo: 0 };
}

/** The position of a device at `seq` in a topic that is the user's after `start`. */
export function positionFrom({ seq, unreadUpTo }: Position, start: number): Position {
  const reached = Math.max(seq, start);
  return { seq: reached, unreadUpTo: unreadUpTo > reached ? unreadUpTo : 0 };
}

export function startsAt(starts: Iterable<readonly [topic: string, start: number]>): Map<string, Position> {
  return new Map(Array.from(starts, ([topic, seq]) => [topic, startAt(seq)]));
}

/**
 * The position of a device in a named topic where it acknowledges `seq`; `undefined` if it does not follow the topic
 * there. A topic that was left is followed up to that moment.
 */
export function followedFrom(
  cursor: Position | undefined,
  membership: Stay | undefined,
  seq: number,
): Position | undefined {
  if (membership === undefined || seq > (membership.leftAt ?? seq)) return undefined;
  const { start, gaps = [] } = membership;
  return { ...positionFrom(cursor ?? startAt(start), start), gaps };
}

/** The positions of a device. A named topic counts while the user is in it, from where the user joined. */
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

/** Where a further device starts in a topic: before the mark of an erasure, so that the device receives it. */
export function furtherPosition(
  { head, erasedUpTo = 0 }: { readonly head: number; readonly erasedUpTo?: number },
  oldestUnread: number | undefined,
): Position {
  const start = Math.min(oldestUnread ?? head + 1, erasedUpTo === 0 ? Number.POSITIVE_INFINITY : erasedUpTo);
  return { seq: start - 1, unreadUpTo: head };
}

/** Skips the gap after each position, and adds the later ones. */
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

export function toDevice(userId: string, device: string, positions: ReadonlyMap<string, Position>): Device {
  const cursors = new Map(Array.from(positions, ([topic, { seq }]) => [topic, seq]));
  cursors.delete(stateTopic(userId));
  return { device, cursors };
}

/** Was a known device seen long enough after `before` to be recorded? */
export function isNews(before: number | undefined, at: number): boolean {
  return before !== undefined && before + SEEN_PRECISION_MS <= at;
}

/** The highest cursor for each place of a batch. */
export function highestOf(cursors: readonly Cursor[]): Cursor[] {
  const ascending = cursors.toSorted((one, other) => one.seq - other.seq);
  return lastOfEach(ascending, ({ userId, device, topic }) => [userId, device, topic]);
}

/** The latest cursor of each device. */
export function latestOf(cursors: readonly Cursor[]): Cursor[] {
  const ascending = cursors.toSorted((one, other) => one.at - other.at);
  return lastOfEach(ascending, ({ userId, device }) => [userId, device]);
}

function lastOfEach(cursors: readonly Cursor[], nameOf: (cursor: Cursor) => readonly string[]): Cursor[] {
  return [...new Map(cursors.map((cursor) => [nameOf(cursor).join('\u0000'), cursor])).values()];
}

/** Does a cursor make receipts? Clients of the shared device do not acknowledge. */
export function isReceipted({ device, topic }: Cursor): boolean {
  return device !== DEFAULT_DEVICE && !isStateTopic(topic);
}

/**
 * Is a place acknowledged by a cursor that moves over it? Not what was read before the device was new, nor what was
 * sent while the user was not in the topic: that was not sent to the device.
 */
export function isAcknowledged(place: number, from: Position, isUnread: (seq: number) => boolean): boolean {
  return (place > from.unreadUpTo || isUnread(place)) && !isInGap(from.gaps ?? [], place);
}
