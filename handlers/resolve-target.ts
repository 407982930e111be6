/** Whom a client of the plain endpoint means. */
import type { Caller } from '../utils/caller';
import { type AppError, refuseField } from '../utils/errors';
import { isNamedTopic } from '../utils/topic-names';
import { notAMember, type TopicAccess } from './topic-access';

export function createResolveTarget({ look, isKnownUser, assertMayWrite }: TopicAccess) {
  /**
   * Whom a plain client means by `topic_name`: `@name` is the user, `#name` the topic. A bare name is a topic of which
   * the caller is a member, otherwise the user.
   * @throws AppError `ambiguous_name` when it could be either, `not_a_member` when it is a public topic of which the
   * caller is no member, `not_found` when `#name` does not exist.
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
    // To others a private topic does not exist: the name is that of a user.
    return { userId: target };
  };
}

function ambiguousName(name: string): AppError {
  return refuseField('ambiguous_name', 'topic_name', `is both a topic and a user: write #${name} or @${name}`);
}
