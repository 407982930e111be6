/**
 * Topic names: `@<userId>` is a person's own topic, `*` is everyone, anything
 * else is a named topic (shared grammar of every door and of the store).
 */

/** The topic that every user follows: a broadcast is one append to it. */
export const BROADCAST_TOPIC = '*';

/** The device that all clients share that name none. */
export const DEFAULT_DEVICE = 'default';

/** The topic that belongs to one user. */
export function personalTopic(userId: string): string {
  return `@${userId}`;
}

/** What a named topic may be called: no sign in it can be mistaken for a personal topic or the broadcast one. */
const NAMED_TOPIC = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$/;

export function isNamedTopic(text: string): boolean {
  return NAMED_TOPIC.test(text);
}
