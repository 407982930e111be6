/** Users and their devices: a row for each device, and one for each cursor. */
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
import { type CursorRow, type DeviceRow, type RangeOf, startingWith } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import type { Memberships } from './memberships';
import { pageOf } from './name-page';

/** Sorts after every topic: their names begin with an ASCII character. */
const AFTER_ALL_TOPICS = '\uffff';

type CursorKey = [userId: string, device: string, topic: string];

interface DeviceParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly inbox: Inbox;
  readonly memberships: Memberships;
  /** Finishes an interrupted erasure. */
  readonly endErasure: (userId: string) => Promise<void>;
}

export class Devices {
  constructor(
    private readonly access: Access,
    private readonly parts: DeviceParts,
  ) {}

  async open(userId: string, device: string, limit?: DeviceLimit): Promise<OpenedDevice> {
    const looked = this.access.read(() => ({
      isErased: this.access.trees.removals.doesExist(['user', userId, '']),
      known: this.#find(userId, device),
    }));
    // No turn in between, so that calls before close() are still done.
    const { isErased, known } = looked instanceof Promise ? await looked : looked;
    if (known !== undefined && !isErased) return known;
    // A user who returns after an erasure is new.
    if (isErased) await this.parts.endErasure(userId);
    return this.#open(userId, device, limit);
  }

  /** Finds unread messages before the write, and again when somebody else made the user known in between. */
  async #open(userId: string, device: string, limit: DeviceLimit | undefined): Promise<OpenedDevice> {
    const { access } = this;
    const isNew = access.read(() => !this.#isKnown(userId)) === true;
    const further = isNew ? undefined : await access.walking(() => this.#furtherDevice(userId));
    const entered = await access.write(() => this.#enter(userId, device, { limit, further }));
    return entered ?? this.#open(userId, device, limit);
  }

  /** The positions of a device; `undefined` when it has to be entered first. */
  #find(userId: string, device: string): OpenedDevice | undefined {
    const row = this.access.trees.devices.get([userId, device]);
    const isListed = row !== undefined && row.forgottenAt === undefined;
    return isListed ? new Opened(this.#cursorsOf(userId, device)) : undefined;
  }

  /** A device is known by its cursor in the log of states, even when an earlier version wrote no row for it. */
  #isEntered(userId: string, device: string): boolean {
    return this.access.trees.cursors.doesExist([userId, device, stateTopic(userId)]);
  }

  #cursorsOf(userId: string, device: string): Map<string, Position> {
    const { memberships } = this.parts;
    const rows = this.access.trees.cursors.getRange(cursorsOf(userId, device));
    const cursors = Array.from(rows, ({ key: [, , topic], value }) => [topic, cursorIn(value)] as const);
    const positions = positionsFrom(cursors, new Map(memberships.startsOf(userId)));
    return withGaps(positions, memberships.allGapsOf(userId));
  }

  /** Enters a device. @returns `undefined` when `further` is missing because the user became known meanwhile. */
  #enter(
    userId: string,
    device: string,
    { limit, further }: { limit: DeviceLimit | undefined; further: ReadonlyMap<string, Position> | undefined },
  ): OpenedDevice | undefined {
    const known = this.#find(userId, device);
    if (known !== undefined) return known;
    assertFitsKey(userId, device, stateTopic(userId));
    const isEntered = this.#isEntered(userId, device);
    if (!isEntered && further === undefined && this.#isKnown(userId)) return undefined;
    const { devices } = this.access.trees;
    const wasForgotten = devices.doesExist([userId, device]) || devices.doesExist([userId, OTHERS]);
    for (const { device: silent } of devicesToForget([...this.rowsOf(userId)], device, limit))
      this.forget(userId, silent);
    if (isEntered) {
      this.enlist(userId, device);
      return new Opened(this.#cursorsOf(userId, device));
    }
    const entered =
      further !== undefined && this.#isKnown(userId) ? this.#asNow(userId, further) : this.#firstDevice(userId);
    entered.set(stateTopic(userId), startAt(this.parts.log.head(stateTopic(userId))));
    for (const [topic, position] of entered) this.access.trees.cursors.put([userId, device, topic], rowOf(position));
    // Messages sent before the user left a topic are not for a device that is new since.
    const left = this.parts.memberships.allLeftOf(userId);
    for (const { topic, leftAt } of left) this.access.trees.cursors.put([userId, device, topic], leftAt);
    this.enlist(userId, device);
    return new Opened(withGaps(entered, this.parts.memberships.allGapsOf(userId)), wasForgotten);
  }

  #isKnown(userId: string): boolean {
    return this.access.trees.users.doesExist(userId);
  }

  /** Memberships may have changed since the positions were looked up. */
  #asNow(userId: string, positions: ReadonlyMap<string, Position>): Map<string, Position> {
    const starts = new Map(this.parts.memberships.startsOf(userId));
    const now = new Map(positions);
    for (const topic of positions.keys()) if (isOfMembers(topic) && !starts.has(topic)) now.delete(topic);
    for (const [topic, seq] of starts) if (!now.has(topic)) now.set(topic, startAt(seq));
    return now;
  }

  /** Writes the row of a device that becomes known, or has none yet. */
  enlist(userId: string, device: string): void {
    const now = this.access.clock.now();
    this.access.trees.devices.put([userId, device], { ackedAt: now, seenAt: now });
    this.access.trees.due.put(['device', now, userId, device], true);
  }

  /** The rows of a user, including those of forgotten devices. */
  *rowsOf(userId: string): Generator<DeviceRow & { readonly device: string }> {
    for (const { key, value } of this.access.trees.devices.getRange(startingWith<[string, string]>(userId))) {
      if (key[1] !== OTHERS) yield { device: key[1], ...value };
    }
  }

  /** Makes a device unknown with a few writes; Removals removes its cursors later. */
  forget(userId: string, device: string): void {
    const { devices, due, cursors, removals } = this.access.trees;
    const row = devices.get([userId, device]);
    if (row === undefined || row.forgottenAt !== undefined) return;
    const now = this.access.clock.now();
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
    return this.access.eachDue('device', { limit, by: before - 1 }, (due) => {
      const [, , userId, device] = due;
      this.access.trees.due.remove(due);
      this.forget(userId, String(device));
    });
  }

  async saveSeen(seen: readonly SeenDevice[]): Promise<void> {
    const { access } = this;
    const news = await access.reading(() => seen.filter((one) => this.#isNews(one)));
    if (news.length === 0) return;
    await access.write(() => {
      for (const one of news) if (this.#isNews(one)) this.#see(one);
    });
  }

  #isNews({ userId, device, at }: SeenDevice): boolean {
    const row = this.access.trees.devices.get([userId, device]);
    return row?.forgottenAt === undefined && isNews(row?.seenAt, at);
  }

  #see({ userId, device, at }: SeenDevice): void {
    const row = this.access.trees.devices.get([userId, device]);
    if (row === undefined) return;
    this.access.trees.due.remove(['device', row.seenAt, userId, device]);
    this.access.trees.due.put(['device', at, userId, device], true);
    this.access.trees.devices.put([userId, device], { ...row, seenAt: at });
  }

  #firstDevice(userId: string): Map<string, Position> {
    const broadcastStart = this.parts.log.state(BROADCAST_TOPIC).head;
    this.access.trees.users.put(userId, { broadcastStart });
    const ownStarts = [
      [personalTopic(userId), 0],
      [BROADCAST_TOPIC, broadcastStart],
    ] as const;
    return startsAt([...ownStarts, ...this.parts.memberships.startsOf(userId)]);
  }

  /** Where a further device starts. It receives everything appended during this look-up, read or not. */
  async #furtherDevice(userId: string): Promise<ReadonlyMap<string, Position>> {
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
    const moves = highestOf(saved).flatMap((cursor) => {
      const before = this.#standsAt(cursor);
      return before === undefined || before.seq >= cursor.seq ? [] : [{ cursor, before }];
    });
    for (const { cursor, before } of moves) this.#move(cursor, before);
    for (const { userId, device, at } of latestOf(moves.map(({ cursor }) => cursor))) {
      const row = this.access.trees.devices.get([userId, device]);
      if (row !== undefined && at > row.ackedAt)
        this.access.trees.devices.put([userId, device], { ...row, ackedAt: at });
    }
  }

  /** `undefined` for what does not follow the topic. */
  #standsAt({ userId, device, topic, seq }: Cursor): Position | undefined {
    if (!this.#isEntered(userId, device)) return undefined;
    const row = this.access.trees.cursors.get([userId, device, topic]);
    const cursor = row === undefined ? undefined : cursorIn(row);
    if (!isOfMembers(topic)) return cursor;
    const { memberships } = this.parts;
    return followedFrom(cursor, memberships.find(topic, userId) ?? memberships.leftOf(userId, topic), seq);
  }

  #move(cursor: Cursor, before: Position): void {
    const { userId, device, topic, seq, at } = cursor;
    this.access.trees.cursors.put([userId, device, topic], rowOf(positionFrom(before, seq)));
    if (!isReceipted(cursor)) return;
    const { marks } = this.parts;
    const isUnreadAt = (place: number) => isUnread(marks.get({ topic, seq: place }, userId));
    const wasSent = (place: number) => isAcknowledged(place, before, isUnreadAt);
    marks.stamp(topic, { from: before.seq + 1, upTo: seq }, { userId, kind: `ack:${device}`, at }, wasSent);
  }

  saveSent(sendings: readonly Sending[]): void {
    for (const { topic } of sendings) assertFitsKey(topic);
    for (const { topic, at, ...span } of sendings) this.parts.marks.stampSent(topic, span, at);
  }

  list(userId: string, { after, limit }: NamePage): Listed<Device> {
    const range = startingWith<[string, string]>(userId);
    const start: [string, string] = [userId, after ?? OTHERS];
    const rows = this.access.trees.devices.getRange({ ...range, start, exclusiveStart: true });
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
