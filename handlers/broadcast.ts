/** Messages to everyone, and to all members of a topic: one append, however many recipients. */
import type { MemberLookup } from '../services/presence/member-lookup';
import type { Roster } from '../services/presence/roster';
import { contentSchema, parseInput } from '../utils/schemas';
import { BROADCAST_TOPIC } from '../utils/topic-names';
import type { MistypedFields } from './mistyped-fields';
import type { Sender, SendOperations, Sent } from './send';
import { type ReachOf, type ScheduledSendAnswer, type SendAnswer, toAnswer } from './send-answer';

export interface BroadcastParts {
  readonly roster: Pick<Roster, 'userCount'>;
  readonly members: Pick<MemberLookup, 'isAnyOnline'>;
  readonly sending: SendOperations;
  readonly reachOf: ReachOf;
  readonly mistyped: Pick<MistypedFields, 'warned'>;
}

export function createBroadcasts({ roster, members, sending, reachOf, mistyped }: BroadcastParts) {
  const { send, assertSize } = sending;

  /** Sends to everyone with one append. `recipients`: distinct users who are connected now. */
  async function broadcast(
    sender: Sender,
    input: unknown,
  ): Promise<Sent<(SendAnswer & { recipients: number }) | ScheduledSendAnswer>> {
    const content = parseInput(contentSchema, input);
    assertSize('data', content.data);
    const result = await send(sender, BROADCAST_TOPIC, content);
    const recipients = roster.userCount;
    const reach = await reachOf(sender, () => recipients > 0);
    const sent = toAnswer('Message broadcast', result, { ...reach, recipients });
    return sent.isScheduled ? sent : { ...sent, account: { ...sent.account, count: recipients } };
  }

  /**
   * Sends to a named topic with one append. The caller has checked that the sender may write there (topic-access.ts).
   */
  async function messageTopic(
    sender: Sender,
    topic: string,
    input: unknown,
  ): Promise<Sent<SendAnswer | ScheduledSendAnswer>> {
    const content = parseInput(contentSchema, input);
    assertSize('data', content.data);
    const result = await send(sender, topic, content);
    const reach = await reachOf(sender, () => members.isAnyOnline(topic));
    return toAnswer(`Message sent to topic ${topic}`, result, reach);
  }

  const { warned } = mistyped;
  return { broadcast: warned(contentSchema, broadcast), messageTopic: warned(contentSchema, messageTopic) };
}
