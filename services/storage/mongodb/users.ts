import { partsOf } from '../../../utils/parts';
import type { User } from '../contract';
import type { Collections } from './layout';

const USERS_AT_ONCE = 500;

export class Users {
  constructor(private readonly collections: Collections) {}

  async get(userId: string): Promise<User | undefined> {
    const found = await this.collections.users.findOne({ _id: userId });
    if (found === null) return undefined;
    const { broadcastStart, lastSeenAt } = found;
    return { broadcastStart, ...(lastSeenAt === undefined ? {} : { lastSeenAt }) };
  }

  async saveLastSeen(times: ReadonlyMap<string, number>): Promise<void> {
    const operations = Array.from(times, ([_id, lastSeenAt]) => ({
      updateOne: { filter: { _id }, update: { $max: { lastSeenAt } } },
    }));
    for (const part of partsOf(operations, USERS_AT_ONCE)) {
      await this.collections.users.bulkWrite(part, { ordered: false });
    }
  }

  async forget(userId: string): Promise<void> {
    await this.collections.users.deleteOne({ _id: userId });
  }
}
