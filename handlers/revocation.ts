/** The operation that revokes tokens of a user. */
import type { AuditLog, Requester } from '../services/audit-log';
import type { RevokedTokens } from '../services/tokens/revoked-tokens';
import { type Clock, fromIsoTime } from '../utils/clock';
import { badField } from '../utils/errors';
import { parseField, parseInput, revokeSchema, userIdSchema } from '../utils/schemas';
import { personalTopic } from '../utils/topic-names';

export interface RevocationOperationParts {
  readonly revocations: Pick<RevokedTokens, 'revoke'>;
  readonly clock: Clock;
  readonly audit: Pick<AuditLog, 'record'>;
}

export interface RevokedAnswer {
  readonly success: true;
  readonly userId: string;
  /** Connections that were closed, on all nodes. */
  readonly closed: number;
}

export type RevocationOperations = ReturnType<typeof createRevocationOperations>;

/**
 * The caller's clock may be ahead. A time further ahead is a mistake, perhaps in milliseconds, that nobody could undo.
 */
const MAX_REVOKE_AHEAD_SECONDS = 60;

export function createRevocationOperations({ revocations, clock, audit }: RevocationOperationParts) {
  /** Revokes one token, or all that were issued before a time. @throws AppError `bad_request`, `store_…`. */
  async function revoke(requester: Requester, userId: string, input: unknown): Promise<RevokedAnswer> {
    parseField('userId', userIdSchema, userId);
    const { issuedBefore, jti } = parseInput(revokeSchema, input);
    const revocation = jti === undefined ? { userId, issuedBefore: secondsOf(issuedBefore) } : { userId, jti };
    const act = { action: 'revoke', target: personalTopic(userId) } as const;
    const revokeNow = () => revocations.revoke(revocation);
    return { success: true, userId, closed: await audit.record(requester, act, revokeNow, (closed) => closed) };
  }

  /** Rounded up: `iat` counts whole seconds, and a token that may have been issued before is refused. */
  function secondsOf(time: number | string | undefined): number {
    const now = clock.now() / 1000;
    // Includes all tokens of this second, even those still to be issued: nothing distinguishes them.
    if (time === undefined) return Math.floor(now) + 1;
    const seconds = typeof time === 'number' ? time : Math.max(0, fromIsoTime(time) / 1000);
    if (seconds <= now + MAX_REVOKE_AHEAD_SECONDS) return Math.ceil(seconds);
    throw badField('issuedBefore', 'must not be in the future: tokens that are not issued yet would be refused');
  }

  return { revoke };
}
