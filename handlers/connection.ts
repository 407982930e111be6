/** The operations of one's own connection: acknowledge, history, echo, ping, logout. */

import type { Delivery } from '../services/delivery/delivery';
import type { Presence } from '../services/presence/presence';
import type { Connection } from '../services/sockets/connections';
import type { Sessions } from '../services/sockets/sessions';
import type { Store } from '../services/storage/contract';
import type { Tokens } from '../services/tokens/tokens';
import { type Clock, toIsoTime } from '../utils/clock';
import { type AppError, refuseField } from '../utils/errors';
import { holdsScope } from '../utils/jwt';
import type { ClosingCode } from '../utils/protocol';
import {
  ackSchema,
  assertMessageSize,
  echoContentSchema,
  echoMessageSchema,
  historySchema,
  parseInput,
  refreshSchema,
} from '../utils/schemas';
import { BROADCAST_TOPIC, isStateTopic, personalTopic } from '../utils/topic-names';
import { type HistoryAnswer, readHistory } from './history';
import type { Rights } from './rights';

export interface ConnectionParts {
  readonly delivery: Delivery;
  readonly store: Store;
  readonly clock: Clock;
  readonly sessions: Sessions;
  readonly tokens: Pick<Tokens, 'prepare' | 'verify'>;
  readonly presence: Pick<Presence, 'unwatch'>;
  readonly rights: Pick<Rights, 'mayWatch'>;
  /** Largest `data` of a message: UTF-8 bytes of its JSON. It bounds echoes too. */
  readonly maxMessageBytes: number;
  readonly disconnect: (userId: string, code: ClosingCode, options: { reason: string; device?: string }) => number;
}

export type ConnectionOperations = ReturnType<typeof createConnectionOperations>;

export function createConnectionOperations(parts: ConnectionParts) {
  const { delivery, store, clock, sessions, tokens, presence, rights, maxMessageBytes, disconnect } = parts;

  /** Records that this device has everything of a topic up to `seq`. */
  function acknowledge(connection: Connection, input: unknown): Record<string, never> {
    const { topic, seq } = parseInput(ackSchema, input);
    delivery.acknowledge(connection, topic, seq);
    return {};
  }

  /** Messages of one's own topic, of everyone's and of topics one is in; with scope `admin` of any. */
  async function history(connection: Connection, input: unknown): Promise<HistoryAnswer & { topic: string }> {
    const { topic, ...query } = parseInput(historySchema, input);
    const isOwn = topic === BROADCAST_TOPIC || topic === personalTopic(connection.userId);
    if (isStateTopic(topic)) throw noTopic();
    const mayRead = isOwn || holdsScope(connection.caller, 'admin') || (await store.isMember(topic, connection.userId));
    if (!mayRead) throw noTopic();
    return { topic, ...(await readHistory(store, { topic, userId: connection.userId }, query)) };
  }

  /** An ancestor's echo: `{message}`. */
  function echoMessage(connection: Connection, input: unknown): { timestamp: string } {
    const { message: receivedMessage } = parseInput(echoMessageSchema, input);
    assertMessageSize('message', receivedMessage, maxMessageBytes);
    const timestamp = toIsoTime(clock.now());
    connection.send('messageReceived', {
      success: true,
      message: 'Message received by server',
      data: { receivedMessage, timestamp },
    });
    return { timestamp };
  }

  /** Another ancestor's echo: `{content}`. */
  function echoContent(connection: Connection, input: unknown): { timestamp: string } {
    const { content } = parseInput(echoContentSchema, input);
    assertMessageSize('content', content, maxMessageBytes);
    const timestamp = toIsoTime(clock.now());
    connection.send('message', { type: 'echo', data: { content }, timestamp });
    return { timestamp };
  }

  function ping(connection: Connection): { timestamp: string } {
    const timestamp = toIsoTime(clock.now());
    connection.send('pong', { timestamp });
    return { timestamp };
  }

  /** Closes all connections of this user on this device, after the answer; the lobby hears of it at once. */
  function logout({ userId, device }: Connection): Record<string, never> {
    setImmediate(() => {
      disconnect(userId, 'logged_out', { reason: 'The user logged out.', device });
    });
    return {};
  }

  /** Goes on with a newer token of the same user. @throws AppError as a handshake does, `forbidden` for another user. */
  async function refresh(connection: Connection, input: unknown): Promise<{ expiresAt: string | null }> {
    const { token } = parseInput(refreshSchema, input);
    await tokens.prepare(token);
    const caller = tokens.verify(token);
    sessions.refresh(connection, caller);
    // What an earlier token allowed ends with it.
    if (!rights.mayWatch(caller)) presence.unwatch(connection);
    return { expiresAt: caller.expiresAt === undefined ? null : toIsoTime(caller.expiresAt * 1000) };
  }

  return { refresh, acknowledge, history, echoMessage, echoContent, ping, logout };
}

function noTopic(): AppError {
  return refuseField('not_found', 'topic', 'there is no such topic');
}
