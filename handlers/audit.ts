/** The audit log: what sends record in it, and reading it. */
import { z } from 'zod';
import type { AuditLog, Requester } from '../services/audit-log';
import type { AuditEntry } from '../services/storage/contract';
import type { ServiceAction } from '../utils/audit';
import { fromIsoTime, toIsoTime } from '../utils/clock';
import { cutPage, readPageToken, writePageToken } from '../utils/page-token';
import { auditQuerySchema, parseInput } from '../utils/schemas';
import type { Sent } from './send';

/** An entry, as lists show it. */
export interface AuditItem extends Omit<AuditEntry, 'at'> {
  /** ISO 8601. */
  readonly time: string;
}

export type AuditOperations = ReturnType<typeof createAuditOperations>;
export type NoteSend = AuditOperations['noteSend'];

const STANDARD_LIMIT = 100;
const LIST = 'audit';
const positionSchema = z.object({ at: z.number(), id: z.string() });

export function createAuditOperations(audit: AuditLog) {
  /** Records a send, unless it only repeats an earlier one. */
  function noteSend(requester: Requester, action: ServiceAction, { account, isRepeated, isScheduled }: Sent): void {
    if (!isRepeated) audit.note(requester, { action: isScheduled ? 'schedule' : action, ...account });
  }

  /** The entries, newest first. */
  async function list(query: unknown): Promise<{ items: readonly AuditItem[]; nextCursor: string | null }> {
    const { limit = STANDARD_LIMIT, cursor, since, ...wanted } = parseInput(auditQuerySchema, query);
    const after = cursor === undefined ? undefined : readPageToken(LIST, positionSchema, cursor);
    const from = since === undefined ? undefined : Math.max(0, fromIsoTime(since));
    const found = await audit.list({ ...wanted, since: from, after, limit: limit + 1 });
    const { page, nextCursor } = cutPage(found, limit, ({ at, id }) => writePageToken(LIST, { at, id }));
    return { items: page.map(toItem), nextCursor };
  }

  return { noteSend, list };
}

function toItem({ id, at, ...fields }: AuditEntry): AuditItem {
  return { id, time: toIsoTime(at), ...fields };
}
