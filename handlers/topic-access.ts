/** What a caller may see of a topic, and do in it. */
import type { Store, Topic } from '../services/storage/contract';
import { type Caller, holdsScope } from '../utils/caller';
import { AppError, noTopic } from '../utils/errors';
import { parseField, topicNameSchema } from '../utils/schemas';

export type TopicAccess = ReturnType<typeof createTopicAccess>;

export function createTopicAccess(store: Store) {
  /** To anyone who is not a member, a private topic does not exist: 404 reveals nothing, 403 would. */
  async function visible(caller: Caller, name: string): Promise<Topic> {
    const { topic, isMember } = await look(caller, parseName(name));
    if (topic === undefined || (topic.isPrivate && !isMember && !holdsScope(caller, 'admin'))) throw noTopic('name');
    return topic;
  }

  /** Makes the same queries, and takes as long, whether or not the topic exists. */
  async function look(caller: Caller, name: string): Promise<{ topic: Topic | undefined; isMember: boolean }> {
    const [topic, isMember] = await Promise.all([store.topics.get(name), store.topics.isMember(name, caller.userId)]);
    return { topic, isMember: topic !== undefined && isMember };
  }

  /** Has a user with this name ever connected? */
  async function isKnownUser(name: string): Promise<boolean> {
    return (await store.users.get(name)) !== undefined;
  }

  async function assertMember(caller: Caller, name: string): Promise<void> {
    if (!(await store.topics.isMember(name, caller.userId))) throw notAMember(name);
  }

  /** @throws AppError unless the caller may write to this topic: members may, and services if `isServiceAllowed`. */
  async function assertMayWrite(caller: Caller, name: string, options: { isServiceAllowed: boolean }): Promise<void> {
    if (options.isServiceAllowed && holdsScope(caller, 'send')) {
      if ((await store.topics.get(parseName(name))) === undefined) throw noTopic('name');
      return;
    }
    await visible(caller, name);
    await assertMember(caller, name);
  }

  return { visible, look, isKnownUser, assertMember, assertMayWrite };
}

function parseName(name: string): string {
  return parseField('name', topicNameSchema, name);
}

export function assertOwner(caller: Caller, topic: Topic): void {
  if (topic.owner === caller.userId || holdsScope(caller, 'admin')) return;
  throw new AppError('forbidden', 'Only the owner of the topic may do this.');
}

export function notAMember(name: string): AppError {
  return new AppError('not_a_member', `Only members of ${name} may do this: join it first.`);
}
