/** Users and their devices: a document for each device, and one for each cursor. */

import { partsOf } from '../../../utils/parts';
import { BROADCAST_TOPIC, isOfMembers, isStateTopic, stateTopic } from '../../../utils/topic-names';
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
  positionsFrom,
  startAt,
  startsAt,
  toDevice,
  withGaps,
} from '../rules/opened-device';
import { isUnread, NOBODY } from '../rules/states';
import { findByIds, insertNew, pageOf, put, upsert, writeAll } from './commands';
import { ignoringDuplicates } from './errors';
import type { Inbox } from './inbox';
import { type CursorDoc, type Database, keyOf, startingWith, type UserDoc } from './layout';
import type { InboxList } from './list';
import type { Log } from './log';
import type { Marks, Stamping } from './marks';
import type { Memberships } from './memberships';

const CURSORS_AT_ONCE = 500;

interface DeviceParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly inbox: Inbox;
  readonly list: InboxList;
  readonly memberships: Memberships;
}

type CursorPlace = Pick<Cursor, 'userId' | 'device' | 'topic'>;

export class Devices {
  constructor(
    private readonly db: Database,
    private readonly parts: DeviceParts,
  ) {}

  async open(userId: string, device: string, limit?: DeviceLimit): Promise<OpenedDevice> {
    const known = await this.#find(userId, device);
    if (known !== undefined) return known;
    return this.db.turns.take(`user ${userId}`, () => this.#enter(userId, device, limit));
  }

  /** The positions of a device; `undefined` when it has to be entered first. */
  async #find(userId: string, device: string): Promise<OpenedDevice | undefined> {
    const isListed = { _id: keyOf(userId, device), forgottenAt: null } as object;
    const [doc, positions] = await Promise.all([
      this.db.collections.devices.findOne(isListed),
      this.#positionsOf(userId, device),
    ]);
    return doc === null || positions === undefined ? undefined : new Opened(positions);
  }

  /** Its cursor in the log of states is written last: without it the device was not entered completely. */
  async #positionsOf(userId: string, device: string): Promise<Map<string, Position> | undefined> {
    const [cursors, { starts, gaps }] = await Promise.all([
      this.db.collections.cursors.find({ _id: startingWith(userId, device) }).toArray(),
      this.parts.inbox.openings(userId),
    ]);
    if (!cursors.some(({ topic }) => isStateTopic(topic))) return undefined;
    const byTopic = cursors.map((cursor) => [cursor.topic, cursor] as const);
    return withGaps(positionsFrom(byTopic, starts), gaps);
  }

  async #enter(userId: string, device: string, limit: DeviceLimit | undefined): Promise<OpenedDevice> {
    assertFitsKey(userId, device);
    const all = await this.db.collections.devices.find({ _id: startingWith(userId) }).toArray();
    for (const { device: silent } of devicesToForget(all, device, limit)) await this.forget(userId, silent);
    const doc = all.find((one) => one.device === device) ?? all.find((one) => one.device === OTHERS);
    const wasForgotten = doc?.forgottenAt !== undefined;
    // The rest of it, which may remain after a node died.
    if (wasForgotten) await this.#removeCursors(userId, device);
    const known = await this.#positionsOf(userId, device);
    const positions = known ?? (await this.#enterNew(userId, device, wasForgotten));
    await this.#enlist(userId, device);
    return new Opened(positions, wasForgotten && known === undefined);
  }

  /** Writes the document of a device that becomes known, or has none yet. */
  async #enlist(userId: string, device: string): Promise<void> {
    const now = this.db.clock.now();
    const update = { $set: { userId, device, ackedAt: now, seenAt: now }, $unset: { forgottenAt: '' } } as const;
    await upsert(this.db.collections.devices, keyOf(userId, device), update);
  }

  /** The document first: from then on the device is unknown. */
  async forget(userId: string, device: string): Promise<void> {
    const { devices } = this.db.collections;
    const forgottenAt = this.db.clock.now();
    const forgotten = { _id: startingWith(userId), forgottenAt: { $gt: 0 } };
    const count = await devices.countDocuments(forgotten, { limit: MAX_FORGOTTEN_DEVICES });
    await devices.updateOne({ _id: keyOf(userId, device) }, { $set: { forgottenAt } });
    await this.#removeCursors(userId, device);
    if (count < MAX_FORGOTTEN_DEVICES) return;
    const others = { userId, device: OTHERS, ackedAt: forgottenAt, seenAt: forgottenAt, forgottenAt };
    await put(devices, { _id: keyOf(userId, OTHERS), ...others });
    await devices.deleteOne({ _id: keyOf(userId, device) });
  }

  async #removeCursors(userId: string, device: string): Promise<void> {
    await this.db.collections.cursors.deleteMany({ _id: startingWith(userId, device) });
  }

  async forgetSilent(before: number, limit: number): Promise<number> {
    const filter = { forgottenAt: null, seenAt: { $lt: before } } as object;
    const silent = await this.db.collections.devices.find(filter).sort({ seenAt: 1 }).limit(limit).toArray();
    for (const { userId, device } of silent) {
      await this.db.turns.take(`user ${userId}`, () => this.forget(userId, device));
    }
    return silent.length;
  }

  async saveSeen(seen: readonly SeenDevice[]): Promise<void> {
    const idOfSeen = ({ userId, device }: SeenDevice) => keyOf(userId, device);
    const known = await findByIds(this.db.collections.devices, seen.map(idOfSeen));
    const news = seen.filter((one) => isNews(known.get(idOfSeen(one))?.seenAt, one.at));
    const operations = news.map((one) => ({
      updateOne: { filter: { _id: idOfSeen(one) }, update: { $max: { seenAt: one.at } } },
    }));
    await writeAll(this.db.collections.devices, operations);
  }

  async #enterNew(userId: string, device: string, wasForgotten: boolean): Promise<Map<string, Position>> {
    const { starts, gaps } = await this.parts.inbox.openings(userId);
    const user = await this.#enterUser(userId, device);
    starts.set(BROADCAST_TOPIC, user.broadcastStart);
    const isFirst = user.firstDevice === device && !wasForgotten;
    const entered = isFirst ? startsAt(starts) : await this.#further(userId, [...starts.keys()]);
    entered.set(stateTopic(userId), startAt(await this.parts.log.head(stateTopic(userId))));
    await this.#passLeft(userId, device, entered);
    const { cursors: all } = this.db.collections;
    const cursors = Array.from(entered, ([topic, position]) => cursorOf({ userId, device, topic }, position));
    const areNew = await ignoringDuplicates(all.insertMany(cursors, { ordered: true }));
    if (areNew) return withGaps(entered, gaps);
    // Another node was faster, or died in between: its cursors are those of the device.
    await insertNew(all, cursors.slice(0, -1));
    await insertNew(all, cursors.slice(-1));
    return (await this.#positionsOf(userId, device)) ?? entered;
  }

  /** Messages sent before the user left a topic are not for a new device; `entered`: the current topics. */
  async #passLeft(userId: string, device: string, entered: ReadonlyMap<string, Position>): Promise<void> {
    const all = await this.parts.memberships.allLeftOf(userId);
    const left = all.filter(({ topic }) => !entered.has(topic));
    const passed = left.map(({ topic, leftAt }) => cursorOf({ userId, device, topic }, startAt(leftAt)));
    await insertNew(this.db.collections.cursors, passed);
  }

  /** The document records which device was the first, even if this node dies before the device is entered. */
  async #enterUser(userId: string, device: string): Promise<UserDoc> {
    const { users } = this.db.collections;
    const known = await users.findOne({ _id: userId });
    if (known !== null) return known;
    const { head } = await this.parts.log.state(BROADCAST_TOPIC);
    const user = { _id: userId, broadcastStart: head, firstDevice: device };
    const isNew = await ignoringDuplicates(users.insertOne(user));
    return isNew ? user : ((await users.findOne({ _id: userId })) ?? user);
  }

  async #further(userId: string, topics: readonly string[]): Promise<Map<string, Position>> {
    const { list, log } = this.parts;
    // States first: what is appended in between is either looked at or after the head.
    const states = await log.states(topics);
    const unread = await list.lastUnread(userId, FURTHER_DEVICE_MESSAGES);
    return new Map(
      topics.map((topic) => [topic, furtherPosition({ head: 0, ...states.get(topic) }, unread.get(topic))]),
    );
  }

  async list(userId: string, { after, limit }: NamePage): Promise<Listed<Device>> {
    const range = startingWith(userId);
    const _id = { $gt: keyOf(userId, after ?? OTHERS), $lt: range.$lt };
    const query = this.db.collections.devices.find({ _id, forgottenAt: null } as object).sort({ _id: 1 });
    const { docs, next } = await pageOf(query, limit, ({ device }) => device);
    const items: Device[] = [];
    for (const { device } of docs) {
      items.push(toDevice(userId, device, (await this.#positionsOf(userId, device)) ?? new Map()));
    }
    return { items, next };
  }

  /** Times come first: a cursor that has moved has them, even if this node dies in between. */
  async saveCursors(saved: readonly Cursor[]): Promise<void> {
    for (const part of partsOf(highestOf(saved), CURSORS_AT_ONCE)) {
      const known = await this.#standing(part);
      const ahead = part.filter((cursor) => cursor.seq > (known.get(idOf(cursor))?.seq ?? Number.POSITIVE_INFINITY));
      if (ahead.length === 0) continue;
      await this.#stampAcknowledged(ahead, known);
      const operations = ahead.map((cursor) => {
        const filter = { _id: idOf(cursor), seq: { $lt: cursor.seq } };
        return { updateOne: { filter, update: { $set: { seq: cursor.seq } } } };
      });
      await writeAll(this.db.collections.cursors, operations);
      await this.#saveAcknowledged(ahead);
    }
  }

  /** The positions of devices in topics that they follow; missing cursors are written. */
  async #standing(places: readonly Cursor[]): Promise<ReadonlyMap<string, Position>> {
    const { cursors } = this.db.collections;
    const [found, members] = await Promise.all([
      findByIds(cursors, places.map(idOf)),
      this.parts.memberships.findAllOrLeft(places.filter(({ topic }) => isOfMembers(topic))),
    ]);
    const standing = new Map<string, Position>();
    const missing: CursorDoc[] = [];
    for (const place of places) {
      const { topic, userId, seq } = place;
      const cursor = found.get(idOf(place));
      const position = isOfMembers(topic) ? followedFrom(cursor, members.get(keyOf(topic, userId)), seq) : cursor;
      if (position !== undefined) standing.set(idOf(place), position);
      if (position !== undefined && cursor === undefined) missing.push(cursorOf(place, position));
    }
    const entered = await findByIds(cursors, missing.map(markOf));
    for (const cursor of missing) if (!entered.has(markOf(cursor))) standing.delete(cursor._id);
    const wanted = missing.filter(({ _id }) => standing.has(_id));
    await insertNew(cursors, wanted);
    return standing;
  }

  async #saveAcknowledged(cursors: readonly Cursor[]): Promise<void> {
    const operations = latestOf(cursors).map(({ userId, device, at: ackedAt }) => ({
      updateOne: { filter: { _id: keyOf(userId, device), ackedAt: { $lt: ackedAt } }, update: { $set: { ackedAt } } },
    }));
    await writeAll(this.db.collections.devices, operations);
  }

  async #stampAcknowledged(ahead: readonly Cursor[], known: ReadonlyMap<string, Position>): Promise<void> {
    const stampings = ahead.filter(isReceipted).map((cursor) => this.#stampingOf(cursor, known.get(idOf(cursor))));
    await this.parts.marks.stamp(await Promise.all(stampings), { isFirst: true });
  }

  async #stampingOf({ userId, device, topic, seq, at }: Cursor, known: Position = startAt(0)): Promise<Stamping> {
    const span = { topic, from: known.seq + 1, upTo: seq };
    const upTo = Math.min(seq, known.unreadUpTo);
    const flagsAt = span.from > upTo ? () => 0 : await this.parts.marks.flagsAt(userId, [{ ...span, upTo }]);
    const isMeant = (place: number) =>
      isAcknowledged(place, known, (other) => isUnread(flagsAt({ topic, seq: other })));
    return { ...span, userId, kind: `ack:${device}`, at, isMeant };
  }

  async saveSent(sendings: readonly Sending[]): Promise<void> {
    const stampings = sendings.map((sending) => ({ ...sending, userId: NOBODY, kind: 'sent' }) as const);
    await this.parts.marks.stamp(stampings, { isFirst: true });
  }
}

function idOf({ userId, device, topic }: CursorPlace): string {
  return keyOf(userId, device, topic);
}

function cursorOf({ userId, device, topic }: CursorPlace, { seq, unreadUpTo }: Position): CursorDoc {
  return { _id: keyOf(userId, device, topic), userId, device, topic, seq, unreadUpTo };
}

/** Id of the cursor that says that a device was entered. */
function markOf({ userId, device }: CursorPlace): string {
  return keyOf(userId, device, stateTopic(userId));
}
