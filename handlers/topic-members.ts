/** The members of a topic: list, join, invite, leave, remove. */
import type { Joined, Member, Store, Topic } from '../services/storage/contract';
import { type Caller, holdsScope } from '../utils/caller';
import { type Clock, toIsoTime } from '../utils/clock';
import { AppError, noTopic, refuseField } from '../utils/errors';
import type { Invitation } from '../utils/protocol';
import { inviteSchema, listQuerySchema, parseField, parseInput, topicSchema, userIdSchema } from '../utils/schemas';
import { createAddMember, type JoinedAnswer } from './add-members';
import { fitPage, readPage, STANDARD_LIST_LIMIT } from './paging';
import { assertOwner, type TopicAccess } from './topic-access';

export interface AdmitParts {
  readonly maxTopicsPerUser: number;
  /** Makes the user's connections follow a topic from `start` on, and tells them who added the user. */
  readonly follow: (userId: string, topic: string, start: number, invitation?: Invitation) => void;
}

export interface TopicMemberParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly maxTopicsPerUser: number;
  readonly maxInvitedTopicsPerUser: number;
  readonly access: TopicAccess;
  readonly admit: Admit;
  readonly unfollow: (userId: string, topic: string) => void;
}

export interface MembersAnswer {
  readonly members: readonly Member[];
  readonly nextCursor: string | null;
}

export type Admit = ReturnType<typeof createAdmit>;

export function createTopicMemberOperations(parts: TopicMemberParts) {
  const { store, access } = parts;
  const enter = createEnter(parts);

  async function members(caller: Caller, name: string, query: unknown): Promise<MembersAnswer> {
    const wanted = readPage('members', parseInput(listQuerySchema, query), STANDARD_LIST_LIMIT);
    await access.visible(caller, name);
    const listed = await store.topics.members(name, wanted);
    const { page, nextCursor } = fitPage('members', listed, ({ userId }) => userId);
    return { members: page, nextCursor };
  }

  /** Makes the caller a member of a public topic. Repeating it changes nothing. */
  async function join(caller: Caller, input: unknown): Promise<JoinedAnswer> {
    const { name } = parseInput(topicSchema, input);
    return enter(await access.visible(caller, name), caller.userId);
  }

  /** Makes another user a member. @throws AppError `not_a_member` when the caller is none, `invitee_full`. */
  async function invite(caller: Caller, input: unknown): Promise<JoinedAnswer> {
    const { name, userId } = parseInput(inviteSchema, input);
    const topic = await access.visible(caller, name);
    if (!holdsScope(caller, 'admin')) await access.assertMember(caller, name);
    return userId === caller.userId ? enter(topic, userId) : enter(topic, userId, caller.userId);
  }

  const addMember = createAddMember({ join, invite, access });
  return { members, join, invite, addMember, ...createLeaving(parts) };
}

/** Makes the connections of a new member follow the topic. */
export function createAdmit({ maxTopicsPerUser, follow }: AdmitParts) {
  return function admit(userId: string, name: string, joined: Joined, invitation?: Invitation): void {
    if (joined.outcome === 'no_topic') throw noTopic('name');
    if (joined.outcome === 'too_many') {
      throw new AppError(
        'too_many_topics',
        `This user has created and joined too many topics (MAX_TOPICS_PER_USER: ${maxTopicsPerUser}): leave one first.`,
      );
    }
    if (joined.outcome === 'joined') follow(userId, name, joined.start, invitation);
  };
}

function createEnter({ store, clock, admit, maxTopicsPerUser, maxInvitedTopicsPerUser }: TopicMemberParts) {
  /** @param by who added the user; absent if the user joined. */
  return async function enter({ name, isPrivate }: Topic, userId: string, by?: string): Promise<JoinedAnswer> {
    const member = { userId, joinedAt: toIsoTime(clock.now()) };
    if (by === undefined) admit(userId, name, await store.topics.addMember(name, member, maxTopicsPerUser));
    else {
      const invited = await store.topics.addMember(name, { ...member, isInvited: true }, maxInvitedTopicsPerUser);
      if (invited.outcome === 'too_many') throw inviteeFull(maxInvitedTopicsPerUser);
      admit(userId, name, invited, { isPrivate, by });
    }
    return { name, userId };
  };
}

function createLeaving({ store, access, unfollow }: TopicMemberParts) {
  /** Ends the caller's membership. @throws AppError `owner_cannot_leave`, `not_found` for a user who is no member. */
  async function leave(caller: Caller, input: unknown): Promise<{ success: true; name: string; userId: string }> {
    const { name } = parseInput(topicSchema, input);
    return removeMember(caller, name, caller.userId);
  }

  /** Leaves, or removes another user from the caller's own topic. */
  async function removeMember(
    caller: Caller,
    name: string,
    userId: string,
  ): Promise<{ success: true; name: string; userId: string }> {
    parseField('userId', userIdSchema, userId);
    const topic = await access.visible(caller, name);
    if (userId !== caller.userId) assertOwner(caller, topic);
    if (userId === topic.owner) {
      throw new AppError('owner_cannot_leave', 'The owner cannot leave a topic: delete it instead.');
    }
    if (!(await store.topics.removeMember(name, userId)))
      throw refuseField('not_found', 'userId', 'is not a member of this topic');
    unfollow(userId, name);
    return { success: true, name, userId };
  }

  return { leave, removeMember };
}

function inviteeFull(maxTopics: number): AppError {
  return new AppError(
    'invitee_full',
    `Others have already added this user to too many topics (MAX_INVITED_TOPICS_PER_USER: ${maxTopics}).`,
  );
}
