/** What users, callers without scope `send`, may do to each other. */

import type { Scheduled, Standing } from '../services/storage/contract';
import { type Caller, holdsScope } from '../utils/caller';
import { AppError } from '../utils/errors';
import { isServiceType } from '../utils/protocol';
import { BROADCAST_TOPIC, isNamedTopic, ownerOfPersonalTopic } from '../utils/topic-names';

export interface RightsConfig {
  readonly DIRECT_MESSAGES: boolean;
  readonly TOPIC_CREATION: boolean;
  readonly PRESENCE_PUBLIC: boolean;
}

/** What is sent, and to which topic. */
export interface Saying {
  readonly topic: string;
  readonly type: string;
  readonly event?: string | undefined;
}

/** Has the token of a caller been revoked? */
export type IsRevoked = (caller: Caller) => boolean;

export type Rights = ReturnType<typeof createRights>;

export function createRights(config: RightsConfig, isRevoked: IsRevoked) {
  const { DIRECT_MESSAGES, TOPIC_CREATION, PRESENCE_PUBLIC } = config;
  const mayBeSent = createMayBeSent(assertMaySay, isRevoked);

  /**
   * Checks that only services send what is reserved for them, and to whom users may write. Membership is checked
   * elsewhere.
   * @throws AppError `insufficient_scope`, `direct_messages_off`.
   */
  function assertMaySay(caller: Caller, saying: Saying): void {
    if (speaksForService(caller, saying.topic)) return;
    const reserved = reservedIn(saying);
    if (reserved !== undefined) {
      throw new AppError('insufficient_scope', `${reserved} needs a token with scope \`send\`.`);
    }
    const person = ownerOfPersonalTopic(saying.topic);
    if (person !== undefined) assertMayWriteTo(caller, person);
  }

  /** Users may always write to themselves. @throws AppError `direct_messages_off`. */
  function assertMayWriteTo(caller: Caller, userId: string): void {
    if (DIRECT_MESSAGES || userId === caller.userId || holdsScope(caller, 'send')) return;
    throw new AppError(
      'direct_messages_off',
      'DIRECT_MESSAGES is off here: sending to another user needs a token with scope `send`.',
    );
  }

  /** @throws AppError `topic_creation_off`. */
  function assertMayCreateTopics(caller: Caller): void {
    if (TOPIC_CREATION || holdsScope(caller, 'send')) return;
    throw new AppError(
      'topic_creation_off',
      'TOPIC_CREATION is off here: creating topics needs a token with scope `send`.',
    );
  }

  /** May the caller learn whether a recipient is online? */
  function maySeePresence(caller: Caller): boolean {
    return PRESENCE_PUBLIC || holdsScope(caller, 'send') || holdsScope(caller, 'presence');
  }

  /** May the caller watch who is online? */
  function mayWatch(caller: Caller): boolean {
    return PRESENCE_PUBLIC || holdsScope(caller, 'presence');
  }

  return { assertMaySay, assertMayWriteTo, assertMayCreateTopics, maySeePresence, mayWatch, mayBeSent };
}

function createMayBeSent(assertMaySay: (caller: Caller, saying: Saying) => void, isRevoked: IsRevoked) {
  /** Is the sender of a scheduled message still allowed to send it? */
  return function mayBeSent({ draft, standing }: Scheduled, isMember: boolean): boolean {
    // Stored by a version that did not record rights: it may still be sent.
    if (standing === undefined) return true;
    const caller = callerOf(draft.from, standing);
    return !isRevoked(caller) && isSayable(caller, draft) && mayWriteThere(caller, draft.topic, isMember);
  };

  function isSayable(caller: Caller, saying: Saying): boolean {
    try {
      assertMaySay(caller, saying);
      return true;
    } catch (error) {
      if (error instanceof AppError) return false;
      throw error;
    }
  }
}

/** The parts of a token that decide later about a message scheduled with it. */
export function standingOf({ scopes, issuedAt, tokenId }: Caller): Standing {
  return {
    scopes: [...scopes],
    ...(issuedAt === undefined ? {} : { issuedAt }),
    ...(tokenId === undefined ? {} : { tokenId }),
  };
}

function callerOf(userId: string, { scopes, ...token }: Standing): Caller {
  return { userId, scopes: new Set(scopes), ...token };
}

function mayWriteThere(caller: Caller, topic: string, isMember: boolean): boolean {
  if (topic === BROADCAST_TOPIC) return holdsScope(caller, 'broadcast');
  return !isNamedTopic(topic) || isMember || holdsScope(caller, 'send');
}

function speaksForService(caller: Caller, topic: string): boolean {
  return holdsScope(caller, 'send') || (topic === BROADCAST_TOPIC && holdsScope(caller, 'broadcast'));
}

/** What is reserved for services in it, in words for the caller. */
function reservedIn({ type, event }: Saying): string | undefined {
  if (event !== undefined) return 'The option `event`';
  return isServiceType(type) ? `The type \`${type}\`` : undefined;
}
