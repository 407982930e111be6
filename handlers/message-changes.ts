/** Changes of a sent message: replace its data, retract it. */
import type { AuditLog, Requester } from '../services/audit-log';
import type { Delivery } from '../services/delivery/delivery';
import type { Store } from '../services/storage/contract';
import type { Message } from '../utils/protocol';
import { messageQuerySchema, parseInput, updateMessageSchema } from '../utils/schemas';
import { type FindMessage, noMessage } from './find-message';
import type { Rights } from './rights';
import type { SendOperations } from './send';

export interface MessageChangeParts {
  readonly store: Store;
  readonly delivery: Delivery;
  readonly assertSize: SendOperations['assertSize'];
  readonly audit: Pick<AuditLog, 'note'>;
  readonly rights: Pick<Rights, 'assertMaySay'>;
  readonly find: FindMessage;
}

export interface MessageAnswer {
  readonly success: true;
  readonly id: string;
  readonly topic: string;
  readonly seq: number;
}

export type MessageChangeOperations = ReturnType<typeof createMessageChangeOperations>;

interface Change {
  readonly action: 'update' | 'retract';
  readonly message: Message;
  /** `undefined`: it no longer existed. */
  readonly entries: readonly Message[] | undefined;
}

export function createMessageChangeOperations(parts: MessageChangeParts) {
  const { store, delivery, assertSize, audit, rights, find } = parts;

  /**
   * Replaces `data`. Offline users never see the old data. For the sender, who must be allowed to send the new data
   * now, or scope `admin`.
   */
  async function update(
    requester: Requester,
    id: string,
    input: { body: unknown; query: unknown },
  ): Promise<MessageAnswer> {
    const { data } = parseInput(updateMessageSchema, input.body);
    assertSize('data', data);
    const message = await find.sentBy(requester, id, parseInput(messageQuerySchema, input.query).from);
    rights.assertMaySay(requester, message);
    await find.assertStillThere(requester, message);
    return announce(requester, {
      action: 'update',
      message,
      entries: await store.log.update(message, data, requester.userId),
    });
  }

  /** Retracts a message. Offline users never see it. For the sender, or scope `admin`. */
  async function retract(requester: Requester, id: string, query: unknown): Promise<MessageAnswer> {
    const message = await find.sentBy(requester, id, parseInput(messageQuerySchema, query).from);
    return announce(requester, {
      action: 'retract',
      message,
      entries: await store.log.retract(message, requester.userId),
    });
  }

  async function announce(requester: Requester, { action, message, entries }: Change): Promise<MessageAnswer> {
    if (entries === undefined) throw noMessage();
    const { id, topic, seq } = message;
    audit.note(requester, { action, target: topic, messageId: id, count: 1 });
    await delivery.emitAppended(entries);
    return { success: true, id, topic, seq };
  }

  return { update, retract };
}
