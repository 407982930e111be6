/** The operations on scheduled messages. */
import { z } from 'zod';
import type { AuditLog, Requester } from '../services/audit-log';
import type { Scheduled, Store } from '../services/storage/contract';
import { type Caller, holdsScope } from '../utils/caller';
import { toIsoTime } from '../utils/clock';
import { type AppError, ambiguousId, refuseField } from '../utils/errors';
import { cutPage, readPageToken, writePageToken } from '../utils/page-token';
import { listQuerySchema, messageIdSchema, messageQuerySchema, parseField, parseInput } from '../utils/schemas';

/** A scheduled message, as lists show it. */
export interface ScheduledAnswer {
  readonly id: string;
  readonly topic: string;
  readonly type: string;
  readonly data: unknown;
  readonly from: string;
  readonly event?: string;
  /** ISO 8601, like `expiresAt` and `createdAt`. */
  readonly scheduledFor: string;
  readonly expiresAt?: string;
  readonly createdAt: string;
}

export type ScheduleOperations = ReturnType<typeof createScheduleOperations>;

const STANDARD_LIMIT = 100;
const LIST = 'scheduled';
const positionSchema = z.object({ sendAt: z.number(), id: z.string(), from: z.string() });

export function createScheduleOperations(store: Store, audit: Pick<AuditLog, 'note'>) {
  /** The caller's scheduled messages, or with scope `admin` all of them: soonest first. */
  async function list(
    caller: Caller,
    query: unknown,
  ): Promise<{ items: readonly ScheduledAnswer[]; nextCursor: string | null }> {
    const { limit = STANDARD_LIMIT, cursor } = parseInput(listQuerySchema, query);
    const after = cursor === undefined ? undefined : readPageToken(LIST, positionSchema, cursor);
    const found = await store.schedule.list({ from: ownOnly(caller), limit: limit + 1, after });
    const { page, nextCursor } = cutPage(found, limit, (last) => writePageToken(LIST, positionOf(last)));
    return { items: page.map(toScheduledAnswer), nextCursor };
  }

  /**
   * Cancels a message of the caller, or with scope `admin` of anybody; if several senders have used the id, `?from=`
   * says whose.
   * @throws AppError `not_found` when it is unknown, somebody else's or already sent, `ambiguous_id`.
   */
  async function cancel(requester: Requester, id: string, query: unknown): Promise<{ success: true; id: string }> {
    parseField('id', messageIdSchema, id);
    const { from } = parseInput(messageQuerySchema, query);
    const senders = await store.schedule.sendersOf(id);
    const sender = chooseSender(requester, from === undefined ? senders : senders.filter((one) => one === from));
    if (sender === undefined || !(await store.schedule.cancel(id, sender))) throw nothingWaits();
    audit.note(requester, { action: 'cancel', messageId: id, count: 1 });
    return { success: true, id };
  }

  return { list, cancel };
}

/** Whose message is meant: the caller's own before those of others. */
function chooseSender(caller: Caller, senders: readonly string[]): string | undefined {
  if (senders.includes(caller.userId)) return caller.userId;
  if (!holdsScope(caller, 'admin')) return undefined;
  if (senders.length > 1) throw ambiguousId();
  return senders[0];
}

function nothingWaits(): AppError {
  return refuseField('not_found', 'id', 'no scheduled message has this id', 'No scheduled message has this id.');
}

function ownOnly(caller: Caller): string | undefined {
  return holdsScope(caller, 'admin') ? undefined : caller.userId;
}

function positionOf({ draft, sendAt }: Scheduled): z.output<typeof positionSchema> {
  return { sendAt, id: draft.id, from: draft.from };
}

export function toScheduledAnswer({ draft, sendAt }: Scheduled): ScheduledAnswer {
  const { id, topic, type, data, from, event, expiresAt, timestamp } = draft;
  return {
    id,
    topic,
    type,
    data,
    from,
    ...(event === undefined ? {} : { event }),
    scheduledFor: toIsoTime(sendAt),
    ...(expiresAt === undefined ? {} : { expiresAt: toIsoTime(expiresAt) }),
    createdAt: timestamp,
  };
}
