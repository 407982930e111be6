/** Users and their devices. */
import {
  BROADCAST_TOPIC,
  DEFAULT_DEVICE,
  isStateTopic,
  ownerOfPersonalTopic,
  stateTopic,
} from '../../utils/topic-names';
import { type Cursor, type Device, FURTHER_DEVICE_MESSAGES, type Position, type Sending, type User } from './contract';
import { ignoringDuplicates, isDuplicate, retryingDuplicates } from './mongodb-errors';
import type { Inbox } from './mongodb-inbox';
import { assertFitsKey, type Collections, type CursorDoc, keyOf, startingWith, type UserDoc } from './mongodb-layout';
import type { Log } from './mongodb-log';
import type { Marks, Stamping } from './mongodb-marks';
import { partsOf, type Turns } from './mongodb-turns';
import { isUnread, NOBODY } from './states';

const CURSORS_AT_ONCE = 500;

interface DeviceParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly inbox: Inbox;
  readonly turns: Turns;
}

export class Devices {
  constructor(
    private readonly collections: Collections,
    private readonly parts: DeviceParts,
  ) {}

  async open(userId: string, device: string): Promise<ReadonlyMap<string, Position>> {
    const known = await this.#positionsOf(userId, device);
    return known ?? this.parts.turns.take(`user ${userId}`, () => this.#enter(userId, device));
  }

  /**
   * Where a device stands. Its cursor in the log of states is written last: without it the device was not entered,
   * or not wholly.
   */
  async #positionsOf(userId: string, device: string): Promise<ReadonlyMap<string, Position> | undefined> {
    const cursors = await this.collections.cursors.find({ _id: startingWith(userId, device) }).toArray();
    if (!cursors.some(({ topic }) => isStateTopic(topic))) return undefined;
    const starts = await this.parts.inbox.starts(userId);
    const positions = new Map(cursors.map((cursor) => [cursor.topic, positionOf(cursor)]));
    // Of a membership that ended in another node a moment ago, or that a node had begun to write when it died.
    for (const topic of positions.keys()) if (isOfMembers(topic) && !starts.has(topic)) positions.delete(topic);
    const missing = [...starts].filter(([topic]) => isOfMembers(topic) && !positions.has(topic));
    for (const [topic, seq] of missing) positions.set(topic, { seq, unreadUpTo: 0 });
    await this.#insert(missing.map(([topic, seq]) => cursorOf({ userId, device, topic }, { seq, unreadUpTo: 0 })));
    return positions;
  }

  async #enter(userId: string, device: string): Promise<ReadonlyMap<string, Position>> {
    assertFitsKey(userId, device);
    const starts = await this.parts.inbox.starts(userId);
    const user = await this.#enterUser(userId, device, { isKnown: starts.has(BROADCAST_TOPIC) });
    starts.set(BROADCAST_TOPIC, user.broadcastStart);
    const entered = user.firstDevice === device ? positionsAt(starts) : await this.#further(userId, [...starts.keys()]);
    const { head } = await this.parts.log.state(stateTopic(userId));
    entered.set(stateTopic(userId), { seq: head, unreadUpTo: 0 });
    const cursors = Array.from(entered, ([topic, position]) => cursorOf({ userId, device, topic }, position));
    if (await this.#insertAll(cursors)) return entered;
    // Somebody was faster, or a node died in between: what it has written is where the device stands.
    const last = cursors.pop();
    await this.#insert(cursors);
    if (last !== undefined) await this.#insert([last]);
    return (await this.#positionsOf(userId, device)) ?? entered;
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
    const [states, all] = await Promise.all([log.states(topics), inbox.sections(userId)]);
    const sections = new Map(all.map((section) => [section.topic, section]));
    const positions = new Map<string, Position>();
    for (const topic of topics) {
      const { head = 0, erasedUpTo = 0 } = states.get(topic) ?? {};
      const section = sections.get(topic);
      const oldest = section && (await inbox.lastUnread(userId, section, FURTHER_DEVICE_MESSAGES));
      // Before the mark of an erasure, so that the device is told of it.
      const start = Math.min(oldest ?? head + 1, erasedUpTo === 0 ? Number.POSITIVE_INFINITY : erasedUpTo);
      positions.set(topic, { seq: start - 1, unreadUpTo: head });
    }
    return positions;
  }

  async #insert(cursors: CursorDoc[]): Promise<void> {
    if (cursors.length === 0) return;
    await ignoringDuplicates(this.collections.cursors.insertMany(cursors, { ordered: false }));
  }

  /** Sets all cursors of a user in a topic. */
  async place(userId: string, topic: string, seq: number): Promise<void> {
    // Every device that was entered has a cursor in the log of states.
    const entered = { topic: stateTopic(userId) };
    const devices = await this.collections.cursors.find(entered, { projection: { _id: 0, device: 1 } }).toArray();
    if (devices.length === 0) return;
    const operations = devices.map(({ device }) => {
      const { _id, ...fields } = cursorOf({ userId, device, topic }, { seq, unreadUpTo: 0 });
      return { updateOne: { filter: { _id }, update: { $set: fields }, upsert: true } };
    });
    await retryingDuplicates(() => this.collections.cursors.bulkWrite(operations, { ordered: false }));
  }

  async remove(userId: string, topic: string): Promise<void> {
    await this.collections.cursors.deleteMany({ _id: startingWith(userId), topic });
  }

  /** Forgets a user with all devices. */
  async forget(userId: string): Promise<void> {
    await this.collections.cursors.deleteMany({ _id: startingWith(userId) });
    await this.collections.users.deleteOne({ _id: userId });
  }

  async list(userId: string): Promise<Device[]> {
    const devices = new Map<string, Map<string, number>>();
    const entered = new Set<string>();
    const all = await this.collections.cursors
      .find({ _id: startingWith(userId) })
      .sort({ _id: 1 })
      .toArray();
    for (const { device, topic, seq } of all) {
      const cursors = devices.get(device) ?? new Map<string, number>();
      devices.set(device, cursors);
      if (isStateTopic(topic)) entered.add(device);
      else cursors.set(topic, seq);
    }
    return Array.from(devices, ([device, cursors]) => ({ device, cursors })).filter((one) => entered.has(one.device));
  }

  /** The times come first: a cursor that has moved has them, also when this node dies in between. */
  async saveCursors(saved: readonly Cursor[]): Promise<void> {
    for (const part of partsOf(highestOf(saved), CURSORS_AT_ONCE)) {
      const known = await this.#cursors(part.map(idOf));
      const ahead = part.filter((cursor) => cursor.seq > (known.get(idOf(cursor))?.seq ?? Number.POSITIVE_INFINITY));
      if (ahead.length === 0) continue;
      await this.#stampAcknowledged(ahead, known);
      const operations = ahead.map((cursor) => {
        const filter = { _id: idOf(cursor), seq: { $lt: cursor.seq } };
        return { updateOne: { filter, update: { $set: { seq: cursor.seq } } } };
      });
      await this.collections.cursors.bulkWrite(operations, { ordered: false });
    }
  }

  async #cursors(ids: string[]): Promise<ReadonlyMap<string, CursorDoc>> {
    const found = await this.collections.cursors.find({ _id: { $in: ids } }).toArray();
    return new Map(found.map((cursor) => [cursor._id, cursor]));
  }

  async #stampAcknowledged(ahead: readonly Cursor[], known: ReadonlyMap<string, CursorDoc>): Promise<void> {
    const told = ahead.filter(({ device, topic }) => device !== DEFAULT_DEVICE && !isStateTopic(topic));
    const stampings = told.map((cursor) => this.#stampingOf(cursor, known.get(idOf(cursor))));
    await this.parts.marks.stampFirst(await Promise.all(stampings));
  }

  /** What was read elsewhere before the device was new has not been sent to it. */
  async #stampingOf({ userId, device, topic, seq, at }: Cursor, known: CursorDoc | undefined): Promise<Stamping> {
    const span = { topic, from: (known?.seq ?? 0) + 1, upTo: seq };
    const stamping = { ...span, userId, kind: `ack:${device}`, at } as const;
    const unreadUpTo = known?.unreadUpTo ?? 0;
    if (unreadUpTo < span.from) return stamping;
    const flagsAt = await this.parts.marks.flagsOf(userId, { ...span, upTo: Math.min(seq, unreadUpTo) });
    return { ...stamping, isMeant: (place) => place > unreadUpTo || isUnread(flagsAt(place)) };
  }

  async saveSent(sendings: readonly Sending[]): Promise<void> {
    const stampings = sendings.map((sending) => ({ ...sending, userId: NOBODY, kind: 'sent' }) as const);
    await this.parts.marks.stampFirst(stampings);
  }

  async user(userId: string): Promise<User | undefined> {
    const found = await this.collections.users.findOne({ _id: userId });
    if (found === null) return undefined;
    const { broadcastStart, lastSeenAt } = found;
    return { broadcastStart, ...(lastSeenAt === undefined ? {} : { lastSeenAt }) };
  }

  async saveLastSeen(times: ReadonlyMap<string, number>): Promise<void> {
    const operations = Array.from(times, ([_id, lastSeenAt]) => ({
      updateOne: { filter: { _id }, update: { $max: { lastSeenAt } } },
    }));
    for (const part of partsOf(operations, CURSORS_AT_ONCE)) {
      await this.collections.users.bulkWrite(part, { ordered: false });
    }
  }
}

/** Does the topic belong to its members? */
function isOfMembers(topic: string): boolean {
  return topic !== BROADCAST_TOPIC && !isStateTopic(topic) && ownerOfPersonalTopic(topic) === undefined;
}

function idOf({ userId, device, topic }: Pick<Cursor, 'userId' | 'device' | 'topic'>): string {
  return keyOf(userId, device, topic);
}

function cursorOf(place: Pick<Cursor, 'userId' | 'device' | 'topic'>, position: Position): CursorDoc {
  return { _id: idOf(place), ...place, ...position };
}

function positionsAt(starts: ReadonlyMap<string, number>): Map<string, Position> {
  return new Map(Array.from(starts, ([topic, seq]) => [topic, { seq, unreadUpTo: 0 }]));
}

function positionOf({ seq, unreadUpTo }: CursorDoc): Position {
  return { seq, unreadUpTo: unreadUpTo > seq ? unreadUpTo : 0 };
}

/** Several of one batch may be for the same place: the highest stays. */
function highestOf(saved: readonly Cursor[]): Cursor[] {
  const highest = new Map<string, Cursor>();
  for (const cursor of saved) {
    const known = highest.get(idOf(cursor));
    if (known === undefined || cursor.seq > known.seq) highest.set(idOf(cursor), cursor);
  }
  return [...highest.values()];
}
