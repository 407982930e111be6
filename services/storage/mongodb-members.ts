/**
 * Named topics and their members. In this process what is done to one topic or one user happens one after the other;
 * between nodes a membership is looked at again after it was written, and taken back where it should not be.
 */
import { ObjectId } from 'mongodb';
import type { Joined, Member, Membership, Topic } from './contract';
import type { Devices } from './mongodb-devices';
import { ignoringDuplicates, isDuplicate } from './mongodb-errors';
import { assertFitsKey, type Collections, keyOf, type MemberDoc, startingWith, type TopicDoc } from './mongodb-layout';
import type { Log } from './mongodb-log';
import type { Marks } from './mongodb-marks';
import type { Sweeps } from './mongodb-sweeps';
import type { Turns } from './mongodb-turns';

type Created = Joined | { readonly outcome: 'taken' };

interface MemberParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly sweeps: Sweeps;
  readonly devices: Devices;
  readonly turns: Turns;
}

export class Members {
  constructor(
    private readonly collections: Collections,
    private readonly parts: MemberParts,
  ) {}

  create(topic: Topic, maxTopics: number): Promise<Created> {
    return this.#inTurn(topic.name, topic.owner, () => this.#create(topic, maxTopics));
  }

  /** Topics before users, so that no two wait for each other. */
  #inTurn<Result>(name: string, userId: string, work: () => Promise<Result>): Promise<Result> {
    const { turns } = this.parts;
    return turns.take(`topic ${name}`, () => turns.take(`user ${userId}`, work));
  }

  async #create({ name, ...fields }: Topic, maxTopics: number): Promise<Created> {
    assertFitsKey(name, fields.owner);
    // The head first: what is said after somebody else has made the topic must not be hidden.
    const { head } = await this.parts.log.state(name);
    const earlier = await this.#earlier(name);
    // A node that died after it had made the topic has left it without its first member.
    const isOwn = earlier?.isUnfinished === true && earlier.owner === fields.owner;
    if (earlier !== undefined) return isOwn ? this.#finish(earlier, maxTopics) : { outcome: 'taken' };
    if ((await this.#count(fields.owner)) >= maxTopics) return { outcome: 'too_many' };
    await this.parts.sweeps.hideUpTo(name, head);
    const doc = { _id: name, ...fields, nonce: new ObjectId(), isUnfinished: true };
    await ignoringDuplicates(this.collections.topics.insertOne(doc));
    const made = await this.#living(name);
    if (!made?.nonce.equals(doc.nonce)) return { outcome: 'taken' };
    return this.#finish(made, maxTopics);
  }

  /** Makes the owner the first member. Only one of several nodes that try has created the topic. */
  async #finish(made: TopicDoc, maxTopics: number): Promise<Created> {
    const { _id, nonce, owner, createdAt } = made;
    const joined = await this.#join(made, { userId: owner, joinedAt: createdAt }, maxTopics);
    if (joined.outcome === 'too_many') await this.collections.topics.deleteOne({ _id, nonce });
    else await this.collections.topics.updateOne({ _id, nonce }, { $unset: { isUnfinished: '' } });
    return joined.outcome === 'member' ? { outcome: 'taken' } : joined;
  }

  /** What has the name; a deletion that was not finished is, first. */
  async #earlier(name: string): Promise<TopicDoc | undefined> {
    const found = await this.collections.topics.findOne({ _id: name });
    if (found?.deletedBy !== undefined) await this.#finishDeletion(name);
    return found === null || found.deletedBy !== undefined ? undefined : found;
  }

  async #living(name: string): Promise<TopicDoc | undefined> {
    const found = await this.collections.topics.findOne({ _id: name });
    return found === null || found.deletedBy !== undefined ? undefined : found;
  }

  async topic(name: string): Promise<Topic | undefined> {
    const found = await this.#living(name);
    return found === undefined ? undefined : toTopic(found);
  }

  async visibleTopics(userId: string): Promise<Topic[]> {
    const own = await this.collections.members.find({ userId }).toArray();
    const names = own.map(({ topic }) => topic);
    const filter = { $or: [{ isPrivate: false }, { _id: { $in: names } }] };
    const found = await this.collections.topics.find(filter).sort({ _id: 1 }).toArray();
    return found.filter(({ deletedBy }) => deletedBy === undefined).map(toTopic);
  }

  delete(name: string): Promise<readonly string[] | undefined> {
    return this.parts.turns.take(`topic ${name}`, () => this.#delete(name));
  }

  /** The mark says which of several callers deletes it; it stays until nothing of the topic is left. */
  async #delete(name: string): Promise<readonly string[] | undefined> {
    const deletedBy = new ObjectId();
    const filter = { _id: name, deletedBy: null } as object;
    await this.collections.topics.updateOne(filter, { $set: { deletedBy } });
    const marked = await this.collections.topics.findOne({ _id: name });
    if (!marked?.deletedBy?.equals(deletedBy)) return undefined;
    const members = await this.members(name);
    await this.#finishDeletion(name);
    return members.map(({ userId }) => userId);
  }

  async #finishDeletion(name: string): Promise<void> {
    const { cursors, members, topics } = this.collections;
    await members.deleteMany({ _id: startingWith(name) });
    await cursors.deleteMany({ topic: name });
    await this.parts.marks.removeTopic(name);
    await this.parts.sweeps.hide(name);
    await topics.deleteOne({ _id: name, deletedBy: { $ne: null } } as object);
  }

  add(name: string, member: Member, maxTopics: number): Promise<Joined> {
    return this.parts.turns.take(`user ${member.userId}`, () => this.#add(name, member, maxTopics));
  }

  async #add(name: string, member: Member, maxTopics: number): Promise<Joined> {
    assertFitsKey(name, member.userId);
    const [topic, topics] = await Promise.all([this.#living(name), this.#topicsOf(member.userId)]);
    if (topic === undefined) return { outcome: 'no_topic' };
    if (topics.includes(name)) return { outcome: 'member' };
    if (topics.length >= maxTopics) return { outcome: 'too_many' };
    return this.#join(topic, member, maxTopics);
  }

  async #join({ _id: topic, nonce: made }: TopicDoc, { userId, joinedAt }: Member, maxTopics: number): Promise<Joined> {
    const { head: start } = await this.parts.log.state(topic);
    const doc = { _id: keyOf(topic, userId), topic, userId, start, joinedAt, nonce: new ObjectId() };
    if (!(await this.#insert(doc))) return { outcome: 'member' };
    const [isStillThere, count] = await Promise.all([this.#isLiving(topic, made), this.#count(userId)]);
    if (!isStillThere || count > maxTopics) {
      await this.collections.members.deleteOne({ _id: doc._id, nonce: doc.nonce });
      return { outcome: isStillThere ? 'too_many' : 'no_topic' };
    }
    await this.parts.devices.place(userId, topic, start);
    return { outcome: 'joined', start };
  }

  /** @returns false when somebody else was faster. */
  async #insert(doc: MemberDoc): Promise<boolean> {
    try {
      await this.collections.members.insertOne(doc);
      return true;
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      const found = await this.collections.members.findOne({ _id: doc._id });
      return found?.nonce.equals(doc.nonce) ?? false;
    }
  }

  async #isLiving(name: string, nonce: ObjectId): Promise<boolean> {
    return (await this.#living(name))?.nonce.equals(nonce) ?? false;
  }

  async #topicsOf(userId: string): Promise<string[]> {
    const found = await this.collections.members.find({ userId }, { projection: { _id: 0, topic: 1 } }).toArray();
    return found.map(({ topic }) => topic);
  }

  #count(userId: string): Promise<number> {
    return this.collections.members.countDocuments({ userId });
  }

  remove(name: string, userId: string): Promise<boolean> {
    return this.parts.turns.take(`user ${userId}`, () => this.leave(name, userId));
  }

  /** The membership first: what follows from it can be seen by nobody then. */
  async leave(name: string, userId: string): Promise<boolean> {
    const found = await this.collections.members.findOne({ _id: keyOf(name, userId) });
    if (found === null) return false;
    const { deletedCount } = await this.collections.members.deleteOne({ _id: found._id, nonce: found.nonce });
    const { head } = await this.parts.log.state(name);
    await this.parts.devices.remove(userId, name);
    await this.parts.marks.removeUser(userId, { topic: name, from: found.start + 1, upTo: head });
    return deletedCount === 1;
  }

  async isMember(name: string, userId: string): Promise<boolean> {
    return (await this.collections.members.findOne({ _id: keyOf(name, userId) })) !== null;
  }

  async members(name: string): Promise<Member[]> {
    const found = await this.collections.members
      .find({ _id: startingWith(name) })
      .sort({ _id: 1 })
      .toArray();
    return found.map(({ userId, joinedAt }) => ({ userId, joinedAt }));
  }

  async memberships(userId: string): Promise<Membership[]> {
    const found = await this.collections.members.find({ userId }).sort({ _id: 1 }).toArray();
    return found.map(({ topic, joinedAt }) => ({ topic, joinedAt }));
  }
}

function toTopic({ _id: name, isPrivate, owner, createdAt }: TopicDoc): Topic {
  return { name, isPrivate, owner, createdAt };
}
