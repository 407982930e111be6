import type { User } from '../contract';
import type { Trees } from './layout';

export class Users {
  constructor(private readonly trees: Trees) {}

  get(userId: string): User | undefined {
    return this.trees.users.get(userId);
  }

  saveLastSeen(times: ReadonlyMap<string, number>): void {
    const { users } = this.trees;
    const known = Array.from(times, ([userId, lastSeenAt]) => ({ userId, lastSeenAt, user: users.get(userId) }));
    for (const { userId, lastSeenAt, user } of known) {
      if (user !== undefined) users.put(userId, { ...user, lastSeenAt });
    }
  }
}
