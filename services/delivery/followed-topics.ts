/** The topics that connections of this node follow. */
import type { Connection } from './connections';
import { FollowedTopic, type FollowedTopicParts } from './followed-topic';

export class FollowedTopics {
  readonly #topics = new Map<string, FollowedTopic>();
  readonly #gaps = new Set<FollowedTopic>();
  readonly #parts: FollowedTopicParts;

  constructor(parts: Omit<FollowedTopicParts, 'gaps'>) {
    this.#parts = { ...parts, gaps: this.#gaps };
  }

  get size(): number {
    return this.#topics.size;
  }

  /** Topics with something stored that could not be emitted yet. */
  get gaps(): number {
    return this.#gaps.size;
  }

  get(topic: string): FollowedTopic | undefined {
    return this.#topics.get(topic);
  }

  /** False once it was dropped, even if a new topic has its name by now. */
  isCurrent(followed: FollowedTopic): boolean {
    return this.#topics.get(followed.topic) === followed;
  }

  add(connection: Connection, topic: string): FollowedTopic {
    const followed = this.#topics.get(topic) ?? this.#start(topic);
    followed.followers.add(connection);
    return followed;
  }

  #start(topic: string): FollowedTopic {
    const followed = new FollowedTopic(topic, this.#parts);
    this.#topics.set(topic, followed);
    return followed;
  }

  /** Forgets a follower, and with the last one the topic. @returns whether the topic was forgotten. */
  remove(connection: Connection, followed: FollowedTopic): boolean {
    followed.followers.delete(connection);
    if (followed.followers.size > 0 || !this.isCurrent(followed)) return false;
    this.#topics.delete(followed.topic);
    this.#gaps.delete(followed);
    return true;
  }

  /** Forgets a topic at once, however many follow it. Nothing of it is emitted from this moment on. */
  drop(followed: FollowedTopic): void {
    this.#topics.delete(followed.topic);
    followed.members.clear();
  }

  /** Emits what other nodes have stored up to these heads and was not emitted here. */
  catchUpTo(heads: ReadonlyMap<string, number>): void {
    for (const [topic, seq] of heads) this.#topics.get(topic)?.catchUpTo(seq);
  }

  /** Tries again to fill the gaps that could not be read. */
  heal(now: number): void {
    for (const followed of this.#gaps) {
      if (this.isCurrent(followed)) followed.healIfDue(now);
      else this.#gaps.delete(followed);
    }
  }
}
