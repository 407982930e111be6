/** The content and options of a send, and the resulting times of sending and expiry. */
import { fromIsoTime } from '../utils/clock';
import { badField } from '../utils/errors';
import { MAX_SCHEDULE_AHEAD_SECONDS } from '../utils/schemas';
import { ownerOfPersonalTopic } from '../utils/topic-names';

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

/** A time that has just passed means a slow request, not a mistake. */
const MAX_PAST_MS = 60_000;
const MAX_AHEAD_MS = MAX_SCHEDULE_AHEAD_SECONDS * 1_000;

/** When to send it and when it expires, in milliseconds since the epoch. */
export function timesOf(content: Content, now: number): { sendAt: number; expiresAt: number | undefined } {
  const sendAt = sendAtOf(content, now);
  if (content.ttl !== undefined) {
    const expiresAt = sendAt + content.ttl * 1_000;
    if (expiresAt <= now) throw badField('ttl', 'has already elapsed');
    return { sendAt, expiresAt };
  }
  if (content.expiresAt === undefined) return { sendAt, expiresAt: undefined };
  const expiresAt = fromIsoTime(content.expiresAt);
  if (expiresAt <= Math.max(now, sendAt)) throw badField('expiresAt', 'must be after the time of sending');
  if (expiresAt > sendAt + MAX_AHEAD_MS)
    throw badField('expiresAt', 'must be at most a year after the time of sending');
  return { sendAt, expiresAt };
}

function sendAtOf({ sendAt, delay }: Content, now: number): number {
  if (delay !== undefined) return now + delay * 1_000;
  if (sendAt === undefined) return now;
  const at = fromIsoTime(sendAt);
  if (at < now - MAX_PAST_MS) throw badField('sendAt', 'must not be more than 60 seconds ago');
  if (at > now + MAX_AHEAD_MS) throw badField('sendAt', 'must be at most a year ahead');
  return at;
}

export function assertOptionsFit(topic: string, { collapseKey, exceptUserId }: Content): void {
  const isPersonal = ownerOfPersonalTopic(topic) !== undefined;
  if (collapseKey !== undefined && !isPersonal)
    throw badField('collapseKey', 'is allowed only for messages to one user');
  if (exceptUserId !== undefined && isPersonal)
    throw badField('exceptUserId', 'is allowed only for topics and broadcasts');
}
