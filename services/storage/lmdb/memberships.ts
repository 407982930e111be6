/**
 * Who is in which named topic. Deleting a topic ends its memberships at once, though their rows are removed later: a
 * row counts only in the generation of the topic in which it was written.
 */
import type { Joining, Listed, Member, Membership, NamePage } from '../contract';
import { forgottenFor, type Left, rejoined } from '../rules/gaps';
import type { Span } from '../rules/slot-row';
import { type AbsenceRow, type MemberRow, type MembershipRow, startingWith, type Trees } from './layout';
import { pageOf } from './name-page';

export class Memberships {
  constructor(private readonly trees: Trees) {}

  generationOf(topic: string): number {
    return this.trees.topics.get(topic)?.generation ?? 0;
  }

  /** Where a membership begins; `undefined` for a non-member. */
  startOf(userId: string, topic: string): number | undefined {
    const row = this.trees.memberships.get([userId, topic]);
    return row === undefined || generationIn(row) !== this.generationOf(topic) ? undefined : startIn(row);
  }

  isMember(topic: string, userId: string): boolean {
    const row = this.trees.members.get([topic, userId]);
    return row !== undefined && generationIn(row) === this.generationOf(topic);
  }

  /** The topics of a user, each with the `seq` at which the user joined, by name. */
  *startsOf(userId: string): Generator<[topic: string, start: number]> {
    for (const { key, value } of this.trees.memberships.getRange(startingWith<[string, string]>(userId))) {
      if (generationIn(value) === this.generationOf(key[1])) yield [key[1], startIn(value)];
    }
  }

  /** Is the user in so many topics, either added by others or not? Rows are read one by one only when it matters. */
  isFull(userId: string, maxTopics: number, { isInvited = false }: Pick<Joining, 'isInvited'>): boolean {
    const range = startingWith<[string, string]>(userId);
    if (this.trees.memberships.getKeysCount({ ...range, limit: maxTopics }) < maxTopics) return false;
    let count = 0;
    for (const { key, value } of this.trees.memberships.getRange(range)) {
      if (isInvitedIn(value) !== isInvited || generationIn(value) !== this.generationOf(key[1])) continue;
      count += 1;
      if (count >= maxTopics) return true;
    }
    return maxTopics === 0;
  }

  /** A membership and its gaps; `undefined` for a non-member. */
  find(topic: string, userId: string): { readonly start: number; readonly gaps: readonly Span[] } | undefined {
    const start = this.startOf(userId, topic);
    if (start === undefined) return undefined;
    const row = this.#absence(userId, topic);
    return { start, gaps: row === undefined || row.leftAt !== undefined ? [] : row.gaps };
  }

  /** The gaps of all memberships of a user. */
  allGapsOf(userId: string): ReadonlyMap<string, readonly Span[]> {
    const rows = this.#absencesOf(userId).filter(({ leftAt }) => leftAt === undefined);
    return new Map(rows.map(({ topic, gaps }) => [topic, gaps]));
  }

  /** A membership that has ended, if it is remembered. */
  leftOf(userId: string, topic: string): Left | undefined {
    return leftIn(this.#absence(userId, topic));
  }

  /** All of them, by topic. */
  allLeftOf(userId: string): (Left & { readonly topic: string })[] {
    return this.#absencesOf(userId).flatMap((row) => leftIn(row) ?? []);
  }

  #absence(userId: string, topic: string): AbsenceRow | undefined {
    const row = this.trees.absences.get([userId, topic]);
    return row === undefined || (row.generation ?? 0) !== this.generationOf(topic) ? undefined : row;
  }

  #absencesOf(userId: string): (AbsenceRow & { readonly topic: string })[] {
    const rows = this.trees.absences.getRange(startingWith<[string, string]>(userId));
    return Array.from(rows, ({ key, value }) => ({ ...value, topic: key[1] }));
  }

  /** Adds a member, perhaps again. @returns the gaps of the membership. */
  join(topic: string, { userId, joinedAt, isInvited = false }: Joining): readonly Span[] {
    const { head = 0, prunedUpTo = 0, generation = 0 } = this.trees.topics.get(topic) ?? {};
    const { start, gaps } = rejoined(this.leftOf(userId, topic), { head, prunedUpTo });
    this.trees.members.put([topic, userId], generation === 0 ? joinedAt : [joinedAt, generation]);
    const own: MembershipRow = generation === 0 ? start : [start, generation];
    this.trees.memberships.put([userId, topic], isInvited ? [start, generation, 1] : own);
    if (gaps.length > 0) this.trees.absences.put([userId, topic], { start, gaps, generation });
    else this.trees.absences.remove([userId, topic]);
    return gaps;
  }

  /** Ends a membership. It is remembered if messages were sent during it. */
  leave(topic: string, userId: string, at: number): void {
    const left = this.find(topic, userId);
    const { head = 0, generation = 0 } = this.trees.topics.get(topic) ?? {};
    this.remove(topic, userId);
    if (left === undefined || left.start === head) return;
    this.#forgetLeft(userId);
    this.trees.absences.put([userId, topic], { ...left, leftAt: head, at, generation });
  }

  /** Makes room for one more remembered topic. */
  #forgetLeft(userId: string): void {
    const left = this.#absencesOf(userId).filter(({ leftAt }) => leftAt !== undefined);
    const byAge = left.toSorted((one, other) => (one.at ?? 0) - (other.at ?? 0));
    for (const { topic } of forgottenFor(byAge)) this.trees.absences.remove([userId, topic]);
  }

  remove(topic: string, userId: string): void {
    this.trees.members.remove([topic, userId]);
    this.trees.memberships.remove([userId, topic]);
    this.trees.absences.remove([userId, topic]);
  }

  members(topic: string, { after, limit }: NamePage): Listed<Member> {
    const generation = this.generationOf(topic);
    const rows = this.trees.members.getRange(rangeAfter(topic, after));
    return pageOf(rows, limit, (userId, row) =>
      generationIn(row) === generation ? { userId, joinedAt: joinedIn(row) } : undefined,
    );
  }

  memberships(userId: string, { after, limit }: NamePage): Listed<Membership> {
    return pageOf(this.trees.memberships.getRange(rangeAfter(userId, after)), limit, (topic, row) => {
      if (generationIn(row) !== this.generationOf(topic)) return undefined;
      const member = this.trees.members.get([topic, userId]);
      return { topic, joinedAt: member === undefined ? '' : joinedIn(member) };
    });
  }
}

/** The rows [first, name], after one of them. */
function rangeAfter(first: string, after: string | undefined) {
  const range = startingWith<[string, string]>(first);
  if (after === undefined) return range;
  return { ...range, start: [first, after] as [string, string], exclusiveStart: true };
}

export function generationIn(row: MemberRow | MembershipRow): number {
  return typeof row === 'object' ? row[1] : 0;
}

function joinedIn(row: MemberRow): string {
  return typeof row === 'string' ? row : row[0];
}

function isInvitedIn(row: MembershipRow): boolean {
  return typeof row === 'object' && row[2] === 1;
}

function leftIn<Row extends AbsenceRow>(row: Row | undefined): (Row & Left) | undefined {
  return row?.leftAt === undefined ? undefined : { ...row, leftAt: row.leftAt };
}

export function startIn(row: MembershipRow): number {
  return typeof row === 'number' ? row : row[0];
}
