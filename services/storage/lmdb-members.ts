/** Named topics, their members, and the devices of users. */
import { BROADCAST_TOPIC, DEFAULT_DEVICE, isStateTopic, personalTopic, stateTopic } from '../../utils/topic-names';
import {
  type Cursor,
  type Device,
  FURTHER_DEVICE_MESSAGES,
  type Joined,
  type Member,
  type Membership,
  type Position,
  type Sending,
  type Topic,
} from './contract';
import type { Inbox } from './lmdb-inbox';
import { assertFitsKey, type CursorRow, type RangeOf, startingWith, type Trees } from './lmdb-layout';
import type { Log } from './lmdb-log';
import type { Marks } from './lmdb-marks';
import { isUnread } from './states';

/** Sorts behind every topic (their names begin with an ASCII character), and behind every text but the rarest. */
const AFTER_ALL_TOPICS = '\uffff';

export interface MemberParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly inbox: Inbox;
}

export class Members {
  constructor(
    private readonly trees: Trees,
    private readonly parts: MemberParts,
  ) {}

  positionsOf(userId: string, device: string): Map<string, Position> {
    const range = {
      start: [userId, device, ''],
      end: [userId, device, AFTER_ALL_TOPICS],
    } satisfies RangeOf<[string, string, string]>;
    return new Map(Array.from(this.trees.cursors.getRange(range), ({ key, value }) => [key[2], positionOf(value)]));
  }

  enterDevice(userId: string, device: string): ReadonlyMap<string, Position> {
    const known = this.positionsOf(userId, device);
    if (known.size > 0) return known;
    assertFitsKey(userId, device, stateTopic(userId));
    const entered = this.#isKnown(userId) ? this.#furtherDevice(userId) : this.#firstDevice(userId);
    entered.set(stateTopic(userId), { seq: this.parts.log.state(stateTopic(userId)).head, unreadUpTo: 0 });
    for (const [topic, position] of entered) this.trees.cursors.put([userId, device, topic], rowOf(position));
    return entered;
  }

  #isKnown(userId: string): boolean {
    return this.trees.users.doesExist(userId);
  }

  #firstDevice(userId: string): Map<string, Position> {
    const broadcastStart = this.parts.log.state(BROADCAST_TOPIC).head;
    this.trees.users.put(userId, { broadcastStart });
    const starts: [string, number][] = [
      [personalTopic(userId), 0],
      [BROADCAST_TOPIC, broadcastStart],
      ...this.#startsOf(userId),
    ];
    return new Map(starts.map(([topic, seq]) => [topic, { seq, unreadUpTo: 0 }]));
  }

  #furtherDevice(userId: string): Map<string, Position> {
    const { inbox, log } = this.parts;
    const topics = [personalTopic(userId), BROADCAST_TOPIC, ...this.#startsOf(userId).keys()];
    const sections = new Map(inbox.sections(userId).map((section) => [section.topic, section]));
    return new Map(
      topics.map((topic) => {
        const { head, erasedUpTo = 0 } = log.state(topic);
        const section = sections.get(topic);
        const oldest = section && inbox.lastUnread(userId, section, FURTHER_DEVICE_MESSAGES);
        // Before the mark of an erasure, so that the device is told of it.
        const start = Math.min(oldest ?? head + 1, erasedUpTo === 0 ? Number.POSITIVE_INFINITY : erasedUpTo);
        return [topic, { seq: start - 1, unreadUpTo: head }];
      }),
    );
  }

  #startsOf(userId: string): Map<string, number> {
    const range = startingWith<[string, string]>(userId);
    return new Map(Array.from(this.trees.memberships.getRange(range), ({ key, value }) => [key[1], value]));
  }

  saveCursors(saved: readonly Cursor[]): void {
    const ahead = saved.filter(({ userId, device, topic, seq }) => {
      const known = this.trees.cursors.get([userId, device, topic]);
      return known !== undefined && seq > positionOf(known).seq;
    });
    // Several of one batch may be for the same place: the highest stays.
    for (const cursor of ahead.toSorted((one, other) => one.seq - other.seq)) this.#move(cursor);
  }

  #move({ userId, device, topic, seq, at }: Cursor): void {
    const before = positionOf(this.trees.cursors.get([userId, device, topic]) ?? 0);
    const unreadUpTo = seq < before.unreadUpTo ? before.unreadUpTo : 0;
    this.trees.cursors.put([userId, device, topic], rowOf({ seq, unreadUpTo }));
    if (device === DEFAULT_DEVICE || isStateTopic(topic)) return;
    const { marks } = this.parts;
    // What was read elsewhere before the device was new has not been sent to it.
    const wasSent = (place: number) => place > before.unreadUpTo || isUnread(marks.get({ topic, seq: place }, userId));
    marks.stamp(topic, { from: before.seq + 1, upTo: seq }, { userId, kind: `ack:${device}`, at }, wasSent);
  }

  saveSent(sendings: readonly Sending[]): void {
    for (const { topic } of sendings) assertFitsKey(topic);
    for (const { topic, at, ...span } of sendings) this.parts.marks.stampSent(topic, span, at);
  }

  devices(userId: string): Device[] {
    const devices = new Map<string, Map<string, number>>();
    const range = startingWith<[string, string, string]>(userId);
    for (const { key, value } of this.trees.cursors.getRange(range)) {
      const [, device, topic] = key;
      const cursors = devices.get(device) ?? new Map<string, number>();
      devices.set(device, cursors);
      if (!isStateTopic(topic)) cursors.set(topic, positionOf(value).seq);
    }
    return Array.from(devices, ([device, cursors]) => ({ device, cursors }));
  }

  cursorKeysOf(userId: string): [string, string, string][] {
    return Array.from(this.trees.cursors.getKeys(startingWith<[string, string, string]>(userId)));
  }

  create(topic: Topic, maxTopics: number): Joined | { readonly outcome: 'taken' } {
    const { named } = this.trees;
    if (named.doesExist(topic.name)) return { outcome: 'taken' };
    if (this.#startsOf(topic.owner).size >= maxTopics) return { outcome: 'too_many' };
    assertFitsKey(topic.name, topic.owner);
    named.put(topic.name, topic);
    this.parts.log.hide(topic.name);
    return this.#join(topic.name, { userId: topic.owner, joinedAt: topic.createdAt });
  }

  visibleTopics(userId: string): Topic[] {
    const own = this.#startsOf(userId);
    const all = Array.from(this.trees.named.getRange({}), ({ value }) => value);
    return all.filter(({ name, isPrivate }) => !isPrivate || own.has(name));
  }

  delete(name: string): readonly string[] | undefined {
    const { named } = this.trees;
    if (!named.doesExist(name)) return undefined;
    const members = this.members(name).map(({ userId }) => userId);
    for (const userId of members) this.leave(name, userId);
    named.remove(name);
    this.parts.log.hide(name);
    return members;
  }

  add(name: string, member: Member, maxTopics: number): Joined {
    const { named, members } = this.trees;
    if (!named.doesExist(name)) return { outcome: 'no_topic' };
    if (members.doesExist([name, member.userId])) return { outcome: 'member' };
    if (this.#startsOf(member.userId).size >= maxTopics) return { outcome: 'too_many' };
    assertFitsKey(name, member.userId);
    return this.#join(name, member);
  }

  #join(name: string, { userId, joinedAt }: Member): Joined {
    const { members, memberships, cursors } = this.trees;
    const start = this.parts.log.state(name).head;
    members.put([name, userId], joinedAt);
    memberships.put([userId, name], start);
    for (const { device } of this.devices(userId)) cursors.put([userId, device, name], start);
    return { outcome: 'joined', start };
  }

  remove(name: string, userId: string): boolean {
    const isMember = this.trees.members.doesExist([name, userId]);
    if (isMember) this.leave(name, userId);
    return isMember;
  }

  leave(name: string, userId: string): void {
    const { members, memberships, cursors } = this.trees;
    const start = memberships.get([userId, name]) ?? 0;
    this.parts.marks.removeUser(name, { from: start + 1, upTo: this.parts.log.state(name).head }, userId);
    members.remove([name, userId]);
    memberships.remove([userId, name]);
    for (const { device } of this.devices(userId)) cursors.remove([userId, device, name]);
  }

  members(name: string): Member[] {
    const range = startingWith<[string, string]>(name);
    return Array.from(this.trees.members.getRange(range), ({ key, value }) => ({ userId: key[1], joinedAt: value }));
  }

  memberships(userId: string): Membership[] {
    return [...this.#startsOf(userId).keys()].map((topic) => ({
      topic,
      joinedAt: this.trees.members.get([topic, userId]) ?? '',
    }));
  }
}

function positionOf(row: CursorRow): Position {
  return typeof row === 'number' ? { seq: row, unreadUpTo: 0 } : { seq: row[0], unreadUpTo: row[1] };
}

function rowOf({ seq, unreadUpTo }: Position): CursorRow {
  return unreadUpTo > seq ? [seq, unreadUpTo] : seq;
}
