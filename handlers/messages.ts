/** The operations that send a message, in the form that the doors use. */
import { type BroadcastParts, createBroadcasts } from './broadcast';
import { createDirectMessages, type DirectMessageParts } from './direct-message';
import { createReachOf, type ReachParts } from './send-answer';

export type MessageParts = Omit<DirectMessageParts & BroadcastParts, 'reachOf'> & ReachParts;
export type MessageOperations = ReturnType<typeof createMessageOperations>;

export function createMessageOperations(parts: MessageParts) {
  const withReach = { ...parts, reachOf: createReachOf(parts) };
  const { assertSize } = parts.sending;
  return { assertSize, ...createDirectMessages(withReach), ...createBroadcasts(withReach) };
}
