/** The operations on named topics: create, find, join, invite, leave, speak, read. */
import type { Audit, Requester } from '../services/audit';
import type { Delivery } from '../services/delivery/delivery';
import { describeFailure } from '../services/observability/failures';
import type { Joined, Member, Store, Topic } from '../services/storage/contract';
import { type Clock, toIsoTime } from '../utils/clock';
import { AppError, refuseField } from '../utils/errors';
import { type Caller, holdsScope } from '../utils/jwt';
import type { Invitation } from '../utils/protocol';
import {
  addMemberSchema,
  createTopicSchema,
  historyQuerySchema,
  inviteSchema,
  listQuerySchema,
  parseField,
  parseInput,
  topicNameSchema,
  topicSchema,
  userIdSchema,
} from '../utils/schemas';
import { isNamedTopic } from '../utils/topic-names';
import { type HistoryAnswer, readHistory } from './history';
import { fitPage, type ListQuery, readPage } from './paging';
import type { Rights } from './rights';

export interface TopicParts {
  readonly store: Store;
  readonly delivery: Delivery;
  readonly clock: Clock;
  readonly maxTopicsPerUser: number;
  readonly maxInvitedTopicsPerUser: number;
  readonly audit: Pick<Audit, 'carryOut'>;
  readonly rights: Pick<Rights, 'assertMayCreateTopics'>;
  /** Lets the user's connections follow a topic from `start` on, and tells them who has added the user. */
  readonly follow: (userId: string, topic: string, start: number, invitation?: Invitation) => void;
  readonly unfollow: (userId: string, topic: string) => void;
  /** Lets nobody follow a topic any more. */
  readonly unfollowAll: (topic: string) => void;
}

export interface TopicAnswer extends Topic {
  /** Is the caller in it? */
  readonly isMember: boolean;
}

export interface JoinedAnswer {
  readonly name: string;
  readonly userId: string;
}

export interface TopicsAnswer {
  readonly topics: readonly TopicAnswer[];
  readonly nextCursor: string | null;
}

export interface MembersAnswer {
  readonly members: readonly Member[];
  readonly nextCursor: string | null;
}

type InviteResult =
  | { readonly userId: string }
  | { readonly userId: string; readonly error: { readonly code: string; readonly detail: string } };

interface Adding {
  readonly body: unknown;
  /** Counts rows that are to be written. @throws AppError `rate_limited` */
  readonly charge: (rows: number) => Promise<void>;
}

const STANDARD_LIST_LIMIT = 50;
const INVITED_AT_ONCE = 20;

export type TopicOperations = ReturnType<typeof createTopicOperations>;

export function createTopicOperations(parts: TopicParts) {
  const { store, clock, maxTopicsPerUser, maxInvitedTopicsPerUser } = parts;

  /**
   * Creates a topic; the caller owns it and is its first member.
   * @throws AppError `topic_creation_off`, `name_taken`, `topic_taken`, `too_many_topics`.
   */
  async function create(caller: Caller, input: unknown): Promise<TopicAnswer> {
    const { name, isPrivate = false } = parseInput(createTopicSchema, input);
    parts.rights.assertMayCreateTopics(caller);
    // What is said to a person under this name must not reach the topic.
    if (await isKnownUser(name)) throw refuseField('name_taken', 'name', `is the name of a user`);
    const topic = { name, isPrivate, owner: caller.userId, createdAt: toIsoTime(clock.now()) };
    const created = await store.createTopic(topic, maxTopicsPerUser);
    if (created.outcome === 'taken') throw refuseField('topic_taken', 'name', `there is a topic ${name} already`);
    admit(caller.userId, name, created);
    return { ...topic, isMember: true };
  }

  /** The caller's topics and all public ones. `query`: as HTTP has it, or as sockets do. */
  async function list(caller: Caller, query: ListQuery): Promise<TopicsAnswer> {
    const wanted = readPage('topics', query, STANDARD_LIST_LIMIT);
    const { topics, next } = await store.visibleTopics(caller.userId, wanted);
    const { page, nextCursor } = fitPage('topics', { items: topics, next }, ({ name }) => name);
    return { topics: page, nextCursor };
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
    const members = await store.deleteTopic(name);
    if (members !== undefined) parts.unfollowAll(name);
    return members ?? 0;
  }

  async function members(caller: Caller, name: string, query: unknown): Promise<MembersAnswer> {
    const wanted = readPage('members', parseInput(listQuerySchema, query), STANDARD_LIST_LIMIT);
    await visible(caller, name);
    const { members: items, next } = await store.members(name, wanted);
    const { page, nextCursor } = fitPage('members', { items, next }, ({ userId }) => userId);
    return { members: page, nextCursor };
  }

  /** Makes the caller a member of a public topic. Once more changes nothing. */
  async function join(caller: Caller, input: unknown): Promise<JoinedAnswer> {
    const { name } = parseInput(topicSchema, input);
    return enter(await visible(caller, name), caller.userId);
  }

  /** Makes somebody else a member. @throws AppError `not_a_member` when the caller is none, `invitee_full`. */
  async function invite(caller: Caller, input: unknown): Promise<JoinedAnswer> {
    const { name, userId } = parseInput(inviteSchema, input);
    const topic = await visible(caller, name);
    if (!holdsScope(caller, 'admin')) await assertMember(caller, name);
    return userId === caller.userId ? enter(topic, userId) : enter(topic, userId, caller.userId);
  }

  /** An empty body joins, `{userId}` invites, `{userIds}` many at once; each counts against the rate of the caller. */
  async function addMember(caller: Caller, name: string, { body, charge }: Adding): Promise<object> {
    const { userId, userIds } = parseInput(addMemberSchema, body);
    if (userIds === undefined) return addOne(caller, name, userId);
    const unique = [...new Set(userIds)];
    await charge(unique.length);
    return { results: await addAll(caller, name, unique) };
  }

  /** Each fails alone; whoever may add nobody is refused as a whole. A few at a time: others are served meanwhile. */
  async function addAll(caller: Caller, name: string, userIds: readonly string[]): Promise<InviteResult[]> {
    await visible(caller, name);
    const rest = [...userIds];
    const results: InviteResult[] = [];
    while (rest.length > 0) {
      const part = rest.splice(0, INVITED_AT_ONCE);
      const added = await Promise.allSettled(part.map((userId) => addOne(caller, name, userId)));
      results.push(...added.map((one, index) => toInviteResult(part[index] ?? '', one)));
    }
    return results;
  }

  function addOne(caller: Caller, name: string, userId: string | undefined): Promise<JoinedAnswer> {
    return userId === undefined || userId === caller.userId ? join(caller, { name }) : invite(caller, { name, userId });
  }

  /** @param by who has added the user; absent: the user did. */
  async function enter({ name, isPrivate }: Topic, userId: string, by?: string): Promise<JoinedAnswer> {
    const member = { userId, joinedAt: toIsoTime(clock.now()) };
    if (by === undefined) admit(userId, name, await store.addMember(name, member, maxTopicsPerUser));
    else {
      const invited = await store.addMember(name, { ...member, isInvited: true }, maxInvitedTopicsPerUser);
      if (invited.outcome === 'too_many') throw inviteeFull(maxInvitedTopicsPerUser);
      admit(userId, name, invited, { isPrivate, by });
    }
    return { name, userId };
  }

  function admit(userId: string, name: string, joined: Joined, invitation?: Invitation): void {
    if (joined.outcome === 'no_topic') throw noTopic();
    if (joined.outcome === 'too_many') {
      throw new AppError(
        'too_many_topics',
        `The user has created and joined as many topics as MAX_TOPICS_PER_USER allows: ${maxTopicsPerUser}.`,
      );
    }
    if (joined.outcome === 'joined') parts.follow(userId, name, joined.start, invitation);
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
  async function history(caller: Caller, name: string, input: unknown): Promise<HistoryAnswer> {
    const query = parseInput(historyQuerySchema, input);
    await visible(caller, name);
    if (!holdsScope(caller, 'admin')) await assertMember(caller, name);
    return readHistory(store, { topic: name, userId: caller.userId }, query);
  }

  /**
   * Whom a plain client means by `topic_name`: `@name` is the user, `#name` the topic. A bare name is a topic that the
   * caller is in, else the user.
   * @throws AppError `ambiguous_name` when it may be either, `not_a_member` when it is a public topic that the caller
   * is not in, `not_found` when `#name` is none.
   */
  async function resolve(caller: Caller, target: string): Promise<{ topic: string } | { userId: string }> {
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
  }

  /** A private topic is not there for who is not in it: 404, not 403, tells nothing. */
  async function visible(caller: Caller, name: string): Promise<Topic> {
    const { topic, isMember } = await look(caller, parseName(name));
    if (topic === undefined || (topic.isPrivate && !isMember && !holdsScope(caller, 'admin'))) throw noTopic();
    return topic;
  }

  /** Asks the same, and takes as long, whether there is such a topic or not. */
  async function look(caller: Caller, name: string): Promise<{ topic: Topic | undefined; isMember: boolean }> {
    const [topic, isMember] = await Promise.all([store.topic(name), store.isMember(name, caller.userId)]);
    return { topic, isMember: topic !== undefined && isMember };
  }

  /** Has a user of this name ever connected? */
  async function isKnownUser(name: string): Promise<boolean> {
    return (await store.user(name)) !== undefined;
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

function toInviteResult(userId: string, added: PromiseSettledResult<unknown>): InviteResult {
  if (added.status === 'fulfilled') return { userId };
  const { code, message } = describeFailure(added.reason);
  return { userId, error: { code, detail: message } };
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

function inviteeFull(maxTopics: number): AppError {
  return new AppError(
    'invitee_full',
    `Others have added the user to as many topics as MAX_INVITED_TOPICS_PER_USER allows: ${maxTopics}.`,
  );
}

function ambiguousName(name: string): AppError {
  return refuseField('ambiguous_name', 'topic_name', `is a topic and a user, say #${name} or @${name}`);
}

function notAMember(name: string): AppError {
  return new AppError('not_a_member', `Only members of ${name} may do this: join it first.`);
}
