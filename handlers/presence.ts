/** The operations of presence and typing. */

import type { Connection } from '../services/delivery/connections';
import type { Delivery } from '../services/delivery/delivery';
import type { Presence } from '../services/presence/presence';
import type { Typing } from '../services/presence/typing';
import type { Store } from '../services/storage/contract';
import { AppError, badField, noTopic, refuseField } from '../utils/errors';
import { parseField, parseInput, typingSchema, userIdSchema } from '../utils/schemas';
import { isNamedTopic, personalTopic } from '../utils/topic-names';
import type { Rights } from './rights';

export interface PresenceParts {
  readonly presence: Presence;
  readonly typing: Typing;
  readonly delivery: Delivery;
  readonly store: Pick<Store, 'topics'>;
  readonly rights: Pick<Rights, 'mayWatch' | 'assertMayWriteTo'>;
}

export type PresenceOperations = ReturnType<typeof createPresenceOperations>;

export function createPresenceOperations({ presence, typing, delivery, store, rights }: PresenceParts) {
  /** Sends who is online, and from then on who comes and goes. @throws AppError `insufficient_scope`. */
  async function subscribe(connection: Connection): Promise<{ count: number }> {
    if (!rights.mayWatch(connection.caller)) {
      throw new AppError('insufficient_scope', 'This needs a token with scope `presence`.');
    }
    return { count: await presence.watch(connection) };
  }

  function unsubscribe(connection: Connection): Record<string, never> {
    presence.unwatch(connection);
    return {};
  }

  /**
   * Notifies the other members of a topic, or the peer of a direct conversation (`@name`), whether the caller is
   * typing.
   */
  async function type(connection: Connection, input: unknown): Promise<Record<string, never>> {
    const { topic, typing: isTyping } = parseInput(typingSchema, input);
    const { userId, caller } = connection;
    if (topic.startsWith('@')) {
      const peer = parseField('topic', userIdSchema, topic.slice(1));
      rights.assertMayWriteTo(caller, peer);
      // For the peer, the conversation has the name of the user who types.
      typing.set({ room: personalTopic(peer), topic: personalTopic(userId), userId }, isTyping);
      return {};
    }
    if (!isNamedTopic(topic)) throw badField('topic', 'must be a topic, or @ followed by a user');
    // A new connection follows the topic only once catch-up has reached it.
    if (!delivery.isFollowing(connection, topic)) await assertMember(topic, userId);
    typing.set({ room: topic, topic, userId }, isTyping);
    return {};
  }

  /** To anyone who is not a member, a private topic does not exist. */
  async function assertMember(name: string, userId: string): Promise<void> {
    const [topic, isMember] = await Promise.all([store.topics.get(name), store.topics.isMember(name, userId)]);
    if (isMember && topic !== undefined) return;
    if (topic?.isPrivate === false) throw refuseField('not_a_member', 'topic', 'is a topic that you have not joined');
    throw noTopic('topic');
  }

  return { subscribe, unsubscribe, type };
}
