/** How a message enters a log, or the schedule: the common part of every operation that sends. */
import type { Delivery } from '../services/delivery/delivery';
import { type Describe, inSendSpan } from '../services/observability/tracing';
import type { AuditEntry, Draft, Scheduled, Store } from '../services/storage/contract';
import { type Caller, holdsScope } from '../utils/caller';
import { type Clock, toIsoTime } from '../utils/clock';
import { AppError, refuseField } from '../utils/errors';
import { keyedId, newId } from '../utils/ids';
import { assertMessageSize } from '../utils/schemas';
import { type Rights, standingOf } from './rights';
import { assertOptionsFit, type Content, timesOf } from './send-options';

/** The caller who sends. */
export interface Sender extends Caller {
  /** The claim of an Idempotency-Key, from which the request makes the same ids whenever it is carried out. */
  readonly underKey?: string | undefined;
}

/** The result of a send. */
export interface SendResult {
  readonly id: string;
  readonly topic: string;
  /** Absent for `persist: false`, and for a scheduled message. */
  readonly seq?: number;
  /** ISO 8601: when the scheduled message will be sent. */
  readonly scheduledFor?: string;
  /** Is it a repeat of a send with the same id? */
  readonly isRepeated: boolean;
}

/** What the audit log records about a send: never its content. */
export type Account = Pick<AuditEntry, 'target' | 'messageId'> & { readonly count: number };

/** An answer, and whether it repeats that of an earlier request with the same id. */
export interface Sent<Answer = object> {
  readonly answer: Answer;
  readonly isRepeated: boolean;
  /** Will it be sent later? */
  readonly isScheduled?: boolean;
  readonly account: Account;
}

export interface SendParts {
  readonly delivery: Delivery;
  readonly store: Store;
  readonly clock: Clock;
  /** Largest `data` of a message: UTF-8 bytes of its JSON. */
  readonly maxMessageBytes: number;
  readonly rights: Pick<Rights, 'assertMaySay'>;
  /** How many scheduled messages a sender without scope `send` may have. */
  readonly maxScheduledPerUser: number;
}

export type SendOperations = ReturnType<typeof createSendOperations>;

export function createSendOperations(parts: SendParts) {
  const { delivery, clock, maxMessageBytes, rights } = parts;
  const keepUntil = createKeepUntil(parts);

  /**
   * Stores and emits a message, or schedules it. The caller has checked its size: once, however many recipients there
   * are.
   * @throws AppError `bad_request` naming an option, `insufficient_scope`, `direct_messages_off`,
   * `idempotency_conflict`, `too_many_scheduled`, `store_…`.
   */
  function send(sender: Sender, topic: string, content: Content): Promise<SendResult> {
    return inSendSpan(topic, async (describe) => {
      const result = await sendNow(sender, topic, content);
      describeResult(describe, result);
      return result;
    });
  }

  async function sendNow(sender: Sender, topic: string, content: Content): Promise<SendResult> {
    const now = clock.now();
    rights.assertMaySay(sender, { topic, ...content });
    assertOptionsFit(topic, content);
    const { sendAt, expiresAt } = timesOf(content, now);
    const draft = draftOf(sender, { topic, content, now, expiresAt });
    if (content.persist === false) {
      const { isClientId, ...message } = draft;
      await delivery.publishLive(message);
      return { id: draft.id, topic, isRepeated: false };
    }
    return sendAt > now ? keepUntil(sender, { draft, sendAt }, content) : publish(draft, content);
  }

  async function publish(draft: Draft, content: Content): Promise<SendResult> {
    const appended = await delivery.publish(draft);
    if (appended.outcome === 'conflict') throw conflict(content);
    const { id, topic, seq, scheduledFor } = appended.message;
    const isRepeated = appended.outcome === 'repeated';
    // The first answer to this id was that it is scheduled.
    if (scheduledFor !== undefined) return { id, topic, scheduledFor, isRepeated };
    return { id, topic, seq, isRepeated };
  }

  /** Limits the size of a message; `path`: the sender's word for the field. */
  function assertSize(path: string, data: unknown): void {
    assertMessageSize(path, data, maxMessageBytes);
  }

  /** Checks the options before anything is sent, for operations that send to many. */
  function assertOptions(topic: string, content: Content): void {
    assertOptionsFit(topic, content);
    timesOf(content, clock.now());
  }

  return { send, assertSize, assertOptions };
}

function createKeepUntil({ store, maxScheduledPerUser }: Pick<SendParts, 'store' | 'maxScheduledPerUser'>) {
  return async function keepUntil(sender: Sender, { draft, sendAt }: Scheduled, content: Content): Promise<SendResult> {
    const isOfService = holdsScope(sender, 'send');
    const waiting = { draft, sendAt, standing: standingOf(sender), ...(isOfService ? { isOfService } : {}) };
    const scheduled = await store.schedule.add(waiting, isOfService ? undefined : maxScheduledPerUser);
    if (scheduled.outcome === 'conflict') throw conflict(content);
    if (scheduled.outcome === 'too_many') throw tooManyScheduled(maxScheduledPerUser);
    const isRepeated = scheduled.outcome === 'repeated';
    const scheduledFor = isRepeated ? scheduled.scheduledFor : toIsoTime(sendAt);
    return { id: draft.id, topic: draft.topic, scheduledFor, isRepeated };
  };
}

function describeResult(describe: Describe, { id, scheduledFor, isRepeated }: SendResult): void {
  describe({
    'messaging.message.id': id,
    'tidings.scheduled': scheduledFor !== undefined,
    'tidings.repeated': isRepeated,
  });
}

function draftOf(
  sender: Sender,
  given: { topic: string; content: Content; now: number; expiresAt: number | undefined },
): Draft {
  const { topic, content, now, expiresAt } = given;
  const { type, data, event, collapseKey, exceptUserId } = content;
  const ownId = content.id ?? idUnderKey(sender, topic);
  return {
    id: ownId ?? newId(now),
    isClientId: ownId !== undefined,
    topic,
    type,
    data,
    timestamp: toIsoTime(now),
    from: sender.userId,
    ...(event === undefined ? {} : { event }),
    ...(collapseKey === undefined ? {} : { collapseKey }),
    ...(exceptUserId === undefined ? {} : { exceptUserId }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  };
}

function idUnderKey({ userId, underKey }: Sender, topic: string): string | undefined {
  return underKey === undefined ? undefined : keyedId([userId, underKey, topic]);
}

function tooManyScheduled(max: number): AppError {
  return new AppError(
    'too_many_scheduled',
    `This user has too many scheduled messages (MAX_SCHEDULED_PER_USER: ${max}): cancel one first.`,
  );
}

function conflict({ id }: Content): AppError {
  const path = id === undefined ? 'Idempotency-Key' : 'id';
  return refuseField('idempotency_conflict', path, 'was already used by this sender for a different message');
}
