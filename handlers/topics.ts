/** The operations on named topics: create, find, join, invite, leave, speak, read. */
import type { Audit, Requester } from '../services/audit';
import type { Delivery } from '../services/delivery';
import type { Joined, Member, Store, Topic } from '../services/storage/contract';
import { type Clock, toIsoTime } from '../utils/clock';
import { AppError, refuseField } from '../utils/errors';
import { type Caller, holdsScope } from '../utils/jwt';
import { toListedMessage } from '../utils/protocol';
import {
  addMemberSchema,
  createTopicSchema,
  historyQuerySchema,
  inviteSchema,
  parseField,
  parseInput,
  topicNameSchema,
  topicSchema,
  userIdSchema,
} from '../utils/schemas';
import { isNamedTopic } from '../utils/topic-names';

export interface TopicParts {
  readonly store: Store;
  readonly delivery: Delivery;
  readonly clock: Clock;
  readonly maxTopicsPerUser: number;
  readonly audit: Pick<Audit, 'carryOut'>;
  /** Lets the user's connections follow a topic from `start` on. */
  readonly follow: (userId: string, topic: string, start: number) => void;
  readonly unfollow: (userId: string, topic: string) => void;
}

export interface TopicAnswer extends Topic {
  /** Is the caller in it? */
  readonly isMember: boolean;
}

export type TopicOperations = ReturnType<typeof createTopicOperations>;

export function createTopicOperations(parts: TopicParts) {
  const { store, clock, maxTopicsPerUser } = parts;

  /** Creates a topic; the caller owns it and is its first member. @throws AppError `topic_taken`, `too_many_topics`. */
  async function create(caller: Caller, input: unknown): Promise<TopicAnswer> {
    const { name, isPrivate = false } = parseInput(createTopicSchema, input);
    const topic = { name, isPrivate, owner: caller.userId, createdAt: toIsoTime(clock.now()) };
    const created = await store.createTopic(topic, maxTopicsPerUser);
    if (created.outcome === 'taken') throw refuseField('topic_taken', 'name', `there is a topic ${name} already`);
    admit(caller.userId, name, created);
    return { ...topic, isMember: true };
  }

  /** The caller's topics and all public ones. */
  async function list(caller: Caller): Promise<{ topics: readonly TopicAnswer[] }> {
    const topics = await store.visibleTopics(caller.userId);
    return { topics: await Promise.all(topics.map((topic) => describe(caller, topic))) };
  }

  async function get(caller: Caller, name: string): Promise<TopicAnswer> {
    return describe(caller, await visible(caller, name));
  }

  async function describe(caller: Caller, topic: Topic): Promise<TopicAnswer> {
    return { ...topic, isMember: await store.isMember(topic.name, caller.userId) };
  }

  /** Deletes a topic with its memberships; what was said is out of sight. For the owner. */
  async function remove(requester: Requester, name: string): Promise<{ success: true; name: string }> {
    const topic = await visible(requester, name);
    assertOwner(requester, topic);
    const act = { action: 'delete_topic', target: name } as const;
    if (topic.owner === requester.userId) await removeNow(name);
    else
      await parts.audit.carryOut(
        requester,
        act,
        () => removeNow(name),
        (count) => count,
      );
    return { success: true, name };
  }

  /** @returns how many members it had. */
  async function removeNow(name: string): Promise<number> {
    const members = (await store.deleteTopic(name)) ?? [];
    for (const userId of members) parts.unfollow(userId, name);
    return members.length;
  }

  async function members(caller: Caller, name: string): Promise<{ members: readonly Member[] }> {
    await visible(caller, name);
    return { members: await store.members(name) };
  }

  /** Makes the caller a member of a public topic. Once more changes nothing. */
  async function join(caller: Caller, input: unknown): Promise<{ name: string; userId: string }> {
    const { name } = parseInput(topicSchema, input);
    await visible(caller, name);
    return enter(name, caller.userId);
  }

  /** Makes somebody else a member. @throws AppError `not_a_member` when the caller is none. */
  async function invite(caller: Caller, input: unknown): Promise<{ name: string; userId: string }> {
    const { name, userId } = parseInput(inviteSchema, input);
    await visible(caller, name);
    if (!holdsScope(caller, 'admin')) await assertMember(caller, name);
    return enter(name, userId);
  }

  /** An empty body joins, `{userId}` invites. */
  async function addMember(caller: Caller, name: string, body: unknown): Promise<{ name: string; userId: string }> {
    const { userId } = parseInput(addMemberSchema, body);
    return userId === undefined || userId === caller.userId ? join(caller, { name }) : invite(caller, { name, userId });
  }

  async function enter(name: string, userId: string): Promise<{ name: string; userId: string }> {
    const joined = await store.addMember(name, { userId, joinedAt: toIsoTime(clock.now()) }, maxTopicsPerUser);
    admit(userId, name, joined);
    return { name, userId };
  }

  function admit(userId: string, name: string, joined: Joined): void {
    if (joined.outcome === 'no_topic') throw noTopic();
    if (joined.outcome === 'too_many') {
      throw new AppError(
        'too_many_topics',
        `The user is in as many topics as MAX_TOPICS_PER_USER allows: ${maxTopicsPerUser}.`,
      );
    }
    if (joined.outcome === 'joined') parts.follow(userId, name, joined.start);
  }

  /** Ends the caller's membership. @throws AppError `owner_cannot_leave`, `not_found` for who is no member. */
  async function leave(caller: Caller, input: unknown): Promise<{ success: true; name: string; userId: string }> {
    const { name } = parseInput(topicSchema, input);
    return removeMember(caller, name, caller.userId);
  }

  /** Leaves, or removes somebody from one's own topic. */
  async function removeMember(
    caller: Caller,
    name: string,
    userId: string,
  ): Promise<{ success: true; name: string; userId: string }> {
    parseField('userId', userIdSchema, userId);
    const topic = await visible(caller, name);
    if (userId !== caller.userId) assertOwner(caller, topic);
    if (userId === topic.owner) {
      throw new AppError('owner_cannot_leave', 'The owner of a topic cannot leave it, only delete it.');
    }
    if (!(await store.removeMember(name, userId)))
      throw refuseField('not_found', 'userId', 'is no member of this topic');
    parts.unfollow(userId, name);
    return { success: true, name, userId };
  }

  /** @throws AppError unless the caller may write to this topic: members, and services where `send` is asked for. */
  async function assertMayWrite(caller: Caller, name: string, options: { isServiceAllowed: boolean }): Promise<void> {
    if (options.isServiceAllowed && holdsScope(caller, 'send')) {
      if ((await store.topic(parseName(name))) === undefined) throw noTopic();
      return;
    }
    await visible(caller, name);
    await assertMember(caller, name);
  }

  /** What was said in a topic; for members. */
  async function history(caller: Caller, name: string, query: unknown): Promise<{ messages: readonly object[] }> {
    const { after, before, limit } = parseInput(historyQuerySchema, query);
    await visible(caller, name);
    if (!holdsScope(caller, 'admin')) await assertMember(caller, name);
    const messages = await store.history(name, { after, before, limit, userId: caller.userId });
    return { messages: messages.map(toListedMessage) };
  }

  /**
   * Whom a plain client means by `topic_name`: a topic that it is in, else the user of that name.
   * @throws AppError `not_a_member` when it is a public topic that the caller is not in.
   */
  async function resolve(caller: Caller, target: string): Promise<{ topic: string } | { userId: string }> {
    if (target.startsWith('@')) return { userId: target.slice(1) };
    const topic = isNamedTopic(target) ? await store.topic(target) : undefined;
    if (topic === undefined) return { userId: target };
    if (await store.isMember(target, caller.userId)) return { topic: target };
    if (!topic.isPrivate) throw notAMember(target);
    // A private topic is not there for others: the name is that of a user.
    return { userId: target };
  }

  /** A private topic is not there for who is not in it: 404, not 403, tells nothing. */
  async function visible(caller: Caller, name: string): Promise<Topic> {
    const topic = await store.topic(parseName(name));
    if (topic === undefined) throw noTopic();
    const isHidden = topic.isPrivate && !holdsScope(caller, 'admin') && !(await store.isMember(name, caller.userId));
    if (isHidden) throw noTopic();
    return topic;
  }

  async function assertMember(caller: Caller, name: string): Promise<void> {
    if (!(await store.isMember(name, caller.userId))) throw notAMember(name);
  }

  return {
    create,
    list,
    get,
    remove,
    members,
    join,
    invite,
    addMember,
    leave,
    removeMember,
    assertMayWrite,
    history,
    resolve,
  };
}

function parseName(name: string): string {
  return parseField('name', topicNameSchema, name);
}

function assertOwner(caller: Caller, topic: Topic): void {
  if (topic.owner === caller.userId || holdsScope(caller, 'admin')) return;
  throw new AppError('forbidden', 'Only the owner of the topic may do this.');
}

function noTopic(): AppError {
  return refuseField('not_found', 'name', 'there is no such topic');
}

function notAMember(name: string): AppError {
  return new AppError('not_a_member', `Only members of ${name} may do this: join it first.`);
}
