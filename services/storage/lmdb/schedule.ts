/** Scheduled messages. */

import { toIsoTime } from '../../../utils/clock';
import type { Message } from '../../../utils/protocol';
import { SLICE_MS, Slice } from '../../../utils/slices';
import { isNamedTopic } from '../../../utils/topic-names';
import type { DueSent, MayBeSent, Scheduled, ScheduledQuery, ScheduleOutcome } from '../contract';
import { fingerprintOf } from '../rules/fingerprint';
import { assertDraftFits, assertFitsKey } from '../rules/key-size';
import { NOTHING_SENT, outcomeUnder, sentNow, toScheduled, verdictOn } from '../rules/schedule';
import type { Access } from './access';
import { type DueKey, numberedFrom, type ScheduledRow, startingWith } from './layout';
import type { Log } from './log';
import type { Memberships } from './memberships';

type DueSend = [kind: string, at: number, id: string, from: string];

/** The list of what one sender has scheduled. */
export const listOf = (from: string) => `send:${from}`;

/** The lists that a scheduled message is in: of all, of its sender, and of services. */
const kindsOf = (from: string) => ['send', listOf(from), 'service'];

export class Schedule {
  constructor(
    private readonly access: Access,
    private readonly parts: { readonly log: Log; readonly memberships: Memberships },
  ) {}

  #scheduled(id: string, from: string): ScheduledRow | undefined {
    return this.access.trees.scheduled.get([id, from]);
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
    this.access.trees.scheduled.put([id, from], { ...scheduled, home: this.#homeOf(topic) });
    for (const kind of kindsOf(from)) {
      if (kind !== 'service' || scheduled.isOfService === true)
        this.access.trees.due.put([kind, sendAt, id, from], true);
    }
  }

  #isFull(from: string, max: number): boolean {
    if (max === Number.POSITIVE_INFINITY) return false;
    const range = numberedFrom<DueKey>(listOf(from), 0, Number.MAX_SAFE_INTEGER);
    return this.access.trees.due.getKeysCount({ ...range, limit: max }) >= max;
  }

  #scheduledBefore({ draft, standing }: Scheduled): ScheduleOutcome | undefined {
    const waiting = this.#scheduled(draft.id, draft.from);
    if (waiting === undefined) {
      const sent = this.parts.log.findOf(draft);
      return sent && outcomeUnder(sent.fingerprint, draft, sent.message.scheduledFor);
    }
    const outcome = outcomeUnder(fingerprintOf(waiting.draft), draft, toIsoTime(waiting.sendAt));
    if (outcome.outcome === 'repeated' && standing !== undefined) {
      this.access.trees.scheduled.put([draft.id, draft.from], { ...waiting, standing });
    }
    return outcome;
  }

  #homeOf(topic: string): string | undefined {
    return this.access.trees.named.get(topic)?.createdAt;
  }

  async appendDue(limit: number, mayBeSent: MayBeSent = () => true): Promise<DueSent> {
    return (await this.access.whenDue('send', () => this.#appendDue(limit, mayBeSent))) ?? NOTHING_SENT;
  }

  #appendDue(limit: number, mayBeSent: MayBeSent): DueSent {
    const entries: Message[] = [];
    const refused: Scheduled[] = [];
    // One of them may replace as many messages as fit into a transaction.
    const slice = new Slice(SLICE_MS, 1);
    let taken = 0;
    for (const scheduled of this.#dueInTurn(limit)) {
      taken += 1;
      const verdict = this.#verdictOn(scheduled, mayBeSent);
      const sent = verdict === 'sent' ? this.#send(scheduled) : undefined;
      if (sent !== undefined) entries.push(...sent.entries);
      if (verdict === 'refused') refused.push(toScheduled(scheduled));
      // With more to replace it continues in the next transaction.
      if (sent?.isPart) break;
      this.#remove(scheduled);
      if (slice.isOver) break;
    }
    return { taken, entries, refused };
  }

  /** Oldest first, alternating with those of services, which never wait for what people have scheduled. */
  *#dueInTurn(limit: number): Generator<ScheduledRow> {
    const [services, all] = [this.access.due('service', limit), this.access.due('send', limit)];
    const inTurn = all.flatMap((one, index) => [services[index] ?? one, one]);
    const rows = new Map(inTurn.map(([, , id, from]) => [`${id}\u0000${from}`, { id, from }]));
    for (const { id, from } of [...rows.values()].slice(0, limit)) {
      const scheduled = this.#scheduled(id, String(from));
      if (scheduled !== undefined) yield scheduled;
    }
  }

  #verdictOn(scheduled: ScheduledRow, mayBeSent: MayBeSent): ReturnType<typeof verdictOn> {
    const { topic, from } = scheduled.draft;
    const home = this.#homeOf(topic);
    return verdictOn(scheduled, {
      now: this.access.clock.now(),
      isSameTopic: home !== undefined && home === scheduled.home,
      isMember: isNamedTopic(topic) && this.parts.memberships.isMember(topic, from),
      mayBeSent,
    });
  }

  #send(scheduled: Scheduled): { readonly entries: readonly Message[]; readonly isPart: boolean } {
    const appended = this.parts.log.appendNew(sentNow(scheduled, this.access.clock.now()));
    return { entries: 'entries' in appended ? appended.entries : [], isPart: appended.outcome === 'partly' };
  }

  #remove({ draft: { id, from }, sendAt }: Scheduled): void {
    this.access.trees.scheduled.remove([id, from]);
    for (const kind of kindsOf(from)) this.access.trees.due.remove([kind, sendAt, id, from]);
  }

  list({ from, limit, after }: ScheduledQuery): Scheduled[] {
    const kind = from === undefined ? 'send' : listOf(from);
    const start = after === undefined ? [kind, 0] : [kind, after.sendAt, after.id, after.from];
    const end = [kind, Number.MAX_SAFE_INTEGER];
    const range = { start, end, limit, exclusiveStart: after !== undefined };
    const keys = Array.from(this.access.trees.due.getKeys(range as never)) as DueSend[];
    const rows = keys.flatMap(([, , id, from]) => this.#scheduled(id, from) ?? []);
    return rows.map(toScheduled);
  }

  sendersOf(id: string): string[] {
    return Array.from(this.access.trees.scheduled.getKeys(startingWith<[string, string]>(id)), ([, from]) => from);
  }

  cancel(id: string, from: string): boolean {
    const scheduled = this.#scheduled(id, from);
    if (scheduled !== undefined) this.#remove(scheduled);
    return scheduled !== undefined;
  }
}
