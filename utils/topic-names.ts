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

/** Whose personal topic this is; `undefined` for any other topic. */
export function ownerOfPersonalTopic(topic: string): string | undefined {
  return topic.startsWith('@') ? topic.slice(1) : undefined;
}

/**
 * The log of what a user does with messages: every device of the user follows it, so one that was away hears what was
 * read elsewhere. It is never named on the wire.
 */
export function stateTopic(userId: string): string {
  return `~${userId}`;
}

export function isStateTopic(topic: string): boolean {
  return topic.startsWith('~');
}

/** What a named topic may be called: no sign in it can be mistaken for a personal topic or the broadcast one. */
export const NAMED_TOPIC = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$/;

export function isNamedTopic(text: string): boolean {
  return NAMED_TOPIC.test(text);
}

/**
 * Segments of a path that every URL parser takes out, encoded or not (`%2e` is `.` to it): a request that names one
 * arrives at another route, so nothing that is named in a path may be called so.
 */
export const DOT_SEGMENTS = ['.', '..'] as const;

export function isDotSegment(text: string): boolean {
  return text === '.' || text === '..';
}

/** Does a topic belong to those who have joined it, and not to one person or to everyone? */
export function isOfMembers(topic: string): boolean {
  return topic !== BROADCAST_TOPIC && !isStateTopic(topic) && ownerOfPersonalTopic(topic) === undefined;
}

/** Whom a topic is for, as metrics and traces tell it: its name would name a person. */
export type Destination = 'user' | 'topic' | 'broadcast';

export function destinationOf(topic: string): Destination {
  if (topic === BROADCAST_TOPIC) return 'broadcast';
  return topic.startsWith('@') ? 'user' : 'topic';
}
