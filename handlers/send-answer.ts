/** The answer to a send, whichever operation sent the message. */
import type { Live } from '../services/cluster/contract';
import type { Rights } from './rights';
import type { Sender, SendResult, Sent } from './send';

/** `seq` is absent for `persist: false`. */
export interface SendAnswer {
  readonly success: true;
  readonly message: string;
  readonly id: string;
  readonly topic: string;
  readonly seq?: number;
  /** Is the recipient, or for a broadcast anybody, online now? Absent for callers who may not know. */
  readonly connected?: boolean;
  /** Do hints reach all nodes at once? On a single node: always. */
  readonly live: Live;
}

/** The answer to a message with `sendAt` or `delay`. */
export interface ScheduledSendAnswer {
  readonly success: true;
  readonly message: string;
  readonly id: string;
  readonly topic: string;
  /** ISO 8601. */
  readonly scheduledFor: string;
}

export type Reach = Pick<SendAnswer, 'connected' | 'live'>;

export interface ReachParts {
  /** Do hints reach all nodes at once? */
  readonly live: () => Live;
  readonly rights: Pick<Rights, 'maySeePresence'>;
}

export type ReachOf = ReturnType<typeof createReachOf>;

export function createReachOf({ live, rights }: ReachParts) {
  /** Callers who may not see who is online learn nothing about the recipient here, either. */
  return async function reachOf(sender: Sender, isConnected: () => boolean | Promise<boolean>): Promise<Reach> {
    const now = live();
    return rights.maySeePresence(sender) ? { connected: await isConnected(), live: now } : { live: now };
  };
}

/** The answer to one send: where the message is stored, or when it will be sent. */
export function toAnswer<Known extends Reach>(
  message: string,
  { id, topic, seq, scheduledFor, isRepeated }: SendResult,
  reach: Known,
): Sent<(SendAnswer & Known) | ScheduledSendAnswer> {
  const account = { target: topic, messageId: id, count: 1 };
  if (scheduledFor !== undefined) {
    const answer = { success: true, message: 'Message scheduled', id, topic, scheduledFor } as const;
    return { answer, isRepeated, isScheduled: true, account };
  }
  const stored = { id, topic, ...(seq === undefined ? {} : { seq }) };
  return { answer: { success: true, message, ...stored, ...reach }, isRepeated, account };
}
