/** The operations on the caller's connection: acknowledge, history, ping, refresh, logout. */

import type { Connection } from '../services/delivery/connections';
import type { Delivery } from '../services/delivery/delivery';
import type { Presence } from '../services/presence/presence';
import type { Sessions } from '../services/sockets/sessions';
import type { Store } from '../services/storage/contract';
import type { Tokens } from '../services/tokens/tokens';
import { holdsScope } from '../utils/caller';
import { type Clock, toIsoTime } from '../utils/clock';
import { noTopic } from '../utils/errors';
import { ackSchema, historySchema, parseInput, refreshSchema } from '../utils/schemas';
import { BROADCAST_TOPIC, isStateTopic, personalTopic } from '../utils/topic-names';
import type { Disconnect } from './disconnect-user';
import { type HistoryAnswer, readHistory } from './history';
import type { Rights } from './rights';

export interface OwnConnectionParts {
  readonly delivery: Delivery;
  readonly store: Store;
  readonly clock: Clock;
  readonly sessions: Sessions;
  readonly tokens: Pick<Tokens, 'prepare' | 'verify'>;
  readonly presence: Pick<Presence, 'unwatch'>;
  readonly rights: Pick<Rights, 'mayWatch'>;
  readonly disconnect: Disconnect;
}

export type OwnConnectionOperations = ReturnType<typeof createOwnConnectionOperations>;

export function createOwnConnectionOperations(parts: OwnConnectionParts) {
  const { delivery, store, clock, sessions, tokens, presence, rights, disconnect } = parts;

  /** Records that this device has everything of a topic up to `seq`. */
  function acknowledge(connection: Connection, input: unknown): Record<string, never> {
    const { topic, seq } = parseInput(ackSchema, input);
    delivery.acknowledge(connection, topic, seq);
    return {};
  }

  /**
   * Messages of the personal topic, of broadcasts and of topics that the caller is a member of; with scope `admin`, of
   * any.
   */
  async function history(connection: Connection, input: unknown): Promise<HistoryAnswer & { topic: string }> {
    const { topic, ...query } = parseInput(historySchema, input);
    const isOwn = topic === BROADCAST_TOPIC || topic === personalTopic(connection.userId);
    if (isStateTopic(topic)) throw noTopic('topic');
    const mayRead =
      isOwn || holdsScope(connection.caller, 'admin') || (await store.topics.isMember(topic, connection.userId));
    if (!mayRead) throw noTopic('topic');
    return { topic, ...(await readHistory(store, { topic, userId: connection.userId }, query)) };
  }

  function ping(connection: Connection): { timestamp: string } {
    const timestamp = toIsoTime(clock.now());
    connection.send('pong', { timestamp });
    return { timestamp };
  }

  /** Closes all connections of this user on this device, after the answer; the user is offline at once. */
  function logout({ userId, device }: Connection): Record<string, never> {
    setImmediate(() => {
      disconnect(userId, 'logged_out', { reason: 'The user logged out.', device });
    });
    return {};
  }

  /**
   * Continues with a newer token of the same user.
   * @throws AppError as a handshake does, `forbidden` for another user.
   */
  async function refresh(connection: Connection, input: unknown): Promise<{ expiresAt: string | null }> {
    const { token } = parseInput(refreshSchema, input);
    await tokens.prepare(token);
    const caller = tokens.verify(token);
    sessions.refresh(connection, caller);
    // Rights of the earlier token end with it.
    if (!rights.mayWatch(caller)) presence.unwatch(connection);
    return { expiresAt: caller.expiresAt === undefined ? null : toIsoTime(caller.expiresAt * 1000) };
  }

  return { refresh, acknowledge, history, ping, logout };
}
