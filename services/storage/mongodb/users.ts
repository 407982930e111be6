import type { User } from '../contract';
import { writeAll } from './commands';
import type { Collections } from './layout';

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
    await writeAll(this.collections.users, operations);
  }
}
