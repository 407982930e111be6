/** Payloads under custom event names, as clients of the compatible gateway send them. */

import type { MistypedFields } from '../../handlers/mistyped-fields';
import type { Sender, SendOperations, Sent } from '../../handlers/send';
import type { Roster } from '../../services/presence/roster';
import { gatewaySendManySchema, gatewaySendSchema, parseInput } from '../../utils/schemas';
import { personalTopic } from '../../utils/topic-names';

export interface GatewayParts {
  readonly roster: Pick<Roster, 'isOnline'>;
  readonly sending: SendOperations;
  readonly mistyped: Pick<MistypedFields, 'warned'>;
}

/** `success: false`: nobody received it live. `stored`: the user will receive it. */
export interface GatewayAnswer {
  readonly success: boolean;
  readonly message: string;
  readonly stored?: true;
  readonly id?: string;
}

export type GatewayOperations = ReturnType<typeof createGatewayOperations>;

export function createGatewayOperations({ roster, sending, mistyped }: GatewayParts) {
  const { send, assertSize } = sending;

  /** Sends a payload under an event name. Unlike at the gateway, it is stored for an offline user. */
  async function emitToUser(sender: Sender, input: unknown): Promise<Sent<GatewayAnswer>> {
    const { userId, event, message } = parseInput(gatewaySendSchema, input);
    assertSize('message', message);
    const { id, isRepeated } = await send(sender, personalTopic(userId), { type: event, event, data: message });
    const answer: GatewayAnswer = roster.isOnline(userId)
      ? { success: true, message: `Message sent to user ${userId}` }
      : { success: false, message: `User ${userId} is not connected`, stored: true, id };
    return { answer, isRepeated, account: { target: personalTopic(userId), messageId: id, count: 1 } };
  }

  /** The same to several users, once each. */
  async function emitToUsers(
    sender: Sender,
    input: unknown,
  ): Promise<Sent<{ success: true; message: string; userIds: string[] }>> {
    const { userIds, event, message } = parseInput(gatewaySendManySchema, input);
    assertSize('message', message);
    const recipients = [...new Set(userIds)];
    const content = { type: event, event, data: message };
    const sends = await Promise.allSettled(recipients.map((userId) => send(sender, personalTopic(userId), content)));
    // All have settled: the same request under the same key finds what was stored.
    const results = sends.map((one) => {
      if (one.status === 'rejected') throw one.reason;
      return one.value;
    });
    const count = recipients.length;
    const answer = { success: true, message: `Message sent to ${count} users`, userIds: recipients } as const;
    return { answer, isRepeated: results.every((result) => result.isRepeated), account: { count } };
  }

  const { warned } = mistyped;
  return {
    emitToUser: warned(gatewaySendSchema, emitToUser),
    emitToUsers: warned(gatewaySendManySchema, emitToUsers),
  };
}
