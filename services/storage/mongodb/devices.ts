/** Users and their devices: a document for each device, and one for each cursor. */
import type { Clock } from '../../../utils/clock';
import { partsOf } from '../../../utils/parts';
import { BROADCAST_TOPIC, DEFAULT_DEVICE, isOfMembers, isStateTopic, stateTopic } from '../../../utils/topic-names';
import {
  type Cursor,
  type Device,
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
  positionsFrom,
  startAt,
  toDevice,
  withGaps,
} from '../rules/opened-device';
import type { Span } from '../rules/slot-row';
import { isUnread, NOBODY } from '../rules/states';
import type { Turns } from '../turns';
import { pageOf } from './commands';
import { ignoringDuplicates, isDuplicate, retryingDuplicates } from './errors';
import type { Inbox } from './inbox';
import {
  type Collections,
  type CursorDoc,
  type DeviceDoc,
  keyOf,
  type MemberDoc,
  startingWith,
  type UserDoc,
} from './layout';
import type { Log } from './log';
import type { Marks, Stamping } from './marks';
import type { Memberships } from './memberships';

const CURSORS_AT_ONCE = 500;
/** No device: says that more were forgotten than documents are kept for. */
const OTHERS = '';

interface DeviceParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly inbox: Inbox;
  readonly memberships: Memberships;
  readonly turns: Turns;
  readonly clock: Clock;
}

/** Where a device stands, and what of the topic is not for it. */
type Standing = CursorDoc & { readonly gaps?: readonly Span[] };

type CursorPlace = Pick<Cursor, 'userId' | 'device' | 'topic'>;

export class Devices {
  constructor(
    private readonly collections: Collections,
    private readonly parts: DeviceParts,
  ) {}

  async open(userId: string, device: string, limit?: DeviceLimit): Promise<OpenedDevice> {
    const known = await this.#find(userId, device);
    if (known !== undefined) return known;
    return this.parts.turns.take(`user ${userId}`, () => this.#enter(userId, device, limit));
  }

  /** Where a device stands; `undefined` for one that is to be entered first. */
  async #find(userId: string, device: string): Promise<OpenedDevice | undefined> {
    const [doc, positions] = await Promise.all([this.#doc(userId, device), this.#positionsOf(userId, device)]);
    return doc === undefined || doc.forgottenAt !== undefined || positions === undefined
      ? undefined
      : new Opened(positions);
  }

  async #doc(userId: string, device: string): Promise<DeviceDoc | undefined> {
    return (await this.collections.devices.findOne({ _id: keyOf(userId, device) })) ?? undefined;
  }

  /** Its cursor in the log of states is written last: without it the device was not entered, or not wholly. */
  async #positionsOf(userId: string, device: string): Promise<Map<string, Position> | undefined> {
    const [cursors, { starts, gaps }] = await Promise.all([
      this.collections.cursors.find({ _id: startingWith(userId, device) }).toArray(),
      this.parts.inbox.openings(userId),
    ]);
    if (!cursors.some(({ topic }) => isStateTopic(topic))) return undefined;
    const byTopic = cursors.map((cursor) => [cursor.topic, cursor] as const);
    return withGaps(positionsFrom(byTopic, starts), gaps);
  }

  async #enter(userId: string, device: string, limit: DeviceLimit | undefined): Promise<OpenedDevice> {
    assertFitsKey(userId, device);
    const all = await this.#docsOf(userId);
    const doc = all.find((one) => one.device === device);
    await this.#makeRoom(userId, device, { all, limit });
    const wasForgotten =
      doc?.forgottenAt !== undefined || (doc === undefined && all.some((one) => one.device === OTHERS));
    // What was left of it, or what a node had begun to remove when it died.
    if (wasForgotten) await this.#removeCursors(userId, device);
    const known = await this.#positionsOf(userId, device);
    const positions = known ?? (await this.#enterNew(userId, device, { wasForgotten }));
    await this.#enlist(userId, device);
    return new Opened(positions, wasForgotten && known === undefined);
  }

  #docsOf(userId: string): Promise<DeviceDoc[]> {
    return this.collections.devices.find({ _id: startingWith(userId) }).toArray();
  }

  /** Writes the document of a device that is known from now on, or that has none yet. */
  async #enlist(userId: string, device: string): Promise<void> {
    const now = this.parts.clock.now();
    const update = { $set: { userId, device, ackedAt: now, seenAt: now }, $unset: { forgottenAt: '' } } as const;
    await retryingDuplicates(() =>
      this.collections.devices.updateOne({ _id: keyOf(userId, device) }, update, { upsert: true }),
    );
  }

  async #makeRoom(
    userId: string,
    device: string,
    { all, limit }: { all: readonly DeviceDoc[]; limit: DeviceLimit | undefined },
  ): Promise<void> {
    const others = all.filter((one) => one.forgottenAt === undefined && one.device !== device);
    for (const { device: silent } of devicesToForget(others, limit)) await this.forget(userId, silent);
  }

  /** The document first: from then on the device is unknown, whatever is left of it. */
  async forget(userId: string, device: string): Promise<void> {
    const { devices } = this.collections;
    const forgottenAt = this.parts.clock.now();
    const forgotten = { _id: startingWith(userId), forgottenAt: { $gt: 0 } };
    const count = await devices.countDocuments(forgotten, { limit: MAX_FORGOTTEN_DEVICES });
    await devices.updateOne({ _id: keyOf(userId, device) }, { $set: { forgottenAt } });
    await this.#removeCursors(userId, device);
    if (count < MAX_FORGOTTEN_DEVICES) return;
    const others = { userId, device: OTHERS, ackedAt: forgottenAt, seenAt: forgottenAt, forgottenAt };
    const upsert = () => devices.updateOne({ _id: keyOf(userId, OTHERS) }, { $set: others }, { upsert: true });
    await retryingDuplicates(upsert);
    await devices.deleteOne({ _id: keyOf(userId, device) });
  }

  async #removeCursors(userId: string, device: string): Promise<void> {
    await this.collections.cursors.deleteMany({ _id: startingWith(userId, device) });
  }

  async forgetSilent(before: number, limit: number): Promise<number> {
    const filter = { forgottenAt: null, seenAt: { $lt: before } } as object;
    const silent = await this.collections.devices.find(filter).sort({ seenAt: 1 }).limit(limit).toArray();
    for (const { userId, device } of silent) {
      await this.parts.turns.take(`user ${userId}`, () => this.forget(userId, device));
    }
    return silent.length;
  }

  async saveSeen(seen: readonly SeenDevice[]): Promise<void> {
    for (const part of partsOf(seen, CURSORS_AT_ONCE)) {
      const ids = part.map(({ userId, device }) => keyOf(userId, device));
      const found = await this.collections.devices.find({ _id: { $in: ids } }).toArray();
      const known = new Map(found.map((doc) => [doc._id, doc.seenAt]));
      const news = part.filter(({ userId, device, at }) => {
        const before = known.get(keyOf(userId, device));
        return before !== undefined && isNews(before, at);
      });
      const operations = news.map(({ userId, device, at }) => ({
        updateOne: { filter: { _id: keyOf(userId, device) }, update: { $max: { seenAt: at } } },
      }));
      if (operations.length > 0) await this.collections.devices.bulkWrite(operations, { ordered: false });
    }
  }

  async #enterNew(
    userId: string,
    device: string,
    { wasForgotten }: { wasForgotten: boolean },
  ): Promise<Map<string, Position>> {
    const { starts, gaps } = await this.parts.inbox.openings(userId);
    const user = await this.#enterUser(userId, device, { isKnown: starts.has(BROADCAST_TOPIC) });
    starts.set(BROADCAST_TOPIC, user.broadcastStart);
    const isFirst = user.firstDevice === device && !wasForgotten;
    const entered = isFirst ? positionsAt(starts) : await this.#further(userId, [...starts.keys()]);
    entered.set(stateTopic(userId), startAt(await this.parts.log.head(stateTopic(userId))));
    await this.#passLeft(userId, device, entered);
    const cursors = Array.from(entered, ([topic, position]) => cursorOf({ userId, device, topic }, position));
    if (await this.#insertAll(cursors)) return withGaps(entered, gaps);
    // Somebody was faster, or a node died in between: what it has written is where the device stands.
    const last = cursors.pop();
    await this.#insert(cursors);
    if (last !== undefined) await this.#insert([last]);
    return (await this.#positionsOf(userId, device)) ?? entered;
  }

  /**
   * What was said in topics before their user left them is not for a device that is new since.
   * @param entered what the user is in by now: a topic of the same name that was deleted says nothing of it.
   */
  async #passLeft(userId: string, device: string, entered: ReadonlyMap<string, Position>): Promise<void> {
    const all = await this.parts.memberships.allLeftOf(userId);
    const left = all.filter(({ topic }) => !entered.has(topic));
    await this.#insert(left.map(({ topic, leftAt }) => cursorOf({ userId, device, topic }, startAt(leftAt))));
  }

  /** @returns false when one of them was there; those behind it may not have been written then. */
  async #insertAll(cursors: CursorDoc[]): Promise<boolean> {
    try {
      await this.collections.cursors.insertMany(cursors, { ordered: true });
      return true;
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      return false;
    }
  }

  /** The user keeps which device was the first: it stays so when this node dies before the device is entered. */
  async #enterUser(userId: string, device: string, { isKnown }: { isKnown: boolean }): Promise<UserDoc> {
    const known = isKnown ? await this.collections.users.findOne({ _id: userId }) : null;
    if (known !== null) return known;
    const { head } = await this.parts.log.state(BROADCAST_TOPIC);
    const user = { _id: userId, broadcastStart: head, firstDevice: device };
    try {
      await this.collections.users.insertOne(user);
      return user;
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      return (await this.collections.users.findOne({ _id: userId })) ?? user;
    }
  }

  async #further(userId: string, topics: readonly string[]): Promise<Map<string, Position>> {
    const { inbox, log } = this.parts;
    // In this order: what is appended in between is looked at, or comes after the head.
    const states = await log.states(topics);
    const all = await inbox.sections(userId);
    const unread = await inbox.lastUnread(userId, all, FURTHER_DEVICE_MESSAGES);
    return new Map(
      topics.map((topic) => [topic, furtherPosition({ head: 0, ...states.get(topic) }, unread.get(topic))]),
    );
  }

  async #insert(cursors: CursorDoc[]): Promise<void> {
    if (cursors.length === 0) return;
    await ignoringDuplicates(this.collections.cursors.insertMany(cursors, { ordered: false }));
  }

  async forgetAll(userId: string): Promise<void> {
    await this.collections.cursors.deleteMany({ _id: startingWith(userId) });
    await this.collections.devices.deleteMany({ _id: startingWith(userId) });
  }

  async count(userId: string): Promise<number> {
    const entered = { _id: startingWith(userId), topic: stateTopic(userId) };
    return this.collections.cursors.countDocuments(entered);
  }

  async list(userId: string, { after, limit }: NamePage): Promise<DevicesPage> {
    const range = startingWith(userId);
    const _id = { $gt: keyOf(userId, after ?? OTHERS), $lt: range.$lt };
    const query = this.collections.devices.find({ _id, forgottenAt: null } as object).sort({ _id: 1 });
    const { docs, next } = await pageOf(query, limit, ({ device }) => device);
    const devices: Device[] = [];
    for (const { device } of docs) {
      devices.push(toDevice(userId, device, (await this.#positionsOf(userId, device)) ?? new Map()));
    }
    return { devices, next };
  }

  /** The times come first: a cursor that has moved has them, also when this node dies in between. */
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
      await this.collections.cursors.bulkWrite(operations, { ordered: false });
      await this.#saveAcknowledged(ahead);
    }
  }

  /** The cursors of what follows the topic; those that a device has not needed so far are written. */
  async #standing(places: readonly Cursor[]): Promise<ReadonlyMap<string, Standing>> {
    const ofMembers = places.filter(({ topic }) => isOfMembers(topic));
    const [found, members] = await Promise.all([
      this.#cursors(places.map(idOf)),
      this.parts.memberships.findAllOrLeft(ofMembers),
    ]);
    const standing = new Map(Array.from(found).filter(([, { topic }]) => !isOfMembers(topic)));
    const missing: CursorDoc[] = [];
    for (const place of ofMembers) {
      const member = members.get(keyOf(place.topic, place.userId));
      // A topic that was left is followed up to there.
      if (member === undefined || place.seq > (member.leftAt ?? Number.POSITIVE_INFINITY)) continue;
      const cursor = found.get(idOf(place));
      if (cursor === undefined) missing.push(cursorOf(place, startAt(member.start)));
      else standing.set(idOf(place), { ...cursor, seq: Math.max(cursor.seq, member.start) });
    }
    for (const cursor of await this.#enterMissing(missing)) standing.set(cursor._id, cursor);
    return withGapsOf(standing, members);
  }

  async #enterMissing(missing: readonly CursorDoc[]): Promise<readonly CursorDoc[]> {
    if (missing.length === 0) return [];
    const marks = missing.map(({ userId, device }) => idOf({ userId, device, topic: stateTopic(userId) }));
    const entered = await this.#cursors([...new Set(marks)]);
    const wanted = missing.filter((_cursor, index) => entered.has(marks[index] ?? ''));
    await this.#insert([...wanted]);
    return wanted;
  }

  async #cursors(ids: string[]): Promise<ReadonlyMap<string, CursorDoc>> {
    const found = await this.collections.cursors.find({ _id: { $in: ids } }).toArray();
    return new Map(found.map((cursor) => [cursor._id, cursor]));
  }

  async #saveAcknowledged(cursors: readonly Cursor[]): Promise<void> {
    const operations = latestOf(cursors).map(({ userId, device, at: ackedAt }) => ({
      updateOne: { filter: { _id: keyOf(userId, device), ackedAt: { $lt: ackedAt } }, update: { $set: { ackedAt } } },
    }));
    await this.collections.devices.bulkWrite(operations, { ordered: false });
  }

  async #stampAcknowledged(ahead: readonly Cursor[], known: ReadonlyMap<string, Standing>): Promise<void> {
    const told = ahead.filter(({ device, topic }) => device !== DEFAULT_DEVICE && !isStateTopic(topic));
    const stampings = told.map((cursor) => this.#stampingOf(cursor, known.get(idOf(cursor))));
    await this.parts.marks.stampFirst(await Promise.all(stampings));
  }

  async #stampingOf({ userId, device, topic, seq, at }: Cursor, known: Position = startAt(0)): Promise<Stamping> {
    const span = { topic, from: known.seq + 1, upTo: seq };
    const flagsAt =
      known.unreadUpTo < span.from
        ? () => 0
        : await this.parts.marks.flagsOf(userId, { ...span, upTo: Math.min(seq, known.unreadUpTo) });
    const isMeant = (place: number) => isAcknowledged(place, known, (other) => isUnread(flagsAt(other)));
    return { ...span, userId, kind: `ack:${device}`, at, isMeant };
  }

  async saveSent(sendings: readonly Sending[]): Promise<void> {
    const stampings = sendings.map((sending) => ({ ...sending, userId: NOBODY, kind: 'sent' }) as const);
    await this.parts.marks.stampFirst(stampings);
  }
}

function idOf({ userId, device, topic }: CursorPlace): string {
  return keyOf(userId, device, topic);
}

function cursorOf({ userId, device, topic }: CursorPlace, { seq, unreadUpTo }: Position): CursorDoc {
  return { _id: keyOf(userId, device, topic), userId, device, topic, seq, unreadUpTo };
}

function withGapsOf(
  cursors: ReadonlyMap<string, CursorDoc>,
  members: ReadonlyMap<string, Pick<MemberDoc, 'gaps'>>,
): ReadonlyMap<string, Standing> {
  const standing = new Map<string, Standing>(cursors);
  for (const [id, cursor] of cursors) {
    const gaps = members.get(keyOf(cursor.topic, cursor.userId))?.gaps;
    if (gaps !== undefined) standing.set(id, { ...cursor, gaps });
  }
  return standing;
}

function positionsAt(starts: ReadonlyMap<string, number>): Map<string, Position> {
  return new Map(Array.from(starts, ([topic, seq]) => [topic, startAt(seq)]));
}
