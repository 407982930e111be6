/**
 * Named topics and their members. Within this process changes of one topic or one user happen one by one; between nodes
 * a membership is checked again after it was written, and withdrawn if necessary.
 */
import { ObjectId } from 'mongodb';
import type { Joined, Joining, Listed, NamePage, Topic, VisibleTopic } from '../contract';
import { rejoined } from '../rules/gaps';
import { assertFitsKey } from '../rules/key-size';
import { EXCLUDED } from '../rules/states';
import { pageOf, upsert } from './commands';
import { ignoringDuplicates } from './errors';
import {
  type Database,
  generationIs,
  generationOf,
  keyOf,
  type MemberDoc,
  type RemovalDoc,
  removalId,
  startingWith,
  type TopicDoc,
} from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import { isOfKind, type Memberships } from './memberships';
import type { Sweeps } from './sweeps';

type Created = Joined | { readonly outcome: 'taken' };

/** A node that announced a deletion has so long to mark the topic. */
const MARKING_MS = 60_000;

interface TopicParts {
  readonly memberships: Memberships;
  readonly log: Log;
  readonly marks: Marks;
  readonly sweeps: Sweeps;
}

export class Topics {
  constructor(
    private readonly db: Database,
    private readonly parts: TopicParts,
  ) {}

  create(topic: Topic, maxTopics: number): Promise<Created> {
    return this.#inTurn(topic.name, topic.owner, () => this.#create(topic, maxTopics));
  }

  /** Topics before users: no two wait for each other. */
  #inTurn<Result>(name: string, userId: string, work: () => Promise<Result>): Promise<Result> {
    const { turns } = this.db;
    return turns.take(`topic ${name}`, () => turns.take(`user ${userId}`, work));
  }

  async #create({ name, ...fields }: Topic, maxTopics: number): Promise<Created> {
    assertFitsKey(name, fields.owner);
    // The head first: messages sent after another node created the topic must not be hidden.
    const { head } = await this.parts.log.state(name);
    const earlier = await this.#earlier(name);
    const { generation } = await this.parts.log.state(name);
    // A node that died after creating the topic has left it without its first member.
    const isOwn = earlier?.isUnfinished === true && earlier.owner === fields.owner;
    if (earlier !== undefined) return isOwn ? this.#finish(earlier, maxTopics) : { outcome: 'taken' };
    if ((await this.parts.memberships.count(fields.owner, {})) >= maxTopics) return { outcome: 'too_many' };
    await this.parts.sweeps.hide(name, head);
    const doc = { _id: name, ...fields, nonce: new ObjectId(), isUnfinished: true, generation };
    await ignoringDuplicates(this.db.collections.topics.insertOne(doc));
    const made = await this.#living(name);
    if (!made?.nonce.equals(doc.nonce)) return { outcome: 'taken' };
    return this.#finish(made, maxTopics);
  }

  /** Makes the owner the first member. Only one of several nodes has created the topic. */
  async #finish(made: TopicDoc, maxTopics: number): Promise<Created> {
    const { _id, nonce, owner, createdAt } = made;
    const joined = await this.#join(made, { userId: owner, joinedAt: createdAt }, maxTopics);
    if (joined.outcome === 'too_many') await this.db.collections.topics.deleteOne({ _id, nonce });
    else await this.db.collections.topics.updateOne({ _id, nonce }, { $unset: { isUnfinished: '' } });
    return joined.outcome === 'member' ? { outcome: 'taken' } : joined;
  }

  /** The topic with this name; a pending deletion is finished first. */
  async #earlier(name: string): Promise<TopicDoc | undefined> {
    const found = await this.db.collections.topics.findOne({ _id: name });
    if (found?.deletedBy === undefined) return found ?? undefined;
    await this.#finishDeletion(found);
    return undefined;
  }

  async #living(name: string): Promise<TopicDoc | undefined> {
    return (await this.db.collections.topics.findOne({ _id: name, deletedBy: null } as object)) ?? undefined;
  }

  async get(name: string): Promise<Topic | undefined> {
    const found = await this.#living(name);
    return found === undefined ? undefined : toTopic(found);
  }

  async visibleTo(userId: string, { after, limit }: NamePage): Promise<Listed<VisibleTopic>> {
    const filter = { ...(after === undefined ? {} : { _id: { $gt: after } }), deletedBy: null } as object;
    const query = this.db.collections.topics.find(filter).sort({ _id: 1 });
    const { docs, next } = await pageOf(query, limit, ({ _id }) => _id);
    const own = await this.parts.memberships.findAll(docs.map(({ _id: topic }) => ({ topic, userId })));
    const items = docs
      .map((doc) => ({ ...toTopic(doc), isMember: own.has(keyOf(doc._id, userId)) }))
      .filter(({ isPrivate, isMember }) => isMember || !isPrivate);
    return { items, next };
  }

  delete(name: string): Promise<number | undefined> {
    return this.db.turns.take(`topic ${name}`, () => this.#delete(name));
  }

  /** The mark decides who of several callers deletes the topic, and hides it. */
  async #delete(name: string): Promise<number | undefined> {
    const topic = await this.#living(name);
    if (topic === undefined) return undefined;
    const deletedBy = new ObjectId();
    const { head: deletedUpTo } = await this.parts.log.state(name);
    const ofTopic = { _id: startingWith(name), generation: generationIs(generationOf(topic)) } as object;
    const count = await this.db.collections.members.countDocuments(ofTopic);
    // First, so that a marked topic is removed even if this node dies.
    await this.#enterRemoval(topic, deletedUpTo, MARKING_MS);
    const unmarked = { _id: name, nonce: topic.nonce, deletedBy: null } as object;
    await this.db.collections.topics.updateOne(unmarked, { $set: { deletedBy, deletedUpTo } });
    const marked = await this.db.collections.topics.findOne({ _id: name });
    if (!marked?.deletedBy?.equals(deletedBy)) return undefined;
    await this.#finishDeletion(marked);
    return count;
  }

  async #enterRemoval(topic: TopicDoc, upTo: number, busyMs: number): Promise<void> {
    const { _id: name } = topic;
    const generation = generationOf(topic);
    const at = this.db.clock.now();
    const update = {
      $set: { freeAt: at + busyMs },
      $setOnInsert: { kind: 'topic' as const, name, generation, at, upTo },
    };
    await upsert(this.db.collections.removals, removalId('topic', name, generation), update);
  }

  /** May be done by several nodes, which write the same. Afterwards the name is free. */
  async #finishDeletion(topic: TopicDoc): Promise<void> {
    const { _id: name, nonce, deletedUpTo } = topic;
    const upTo = deletedUpTo ?? (await this.parts.log.state(name)).head;
    const generation = generationOf(topic) + 1;
    await this.parts.sweeps.hide(name, upTo, { generation, deletedAt: this.db.clock.now() });
    await this.#enterRemoval(topic, upTo, 0);
    await this.db.collections.topics.deleteOne({ _id: name, nonce });
  }

  /** Continues the work of a dead node. @returns false when the topic was not marked, and still exists. */
  async resumeDeletion({ name, generation }: RemovalDoc): Promise<boolean> {
    const found = await this.db.collections.topics.findOne({ _id: name });
    if (found === null || generationOf(found) !== generation) return true;
    if (found.deletedBy === undefined) return false;
    await this.#finishDeletion(found);
    return true;
  }

  addMember(name: string, member: Joining, maxTopics: number): Promise<Joined> {
    return this.db.turns.take(`user ${member.userId}`, () => this.#add(name, member, maxTopics));
  }

  async #add(name: string, member: Joining, maxTopics: number): Promise<Joined> {
    assertFitsKey(name, member.userId);
    const { userId } = member;
    const [topic, docs] = await Promise.all([this.#living(name), this.parts.memberships.ofUser(userId)]);
    if (topic === undefined) return { outcome: 'no_topic' };
    if (docs.some((doc) => doc.topic === name)) return { outcome: 'member' };
    if (docs.filter((doc) => isOfKind(doc, member)).length >= maxTopics) return { outcome: 'too_many' };
    return this.#join(topic, member, maxTopics);
  }

  /** Devices need no cursor: without one they start where the membership does. */
  async #join(made: TopicDoc, member: Joining, maxTopics: number): Promise<Joined> {
    const { userId, joinedAt, isInvited = false } = member;
    const { _id: topic } = made;
    const generation = generationOf(made);
    const state = await this.parts.log.state(topic);
    const left = await this.parts.memberships.leftOf({ topic, userId });
    const { start, gaps } = rejoined(left, state);
    // For the inbox a gap was never for the user; earlier gaps are marked already.
    const change = (flags: number) => flags | EXCLUDED;
    await this.parts.marks.flags.apply(gaps.slice(-1).map((span) => ({ topic, span, owner: [userId], change })));
    const doc = {
      ...{ _id: keyOf(topic, userId), topic, userId, start, joinedAt },
      ...{ changedAt: this.db.clock.now(), nonce: new ObjectId() },
      isInvited: isInvited ? isInvited : undefined,
      gaps: gaps.length === 0 ? undefined : gaps,
      generation: generationIs(generation) ?? undefined,
    };
    if (!(await this.#insert(doc))) return { outcome: 'member' };
    const [living, count] = await Promise.all([this.#living(topic), this.parts.memberships.count(userId, member)]);
    const isStillThere = living?.nonce.equals(made.nonce) === true;
    if (!isStillThere || count > maxTopics) {
      await this.db.collections.members.deleteOne({ _id: doc._id, nonce: doc.nonce });
      return { outcome: isStillThere ? 'too_many' : 'no_topic' };
    }
    // The membership contains all of it now.
    if (left !== undefined) await this.db.collections.absences.deleteOne({ _id: left._id, changedAt: left.changedAt });
    return { outcome: 'joined', start: state.head };
  }

  /** Replaces a membership of a deleted topic. @returns false when somebody else was faster. */
  async #insert(doc: MemberDoc): Promise<boolean> {
    const { members } = this.db.collections;
    if (await ignoringDuplicates(members.insertOne(doc))) return true;
    const found = await members.findOne({ _id: doc._id });
    // Removed in between.
    if (found === null) return this.#insert(doc);
    if (generationOf(found) >= generationOf(doc)) return found.nonce.equals(doc.nonce);
    await members.deleteOne({ _id: doc._id, nonce: found.nonce });
    return this.#insert(doc);
  }

  removeMember(name: string, userId: string): Promise<boolean> {
    return this.db.turns.take(`user ${userId}`, () => this.#leave(name, userId));
  }

  /** Remembers first: if this node dies in between, the user has not left. */
  async #leave(name: string, userId: string): Promise<boolean> {
    const { log, memberships } = this.parts;
    const found = await memberships.find({ topic: name, userId });
    if (found === undefined) return false;
    const { head: leftAt } = await log.state(name);
    const { _id, topic, start, gaps = [], generation } = found;
    const changedAt = this.db.clock.now();
    await memberships.rememberLeft({ _id, topic, userId, start, gaps, leftAt, changedAt, generation });
    const { deletedCount } = await this.db.collections.members.deleteOne({ _id, nonce: found.nonce });
    return deletedCount === 1;
  }

  /** Removes a membership, and the states of its user in the topic. */
  async forgetMember({
    _id,
    topic,
    userId,
    start,
  }: Pick<MemberDoc, '_id' | 'topic' | 'userId' | 'start'>): Promise<void> {
    const { members, absences } = this.db.collections;
    await Promise.all([members.deleteOne({ _id }), absences.deleteOne({ _id })]);
    const { head } = await this.parts.log.state(topic);
    await this.parts.marks.removeUser(userId, { topic, from: start + 1, upTo: head });
  }
}

function toTopic({ _id: name, isPrivate, owner, createdAt }: TopicDoc): Topic {
  return { name, isPrivate, owner, createdAt };
}
