/** The operations of one's own connection: acknowledge, history, echo, ping, logout. */
import type { Connection } from '../services/connections';
import type { Delivery } from '../services/delivery';
import type { Store } from '../services/storage/contract';
import { type Clock, toIsoTime } from '../utils/clock';
import { AppError } from '../utils/errors';
import { holdsScope } from '../utils/jwt';
import type { ClosingCode, Message } from '../utils/protocol';
import { ackSchema, historySchema, parseInput } from '../utils/schemas';
import { BROADCAST_TOPIC, personalTopic } from '../utils/topic-names';

const STANDARD_HISTORY_LIMIT = 50;

export interface ConnectionParts {
  readonly delivery: Delivery;
  readonly store: Store;
  readonly clock: Clock;
  readonly disconnect: (userId: string, code: ClosingCode, options: { reason: string; device?: string }) => number;
}

export type ConnectionOperations = ReturnType<typeof createConnectionOperations>;

export function createConnectionOperations({ delivery, store, clock, disconnect }: ConnectionParts) {
  /** Records that this device has everything of a topic up to `seq`. */
  function acknowledge(connection: Connection, input: unknown): Record<string, never> {
    const { topic, seq } = parseInput(ackSchema, input);
    delivery.acknowledge(connection, topic, seq);
    return {};
  }

  /** Messages of one's own topic or of everyone's; with scope `admin` of any. */
  async function history(
    connection: Connection,
    input: unknown,
  ): Promise<{ topic: string; messages: readonly Message[] }> {
    const { topic, after, before, limit = STANDARD_HISTORY_LIMIT } = parseInput(historySchema, input);
    const isOwn = topic === BROADCAST_TOPIC || topic === personalTopic(connection.userId);
    if (!isOwn && !holdsScope(connection.caller, 'admin'))
      throw new AppError('not_found', 'topic: there is no such topic');
    const bounds = { ...(after === undefined ? {} : { after }), ...(before === undefined ? {} : { before }) };
    return { topic, messages: await store.history(topic, { ...bounds, limit }) };
  }

  /** An ancestor's echo: `{message}`. */
  function echoMessage(connection: Connection, receivedMessage: unknown): { timestamp: string } {
    const timestamp = toIsoTime(clock.now());
    connection.send('messageReceived', {
      success: true,
      message: 'Message received by server',
      data: { receivedMessage, timestamp },
    });
    return { timestamp };
  }

  /** Another ancestor's echo: `{content}`. */
  function echoContent(connection: Connection, content: unknown): { timestamp: string } {
    const timestamp = toIsoTime(clock.now());
    connection.send('message', { type: 'echo', data: { content }, timestamp });
    return { timestamp };
  }

  function ping(connection: Connection): { timestamp: string } {
    const timestamp = toIsoTime(clock.now());
    connection.send('pong', { timestamp });
    return { timestamp };
  }

  /** Closes all connections of this user on this device, the caller's own last. */
  function logout({ userId, device }: Connection): { closed: number } {
    return { closed: disconnect(userId, 'logged_out', { reason: 'The user logged out.', device }) };
  }

  return { acknowledge, history, echoMessage, echoContent, ping, logout };
}
