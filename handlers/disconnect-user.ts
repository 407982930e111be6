/** Closes all connections of a user, for an administrator. */
import type { AuditLog, Requester } from '../services/audit-log';
import type { ClosingCode } from '../utils/protocol';
import { parseField, userIdSchema } from '../utils/schemas';
import { personalTopic } from '../utils/topic-names';

/** Closes the connections of a user, or those of one device, on all nodes. @returns how many. */
export type Disconnect = (userId: string, code: ClosingCode, options: { reason: string; device?: string }) => number;

export type DisconnectUser = ReturnType<typeof createDisconnectUser>;

export function createDisconnectUser(disconnect: Disconnect, audit: Pick<AuditLog, 'record'>) {
  /** @throws AppError `bad_request`; StoreError when it cannot be recorded. */
  return async function disconnectUser(
    requester: Requester,
    userId: string,
  ): Promise<{ success: true; userId: string; disconnected: number }> {
    const target = personalTopic(parseField('userId', userIdSchema, userId));
    const close = () => disconnect(userId, 'disconnected', { reason: 'An administrator closed the connection.' });
    const act = { action: 'disconnect', target } as const;
    const disconnected = await audit.record(requester, act, close, (count) => count);
    return { success: true, userId, disconnected };
  };
}
