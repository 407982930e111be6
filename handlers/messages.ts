/** The operations on a message that was sent: replace its data, retract it, see what has become of it. */
import { z } from 'zod';
import type { Audit, Requester } from '../services/audit';
import type { Cursors } from '../services/delivery/cursors';
import type { Delivery } from '../services/delivery/delivery';
import type { DeviceReceipt, Receipt, ReceiptPage, Store } from '../services/storage/contract';
import { toIsoTime } from '../utils/clock';
import { AppError, ambiguousId, refuseField } from '../utils/errors';
import { type Caller, holdsScope } from '../utils/jwt';
import { readCursor, writeCursor } from '../utils/opaque-cursor';
import type { Message } from '../utils/protocol';
import {
  messageIdSchema,
  messageQuerySchema,
  parseField,
  parseInput,
  receiptsQuerySchema,
  updateMessageSchema,
} from '../utils/schemas';
import { BROADCAST_TOPIC, isNamedTopic, personalTopic } from '../utils/topic-names';
import type { Rights } from './rights';
import type { Sending } from './sending';

export interface MessageChangeParts {
  readonly store: Store;
  readonly delivery: Delivery;
  readonly cursors: Cursors;
  readonly assertSize: Sending['assertSize'];
  readonly audit: Pick<Audit, 'note'>;
  readonly rights: Pick<Rights, 'assertMaySay'>;
}

export interface MessageAnswer {
  readonly success: true;
  readonly id: string;
  readonly topic: string;
  readonly seq: number;
}

export interface ReceiptsAnswer {
  readonly id: string;
  readonly stored: string;
  readonly sent: string | null;
  readonly acknowledged: readonly { userId: string; device: string; time: string }[];
  readonly seen: readonly { userId: string; time: string }[];
  readonly read: readonly { userId: string; time: string }[];
  readonly totals: ReceiptPage['totals'];
  readonly nextCursor: string | null;
}

export type MessageChangeOperations = ReturnType<typeof createMessageChangeOperations>;

interface Change {
  readonly action: 'update' | 'retract';
  readonly message: Message;
  /** `undefined`: it was not there any more. */
  readonly entries: readonly Message[] | undefined;
}

const MAX_RECEIPTS = 1_000;
/** Messages of other senders of which it is asked whether the caller may read them: only the refusal differs. */
const MAX_OTHERS = 100;
const CURSOR_KIND = 'receipts';

export function createMessageChangeOperations(parts: MessageChangeParts) {
  const { store, delivery, cursors, assertSize, audit, rights } = parts;

  /**
   * Replaces `data`. Who is away never sees what it was. For the sender, who must be allowed to say it now, or scope
   * `admin`.
   */
  async function update(
    requester: Requester,
    id: string,
    input: { body: unknown; query: unknown },
  ): Promise<MessageAnswer> {
    const { data } = parseInput(updateMessageSchema, input.body);
    assertSize('data', data);
    const message = await resolve(requester, id, parseInput(messageQuerySchema, input.query).from);
    rights.assertMaySay(requester, message);
    await assertStillThere(requester, message);
    return told(requester, { action: 'update', message, entries: await store.update(message, data, requester.userId) });
  }

  /** Takes a message back. Who is away never sees it. For the sender, or scope `admin`. */
  async function retract(requester: Requester, id: string, query: unknown): Promise<MessageAnswer> {
    const message = await resolve(requester, id, parseInput(messageQuerySchema, query).from);
    return told(requester, { action: 'retract', message, entries: await store.retract(message, requester.userId) });
  }

  async function told(requester: Requester, { action, message, entries }: Change): Promise<MessageAnswer> {
    if (entries === undefined) throw noMessage();
    const { id, topic, seq } = message;
    audit.note(requester, { action, target: topic, messageId: id, count: 1 });
    await delivery.emitAppended(entries);
    return { success: true, id, topic, seq };
  }

  /** What has become of a message. Times are at most a second late. For the sender, or scope `admin`. */
  async function receipts(caller: Caller, id: string, query: unknown): Promise<ReceiptsAnswer> {
    const { limit = MAX_RECEIPTS, cursor, from } = parseInput(receiptsQuerySchema, query);
    const after = cursor === undefined ? undefined : readCursor(CURSOR_KIND, z.string(), cursor);
    const message = await resolve(caller, id, from);
    await assertStillThere(caller, message);
    // What was acknowledged a moment ago is still in memory.
    delivery.collectPositions();
    await cursors.flush();
    const { sentAt, acknowledged, seen, read, totals, next } = await store.receipts(message, { limit, after });
    return {
      id,
      stored: message.timestamp,
      sent: sentAt === undefined ? null : toIsoTime(sentAt),
      acknowledged: acknowledged.map(toDeviceReceipt),
      seen: seen.map(toReceipt),
      read: read.map(toReceipt),
      totals,
      nextCursor: next === undefined ? null : writeCursor(CURSOR_KIND, next),
    };
  }

  /** The message that the caller means, who is its sender or may do everything. */
  async function resolve(caller: Caller, id: string, from: string | undefined): Promise<Message> {
    parseField('id', messageIdSchema, id);
    const isOwn = from === undefined || from === caller.userId;
    const own = isOwn ? await store.find(id, caller.userId) : [];
    const ofSender = own.length > 0 ? own : await store.find(id, from);
    const candidates = own.length === 0 && holdsScope(caller, 'admin') ? ofSender : own;
    const [message] = candidates;
    if (candidates.length > 1) throw ambiguousId();
    if (message !== undefined) return message;
    for (const other of ofSender.slice(0, MAX_OTHERS)) {
      if (await mayRead(caller, other)) throw new AppError('forbidden', 'Only the sender of the message may do this.');
    }
    throw noMessage();
  }

  /** What people have said in a topic is out of their hands once they are not in it; they may only take it back. */
  async function assertStillThere(caller: Caller, { topic: name }: Message): Promise<void> {
    if (!isNamedTopic(name) || holdsScope(caller, 'send')) return;
    const [topic, isMember] = await Promise.all([store.topic(name), store.isMember(name, caller.userId)]);
    if (isMember && topic !== undefined) return;
    if (topic?.isPrivate === false) throw new AppError('not_a_member', `Only members of ${name} may do this.`);
    throw noMessage();
  }

  /** Who may read a message knows that it exists. */
  async function mayRead({ userId }: Caller, { topic, exceptUserId }: Message): Promise<boolean> {
    if (userId === exceptUserId) return false;
    if (topic === BROADCAST_TOPIC || topic === personalTopic(userId)) return true;
    return store.isMember(topic, userId);
  }

  return { update, retract, receipts };
}

function toReceipt({ userId, at }: Receipt) {
  return { userId, time: toIsoTime(at) };
}

function toDeviceReceipt({ userId, device, at }: DeviceReceipt) {
  return { userId, device, time: toIsoTime(at) };
}

function noMessage(): AppError {
  return refuseField('not_found', 'id', 'there is no such message');
}
