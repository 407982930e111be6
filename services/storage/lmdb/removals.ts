/**
 * What is out of sight already and has rows left: of deleted topics, forgotten devices, erased users. A list in the
 * store says what is under way, so it goes on after a crash. Each step removes rows for some milliseconds.
 */
import { Slice } from '../../../utils/slices';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../../utils/topic-names';
import type { Devices } from './devices';
import type { Keys } from './keys';
import { type RemovalKey, type RemovalRow, startingWith, type Trees, walk } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import { generationIn, type Memberships, startIn } from './memberships';
import { parseMessage } from './record';
import type { Schedule } from './schedule';
import type { Topics } from './topics';

const MESSAGES_PER_SLICE = 200;
const MARKS_PER_SLICE = 200;
/** The most that one row of marks tells of. */
const PLACES_PER_ROW = 1_024;

type Position = readonly (string | number)[];

/** Does a part of the work of one step. @returns where to go on; `undefined` when the step has been done. */
type Step = (after: Position | undefined, slice: Slice) => Position | undefined;

/** What was removed of what an erasure counts. */
export interface Tally {
  devices: number;
  memberships: number;
  scheduled: number;
}

export interface RemovalParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly memberships: Memberships;
  readonly devices: Devices;
  readonly topics: Topics;
  readonly schedule: Schedule;
  readonly keys: Keys;
  readonly now: () => number;
}

export class Removals {
  constructor(
    private readonly trees: Trees,
    private readonly parts: RemovalParts,
  ) {}

  /** What is under way first, of what nobody works on. */
  next(isHeld: (key: RemovalKey) => boolean): RemovalKey | undefined {
    for (const key of this.trees.removals.getKeys({})) if (!isHeld(key)) return key;
    return undefined;
  }

  isUnderWay(key: RemovalKey): boolean {
    return this.trees.removals.doesExist(key);
  }

  /** One slice of one removal. @returns false when it has ended. */
  advance(key: RemovalKey, tally: Tally = { devices: 0, memberships: 0, scheduled: 0 }): boolean {
    const row = this.trees.removals.get(key);
    if (row === undefined) return false;
    const step = this.#stepsOf(key, row, tally)[row.step];
    if (step === undefined) {
      this.trees.removals.remove(key);
      return false;
    }
    const after = step(row.after, new Slice());
    const { after: _before, ...rest } = row;
    this.trees.removals.put(key, after === undefined ? { ...rest, step: row.step + 1 } : { ...rest, after });
    return true;
  }

  #stepsOf([kind, first, second]: RemovalKey, row: RemovalRow, tally: Tally): readonly Step[] {
    if (kind === 'topic') return this.#topicSteps(first, Number(second), row);
    if (kind === 'device') return [(_after, slice) => this.#removeCursors(first, second, slice)];
    if (kind === 'user') return this.#userSteps(first, row, tally);
    return [(after, slice) => this.#listDevices(after, slice), (after, slice) => this.#markOwn(after, slice)];
  }

  #topicSteps(name: string, generation: number, { upTo }: RemovalRow): readonly Step[] {
    const { marks } = this.parts;
    const isReused = this.trees.named.doesExist(name);
    return [
      (after, slice) => this.#removeMembers(name, { generation, after, slice }),
      (_after, slice) => this.#removeHidden(name, slice),
      // The last row of marks may be of a later topic of this name, too.
      () => again(marks.removeUpTo(name, isReused ? upTo : Number.MAX_SAFE_INTEGER, MARKS_PER_SLICE)),
    ];
  }

  #removeMembers(
    name: string,
    { generation, after, slice }: { generation: number; after: Position | undefined; slice: Slice },
  ): Position | undefined {
    const range = startingWith<[string, string]>(name);
    const start: [string, string] = [name, String(after?.[0] ?? '')];
    for (const { key, value } of walk(this.trees.members, { ...range, start, exclusiveStart: true })) {
      const [, userId] = key;
      if (generationIn(value) <= generation) {
        this.parts.memberships.remove(name, userId);
        this.parts.topics.removeCursors(name, userId);
      }
      if (slice.isOver) return [userId];
    }
    return undefined;
  }

  #removeHidden(topic: string, slice: Slice): Position | undefined {
    const { log } = this.parts;
    const old = log.oldOf(topic, Number.NEGATIVE_INFINITY, { limit: MESSAGES_PER_SLICE, slice });
    log.removeOld(topic, old);
    return again(old.length);
  }

  /** Of a device that is not known: one that has come back meanwhile keeps them. */
  #removeCursors(userId: string, device: string, slice: Slice): Position | undefined {
    const { cursors } = this.trees;
    if (cursors.doesExist([userId, device, stateTopic(userId)])) return undefined;
    const range = { start: [userId, device, ''], end: [userId, device, '\uffff'] };
    for (const { key } of walk(cursors, range)) {
      cursors.remove(key);
      if (slice.isOver) return [];
    }
    return undefined;
  }

  #userSteps(userId: string, { from = 0, upTo }: RemovalRow, tally: Tally): readonly Step[] {
    const own = personalTopic(userId);
    const { schedule, keys } = this.parts;
    const ofBroadcasts = { userId, topic: BROADCAST_TOPIC, from: from + 1, upTo };
    return [
      (_after, slice) => counted(tally, 'scheduled', schedule.cancelFrom(userId, slice)),
      (after, slice) => this.#cancelTo(own, { after, slice, tally }),
      (_after, slice) => again(keys.forgetOf(userId, slice)),
      (after, slice) => this.#leaveAll(userId, { after, slice, tally }),
      (after, slice) => this.#forgetLeft(userId, after, slice),
      (_after, slice) => this.#removeDevices(userId, slice, tally),
      (after, slice) => this.#removeMarks(ofBroadcasts, after, slice),
      ...[own, stateTopic(userId)].flatMap((topic) => this.#logSteps(userId, topic)),
    ];
  }

  #logSteps(userId: string, topic: string): readonly Step[] {
    const { marks, log } = this.parts;
    const { prunedUpTo } = log.state(topic);
    // What the last row of marks tells of may not be hidden.
    const ofLastRow = { userId, topic, from: Math.max(1, prunedUpTo - PLACES_PER_ROW), upTo: prunedUpTo };
    return [
      () => again(marks.removeUpTo(topic, prunedUpTo, MARKS_PER_SLICE)),
      (after, slice) => this.#removeMarks(ofLastRow, after, slice),
      (_after, slice) => this.#removeHidden(topic, slice),
    ];
  }

  #cancelTo(own: string, { after, slice, tally }: { after: Position | undefined; slice: Slice; tally: Tally }) {
    const key = after as [string, string] | undefined;
    const { cancelled, next } = this.parts.schedule.cancelTo(own, key, slice);
    tally.scheduled += cancelled;
    return next;
  }

  #leaveAll(
    userId: string,
    { after, slice, tally }: { after: Position | undefined; slice: Slice; tally: Tally },
  ): Position | undefined {
    const { memberships, topics, log } = this.parts;
    const [done, seq] = after ?? [];
    const start: [string, string] = [userId, String(done ?? '')];
    const range = { ...startingWith<[string, string]>(userId), start, exclusiveStart: seq === undefined };
    for (const { key, value } of walk(this.trees.memberships, range)) {
      const [, topic] = key;
      const from = topic === done && seq !== undefined ? Number(seq) : startIn(value) + 1;
      const rest = this.#removeMarks({ userId, topic, from, upTo: log.state(topic).head }, undefined, slice);
      if (rest !== undefined) return [topic, ...rest];
      if (memberships.isMember(topic, userId)) tally.memberships += 1;
      memberships.remove(topic, userId);
      topics.removeCursors(topic, userId);
      if (slice.isOver) return [topic];
    }
    return undefined;
  }

  /** What the user did in topics that were left before. */
  #forgetLeft(userId: string, after: Position | undefined, slice: Slice): Position | undefined {
    const { absences } = this.trees;
    for (const { key, value } of walk(absences, startingWith<[string, string]>(userId))) {
      const [, topic] = key;
      const span = { from: value.start + 1, upTo: value.leftAt ?? value.start };
      const rest = this.#removeMarks({ userId, topic, ...span }, after, slice);
      if (rest !== undefined) return rest;
      absences.remove(key);
      // Where marks go on is said of the first of them.
      return [];
    }
    return undefined;
  }

  #removeMarks(
    { userId, topic, from, upTo }: { userId: string; topic: string; from: number; upTo: number },
    after: Position | undefined,
    slice: Slice,
  ): Position | undefined {
    const next = this.parts.marks.removeUserFrom(topic, { from: Number(after?.[0] ?? from), upTo }, { userId, slice });
    return next === undefined ? undefined : [next];
  }

  #removeDevices(userId: string, slice: Slice, tally: Tally): Position | undefined {
    const { cursors, devices, due, removals } = this.trees;
    for (const { key } of walk(cursors, startingWith<[string, string, string]>(userId))) {
      if (key[2] === stateTopic(userId)) tally.devices += 1;
      cursors.remove(key);
      if (slice.isOver) return [];
    }
    for (const { key, value } of walk(devices, startingWith<[string, string]>(userId))) {
      due.remove(['device', value.seenAt, ...key]);
      devices.remove(key);
      removals.remove(['device', ...key]);
      if (slice.isOver) return [];
    }
    return undefined;
  }

  /** The version before counted what one has said oneself as seen only. */
  #markOwn(after: Position | undefined, slice: Slice): Position | undefined {
    const start = after as [string, number] | undefined;
    const range = start === undefined ? {} : { start, exclusiveStart: true };
    for (const { key, value } of walk(this.trees.messages, range)) {
      const { message, isGone } = parseMessage(key, value);
      if (!isGone && message.ref === undefined) this.parts.log.markOwn(message);
      if (slice.isOver) return key;
    }
    return undefined;
  }

  /** Writes the rows that layout 2 did not have: its devices are those with a cursor in the log of states. */
  #listDevices(after: Position | undefined, slice: Slice): Position | undefined {
    let key = after as [string, string, string] | undefined;
    for (;;) {
      const range = key === undefined ? {} : { start: key, exclusiveStart: true };
      [key] = this.trees.cursors.getKeys({ ...range, limit: 1 });
      if (key === undefined) return undefined;
      const [userId, device] = key;
      const isEntered = this.trees.cursors.doesExist([userId, device, stateTopic(userId)]);
      if (isEntered && !this.trees.devices.doesExist([userId, device])) this.parts.devices.enlist(userId, device);
      key = [userId, device, '\uffff'];
      if (slice.isOver) return key;
    }
  }
}

/** Goes on from the beginning while anything was found. */
function again(count: number): Position | undefined {
  return count > 0 ? [] : undefined;
}

function counted(tally: Tally, what: keyof Tally, count: number): Position | undefined {
  tally[what] += count;
  return again(count);
}
