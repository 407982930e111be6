/** Whom a client of the plain endpoint means. */
import type { Caller } from '../utils/caller';
import { type AppError, refuseField } from '../utils/errors';
import { isNamedTopic } from '../utils/topic-names';
import { notAMember, type TopicAccess } from './topic-access';

export function createResolveTarget({ look, isKnownUser, assertMayWrite }: TopicAccess) {
  /**
   * Whom a plain client means by `topic_name`: `@name` is the user, `#name` the topic. A bare name is a topic that the
   * caller is in, else the user.
   * @throws AppError `ambiguous_name` when it may be either, `not_a_member` when it is a public topic that the caller
   * is not in, `not_found` when `#name` is none.
   */
  return async function resolveTarget(caller: Caller, target: string): Promise<{ topic: string } | { userId: string }> {
    if (target.startsWith('@')) return { userId: target.slice(1) };
    if (target.startsWith('#')) {
      const name = target.slice(1);
      await assertMayWrite(caller, name, { isServiceAllowed: false });
      return { topic: name };
    }
    if (!isNamedTopic(target)) return { userId: target };
    const [found, isKnown] = await Promise.all([look(caller, target), isKnownUser(target)]);
    if (found.isMember && isKnown) throw ambiguousName(target);
    if (found.isMember) return { topic: target };
    if (found.topic?.isPrivate === false) throw notAMember(target);
    // A private topic is not there for others: the name is that of a user.
    return { userId: target };
  };
}

function ambiguousName(name: string): AppError {
  return refuseField('ambiguous_name', 'topic_name', `is both a topic and a user: write #${name} or @${name}`);
}
