/** The operations on messages and users: message, broadcast, notification, status, disconnect. */
import type { Audit, Requester } from '../services/audit';
import type { Live } from '../services/cluster/contract';
import type { Cursors } from '../services/delivery/cursors';
import { describeFailure } from '../services/observability/failures';
import type { Roster } from '../services/presence/roster';
import type { NamePage } from '../services/storage/contract';
import { type Clock, toIsoTime } from '../utils/clock';
import { badField } from '../utils/errors';
import type { ClosingCode } from '../utils/protocol';
import {
  contentSchema,
  directMessageSchema,
  gatewaySendManySchema,
  gatewaySendSchema,
  listQuerySchema,
  longListQuerySchema,
  messageToUserSchema,
  messageToUsersSchema,
  notificationSchema,
  parseField,
  parseInput,
  userIdSchema,
} from '../utils/schemas';
import { BROADCAST_TOPIC, personalTopic } from '../utils/topic-names';
import type { MistypedFields } from './mistyped-fields';
import { fitPage, readPage } from './paging';
import type { Rights } from './rights';
import type { Content, Receipt, Sender, Sending, Sent } from './sending';

export interface MessageParts {
  readonly roster: Roster;
  /** Is any member of a named topic online? */
  readonly isAnyMemberOnline: (topic: string) => Promise<boolean>;
  /** Do live frames reach all nodes at once? */
  readonly live: () => Live;
  readonly cursors: Cursors;
  readonly clock: Clock;
  readonly sending: Sending;
  readonly rights: Pick<Rights, 'maySeePresence'>;
  readonly audit: Pick<Audit, 'carryOut'>;
  readonly mistyped: MistypedFields;
  /** Closes the sockets of a user. @returns how many. */
  readonly disconnect: (userId: string, code: ClosingCode, options: { reason: string; device?: string }) => number;
}

/** What a sender is told. `seq` is absent for `persist: false`. */
export interface SendAnswer {
  readonly success: true;
  readonly message: string;
  readonly id: string;
  readonly topic: string;
  readonly seq?: number;
  /** Is the recipient, or for a broadcast anybody, online now? Absent for who may not know. */
  readonly connected?: boolean;
  /** Do live frames reach all nodes at once? One node: always. */
  readonly live: Live;
}

type Reach = Pick<SendAnswer, 'connected' | 'live'>;

/** What the sender of a message with `sendAt` or `delay` is told. */
export interface ScheduledSendAnswer {
  readonly success: true;
  readonly message: string;
  readonly id: string;
  readonly topic: string;
  /** ISO 8601. */
  readonly scheduledFor: string;
}

export type RecipientResult =
  | { readonly userId: string; readonly id: string; readonly seq?: number; readonly connected: boolean }
  | { readonly userId: string; readonly id: string; readonly scheduledFor: string }
  | { readonly userId: string; readonly error: { readonly code: string; readonly detail: string } };

export interface UserStatusAnswer {
  readonly userId: string;
  readonly connected: boolean;
  readonly sockets: number;
  readonly devices: number;
  /** ISO 8601: now for who is connected, else the end of the last connection; `null` for who never was. */
  readonly lastSeen: string | null;
}

/** `success: false` says that nobody got it now; `stored` that it waits. */
export interface GatewayAnswer {
  readonly success: boolean;
  readonly message: string;
  readonly stored?: true;
  readonly id?: string;
}

/** `count`: on all pages. */
interface ConnectedUsers {
  readonly users: readonly string[];
  readonly count: number;
  readonly nextCursor: string | null;
}

export type MessageOperations = ReturnType<typeof createMessageOperations>;

const MAX_LISTED_USERS = 1_000;
const MAX_USERS_AT_ONCE = 10_000;
const CURSOR_KIND = 'users';

export function createMessageOperations(parts: MessageParts) {
  const { roster, cursors, clock } = parts;
  const { warned } = parts.mistyped;
  const { send, assertSize, assertOptions } = parts.sending;

  /** Sends to one user. @throws AppError `bad_request`, `message_too_large`, `idempotency_conflict`, `store_…`. */
  async function messageUser(sender: Sender, input: unknown): Promise<Sent<SendAnswer | ScheduledSendAnswer>> {
    const { userId, ...content } = parseInput(messageToUserSchema, input);
    return sendToUser(sender, userId, content);
  }

  /** The same from a socket: `{to, type, data, …options}`. */
  async function directMessage(sender: Sender, input: unknown): Promise<Sent<SendAnswer | ScheduledSendAnswer>> {
    const { to, ...content } = parseInput(directMessageSchema, input);
    return sendToUser(sender, to, content);
  }

  /** Sends to a named topic by one append. Whether the caller may is asked before (handlers/topics.ts). */
  async function messageTopic(
    sender: Sender,
    topic: string,
    input: unknown,
  ): Promise<Sent<SendAnswer | ScheduledSendAnswer>> {
    const content = parseInput(contentSchema, input);
    assertSize('data', content.data);
    const receipt = await send(sender, topic, content);
    return toAnswer(
      `Message sent to topic ${topic}`,
      receipt,
      await reachOf(sender, () => parts.isAnyMemberOnline(topic)),
    );
  }

  /** Sends a payload under an event name, as an ancestor's gateway did. It is kept for who is away all the same. */
  async function emitToUser(sender: Sender, input: unknown): Promise<Sent<GatewayAnswer>> {
    const { userId, event, message } = parseInput(gatewaySendSchema, input);
    assertSize('message', message);
    const { id, isRepeated } = await send(sender, personalTopic(userId), { type: event, event, data: message });
    const answer: GatewayAnswer = roster.isOnline(userId)
      ? { success: true, message: `Message sent to user ${userId}` }
      : { success: false, message: `User ${userId} is not connected`, stored: true, id };
    return { answer, isRepeated, account: { target: personalTopic(userId), messageId: id, count: 1 } };
  }

  /** The same for several users, each once. */
  async function emitToUsers(
    sender: Sender,
    input: unknown,
  ): Promise<Sent<{ success: true; message: string; userIds: string[] }>> {
    const { userIds, event, message } = parseInput(gatewaySendManySchema, input);
    assertSize('message', message);
    const recipients = [...new Set(userIds)];
    const content = { type: event, event, data: message };
    const sends = await Promise.allSettled(recipients.map((userId) => send(sender, personalTopic(userId), content)));
    // All have ended: the same request under the same key finds what was stored.
    const receipts = sends.map((one) => {
      if (one.status === 'rejected') throw one.reason;
      return one.value;
    });
    const answer = {
      success: true,
      message: `Message sent to ${recipients.length} users`,
      userIds: recipients,
    } as const;
    const isRepeated = receipts.every((receipt) => receipt.isRepeated);
    return { answer, isRepeated, account: { count: recipients.length } };
  }

  async function sendToUser(
    sender: Sender,
    userId: string,
    content: Content,
  ): Promise<Sent<SendAnswer | ScheduledSendAnswer>> {
    assertSize('data', content.data);
    const receipt = await send(sender, personalTopic(userId), content);
    return toAnswer(`Message sent to user ${userId}`, receipt, await reachOf(sender, () => roster.isOnline(userId)));
  }

  /** Who may not know who is online is not told of the recipient either. */
  async function reachOf(sender: Sender, isConnected: () => boolean | Promise<boolean>): Promise<Reach> {
    const live = parts.live();
    return parts.rights.maySeePresence(sender) ? { connected: await isConnected(), live } : { live };
  }

  /**
   * Sends the same message to several users, each once. One user's failure leaves the others alone; when all fail, the
   * request does.
   */
  async function messageUsers(
    sender: Sender,
    input: unknown,
  ): Promise<Sent<{ success: true; message: string; results: RecipientResult[] }>> {
    const { userIds, ...content } = parseInput(messageToUsersSchema, input);
    if (content.id !== undefined) throw badField('id', 'is refused here: an id names one message');
    assertSize('data', content.data);
    const recipients = [...new Set(userIds)];
    // What is wrong for one is wrong for all.
    const [first] = recipients;
    if (first !== undefined) assertOptions(personalTopic(first), content);
    const sends = await Promise.allSettled(recipients.map((userId) => sendToOneOf(sender, userId, content)));
    // When nobody got it, that is the failure of the request.
    if (sends[0]?.status === 'rejected' && sends.every(({ status }) => status === 'rejected')) throw sends[0].reason;
    const results = sends.map((one, index) =>
      one.status === 'fulfilled' ? one.value : toFailure(recipients[index] ?? '', one.reason),
    );
    const answer = { success: true, message: `Message sent to ${recipients.length} users`, results } as const;
    const count = sends.filter(({ status }) => status === 'fulfilled').length;
    const isScheduled = results.some((result) => 'scheduledFor' in result);
    return { answer, isRepeated: false, isScheduled, account: { count } };
  }

  async function sendToOneOf(sender: Sender, userId: string, content: Content): Promise<RecipientResult> {
    const { id, seq, scheduledFor } = await send(sender, personalTopic(userId), content);
    if (scheduledFor !== undefined) return { userId, id, scheduledFor };
    return { userId, id, ...(seq === undefined ? {} : { seq }), connected: roster.isOnline(userId) };
  }

  /** Sends to everyone by one append. `recipients`: distinct users who are connected now. */
  async function broadcast(
    sender: Sender,
    input: unknown,
  ): Promise<Sent<(SendAnswer & { recipients: number }) | ScheduledSendAnswer>> {
    const content = parseInput(contentSchema, input);
    assertSize('data', content.data);
    const receipt = await send(sender, BROADCAST_TOPIC, content);
    const recipients = roster.userCount;
    const reach = await reachOf(sender, () => recipients > 0);
    const sent = toAnswer('Message broadcast', receipt, { ...reach, recipients });
    return sent.isScheduled ? sent : { ...sent, account: { ...sent.account, count: recipients } };
  }

  /** Sends a message of type `notification` with `data: {title, body, ...data}`. */
  async function notify(sender: Sender, input: unknown): Promise<Sent<SendAnswer | ScheduledSendAnswer>> {
    const { userId, title, body, data, ...options } = parseInput(notificationSchema, input);
    return sendToUser(sender, userId, { ...options, type: 'notification', data: { title, body, ...data } });
  }

  /** Who is connected, by name; pages of at most 1,000. `count`: all of them. */
  function connectedUsers(query: unknown): ConnectedUsers {
    return connectedPage(readPage(CURSOR_KIND, parseInput(listQuerySchema, query), MAX_LISTED_USERS));
  }

  function connectedPage(wanted: NamePage): ConnectedUsers {
    const { page: users, nextCursor } = fitPage(CURSOR_KIND, roster.usersAfter(wanted), (userId) => userId);
    return { users, count: roster.userCount, nextCursor };
  }

  async function userStatus(userId: string): Promise<UserStatusAnswer> {
    const status = roster.statusOf(parseUserId(userId));
    const lastSeen = status.connected ? clock.now() : await cursors.lastSeen(userId);
    return { userId, ...status, lastSeen: lastSeen === undefined ? null : toIsoTime(lastSeen) };
  }

  /** Closes all connections of a user. @throws AppError `bad_request`; StoreError when it cannot be recorded. */
  async function disconnectUser(
    requester: Requester,
    userId: string,
  ): Promise<{ success: true; userId: string; disconnected: number }> {
    const target = personalTopic(parseUserId(userId));
    const reason = 'An administrator closed the connection.';
    const close = () => parts.disconnect(userId, 'disconnected', { reason });
    const disconnected = await parts.audit.carryOut(
      requester,
      { action: 'disconnect', target },
      close,
      (count) => count,
    );
    return { success: true, userId, disconnected };
  }

  /** The same for an ancestor's gateway, whose clients ask for all at once. */
  function connectedNow(query: unknown): ConnectedUsers & { readonly sockets: number } {
    const wanted = readPage(CURSOR_KIND, parseInput(longListQuerySchema, query), MAX_USERS_AT_ONCE);
    return { ...connectedPage(wanted), sockets: roster.count };
  }

  return {
    assertSize,
    messageTopic: warned(contentSchema, messageTopic),
    emitToUser: warned(gatewaySendSchema, emitToUser),
    emitToUsers: warned(gatewaySendManySchema, emitToUsers),
    connectedNow,
    messageUser: warned(messageToUserSchema, messageUser),
    directMessage: warned(directMessageSchema, directMessage),
    messageUsers: warned(messageToUsersSchema, messageUsers),
    broadcast: warned(contentSchema, broadcast),
    notify: warned(notificationSchema, notify),
    connectedUsers,
    userStatus,
    disconnectUser,
  };
}

function toFailure(userId: string, thrown: unknown): RecipientResult {
  const { code, message } = describeFailure(thrown);
  return { userId, error: { code, detail: message } };
}

/** What the sender is told: where the message stands, or when it will be sent. */
function toAnswer<Known extends Reach>(
  message: string,
  { id, topic, seq, scheduledFor, isRepeated }: Receipt,
  reach: Known,
): Sent<(SendAnswer & Known) | ScheduledSendAnswer> {
  const account = { target: topic, messageId: id, count: 1 };
  if (scheduledFor !== undefined) {
    const answer = { success: true, message: 'Message scheduled', id, topic, scheduledFor } as const;
    return { answer, isRepeated, isScheduled: true, account };
  }
  const place = { id, topic, ...(seq === undefined ? {} : { seq }) };
  return { answer: { success: true, message, ...place, ...reach }, isRepeated, account };
}

function parseUserId(userId: string): string {
  return parseField('userId', userIdSchema, userId);
}
