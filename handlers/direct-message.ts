/** Messages and notifications to one user, and the same message to several. */
import { describeFailure } from '../services/observability/describe-failure';
import type { Roster } from '../services/presence/roster';
import { badField } from '../utils/errors';
import {
  directMessageSchema,
  messageToUserSchema,
  messageToUsersSchema,
  notificationSchema,
  parseInput,
} from '../utils/schemas';
import { personalTopic } from '../utils/topic-names';
import type { MistypedFields } from './mistyped-fields';
import type { Sender, SendOperations, Sent } from './send';
import { type ReachOf, type ScheduledSendAnswer, type SendAnswer, toAnswer } from './send-answer';
import type { Content } from './send-options';

export interface DirectMessageParts {
  readonly roster: Pick<Roster, 'isOnline'>;
  readonly sending: SendOperations;
  readonly reachOf: ReachOf;
  readonly mistyped: Pick<MistypedFields, 'warned'>;
}

export type RecipientResult =
  | { readonly userId: string; readonly id: string; readonly seq?: number; readonly connected: boolean }
  | { readonly userId: string; readonly id: string; readonly scheduledFor: string }
  | { readonly userId: string; readonly error: { readonly code: string; readonly detail: string } };

type SentOne = Promise<Sent<SendAnswer | ScheduledSendAnswer>>;

export function createDirectMessages({ roster, sending, reachOf, mistyped }: DirectMessageParts) {
  const { warned } = mistyped;
  const { send, assertSize } = sending;

  /** Sends to one user. @throws AppError `bad_request`, `message_too_large`, `idempotency_conflict`, `store_…`. */
  async function messageUser(sender: Sender, input: unknown): SentOne {
    const { userId, ...content } = parseInput(messageToUserSchema, input);
    return sendToUser(sender, userId, content);
  }

  /** The same from a socket: `{to, type, data, …options}`. */
  async function directMessage(sender: Sender, input: unknown): SentOne {
    const { to, ...content } = parseInput(directMessageSchema, input);
    return sendToUser(sender, to, content);
  }

  /** Sends a message of type `notification` with `data: {title, body, ...data}`. */
  async function notify(sender: Sender, input: unknown): SentOne {
    const { userId, title, body, data, ...options } = parseInput(notificationSchema, input);
    return sendToUser(sender, userId, { ...options, type: 'notification', data: { title, body, ...data } });
  }

  async function sendToUser(sender: Sender, userId: string, content: Content): SentOne {
    assertSize('data', content.data);
    const result = await send(sender, personalTopic(userId), content);
    return toAnswer(`Message sent to user ${userId}`, result, await reachOf(sender, () => roster.isOnline(userId)));
  }

  return {
    messageUser: warned(messageToUserSchema, messageUser),
    directMessage: warned(directMessageSchema, directMessage),
    messageUsers: warned(messageToUsersSchema, createMessageUsers({ sending, roster })),
    notify: warned(notificationSchema, notify),
  };
}

function createMessageUsers({ sending, roster }: Pick<DirectMessageParts, 'sending' | 'roster'>) {
  const { send, assertSize, assertOptions } = sending;

  /**
   * Sends the same message to several users, once each. A failure for one user does not affect the others; if all fail,
   * so does the request.
   */
  return async function messageUsers(
    sender: Sender,
    input: unknown,
  ): Promise<Sent<{ success: true; message: string; results: RecipientResult[] }>> {
    const { userIds, ...content } = parseInput(messageToUsersSchema, input);
    if (content.id !== undefined)
      throw badField('id', 'cannot be used with several recipients: an id names one message');
    assertSize('data', content.data);
    const recipients = [...new Set(userIds)];
    // A fault of the input is the same for all.
    const [first] = recipients;
    if (first !== undefined) assertOptions(personalTopic(first), content);
    const sends = await Promise.allSettled(recipients.map((userId) => sendToOneOf(sender, userId, content)));
    // If it reached nobody, the request fails with that error.
    if (sends[0]?.status === 'rejected' && sends.every(({ status }) => status === 'rejected')) throw sends[0].reason;
    const results = sends.map((one, index) =>
      one.status === 'fulfilled' ? one.value : toFailure(recipients[index] ?? '', one.reason),
    );
    const answer = { success: true, message: `Message sent to ${recipients.length} users`, results } as const;
    const count = sends.filter(({ status }) => status === 'fulfilled').length;
    const isScheduled = results.some((result) => 'scheduledFor' in result);
    return { answer, isRepeated: false, isScheduled, account: { count } };
  };

  async function sendToOneOf(sender: Sender, userId: string, content: Content): Promise<RecipientResult> {
    const { id, seq, scheduledFor } = await send(sender, personalTopic(userId), content);
    if (scheduledFor !== undefined) return { userId, id, scheduledFor };
    return { userId, id, ...(seq === undefined ? {} : { seq }), connected: roster.isOnline(userId) };
  }
}

function toFailure(userId: string, thrown: unknown): RecipientResult {
  const { code, message } = describeFailure(thrown);
  return { userId, error: { code, detail: message } };
}
