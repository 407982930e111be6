/** Named topics and their members. */
import { isSliceOver, nextSlice } from '../../../utils/slices';
import type { Joined, Joining, Listed, NamePage, Topic, VisibleTopic } from '../contract';
import { assertFitsKey } from '../rules/key-size';
import { EXCLUDED } from '../rules/states';
import type { Access } from './access';
import type { Devices } from './devices';
import { startingWith, walk } from './layout';
import type { Log } from './log';
import type { Marks } from './marks';
import { generationIn, type Memberships } from './memberships';
import { pageOf } from './name-page';

export interface TopicParts {
  readonly log: Log;
  readonly marks: Marks;
  readonly memberships: Memberships;
  readonly devices: Devices;
}

export class Topics {
  constructor(
    private readonly access: Access,
    private readonly parts: TopicParts,
  ) {}

  create(topic: Topic, maxTopics: number): Joined | { readonly outcome: 'taken' } {
    const { named } = this.access.trees;
    if (named.doesExist(topic.name)) return { outcome: 'taken' };
    if (this.parts.memberships.isFull(topic.owner, maxTopics, {})) return { outcome: 'too_many' };
    assertFitsKey(topic.name, topic.owner);
    named.put(topic.name, topic);
    this.parts.log.hide(topic.name);
    return this.#join(topic.name, { userId: topic.owner, joinedAt: topic.createdAt });
  }

  get(name: string): Topic | undefined {
    return this.access.trees.named.get(name);
  }

  visibleTo(userId: string, { after, limit }: NamePage): Listed<VisibleTopic> {
    const range = after === undefined ? {} : { start: after, exclusiveStart: true };
    return pageOf(this.access.trees.named.getRange(range), limit, (name, topic) => {
      const isMember = this.parts.memberships.isMember(name, userId);
      return isMember || !topic.isPrivate ? { ...topic, isMember } : undefined;
    });
  }

  async delete(name: string): Promise<number | undefined> {
    const members = await this.access.walking(() => this.#countMembers(name));
    return (await this.access.write(() => this.#delete(name))) ? members : undefined;
  }

  async #countMembers(name: string): Promise<number> {
    const generation = this.parts.memberships.generationOf(name);
    let count = 0;
    for (const { value } of walk(this.access.trees, 'members', startingWith<[string, string]>(name))) {
      if (isSliceOver()) await nextSlice();
      if (generationIn(value) === generation) count += 1;
    }
    return count;
  }

  /** After this write the topic does not exist and none of its memberships counts: see Memberships. */
  #delete(name: string): boolean {
    const { named, removals, topics } = this.access.trees;
    const { log, memberships } = this.parts;
    if (!named.doesExist(name)) return false;
    named.remove(name);
    log.hide(name);
    const generation = memberships.generationOf(name);
    const state = log.state(name);
    topics.put(name, { ...state, generation: generation + 1 });
    removals.put(['topic', name, String(generation)], { at: this.access.clock.now(), step: 0, upTo: state.head });
    return true;
  }

  addMember(name: string, member: Joining, maxTopics: number): Joined {
    const { memberships } = this.parts;
    if (!this.access.trees.named.doesExist(name)) return { outcome: 'no_topic' };
    if (memberships.isMember(name, member.userId)) return { outcome: 'member' };
    if (memberships.isFull(member.userId, maxTopics, member)) return { outcome: 'too_many' };
    assertFitsKey(name, member.userId);
    return this.#join(name, member);
  }

  /** Devices need no cursor: without one they start where the membership does. */
  #join(name: string, member: Joining): Joined {
    const { memberships, marks } = this.parts;
    const gap = memberships.join(name, member).at(-1);
    // For the inbox a gap was never for the user; earlier gaps are marked already.
    if (gap !== undefined) marks.flags.update(name, gap, (flags) => flags | EXCLUDED, member.userId);
    return { outcome: 'joined', start: this.parts.log.state(name).head };
  }

  removeMember(name: string, userId: string): boolean {
    const { memberships } = this.parts;
    if (memberships.startOf(userId, name) === undefined) return false;
    memberships.leave(name, userId, this.access.clock.now());
    return true;
  }

  removeCursors(name: string, userId: string): void {
    for (const { device } of this.parts.devices.rowsOf(userId))
      this.access.trees.cursors.remove([userId, device, name]);
  }
}
