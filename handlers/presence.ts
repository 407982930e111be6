/** The operations of the lobby and of typing. */
import type { Connection } from '../services/connections';
import type { Delivery } from '../services/delivery';
import type { Presence } from '../services/presence';
import type { Store } from '../services/storage/contract';
import type { Typing } from '../services/typing';
import { AppError, badField, refuseField } from '../utils/errors';
import { holdsScope } from '../utils/jwt';
import { parseField, parseInput, typingSchema, userIdSchema } from '../utils/schemas';
import { isNamedTopic, personalTopic } from '../utils/topic-names';

export interface PresenceParts {
  readonly presence: Presence;
  readonly typing: Typing;
  readonly delivery: Delivery;
  readonly store: Pick<Store, 'isMember'>;
  /** May anyone with a token watch the lobby, or only who holds scope `presence`? */
  readonly isPublic: boolean;
}

export type PresenceOperations = ReturnType<typeof createPresenceOperations>;

export function createPresenceOperations({ presence, typing, delivery, store, isPublic }: PresenceParts) {
  /** Shows who is online, and from now on who comes and goes. @throws AppError `insufficient_scope`. */
  function subscribe(connection: Connection): { count: number } {
    if (!isPublic && !holdsScope(connection.caller, 'presence')) {
      throw new AppError('insufficient_scope', 'This needs a token with scope `presence`.');
    }
    const lobby = presence.watch(connection);
    connection.send('presence', lobby);
    return { count: lobby.count };
  }

  function unsubscribe(connection: Connection): Record<string, never> {
    presence.unwatch(connection);
    return {};
  }

  /** Tells the others of a topic, or the peer of a direct conversation (`@name`), that the caller is typing or not. */
  async function type(connection: Connection, input: unknown): Promise<Record<string, never>> {
    const { topic, typing: isTyping } = parseInput(typingSchema, input);
    const { userId } = connection;
    if (topic.startsWith('@')) {
      const peer = parseField('topic', userIdSchema, topic.slice(1));
      // The peer knows the conversation by the name of the one who types.
      typing.set({ room: personalTopic(peer), topic: personalTopic(userId), userId }, isTyping);
      return {};
    }
    if (!isNamedTopic(topic)) throw badField('topic', 'must be a topic or @ and a user');
    // Who has just connected follows the topic only when catch-up has come to it.
    if (!delivery.isFollowing(connection, topic) && !(await store.isMember(topic, userId)))
      throw refuseField('not_a_member', 'topic', 'only members may type in it');
    typing.set({ room: topic, topic, userId }, isTyping);
    return {};
  }

  return { subscribe, unsubscribe, type };
}
