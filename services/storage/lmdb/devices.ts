/** Users and their devices: a row for each device, and one for each cursor. */
import type { Clock } from '../../../utils/clock';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import { BROADCAST_TOPIC, isOfMembers, personalTopic, stateTopic } from '../../../utils/topic-names';
import {
  type Cursor,
  type Device,
  type DeviceLimit,
  FURTHER_DEVICE_MESSAGES,
  type Listed,
  MAX_FORGOTTEN_DEVICES,
  type NamePage,
  type OpenedDevice,
  type Position,
  type SeenDevice,
  type Sending,
} from '../contract';
import { assertFitsKey } from '../rules/key-size';
import {
  devicesToForget,
  followedFrom,
  furtherPosition,
  highestOf,
  isAcknowledged,
  isNews,
  isReceipted,
  latestOf,
  Opened,
  OTHERS,
  positionFrom,
  positionsFrom,
  startAt,
  startsAt,
  toDevice,
  withGaps,
} from '../rules/opened-device';
import { isUnread } from '../rules/states';
import type { Access } from './access';
import type { Inbox } from './inbox';
import { type CursorRow, type DeviceRow, type RangeOf, startingWith, type Trees } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import type { Memberships } from './memberships';
import { pageOf } from './name-page';

/** Sorts behind every topic (their names begin with an ASCII character), and behind every text but the rarest. */
const AFTER_ALL_TOPICS = '\uffff';

type CursorKey = [userId: string, device: string, topic: string];

export interface DeviceParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly inbox: Inbox;
  readonly memberships: Memberships;
  readonly access: Access;
  readonly clock: Clock;
}

interface EnterOptions {
  readonly limit: DeviceLimit | undefined;
  readonly further: ReadonlyMap<string, Position> | undefined;
}

export class Devices {
  constructor(
    private readonly trees: Trees,
    private readonly parts: DeviceParts,
  ) {}

  /** Where a device stands; `undefined` for one that is to be entered first. */
  positionsOf(userId: string, device: string): OpenedDevice | undefined {
    return this.#isListed(userId, device) ? new Opened(this.#cursorsOf(userId, device)) : undefined;
  }

  #isListed(userId: string, device: string): boolean {
    const row = this.trees.devices.get([userId, device]);
    return row !== undefined && row.forgottenAt === undefined;
  }

  /** Its cursor in the log of states says that a device is known, also where no row was written yet. */
  #isEntered(userId: string, device: string): boolean {
    return this.trees.cursors.doesExist([userId, device, stateTopic(userId)]);
  }

  #cursorsOf(userId: string, device: string): Map<string, Position> {
    const { memberships } = this.parts;
    const rows = this.trees.cursors.getRange(cursorsOf(userId, device));
    const cursors = Array.from(rows, ({ key: [, , topic], value }) => [topic, cursorIn(value)] as const);
    const positions = positionsFrom(cursors, new Map(memberships.startsOf(userId)));
    return withGaps(positions, memberships.allGapsOf(userId));
  }

  /**
   * @param options.further where a further device stands, looked up before.
   * @returns `undefined` when that is missing: the user is known meanwhile.
   */
  enter(userId: string, device: string, { limit, further }: EnterOptions): OpenedDevice | undefined {
    const known = this.positionsOf(userId, device);
    if (known !== undefined) return known;
    assertFitsKey(userId, device, stateTopic(userId));
    const isEntered = this.#isEntered(userId, device);
    if (!isEntered && further === undefined && this.isKnown(userId)) return undefined;
    const wasForgotten = this.#wasForgotten(userId, device);
    for (const { device: silent } of devicesToForget([...this.rowsOf(userId)], device, limit))
      this.forget(userId, silent);
    if (isEntered) {
      this.enlist(userId, device);
      return new Opened(this.#cursorsOf(userId, device));
    }
    const entered =
      further !== undefined && this.isKnown(userId) ? this.#asNow(userId, further) : this.#firstDevice(userId);
    entered.set(stateTopic(userId), startAt(this.parts.log.head(stateTopic(userId))));
    for (const [topic, position] of entered) this.trees.cursors.put([userId, device, topic], rowOf(position));
    this.#passLeft(userId, device);
    this.enlist(userId, device);
    return new Opened(withGaps(entered, this.parts.memberships.allGapsOf(userId)), wasForgotten);
  }

  /** What was said in topics before their user left them is not for a device that is new since. */
  #passLeft(userId: string, device: string): void {
    for (const { topic, leftAt } of this.parts.memberships.allLeftOf(userId)) {
      this.trees.cursors.put([userId, device, topic], leftAt);
    }
  }

  isKnown(userId: string): boolean {
    return this.trees.users.doesExist(userId);
  }

  /** Memberships may have begun or ended since they were looked up. */
  #asNow(userId: string, positions: ReadonlyMap<string, Position>): Map<string, Position> {
    const starts = new Map(this.parts.memberships.startsOf(userId));
    const now = new Map(positions);
    for (const topic of positions.keys()) if (isOfMembers(topic) && !starts.has(topic)) now.delete(topic);
    for (const [topic, seq] of starts) if (!now.has(topic)) now.set(topic, startAt(seq));
    return now;
  }

  #wasForgotten(userId: string, device: string): boolean {
    const { devices } = this.trees;
    return devices.doesExist([userId, device]) || devices.doesExist([userId, OTHERS]);
  }

  /** Writes the row of a device that is known from now on, or that has none yet. */
  enlist(userId: string, device: string): void {
    const now = this.parts.clock.now();
    this.trees.devices.put([userId, device], { ackedAt: now, seenAt: now });
    this.trees.due.put(['device', now, userId, device], true);
  }

  /** The rows of a user, those of forgotten devices too. */
  *rowsOf(userId: string): Generator<DeviceRow & { readonly device: string }> {
    for (const { key, value } of this.trees.devices.getRange(startingWith<[string, string]>(userId))) {
      if (key[1] !== OTHERS) yield { device: key[1], ...value };
    }
  }

  /** Makes a device unknown by a few rows; its cursors follow, see Removals. */
  forget(userId: string, device: string): void {
    const { devices, due, cursors, removals } = this.trees;
    const row = devices.get([userId, device]);
    if (row === undefined || row.forgottenAt !== undefined) return;
    const now = this.parts.clock.now();
    due.remove(['device', row.seenAt, userId, device]);
    cursors.remove([userId, device, stateTopic(userId)]);
    removals.put(['device', userId, device], { at: now, step: 0, upTo: 0 });
    const forgotten = [...this.rowsOf(userId)].filter(({ forgottenAt }) => forgottenAt !== undefined);
    if (forgotten.length < MAX_FORGOTTEN_DEVICES) devices.put([userId, device], { ...row, forgottenAt: now });
    else {
      devices.remove([userId, device]);
      devices.put([userId, OTHERS], { ackedAt: now, seenAt: now, forgottenAt: now });
    }
  }

  forgetSilent(before: number, limit: number): Promise<number> {
    return this.parts.access.eachDue('device', { limit, by: before - 1 }, (due) => {
      const [, , userId, device] = due;
      this.trees.due.remove(due);
      this.forget(userId, String(device));
    });
  }

  /** What of these is not known yet. */
  unseen(seen: readonly SeenDevice[]): SeenDevice[] {
    return seen.filter(({ userId, device, at }) => {
      const row = this.trees.devices.get([userId, device]);
      return row?.forgottenAt === undefined && isNews(row?.seenAt, at);
    });
  }

  saveSeen(seen: readonly SeenDevice[]): void {
    for (const { userId, device, at } of this.unseen(seen)) {
      const row = this.trees.devices.get([userId, device]);
      if (row === undefined) continue;
      this.trees.due.remove(['device', row.seenAt, userId, device]);
      this.trees.due.put(['device', at, userId, device], true);
      this.trees.devices.put([userId, device], { ...row, seenAt: at });
    }
  }

  #firstDevice(userId: string): Map<string, Position> {
    const broadcastStart = this.parts.log.state(BROADCAST_TOPIC).head;
    this.trees.users.put(userId, { broadcastStart });
    const ownStarts = [
      [personalTopic(userId), 0],
      [BROADCAST_TOPIC, broadcastStart],
    ] as const;
    return startsAt([...ownStarts, ...this.parts.memberships.startsOf(userId)]);
  }

  /** Where a further device begins, in slices: what is appended meanwhile it gets, read or not. */
  async furtherDevice(userId: string): Promise<ReadonlyMap<string, Position>> {
    const { inbox, log } = this.parts;
    const sections = new Map((await inbox.sections(userId)).map((section) => [section.topic, section]));
    const positions = new Map<string, Position>();
    for (const [topic, section] of sections) {
      if (isSliceOver()) await nextSlice();
      const oldest = await inbox.lastUnread(userId, section, FURTHER_DEVICE_MESSAGES);
      positions.set(topic, furtherPosition({ ...log.state(topic), head: section.upTo }, oldest));
    }
    return positions;
  }

  saveCursors(saved: readonly Cursor[]): void {
    const moved = highestOf(saved).filter((cursor) => this.#move(cursor));
    for (const { userId, device, at } of latestOf(moved)) {
      const row = this.trees.devices.get([userId, device]);
      if (row !== undefined && at > row.ackedAt) this.trees.devices.put([userId, device], { ...row, ackedAt: at });
    }
  }

  /** `undefined` for what does not follow the topic. */
  #standsAt({ userId, device, topic, seq }: Cursor): Position | undefined {
    if (!this.#isEntered(userId, device)) return undefined;
    const row = this.trees.cursors.get([userId, device, topic]);
    const cursor = row === undefined ? undefined : cursorIn(row);
    if (!isOfMembers(topic)) return cursor;
    const { memberships } = this.parts;
    return followedFrom(cursor, memberships.find(topic, userId) ?? memberships.leftOf(userId, topic), seq);
  }

  /** @returns false when the device is further already. */
  #move(cursor: Cursor): boolean {
    const { userId, device, topic, seq, at } = cursor;
    const before = this.#standsAt(cursor);
    if (before === undefined || before.seq >= seq) return false;
    this.trees.cursors.put([userId, device, topic], rowOf(positionFrom(before, seq)));
    if (!isReceipted(cursor)) return true;
    const { marks } = this.parts;
    const isUnreadAt = (place: number) => isUnread(marks.get({ topic, seq: place }, userId));
    const wasSent = (place: number) => isAcknowledged(place, before, isUnreadAt);
    marks.stamp(topic, { from: before.seq + 1, upTo: seq }, { userId, kind: `ack:${device}`, at }, wasSent);
    return true;
  }

  saveSent(sendings: readonly Sending[]): void {
    for (const { topic } of sendings) assertFitsKey(topic);
    for (const { topic, at, ...span } of sendings) this.parts.marks.stampSent(topic, span, at);
  }

  list(userId: string, { after, limit }: NamePage): Listed<Device> {
    const range = startingWith<[string, string]>(userId);
    const start: [string, string] = [userId, after ?? OTHERS];
    const rows = this.trees.devices.getRange({ ...range, start, exclusiveStart: true });
    return pageOf(rows, limit, (device, { forgottenAt }) =>
      forgottenAt === undefined ? toDevice(userId, device, this.#cursorsOf(userId, device)) : undefined,
    );
  }
}

function cursorsOf(userId: string, device: string): RangeOf<CursorKey> {
  return { start: [userId, device, ''], end: [userId, device, AFTER_ALL_TOPICS] };
}

function cursorIn(row: CursorRow): Position {
  const [seq, unreadUpTo] = typeof row === 'number' ? [row, 0] : row;
  return { seq, unreadUpTo };
}

function rowOf({ seq, unreadUpTo }: Position): CursorRow {
  return unreadUpTo > seq ? [seq, unreadUpTo] : seq;
}
