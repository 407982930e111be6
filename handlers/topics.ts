/** The operations on named topics. */
import type { AuditLog, Requester } from '../services/audit-log';
import type { Store, Topic } from '../services/storage/contract';
import { type Caller, holdsScope } from '../utils/caller';
import { type Clock, toIsoTime } from '../utils/clock';
import { refuseField } from '../utils/errors';
import { createTopicSchema, historyQuerySchema, parseInput } from '../utils/schemas';
import { type HistoryAnswer, readHistory } from './history';
import { fitPage, type ListQuery, readPage, STANDARD_LIST_LIMIT } from './paging';
import { createResolveTarget } from './resolve-target';
import type { Rights } from './rights';
import { assertOwner, createTopicAccess, type TopicAccess } from './topic-access';
import { type Admit, type AdmitParts, createAdmit, createTopicMemberOperations } from './topic-members';

export interface TopicParts extends AdmitParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly maxInvitedTopicsPerUser: number;
  readonly audit: Pick<AuditLog, 'record'>;
  readonly rights: Pick<Rights, 'assertMayCreateTopics'>;
  readonly unfollow: (userId: string, topic: string) => void;
  /** Makes all connections stop following a topic. */
  readonly unfollowAll: (topic: string) => void;
}

export interface TopicAnswer extends Topic {
  /** Is the caller a member? */
  readonly isMember: boolean;
}

export interface TopicsAnswer {
  readonly topics: readonly TopicAnswer[];
  readonly nextCursor: string | null;
}

export type TopicOperations = ReturnType<typeof createTopicOperations>;

export function createTopicOperations(parts: TopicParts) {
  const { store } = parts;
  const access = createTopicAccess(store);
  const { assertMayWrite } = access;
  const own = { ...parts, access, admit: createAdmit(parts) };
  return {
    create: createCreateTopic(own),
    list: createListTopics(store),
    ...createReadTopic(own),
    remove: createRemoveTopic(own),
    ...createTopicMemberOperations(own),
    assertMayWrite,
    resolve: createResolveTarget(access),
  };
}

interface OwnParts extends TopicParts {
  readonly access: TopicAccess;
  readonly admit: Admit;
}

function createCreateTopic({ store, clock, rights, access, admit, maxTopicsPerUser }: OwnParts) {
  /**
   * Creates a topic; the caller owns it and is its first member.
   * @throws AppError `topic_creation_off`, `name_taken`, `topic_taken`, `too_many_topics`.
   */
  return async function create(caller: Caller, input: unknown): Promise<TopicAnswer> {
    const { name, isPrivate = false } = parseInput(createTopicSchema, input);
    rights.assertMayCreateTopics(caller);
    // Messages to a person with this name must not reach the topic.
    if (await access.isKnownUser(name))
      throw refuseField('name_taken', 'name', 'is already the name of a user: choose another');
    const topic = { name, isPrivate, owner: caller.userId, createdAt: toIsoTime(clock.now()) };
    const created = await store.topics.create(topic, maxTopicsPerUser);
    if (created.outcome === 'taken')
      throw refuseField('topic_taken', 'name', 'is already the name of a topic: choose another');
    admit(caller.userId, name, created);
    return { ...topic, isMember: true };
  };
}

function createReadTopic({ store, access }: OwnParts) {
  async function get(caller: Caller, name: string): Promise<TopicAnswer> {
    return describe(caller, await access.visible(caller, name));
  }

  async function describe(caller: Caller, topic: Topic): Promise<TopicAnswer> {
    return { ...topic, isMember: await store.topics.isMember(topic.name, caller.userId) };
  }

  /** The messages of a topic; for members. */
  async function history(caller: Caller, name: string, input: unknown): Promise<HistoryAnswer> {
    const query = parseInput(historyQuerySchema, input);
    await access.visible(caller, name);
    if (!holdsScope(caller, 'admin')) await access.assertMember(caller, name);
    return readHistory(store, { topic: name, userId: caller.userId }, query);
  }

  return { get, history };
}

function createListTopics(store: Store) {
  /** The caller's topics and all public ones. `query`: in the form of HTTP or of sockets. */
  return async function list(caller: Caller, query: ListQuery): Promise<TopicsAnswer> {
    const wanted = readPage('topics', query, STANDARD_LIST_LIMIT);
    const visible = await store.topics.visibleTo(caller.userId, wanted);
    const { page, nextCursor } = fitPage('topics', visible, ({ name }) => name);
    return { topics: page, nextCursor };
  };
}

function createRemoveTopic({ store, access, audit, unfollowAll }: OwnParts) {
  /** Deletes a topic with its memberships; its messages are hidden. For the owner. */
  return async function remove(requester: Requester, name: string): Promise<{ success: true; name: string }> {
    const topic = await access.visible(requester, name);
    assertOwner(requester, topic);
    const act = { action: 'delete_topic', target: name } as const;
    if (topic.owner === requester.userId) await removeNow(name);
    else
      await audit.record(
        requester,
        act,
        () => removeNow(name),
        (count) => count,
      );
    return { success: true, name };
  };

  /** @returns how many members it had. */
  async function removeNow(name: string): Promise<number> {
    const members = await store.topics.delete(name);
    if (members !== undefined) unfollowAll(name);
    return members ?? 0;
  }
}
