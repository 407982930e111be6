/** The operations on messages and users: message, broadcast, notification, status, disconnect. */
import type { Connections } from '../services/connections';
import type { Cursors } from '../services/cursors';
import type { Delivery } from '../services/delivery';
import { type Clock, toIsoTime } from '../utils/clock';
import { AppError, badField, toAppError } from '../utils/errors';
import { newId } from '../utils/ids';
import type { Caller } from '../utils/jwt';
import type { ClosingCode } from '../utils/protocol';
import {
  assertMessageSize,
  contentSchema,
  directMessageSchema,
  gatewaySendManySchema,
  gatewaySendSchema,
  listQuerySchema,
  messageToUserSchema,
  messageToUsersSchema,
  notificationSchema,
  parseField,
  parseInput,
  parseSend,
  userIdSchema,
} from '../utils/schemas';
import { BROADCAST_TOPIC, personalTopic } from '../utils/topic-names';

export interface MessageParts {
  readonly delivery: Delivery;
  readonly connections: Connections;
  readonly cursors: Cursors;
  readonly clock: Clock;
  /** Largest `data` of a message: UTF-8 bytes of its JSON. */
  readonly maxMessageBytes: number;
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
  /** Is the recipient, or for a broadcast anybody, online now? */
  readonly connected: boolean;
  /** Do live frames reach all nodes at once? One node: always. */
  readonly live: 'ok' | 'degraded';
}

/** An answer, and whether it repeats that of an earlier request with the same id. */
export interface Sent<Answer = SendAnswer> {
  readonly answer: Answer;
  readonly isRepeated: boolean;
}

export type RecipientResult =
  | { readonly userId: string; readonly id: string; readonly seq?: number; readonly connected: boolean }
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

interface Content {
  readonly type: string;
  readonly data?: unknown;
  readonly id?: string | undefined;
  readonly event?: string | undefined;
  readonly persist?: boolean | undefined;
}

export type MessageOperations = ReturnType<typeof createMessageOperations>;

const MAX_LISTED_USERS = 1_000;

export function createMessageOperations(parts: MessageParts) {
  const { delivery, connections, cursors, clock } = parts;

  /** Sends to one user. @throws AppError `bad_request`, `message_too_large`, `idempotency_conflict`, `store_…`. */
  async function messageUser(caller: Caller, input: unknown): Promise<Sent> {
    const { userId, ...content } = parseSend(messageToUserSchema, input);
    return sendToUser(caller, userId, content);
  }

  /** The same from a socket: `{to, type, data, …options}`. */
  async function directMessage(caller: Caller, input: unknown): Promise<Sent> {
    const { to, ...content } = parseSend(directMessageSchema, input);
    return sendToUser(caller, to, content);
  }

  /** Sends to a named topic by one append. Whether the caller may is asked before (handlers/topics.ts). */
  async function messageTopic(caller: Caller, topic: string, input: unknown): Promise<Sent> {
    const content = parseSend(contentSchema, input);
    assertSize('data', content.data);
    const { receipt, isRepeated } = await send(caller, topic, content);
    const answer = {
      ...success(`Message sent to topic ${topic}`, receipt),
      connected: delivery.hasFollowers(topic),
      live: 'ok',
    } as const;
    return { answer, isRepeated };
  }

  /** Sends a payload under an event name, as an ancestor's gateway did. It is kept for who is away all the same. */
  async function emitToUser(caller: Caller, input: unknown): Promise<GatewayAnswer> {
    const { userId, event, message } = parseSend(gatewaySendSchema, input);
    assertSize('message', message);
    const { receipt } = await send(caller, personalTopic(userId), { type: event, event, data: message });
    if (connections.isOnline(userId)) return { success: true, message: `Message sent to user ${userId}` };
    return { success: false, message: `User ${userId} is not connected`, stored: true, id: receipt.id };
  }

  /** The same for several users, each once. */
  async function emitToUsers(
    caller: Caller,
    input: unknown,
  ): Promise<{ success: true; message: string; userIds: string[] }> {
    const { userIds, event, message } = parseSend(gatewaySendManySchema, input);
    assertSize('message', message);
    const recipients = [...new Set(userIds)];
    const content = { type: event, event, data: message };
    await Promise.all(recipients.map((userId) => send(caller, personalTopic(userId), content)));
    return { success: true, message: `Message sent to ${recipients.length} users`, userIds: recipients };
  }

  async function sendToUser(caller: Caller, userId: string, content: Content): Promise<Sent> {
    assertSize('data', content.data);
    const sent = await send(caller, personalTopic(userId), content);
    const answer = {
      ...success(`Message sent to user ${userId}`, sent.receipt),
      connected: connections.isOnline(userId),
      live: 'ok',
    } as const;
    return { answer, isRepeated: sent.isRepeated };
  }

  /** Sends the same message to several users, each once. One user's failure leaves the others alone. */
  async function messageUsers(
    caller: Caller,
    input: unknown,
  ): Promise<{ success: true; message: string; results: RecipientResult[] }> {
    const { userIds, ...content } = parseSend(messageToUsersSchema, input);
    if (content.id !== undefined) throw badField('id', 'is refused here: an id names one message');
    assertSize('data', content.data);
    const recipients = [...new Set(userIds)];
    const results = await Promise.all(recipients.map((userId) => sendToOneOf(caller, userId, content)));
    return { success: true, message: `Message sent to ${recipients.length} users`, results };
  }

  async function sendToOneOf(caller: Caller, userId: string, content: Content): Promise<RecipientResult> {
    try {
      const { receipt } = await send(caller, personalTopic(userId), content);
      const { id, seq } = receipt;
      return { userId, id, ...(seq === undefined ? {} : { seq }), connected: connections.isOnline(userId) };
    } catch (thrown) {
      const { code, message } = toAppError(thrown);
      return { userId, error: { code, detail: message } };
    }
  }

  /** Sends to everyone by one append. `recipients`: distinct users who are connected now. */
  async function broadcast(caller: Caller, input: unknown): Promise<Sent<SendAnswer & { recipients: number }>> {
    const content = parseSend(contentSchema, input);
    assertSize('data', content.data);
    const { receipt, isRepeated } = await send(caller, BROADCAST_TOPIC, content);
    const recipients = connections.userCount;
    const answer = {
      ...success('Message broadcast', receipt),
      connected: recipients > 0,
      live: 'ok',
      recipients,
    } as const;
    return { answer, isRepeated };
  }

  /** Sends a message of type `notification` with `data: {title, body, ...data}`. */
  async function notify(caller: Caller, input: unknown): Promise<Sent> {
    const { userId, title, body, data, ...options } = parseSend(notificationSchema, input);
    return sendToUser(caller, userId, { ...options, type: 'notification', data: { title, body, ...data } });
  }

  /** Stores and emits. The size was checked before: once, however many recipients there are. */
  async function send(
    caller: Caller,
    topic: string,
    content: Content,
  ): Promise<{ receipt: Receipt; isRepeated: boolean }> {
    const now = clock.now();
    const draft = {
      id: content.id ?? newId(now),
      topic,
      type: content.type,
      data: content.data,
      timestamp: toIsoTime(now),
      from: caller.userId,
      ...(content.event === undefined ? {} : { event: content.event }),
    };
    if (content.persist === false) {
      delivery.publishLive(draft);
      return { receipt: { id: draft.id, topic }, isRepeated: false };
    }
    const appended = await delivery.publish({ ...draft, isClientId: content.id !== undefined });
    if (appended.outcome === 'conflict') {
      throw new AppError('idempotency_conflict', `id: ${draft.id} was used by this sender for another message`, {
        errors: [{ path: 'id', message: 'was used by this sender for another message' }],
      });
    }
    return { receipt: appended.message, isRepeated: appended.outcome === 'repeated' };
  }

  /** Bounds what a message carries; `path`: the sender's word for it. */
  function assertSize(path: string, data: unknown): void {
    assertMessageSize(path, data, parts.maxMessageBytes);
  }

  /** Who is connected, by name; pages of at most 1,000. `count`: all of them. */
  function connectedUsers(query: unknown): { users: string[]; count: number; nextCursor: string | null } {
    const { limit = MAX_LISTED_USERS, cursor } = parseInput(listQuerySchema, query);
    const after = cursor === undefined ? undefined : readCursor(cursor);
    const all = connections.userIds().sort();
    const rest = after === undefined ? all : all.filter((userId) => userId > after);
    const users = rest.slice(0, limit);
    const last = users.at(-1);
    const nextCursor = rest.length > users.length && last !== undefined ? writeCursor(last) : null;
    return { users, count: all.length, nextCursor };
  }

  async function userStatus(userId: string): Promise<UserStatusAnswer> {
    const status = connections.statusOf(parseUserId(userId));
    const lastSeen = status.connected ? clock.now() : await cursors.lastSeen(userId);
    return { userId, ...status, lastSeen: lastSeen === undefined ? null : toIsoTime(lastSeen) };
  }

  function disconnectUser(userId: string): { success: true; userId: string; disconnected: number } {
    const disconnected = parts.disconnect(parseUserId(userId), 'disconnected', {
      reason: 'An administrator closed the connection.',
    });
    return { success: true, userId, disconnected };
  }

  /** Everyone who is connected, in the words of an ancestor's gateway. */
  function connectedNow(): { userIds: string[]; sockets: number } {
    return { userIds: connections.userIds().sort(), sockets: connections.count };
  }

  return {
    assertSize,
    messageTopic,
    emitToUser,
    emitToUsers,
    connectedNow,
    messageUser,
    directMessage,
    messageUsers,
    broadcast,
    notify,
    connectedUsers,
    userStatus,
    disconnectUser,
  };
}

interface Receipt {
  readonly id: string;
  readonly topic: string;
  readonly seq?: number;
}

function success(message: string, { id, topic, seq }: Receipt) {
  return { success: true, message, id, topic, ...(seq === undefined ? {} : { seq }) } as const;
}

function parseUserId(userId: string): string {
  return parseField('userId', userIdSchema, userId);
}

/** Cursors are opaque to clients; this prefix tells ours from garbage. */
const CURSOR_PREFIX = 'u:';

function writeCursor(userId: string): string {
  return Buffer.from(CURSOR_PREFIX + userId, 'utf8').toString('base64url');
}

function readCursor(cursor: string): string {
  const text = Buffer.from(cursor, 'base64url').toString('utf8');
  if (!text.startsWith(CURSOR_PREFIX) || writeCursor(text.slice(CURSOR_PREFIX.length)) !== cursor) {
    throw badField('cursor', 'must be a cursor that an earlier answer gave');
  }
  return text.slice(CURSOR_PREFIX.length);
}
