/** Erases everything stored about one user. */
import type { AuditLog, Requester } from '../services/audit-log';
import type { Cursors } from '../services/delivery/cursors';
import type { UserSessions } from '../services/sockets/user-sessions';
import type { Erased, Store } from '../services/storage/contract';
import { parseField, userIdSchema } from '../utils/schemas';
import { personalTopic } from '../utils/topic-names';

export interface EraseUserParts {
  readonly store: Store;
  readonly cursors: Cursors;
  readonly userSessions: Pick<UserSessions, 'renew'>;
  readonly audit: Pick<AuditLog, 'record'>;
}

export interface ErasedAnswer {
  readonly success: true;
  readonly userId: string;
  readonly erased: Erased;
}

export type EraseUser = ReturnType<typeof createEraseUser>;

export function createEraseUser({ store, cursors, userSessions, audit }: EraseUserParts) {
  /** Erases a user. Open connections are closed and may come back, as those of a new user. */
  return async function erase(requester: Requester, userId: string): Promise<ErasedAnswer> {
    parseField('userId', userIdSchema, userId);
    const act = { action: 'erase', target: personalTopic(userId) } as const;
    const erased = await audit.record(
      requester,
      act,
      () => eraseNow(userId),
      ({ messages }) => messages,
    );
    return { success: true, userId, erased };
  };

  function eraseNow(userId: string): Promise<Erased> {
    return userSessions.renew(userId, async () => {
      // Pending writes about the user must not come back after the erasure.
      await cursors.flush();
      return store.users.erase(userId);
    });
  }
}
