/**
 * Memberships that another node has changed without this node hearing of it: compares what connections follow with what
 * they should. Nobody may keep reading a topic that they were removed from.
 */
import type { Logger } from '../observability/logger';
import type { MembershipChange } from '../storage/contract';
import type { Attachment, Attachments } from './attachment';
import type { Connection } from './connections';
import type { FoldedCounts } from './folded-counts';
import type { FollowedTopics } from './followed-topics';
import type { Subscriptions } from './subscriptions';

export interface FollowingCheckParts {
  readonly attachments: Attachments;
  readonly topics: FollowedTopics;
  readonly subscriptions: Subscriptions;
  readonly counts: Pick<FoldedCounts, 'doubt'>;
  readonly logger: Logger;
}

export class FollowingCheck {
  /** Users whose connections may not follow what they should. */
  readonly #doubted = new Set<string>();

  constructor(private readonly parts: FollowingCheckParts) {}

  get doubtedUsers(): number {
    return this.#doubted.size;
  }

  /** Nobody is connected any more. */
  forgetAll(): void {
    this.#doubted.clear();
  }

  /** Notes users whose connections do not follow what they should by now; `check` looks at them. */
  compare(changes: readonly MembershipChange[]): void {
    if (changes.length === 0) return;
    const byUser = this.#attachmentsByUser();
    for (const { topic, userId, isMember } of changes) {
      // Who has left and come back in between follows what they should, but not with all that is in it.
      if (userId !== undefined) this.parts.counts.doubt(userId);
      if (userId === undefined) this.#doubtFollowers(topic);
      else if (byUser.get(userId)?.some((attachment) => this.#isFollowed(attachment, topic) !== isMember)) {
        this.#doubted.add(userId);
      }
    }
  }

  #attachmentsByUser(): Map<string, Attachment[]> {
    const byUser = new Map<string, Attachment[]>();
    for (const [{ userId }, attachment] of this.parts.attachments) {
      const own = byUser.get(userId);
      if (own === undefined) byUser.set(userId, [attachment]);
      else own.push(attachment);
    }
    return byUser;
  }

  #isFollowed(attachment: Attachment, topic: string): boolean {
    return attachment.pending.has(topic) || this.parts.subscriptions.isSubscribed(attachment, topic);
  }

  #doubtFollowers(topic: string): void {
    for (const { userId } of this.parts.topics.get(topic)?.followers ?? []) this.#doubted.add(userId);
  }

  /** Looks at the connections of the noted users. Users whose look has failed stay noted. @throws StoreError */
  async check(): Promise<void> {
    for (const userId of [...this.#doubted]) {
      const own = [...this.parts.attachments].filter(
        ([connection]) => connection.userId === userId && connection.isOpen,
      );
      // Before the look: a doubt that arises during it is for the next one.
      this.#doubted.delete(userId);
      try {
        for (const [connection, attachment] of own) await this.#checkConnection(connection, attachment);
      } catch (error) {
        this.#doubted.add(userId);
        throw error;
      }
    }
  }

  async #checkConnection(connection: Connection, attachment: Attachment): Promise<void> {
    const { subscriptions, logger } = this.parts;
    const positions = await subscriptions.open(connection, attachment);
    const known = [...attachment.subscriptions.keys(), ...attachment.pending.keys()];
    for (const topic of known) if (!positions.has(topic)) subscriptions.unfollow(connection, topic);
    for (const [topic, position] of positions) {
      if (attachment.pending.has(topic)) continue;
      // Not awaited: a client that does not acknowledge must not hold up the others.
      subscriptions.followFrom(position, { connection, attachment, topic }).catch((error: unknown) => {
        logger.error({ err: error, topic }, 'a topic could not be followed yet');
        this.#doubted.add(connection.userId);
      });
    }
  }
}
