/**
 * Topic names: `@<userId>` is a user's personal topic, `*` is everyone, anything else is a named topic (one grammar for
 * every door and for the store).
 */

/** The topic that every user follows: a broadcast is one append to it. */
export const BROADCAST_TOPIC = '*';

/** The device shared by all clients that name none. */
export const DEFAULT_DEVICE = 'default';

/** A user's personal topic. */
export function personalTopic(userId: string): string {
  return `@${userId}`;
}

/** Whose personal topic this is; `undefined` for any other topic. */
export function ownerOfPersonalTopic(topic: string): string | undefined {
  return topic.startsWith('@') ? topic.slice(1) : undefined;
}

/**
 * The log of what a user does with messages: every device of the user follows it, so one that was offline learns what
 * was read elsewhere. It never appears on the wire.
 */
export function stateTopic(userId: string): string {
  return `~${userId}`;
}

export function isStateTopic(topic: string): boolean {
  return topic.startsWith('~');
}

/** What a named topic may be called: no character in it can be mistaken for a personal topic or the broadcast topic. */
export const NAMED_TOPIC = /^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$/;

export function isNamedTopic(text: string): boolean {
  return NAMED_TOPIC.test(text);
}

/**
 * Path segments that every URL parser removes, encoded or not (it reads `%2e` as `.`): a request with one arrives at
 * another route, so nothing that a path names may be called this.
 */
export const DOT_SEGMENTS = ['.', '..'] as const;

export function isDotSegment(text: string): boolean {
  return text === '.' || text === '..';
}

/** Does a topic belong to its members, not to one person or to everyone? */
export function isOfMembers(topic: string): boolean {
  return topic !== BROADCAST_TOPIC && !isStateTopic(topic) && ownerOfPersonalTopic(topic) === undefined;
}

/** The kind of a topic's recipients, for metrics and traces: its name would name a person. */
export type Destination = 'user' | 'topic' | 'broadcast';

export function destinationOf(topic: string): Destination {
  if (topic === BROADCAST_TOPIC) return 'broadcast';
  return topic.startsWith('@') ? 'user' : 'topic';
}
