/** What any node has done since a time. */
import type { MembershipChange, Revocation } from '../contract';
import type { Collections, MemberKey } from './layout';
import { toRevocation } from './revocations';

export class Recent {
  constructor(private readonly collections: Collections) {}

  /** Both stages are answered from one index. */
  async heads(since: number): Promise<ReadonlyMap<string, number>> {
    const heads = this.collections.messages.aggregate<{ _id: string; head: number }>([
      { $match: { order: { $gte: since } } },
      { $group: { _id: '$topic', head: { $max: '$seq' } } },
    ]);
    return new Map((await heads.toArray()).map(({ _id, head }) => [_id, head]));
  }

  /** Changes written since a time, current memberships last. */
  async memberships(since: number): Promise<MembershipChange[]> {
    const { members, absences, logs } = this.collections;
    const projection = { _id: 0, topic: 1, userId: 1 };
    const recently = { changedAt: { $gte: since } };
    const [joined, left, deleted] = await Promise.all([
      members.find<MemberKey>(recently, { projection }).toArray(),
      absences.find<MemberKey>(recently, { projection }).toArray(),
      logs.find({ deletedAt: { $gte: since } }, { projection: { _id: 1 } }).toArray(),
    ]);
    return [
      ...deleted.map(({ _id: topic }) => ({ topic, isMember: false })),
      ...left.map((place) => ({ ...place, isMember: false })),
      ...joined.map((place) => ({ ...place, isMember: true })),
    ];
  }

  async revocations(since: number): Promise<Revocation[]> {
    return (await this.collections.revocations.find({ keptAt: { $gte: since } }).toArray()).map(toRevocation);
  }
}
