/** How a message gets into a log, or waits for its time: what every operation that sends has in common. */
import type { Delivery } from '../services/delivery/delivery';
import { type Describe, inSendSpan } from '../services/observability/tracing';
import type { AuditEntry, Draft, Scheduled, Store } from '../services/storage/contract';
import { type Clock, fromIsoTime, toIsoTime } from '../utils/clock';
import { AppError, badField, refuseField } from '../utils/errors';
import { keyedId, newId } from '../utils/ids';
import { type Caller, holdsScope } from '../utils/jwt';
import { assertMessageSize, MAX_AHEAD_SECONDS } from '../utils/schemas';
import { ownerOfPersonalTopic } from '../utils/topic-names';
import { type Rights, standingOf } from './rights';

/** Who sends. */
export interface Sender extends Caller {
  /** Under which claim of an Idempotency-Key, so that the request makes the same ids whenever it is carried out. */
  readonly underKey?: string | undefined;
}

export interface Content {
  readonly type: string;
  readonly data?: unknown;
  readonly id?: string | undefined;
  readonly event?: string | undefined;
  readonly persist?: boolean | undefined;
  /** Seconds from the planned time of sending. */
  readonly ttl?: number | undefined;
  /** ISO 8601, like `sendAt`. */
  readonly expiresAt?: string | undefined;
  readonly collapseKey?: string | undefined;
  readonly sendAt?: string | undefined;
  /** Seconds. */
  readonly delay?: number | undefined;
  readonly exceptUserId?: string | undefined;
}

/** What has become of a message. */
export interface Receipt {
  readonly id: string;
  readonly topic: string;
  /** Absent for `persist: false`, and while it waits. */
  readonly seq?: number;
  /** ISO 8601: it was scheduled for this time. */
  readonly scheduledFor?: string;
  /** Was this said under the same id before? */
  readonly isRepeated: boolean;
}

/** What the audit log is to know of a send: never what was said. */
export type Account = Pick<AuditEntry, 'target' | 'messageId'> & { readonly count: number };

/** An answer, and whether it repeats that of an earlier request with the same id. */
export interface Sent<Answer = object> {
  readonly answer: Answer;
  readonly isRepeated: boolean;
  /** Will it be sent later? */
  readonly isScheduled?: boolean;
  readonly account: Account;
}

export interface SendingParts {
  readonly delivery: Delivery;
  readonly store: Store;
  readonly clock: Clock;
  /** Largest `data` of a message: UTF-8 bytes of its JSON. */
  readonly maxMessageBytes: number;
  readonly rights: Pick<Rights, 'assertMaySay'>;
  /** How many messages may wait for their time, of a sender without scope `send`. */
  readonly maxScheduledPerUser: number;
}

export type Sending = ReturnType<typeof createSending>;

/** A time that has just passed is a slow request, not a mistake. */
const MAX_PAST_MS = 60_000;
const MAX_AHEAD_MS = MAX_AHEAD_SECONDS * 1_000;

export function createSending(parts: SendingParts) {
  const { delivery, store, clock, maxMessageBytes, rights, maxScheduledPerUser } = parts;

  /**
   * Stores and emits a message, or keeps it until its time. Its size was checked before: once, however many
   * recipients there are.
   * @throws AppError `bad_request` naming an option, `insufficient_scope`, `direct_messages_off`,
   * `idempotency_conflict`, `too_many_scheduled`, `store_…`.
   */
  function send(sender: Sender, topic: string, content: Content): Promise<Receipt> {
    return inSendSpan(topic, async (describe) => {
      const receipt = await sendNow(sender, topic, content);
      describeReceipt(describe, receipt);
      return receipt;
    });
  }

  async function sendNow(sender: Sender, topic: string, content: Content): Promise<Receipt> {
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
    return sendAt > now ? schedule(sender, { draft, sendAt }, content) : publish(draft, content);
  }

  async function publish(draft: Draft, content: Content): Promise<Receipt> {
    const appended = await delivery.publish(draft);
    if (appended.outcome === 'conflict') throw conflict(content);
    const { id, topic, seq, scheduledFor } = appended.message;
    const isRepeated = appended.outcome === 'repeated';
    // The first answer to this id was that it waits.
    if (scheduledFor !== undefined) return { id, topic, scheduledFor, isRepeated };
    return { id, topic, seq, isRepeated };
  }

  async function schedule(sender: Sender, { draft, sendAt }: Scheduled, content: Content): Promise<Receipt> {
    const isOfService = holdsScope(sender, 'send');
    const waiting = { draft, sendAt, standing: standingOf(sender), ...(isOfService ? { isOfService } : {}) };
    const scheduled = await store.schedule(waiting, isOfService ? undefined : maxScheduledPerUser);
    if (scheduled.outcome === 'conflict') throw conflict(content);
    if (scheduled.outcome === 'too_many') throw tooManyScheduled(maxScheduledPerUser);
    const isRepeated = scheduled.outcome === 'repeated';
    const scheduledFor = isRepeated ? scheduled.scheduledFor : toIsoTime(sendAt);
    return { id: draft.id, topic: draft.topic, scheduledFor, isRepeated };
  }

  /** Bounds what a message carries; `path`: the sender's word for it. */
  function assertSize(path: string, data: unknown): void {
    assertMessageSize(path, data, maxMessageBytes);
  }

  /** Checks the options before anything is sent, for those who send to many. */
  function assertOptions(topic: string, content: Content): void {
    assertOptionsFit(topic, content);
    timesOf(content, clock.now());
  }

  return { send, assertSize, assertOptions };
}

function describeReceipt(describe: Describe, { id, scheduledFor, isRepeated }: Receipt): void {
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

/** When it is to be sent and when it expires, in milliseconds since the epoch. */
function timesOf(content: Content, now: number): { sendAt: number; expiresAt: number | undefined } {
  const sendAt = sendAtOf(content, now);
  if (content.ttl !== undefined) {
    const expiresAt = sendAt + content.ttl * 1_000;
    if (expiresAt <= now) throw badField('ttl', 'is over already');
    return { sendAt, expiresAt };
  }
  if (content.expiresAt === undefined) return { sendAt, expiresAt: undefined };
  const expiresAt = fromIsoTime(content.expiresAt);
  if (expiresAt <= Math.max(now, sendAt)) throw badField('expiresAt', 'must be later than the time of sending');
  if (expiresAt > sendAt + MAX_AHEAD_MS) throw badField('expiresAt', 'must be within a year');
  return { sendAt, expiresAt };
}

function sendAtOf({ sendAt, delay }: Content, now: number): number {
  if (delay !== undefined) return now + delay * 1_000;
  if (sendAt === undefined) return now;
  const at = fromIsoTime(sendAt);
  if (at < now - MAX_PAST_MS) throw badField('sendAt', 'is more than 60 s in the past');
  if (at > now + MAX_AHEAD_MS) throw badField('sendAt', 'must be within a year');
  return at;
}

function assertOptionsFit(topic: string, { collapseKey, exceptUserId }: Content): void {
  const isPersonal = ownerOfPersonalTopic(topic) !== undefined;
  if (collapseKey !== undefined && !isPersonal) throw badField('collapseKey', 'is for messages to a user');
  if (exceptUserId !== undefined && isPersonal) throw badField('exceptUserId', 'is for topics and broadcasts');
}

function tooManyScheduled(max: number): AppError {
  return new AppError(
    'too_many_scheduled',
    `As many messages of this sender wait for their time as MAX_SCHEDULED_PER_USER allows: ${max}.`,
  );
}

function conflict({ id }: Content): AppError {
  const path = id === undefined ? 'Idempotency-Key' : 'id';
  return refuseField('idempotency_conflict', path, 'was used by this sender for another message');
}
