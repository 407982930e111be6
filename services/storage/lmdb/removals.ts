/**
 * Removes rows of what is hidden already: deleted topics, forgotten devices, erased users. The store lists pending
 * removals, so they continue after a crash. Each step works for some milliseconds.
 */

import { Slice } from '../../../utils/slices';
import { BROADCAST_TOPIC, personalTopic, stateTopic } from '../../../utils/topic-names';
import type { Access } from './access';
import type { Devices } from './devices';
import type { Keys } from './keys';
import { type DueKey, numberedFrom, type RemovalKey, type RemovalRow, startingWith, walk } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import { generationIn, type Memberships, startIn } from './memberships';
import { parseMessage } from './record';
import { listOf, type Schedule } from './schedule';
import type { Topics } from './topics';

const MESSAGES_PER_SLICE = 200;
const MARKS_PER_SLICE = 200;
/** Places in one row of states. */
const PLACES_PER_ROW = 1_024;

type Position = readonly (string | number)[];

/** What an erasure counts. */
export interface Tally {
  devices: number;
  memberships: number;
  scheduled: number;
}

/** One part of a step. */
interface Turn {
  readonly after: Position | undefined;
  readonly slice: Slice;
  readonly tally: Tally;
}

/** Does a part of a step. @returns where to continue; `undefined` when the step is done. */
type Step = (turn: Turn) => Position | undefined;

interface UserSpan {
  readonly userId: string;
  readonly topic: string;
  readonly from: number;
  readonly upTo: number;
}

export interface RemovalParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly memberships: Memberships;
  readonly devices: Devices;
  readonly topics: Topics;
  readonly schedule: Schedule;
  readonly keys: Keys;
}

export class Removals {
  constructor(
    private readonly access: Access,
    private readonly parts: RemovalParts,
  ) {}

  /** The first pending removal that nobody is working on. */
  next(isHeld: (key: RemovalKey) => boolean): RemovalKey | undefined {
    for (const key of this.access.trees.removals.getKeys({})) if (!isHeld(key)) return key;
    return undefined;
  }

  /** Works on a removal for a slice. @returns false when it is done. */
  advance(key: RemovalKey, tally: Tally = { devices: 0, memberships: 0, scheduled: 0 }): boolean {
    const row = this.access.trees.removals.get(key);
    if (row === undefined) return false;
    const { after, ...rest } = row;
    const step = this.#stepsOf(key, row)[row.step];
    if (step === undefined) {
      this.access.trees.removals.remove(key);
      return false;
    }
    const next = step({ after, slice: new Slice(), tally });
    this.access.trees.removals.put(
      key,
      next === undefined ? { ...rest, step: row.step + 1 } : { ...rest, after: next },
    );
    return true;
  }

  #stepsOf([kind, first, second]: RemovalKey, row: RemovalRow): readonly Step[] {
    if (kind === 'topic') return this.#topicSteps(first, Number(second), row);
    if (kind === 'device') return [(turn) => this.#removeCursors(first, second, turn)];
    if (kind === 'user') return this.#userSteps(first, row);
    return [(turn) => this.#listDevices(turn), (turn) => this.#markOwn(turn)];
  }

  #topicSteps(name: string, generation: number, { upTo }: RemovalRow): readonly Step[] {
    const { marks } = this.parts;
    const isReused = this.access.trees.named.doesExist(name);
    return [
      (turn) => this.#removeMembers(name, generation, turn),
      (turn) => this.#removeHidden(name, turn),
      // The last row of states may also belong to a later topic with this name.
      () => again(marks.removeUpTo(name, isReused ? upTo : Number.MAX_SAFE_INTEGER, MARKS_PER_SLICE)),
    ];
  }

  #removeMembers(name: string, generation: number, turn: Turn): Position | undefined {
    const start = [name, turn.after?.[0] ?? ''];
    const rows = walk(this.access.trees, 'members', { ...startingWith(name), start, exclusiveStart: true });
    const last = forSlice(rows, turn, ({ key: [, userId], value }) => {
      if (generationIn(value) > generation) return;
      this.parts.memberships.remove(name, userId);
      this.parts.topics.removeCursors(name, userId);
    });
    return last && [last[1]];
  }

  #removeHidden(topic: string, { slice }: Turn): Position | undefined {
    const { log } = this.parts;
    const old = log.oldOf(topic, Number.NEGATIVE_INFINITY, { limit: MESSAGES_PER_SLICE, slice });
    log.removeOld(topic, old);
    return again(old.length);
  }

  /** Removes the cursors of a device, unless it has come back meanwhile. */
  #removeCursors(userId: string, device: string, turn: Turn): Position | undefined {
    const { cursors } = this.access.trees;
    if (cursors.doesExist([userId, device, stateTopic(userId)])) return undefined;
    const rows = walk(this.access.trees, 'cursors', { start: [userId, device, ''], end: [userId, device, '\uffff'] });
    return forSlice(rows, turn, ({ key }) => cursors.remove(key));
  }

  #userSteps(userId: string, { from = 0, upTo }: RemovalRow): readonly Step[] {
    const own = personalTopic(userId);
    const ofBroadcasts = { userId, topic: BROADCAST_TOPIC, from: from + 1, upTo };
    return [
      (turn) => this.#cancelFrom(userId, turn),
      (turn) => this.#cancelTo(own, turn),
      (turn) => this.#forgetAnswers(userId, turn),
      (turn) => this.#leaveAll(userId, turn),
      (turn) => this.#forgetLeft(userId, turn),
      (turn) => this.#removeDevices(userId, turn),
      (turn) => this.#removeMarks(ofBroadcasts, turn),
      ...[own, stateTopic(userId)].flatMap((topic) => this.#logSteps(userId, topic)),
    ];
  }

  #logSteps(userId: string, topic: string): readonly Step[] {
    const { marks, log } = this.parts;
    const { prunedUpTo } = log.state(topic);
    // The last row of states may contain places that are not hidden.
    const ofLastRow = { userId, topic, from: Math.max(1, prunedUpTo - PLACES_PER_ROW), upTo: prunedUpTo };
    return [
      () => again(marks.removeUpTo(topic, prunedUpTo, MARKS_PER_SLICE)),
      (turn) => this.#removeMarks(ofLastRow, turn),
      (turn) => this.#removeHidden(topic, turn),
    ];
  }

  #cancelFrom(userId: string, turn: Turn): Position | undefined {
    const own = walk(this.access.trees, 'due', numberedFrom<DueKey>(listOf(userId), 0, Number.MAX_SAFE_INTEGER));
    return forSlice(own, turn, ({ key: [, , id, from] }) => this.#cancel(id, String(from), turn));
  }

  #cancelTo(own: string, turn: Turn): Position | undefined {
    const rows = walk(this.access.trees, 'scheduled', after(turn.after));
    return forSlice(rows, turn, ({ key: [id, from], value }) => {
      if (value.draft.topic === own) this.#cancel(id, from, turn);
    });
  }

  #cancel(id: string, from: string, { tally }: Turn): void {
    if (this.parts.schedule.cancel(id, from)) tally.scheduled += 1;
  }

  #forgetAnswers(caller: string, turn: Turn): Position | undefined {
    const rows = walk(this.access.trees, 'answers', startingWith<[string, string]>(caller));
    return forSlice(rows, turn, ({ key: [, key] }) => this.parts.keys.remove({ caller, key }));
  }

  #leaveAll(userId: string, turn: Turn): Position | undefined {
    const { memberships, topics, log } = this.parts;
    const [done, seq] = turn.after ?? [];
    const start = [userId, done ?? ''];
    const range = { ...startingWith(userId), start, exclusiveStart: seq === undefined };
    for (const { key, value } of walk(this.access.trees, 'memberships', range)) {
      const [, topic] = key;
      const from = topic === done && seq !== undefined ? Number(seq) : startIn(value) + 1;
      const rest = this.#removeMarks(
        { userId, topic, from, upTo: log.state(topic).head },
        { ...turn, after: undefined },
      );
      if (rest !== undefined) return [topic, ...rest];
      if (memberships.isMember(topic, userId)) turn.tally.memberships += 1;
      memberships.remove(topic, userId);
      topics.removeCursors(topic, userId);
      if (turn.slice.isOver) return [topic];
    }
    return undefined;
  }

  /** Removes states in topics that the user left: one topic at a time, since `after` is a place in it. */
  #forgetLeft(userId: string, turn: Turn): Position | undefined {
    const { absences } = this.access.trees;
    const [first] = absences.getRange({ ...startingWith<[string, string]>(userId), limit: 1 });
    if (first === undefined) return undefined;
    const { start, leftAt = start } = first.value;
    const rest = this.#removeMarks({ userId, topic: first.key[1], from: start + 1, upTo: leftAt }, turn);
    if (rest === undefined) absences.remove(first.key);
    return rest ?? [];
  }

  #removeMarks({ userId, topic, from, upTo }: UserSpan, { after: [next = from] = [], slice }: Turn) {
    const rest = this.parts.marks.removeUserFrom(topic, { from: Number(next), upTo }, { userId, slice });
    return rest === undefined ? undefined : [rest];
  }

  #removeDevices(userId: string, turn: Turn): Position | undefined {
    const { cursors, devices, due, removals } = this.access.trees;
    const left = forSlice(
      walk(this.access.trees, 'cursors', startingWith<[string, string, string]>(userId)),
      turn,
      ({ key }) => {
        if (key[2] === stateTopic(userId)) turn.tally.devices += 1;
        cursors.remove(key);
      },
    );
    return (
      left ??
      forSlice(walk(this.access.trees, 'devices', startingWith<[string, string]>(userId)), turn, ({ key, value }) => {
        due.remove(['device', value.seenAt, ...key]);
        devices.remove(key);
        removals.remove(['device', ...key]);
      })
    );
  }

  /** An earlier version treated own messages as seen only. */
  #markOwn(turn: Turn): Position | undefined {
    return forSlice(walk(this.access.trees, 'messages', after(turn.after)), turn, ({ key, value }) => {
      const { message, isGone } = parseMessage(key, value);
      if (!isGone && message.ref === undefined) this.parts.log.markOwn(message);
    });
  }

  /** Writes the rows that layout 2 did not have: its devices have a cursor in the log of states. */
  #listDevices(turn: Turn): Position | undefined {
    return forSlice(walk(this.access.trees, 'cursors', after(turn.after)), turn, ({ key: [userId, device, topic] }) => {
      const isEntered = topic === stateTopic(userId);
      if (isEntered && !this.access.trees.devices.doesExist([userId, device]))
        this.parts.devices.enlist(userId, device);
    });
  }
}

/** Works on rows for a slice. @returns the last key; `undefined` when nothing is left. */
function forSlice<Row extends { readonly key: Position }>(
  rows: Iterable<Row>,
  { slice }: Turn,
  work: (row: Row) => void,
): Row['key'] | undefined {
  for (const row of rows) {
    work(row);
    if (slice.isOver) return row.key;
  }
  return undefined;
}

function after(start: Position | undefined): object {
  return start === undefined ? {} : { start, exclusiveStart: true };
}

/** Starts over while anything was found. */
function again(count: number): Position | undefined {
  return count > 0 ? [] : undefined;
}
