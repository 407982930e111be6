/** How a route is described, and what several routes share. */
import type { z } from 'zod';
import { scheduledSendAnswer, sentAnswer } from '../../../utils/answers/sending';
import type { Scope } from '../../../utils/caller';
import type { ErrorCode } from '../../../utils/errors';

export interface Body {
  readonly schema: z.ZodType;
  readonly example: unknown;
  /** Fields of the schema that this route refuses. */
  readonly refused?: readonly string[];
  readonly isOptional?: boolean;
}

export interface Answer {
  readonly description: string;
  /** Absent: text that is not JSON. */
  readonly schema?: z.ZodType;
  readonly type?: string;
}

export interface Operation {
  /** Method and path as the table of routes has them. */
  readonly route: string;
  readonly id: string;
  readonly tag: Tag;
  readonly summary: string;
  readonly description?: string;
  /** Absent: any valid token. */
  readonly scope?: Scope | 'public';
  readonly body?: Body;
  readonly query?: z.ZodObject;
  readonly answers: Readonly<Record<number, Answer>>;
  /** Its own errors, beside those of its guards, its parameters and its body. */
  readonly problems?: readonly ErrorCode[];
  /** Does it take an Idempotency-Key? */
  readonly isSend?: boolean;
}

export const TAGS = {
  Sending: 'A 2xx answer means that the message is on disk. Offline users receive it on their next connect.',
  Inbox: "The caller's messages over all topics, with their states.",
  Messages: 'Change, retract and track a sent message: for its sender, or scope `admin`.',
  Scheduled: 'Messages that are not due yet.',
  Users: 'Who is connected, and everything stored about a user.',
  Audit: 'Who did what, to how many. Never the content of a message.',
  Topics: 'A named topic is a log that its members follow. To everybody else, a private one does not exist (404).',
  Gateway: "The paths and answers of a gateway that emits events to users: the payload is that event's first argument.",
  Service: 'Probes, metrics and these documents.',
} as const;

type Tag = keyof typeof TAGS;

export const READS = ['store_unavailable'] as const;
export const WRITES = ['store_unavailable', 'store_full'] as const;
export const SENDS = [
  'request_in_progress',
  'idempotency_conflict',
  'message_too_large',
  'too_many_scheduled',
  ...WRITES,
] as const;

export const SENT_LATER = { description: 'The message is scheduled.', schema: scheduledSendAnswer };
export const SENT = { 200: { description: 'Stored and delivered live.', schema: sentAnswer }, 202: SENT_LATER };
