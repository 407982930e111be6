/** Users and their devices: a row for each device, and one for each cursor. */
import type { Clock } from '../../../utils/clock';
import { isSliceOver, nextSlice } from '../../../utils/slices';
import {
  BROADCAST_TOPIC,
  DEFAULT_DEVICE,
  isOfMembers,
  isStateTopic,
  personalTopic,
  stateTopic,
} from '../../../utils/topic-names';
import {
  type Cursor,
  type DeviceLimit,
  type DevicesPage,
  FURTHER_DEVICE_MESSAGES,
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
  furtherPosition,
  highestOf,
  isAcknowledged,
  isNews,
  latestOf,
  Opened,
  positionFrom,
  positionsFrom,
  startAt,
  toDevice,
  withGaps,
} from '../rules/opened-device';
import { isUnread } from '../rules/states';
import type { Access } from './access';
import type { Inbox } from './inbox';
import { type CursorRow, type DeviceRow, numberedFrom, type RangeOf, startingWith, type Trees } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import type { Memberships } from './memberships';
import { pageOf } from './name-page';

/** Sorts behind every topic (their names begin with an ASCII character), and behind every text but the rarest. */
const AFTER_ALL_TOPICS = '\uffff';
/** No device: says that more were forgotten than rows are kept for. */
const OTHERS = '';

type DueDevice = [kind: 'device', at: number, userId: string, device: string];
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
    this.#makeRoom(userId, device, limit);
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

  #makeRoom(userId: string, device: string, limit: DeviceLimit | undefined): void {
    const others = [...this.rowsOf(userId)].filter((row) => row.forgottenAt === undefined && row.device !== device);
    for (const { device: silent } of devicesToForget(others, limit)) this.forget(userId, silent);
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

  async forgetSilent(before: number, limit: number): Promise<number> {
    const { access } = this.parts;
    return (await access.isDue('device', before - 1)) ? access.write(() => this.#forgetSilent(before, limit)) : 0;
  }

  #forgetSilent(before: number, limit: number): number {
    const range = { ...numberedFrom<DueDevice>('device', 0, before - 1), limit };
    const silent = Array.from(this.trees.due.getKeys(range)) as unknown as DueDevice[];
    for (const [kind, at, userId, device] of silent) {
      this.trees.due.remove([kind, at, userId, device]);
      this.forget(userId, device);
    }
    return silent.length;
  }

  /** What of these is not known yet. */
  unseen(seen: readonly SeenDevice[]): SeenDevice[] {
    return seen.filter(({ userId, device, at }) => {
      const row = this.trees.devices.get([userId, device]);
      return row !== undefined && row.forgottenAt === undefined && isNews(row.seenAt, at);
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
    const starts: [string, number][] = [
      [personalTopic(userId), 0],
      [BROADCAST_TOPIC, broadcastStart],
      ...this.parts.memberships.startsOf(userId),
    ];
    return new Map(starts.map(([topic, seq]) => [topic, startAt(seq)]));
  }

  /** Where a further device begins, in slices: what is appended meanwhile it gets, read or not. */
  async furtherDevice(userId: string): Promise<ReadonlyMap<string, Position>> {
    const { inbox, log } = this.parts;
    const sections = new Map((await inbox.allSections(userId)).map((section) => [section.topic, section]));
    const positions = new Map<string, Position>();
    for (const [topic, section] of sections) {
      if (isSliceOver()) await nextSlice();
      const oldest = await inbox.lastUnread(userId, section, FURTHER_DEVICE_MESSAGES);
      positions.set(topic, furtherPosition({ ...log.state(topic), head: section.upTo }, oldest));
    }
    return positions;
  }

  saveCursors(saved: readonly Cursor[]): void {
    const ahead = highestOf(saved).filter(
      (cursor) => cursor.seq > (this.#standsAt(cursor)?.seq ?? Number.POSITIVE_INFINITY),
    );
    for (const cursor of ahead) this.#move(cursor);
    for (const { userId, device, at } of latestOf(ahead)) {
      const row = this.trees.devices.get([userId, device]);
      if (row !== undefined && at > row.ackedAt) this.trees.devices.put([userId, device], { ...row, ackedAt: at });
    }
  }

  /** `undefined` for what does not follow the topic; a topic that was left is followed up to there. */
  #standsAt({ userId, device, topic, seq }: Omit<Cursor, 'at'>): Position | undefined {
    if (!this.#isEntered(userId, device)) return undefined;
    const row = this.trees.cursors.get([userId, device, topic]);
    if (!isOfMembers(topic)) return row === undefined ? undefined : cursorIn(row);
    const { memberships } = this.parts;
    const left = memberships.leftOf(userId, topic);
    const start = memberships.startOf(userId, topic) ?? (left && seq <= left.leftAt ? left.start : undefined);
    return start === undefined ? undefined : positionFrom(cursorIn(row ?? start), start);
  }

  #move(cursor: Cursor): void {
    const { userId, device, topic, seq, at } = cursor;
    const before = this.#standsAt(cursor) ?? startAt(0);
    this.trees.cursors.put([userId, device, topic], rowOf(positionFrom(before, seq)));
    if (device === DEFAULT_DEVICE || isStateTopic(topic)) return;
    const { marks, memberships } = this.parts;
    const gaps = isOfMembers(topic) ? memberships.gapsOf(userId, topic) : [];
    const isUnreadAt = (place: number) => isUnread(marks.get({ topic, seq: place }, userId));
    const wasSent = (place: number) => isAcknowledged(place, { ...before, gaps }, isUnreadAt);
    marks.stamp(topic, { from: before.seq + 1, upTo: seq }, { userId, kind: `ack:${device}`, at }, wasSent);
  }

  saveSent(sendings: readonly Sending[]): void {
    for (const { topic } of sendings) assertFitsKey(topic);
    for (const { topic, at, ...span } of sendings) this.parts.marks.stampSent(topic, span, at);
  }

  list(userId: string, { after, limit }: NamePage): DevicesPage {
    const range = startingWith<[string, string]>(userId);
    const start: [string, string] = [userId, after ?? OTHERS];
    const rows = this.trees.devices.getRange({ ...range, start, exclusiveStart: true });
    const { items: devices, next } = pageOf(rows, limit, (device, { forgottenAt }) =>
      forgottenAt === undefined ? toDevice(userId, device, this.#cursorsOf(userId, device)) : undefined,
    );
    return { devices, next };
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
