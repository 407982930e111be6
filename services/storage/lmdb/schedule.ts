/** Messages that wait for their time. */
import { type Clock, toIsoTime } from '../../../utils/clock';
import type { Message } from '../../../utils/protocol';
import { SLICE_MS, Slice } from '../../../utils/slices';
import { isNamedTopic } from '../../../utils/topic-names';
import type { DueSent, MayBeSent, Scheduled, ScheduledQuery, ScheduleOutcome } from '../contract';
import { fingerprintOf } from '../rules/fingerprint';
import { assertDraftFits, assertFitsKey } from '../rules/key-size';
import type { Access } from './access';
import { numberedFrom, startingWith, type Trees, walk } from './layout';
import type { Log } from './log';
import { Memberships } from './memberships';

const CANCELLED_AT_ONCE = 100;

interface ScheduledRow extends Scheduled {
  /** When the named topic was created that it is for. */
  readonly home?: string;
}

/** A transaction that sends what is due, and what has come of it so far. */
interface Carrying {
  readonly now: number;
  readonly mayBeSent: MayBeSent;
  readonly entries: Message[];
  readonly refused: Scheduled[];
}

type DueSend = [kind: string, at: number, id: string, from: string];

/** All that waits, what one sender has scheduled, and what services have: the second list is for the sender alone. */
const kindsOf = (from: string) => ['send', `send:${from}`, 'service'];

export class Schedule {
  readonly #memberships: Memberships;

  constructor(
    private readonly trees: Trees,
    private readonly parts: { readonly log: Log; readonly access: Access; readonly clock: Clock },
  ) {
    this.#memberships = new Memberships(trees);
  }

  #scheduled(id: string, from: string): ScheduledRow | undefined {
    return this.trees.scheduled.get([id, from]) as ScheduledRow | undefined;
  }

  add(scheduled: Scheduled, maxWaiting = Number.POSITIVE_INFINITY): ScheduleOutcome {
    const { draft } = scheduled;
    const { id, from } = draft;
    assertDraftFits(draft);
    assertFitsKey(...kindsOf(from), id, from);
    const earlier = draft.isClientId ? this.#scheduledBefore(scheduled) : undefined;
    if (earlier !== undefined) return earlier;
    if (this.#isFull(from, maxWaiting)) return { outcome: 'too_many' };
    this.#keep(scheduled);
    return { outcome: 'stored' };
  }

  #keep(scheduled: Scheduled): void {
    const { draft, sendAt } = scheduled;
    const { topic, id, from } = draft;
    this.trees.scheduled.put([id, from], { ...scheduled, home: this.#homeOf(topic) });
    for (const kind of kindsOf(from)) {
      if (kind !== 'service' || scheduled.isOfService === true) this.trees.due.put([kind, sendAt, id, from], true);
    }
  }

  #isFull(from: string, max: number): boolean {
    if (max === Number.POSITIVE_INFINITY) return false;
    const range = { start: [`send:${from}`, 0], end: [`send:${from}`, Number.MAX_SAFE_INTEGER], limit: max };
    return this.trees.due.getKeysCount(range as unknown as object) >= max;
  }

  #scheduledBefore({ draft, standing }: Scheduled): ScheduleOutcome | undefined {
    const waiting = this.#scheduled(draft.id, draft.from);
    if (waiting !== undefined) {
      const scheduledFor = toIsoTime(waiting.sendAt);
      if (fingerprintOf(waiting.draft) !== fingerprintOf(draft)) return { outcome: 'conflict' };
      this.trees.scheduled.put([draft.id, draft.from], standing === undefined ? waiting : { ...waiting, standing });
      return { outcome: 'repeated', scheduledFor };
    }
    const sent = this.parts.log.findOf(draft);
    if (sent === undefined) return undefined;
    const { scheduledFor } = sent.message;
    const isSame = scheduledFor !== undefined && sent.fingerprint === fingerprintOf(draft);
    return isSame ? { outcome: 'repeated', scheduledFor } : { outcome: 'conflict' };
  }

  /** What tells a named topic from a later one of the same name. */
  #homeOf(topic: string): string | undefined {
    return this.trees.named.get(topic)?.createdAt;
  }

  async appendDue(limit: number, mayBeSent: MayBeSent = () => true): Promise<DueSent> {
    const { access } = this.parts;
    if (!(await access.isDue('send'))) return { taken: 0, entries: [], refused: [] };
    return access.write(() => this.#appendDue(limit, mayBeSent));
  }

  #appendDue(limit: number, mayBeSent: MayBeSent): DueSent {
    const now = this.parts.clock.now();
    const entries: Message[] = [];
    const refused: Scheduled[] = [];
    // What one of them replaces may be as much as a transaction takes.
    const slice = new Slice(SLICE_MS, 1);
    let taken = 0;
    for (const scheduled of this.#dueInTurn(now, limit)) {
      taken += 1;
      const isDone = this.#carryOut(scheduled, { now, mayBeSent, entries, refused });
      if (isDone) this.#remove(scheduled);
      if (!isDone || slice.isOver) break;
    }
    return { taken, entries, refused };
  }

  /** Oldest first; before each of them the oldest of a service, which never waits for what people have scheduled. */
  *#dueInTurn(now: number, limit: number): Generator<ScheduledRow> {
    const dueOf = (kind: string) =>
      Array.from(this.trees.due.getKeys({ ...numberedFrom<DueSend>(kind, 0, now), limit })) as DueSend[];
    const [services, all] = [dueOf('service'), dueOf('send')];
    const inTurn = all.flatMap((one, index) => [services[index] ?? one, one]);
    const rows = new Map(inTurn.map(([, , id, from]) => [`${id}\u0000${from}`, { id, from }]));
    for (const { id, from } of [...rows.values()].slice(0, limit)) {
      const scheduled = this.#scheduled(id, from);
      if (scheduled !== undefined) yield scheduled;
    }
  }

  #isDropped({ draft: { topic, expiresAt }, home }: ScheduledRow, now: number): boolean {
    const isOver = expiresAt !== undefined && expiresAt <= now;
    return isOver || (isNamedTopic(topic) && (home === undefined || home !== this.#homeOf(topic)));
  }

  #isMember({ draft: { topic, from } }: Scheduled): boolean {
    return isNamedTopic(topic) && this.#memberships.isMember(topic, from);
  }

  /** @returns false when there is more to replace than one transaction does: then it waits for the next one. */
  #carryOut(scheduled: ScheduledRow, { now, mayBeSent, entries, refused }: Carrying): boolean {
    if (this.#isDropped(scheduled, now)) return true;
    if (!mayBeSent(toScheduled(scheduled), this.#isMember(scheduled))) {
      refused.push(toScheduled(scheduled));
      return true;
    }
    const { draft, sendAt } = scheduled;
    const appended = this.parts.log.appendNew({ ...draft, timestamp: toIsoTime(now), scheduledFor: toIsoTime(sendAt) });
    if ('entries' in appended) entries.push(...appended.entries);
    return appended.outcome !== 'partly';
  }

  *#due(range: object): Generator<ScheduledRow> {
    const keys = Array.from(this.trees.due.getKeys(range)) as DueSend[];
    for (const [, , id, from] of keys) {
      const scheduled = this.#scheduled(id, from);
      if (scheduled !== undefined) yield scheduled;
    }
  }

  #remove({ draft: { id, from }, sendAt }: Scheduled): void {
    this.trees.scheduled.remove([id, from]);
    for (const kind of kindsOf(from)) this.trees.due.remove([kind, sendAt, id, from]);
  }

  list({ from, limit, after }: ScheduledQuery): Scheduled[] {
    const kind = from === undefined ? 'send' : `send:${from}`;
    const start = after === undefined ? [kind, 0] : [kind, after.sendAt, after.id, after.from];
    const end = [kind, Number.MAX_SAFE_INTEGER];
    const rows = this.#due({ start, end, limit, exclusiveStart: after !== undefined });
    return Array.from(rows, toScheduled);
  }

  sendersOf(id: string): string[] {
    return Array.from(this.trees.scheduled.getKeys(startingWith<[string, string]>(id)), ([, from]) => from);
  }

  cancel(id: string, from: string): boolean {
    const scheduled = this.#scheduled(id, from);
    if (scheduled !== undefined) this.#remove(scheduled);
    return scheduled !== undefined;
  }

  /** Cancels what a user has scheduled, for a slice. @returns how many. */
  cancelFrom(userId: string, slice: Slice): number {
    let cancelled = 0;
    for (const scheduled of this.#due({
      start: [`send:${userId}`, 0],
      end: [`send:${userId}`, Number.MAX_SAFE_INTEGER],
      limit: CANCELLED_AT_ONCE,
    })) {
      this.#remove(scheduled);
      cancelled += 1;
      if (slice.isOver) break;
    }
    return cancelled;
  }

  /** Cancels what is for a topic, for a slice, after one of all that wait. `next`: where to go on. */
  cancelTo(
    topic: string,
    after: readonly [string, string] | undefined,
    slice: Slice,
  ): { readonly cancelled: number; readonly next: readonly [string, string] | undefined } {
    let cancelled = 0;
    const range = after === undefined ? {} : { start: after, exclusiveStart: true };
    for (const { key, value } of walk(this.trees.scheduled, range)) {
      const scheduled = value as Scheduled;
      if (scheduled.draft.topic === topic) {
        this.#remove(scheduled);
        cancelled += 1;
      }
      if (slice.isOver) return { cancelled, next: key };
    }
    return { cancelled, next: undefined };
  }
}

function toScheduled({ draft, sendAt, standing }: ScheduledRow): Scheduled {
  return { draft, sendAt, ...(standing === undefined ? {} : { standing }) };
}
