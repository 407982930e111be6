/** Exports everything stored about one user. */
import type { AuditLog, Requester } from '../services/audit-log';
import type { AuditOutcome } from '../utils/audit';
import { AppError } from '../utils/errors';
import { parseField, userIdSchema } from '../utils/schemas';
import { personalTopic } from '../utils/topic-names';
import type { IsRevoked } from './rights';
import { type RecordParts, recordsOf } from './user-records';

export interface ExportUserParts extends RecordParts {
  readonly audit: Pick<AuditLog, 'begin' | 'end'>;
  readonly isRevoked: IsRevoked;
}

export type ExportUser = ReturnType<typeof createExportUser>;

export function createExportUser({ audit, isRevoked, ...parts }: ExportUserParts) {
  /** The user's data as records. Exporting another user is recorded, even if the reader leaves before the end. */
  return exportFor;

  async function* exportFor(requester: Requester, userId: string): AsyncGenerator<object> {
    parseField('userId', userIdSchema, userId);
    if (requester.userId === userId) return yield* whileAllowed(requester, recordsOf(parts, userId));
    const entry = await audit.begin(requester, { action: 'export', target: personalTopic(userId) });
    let outcome: AuditOutcome = 'failed';
    let count = 0;
    try {
      for await (const record of whileAllowed(requester, recordsOf(parts, userId))) {
        count += 1;
        yield record;
      }
      outcome = 'done';
    } finally {
      await audit.end(entry, outcome, count);
    }
  }

  /** A slow reader takes long: an export ends when its token is revoked. */
  async function* whileAllowed(requester: Requester, records: AsyncIterable<object>): AsyncGenerator<object> {
    for await (const record of records) {
      if (isRevoked(requester)) throw new AppError('token_revoked', 'The token was revoked.');
      yield record;
    }
  }
}
