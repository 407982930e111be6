/** Named topics and who is in them. */
import type { Listed, NamePage } from './pages';

/** A named topic. */
export interface Topic {
  readonly name: string;
  readonly isPrivate: boolean;
  /** The user who created it. */
  readonly owner: string;
  /** ISO 8601 UTC. */
  readonly createdAt: string;
}

export interface Member {
  readonly userId: string;
  /** ISO 8601 UTC. */
  readonly joinedAt: string;
}

/** Who is to be a member. */
export interface Joining extends Member {
  /** Has somebody else added the user? Such memberships are counted by themselves. */
  readonly isInvited?: boolean;
}

export interface Membership {
  readonly topic: string;
  /** ISO 8601 UTC. */
  readonly joinedAt: string;
}

/** A topic as somebody sees it. */
export interface VisibleTopic extends Topic {
  /** Is the user in it? */
  readonly isMember: boolean;
}

export type Joined =
  /** A member from now on, from `start`: the topic's head at this moment. */
  | { readonly outcome: 'joined'; readonly start: number }
  /** A member already; nothing has changed. */
  | { readonly outcome: 'member' }
  | { readonly outcome: 'no_topic' }
  /** The user is in as many topics as allowed. */
  | { readonly outcome: 'too_many' };

export interface TopicStore {
  /**
   * Creates a topic whose owner is its first member. A name that was used before continues its `seq`, and shows
   * nothing of what was said then.
   */
  create(topic: Topic, maxTopics: number): Promise<Joined | { readonly outcome: 'taken' }>;

  get(name: string): Promise<Topic | undefined>;

  /** The topics that a user is in, and all public ones, by name. */
  visibleTo(userId: string, page: NamePage): Promise<Listed<VisibleTopic>>;

  /**
   * Removes a topic with its memberships by one small write: from then on nobody finds any of it, and its name is free.
   * The rows follow by `removals.advance`. @returns how many members it had; `undefined` for an unknown one.
   */
  delete(name: string): Promise<number | undefined>;

  /**
   * Makes a user a member: on every device of the user the topic begins at its head. For who has been one before it goes
   * on where the device stood, without what was said in between; see gaps.ts for how much is remembered of who left.
   * `maxTopics`: how many topics the user may have been added to by others, or else have created and joined.
   */
  addMember(name: string, member: Joining, maxTopics: number): Promise<Joined>;

  /**
   * Ends a membership: the topic is in no list and no inbox of the user any more. Cursors and states stay, out of sight,
   * for when the user comes back. @returns false for who was none.
   */
  removeMember(name: string, userId: string): Promise<boolean>;

  isMember(name: string, userId: string): Promise<boolean>;

  /** The members of a topic, by user id. */
  members(name: string, page: NamePage): Promise<Listed<Member>>;

  /** The topics that a user is in, by name. */
  memberships(userId: string, page: NamePage): Promise<Listed<Membership>>;
}
