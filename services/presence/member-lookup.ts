/** Is any member of a topic online? */
import type { Clock } from '../../utils/clock';
import type { Cluster } from '../cluster/contract';
import type { Delivery } from '../delivery/delivery';
import type { Logger } from '../observability/logger';
import type { TopicStore } from '../storage/contract';
import type { Roster } from './roster';

const MEMBERS_PER_PAGE = 1_000;
/** A send must not cost more in a topic with more members: beyond this the answer is that no member is online. */
const MAX_LOOKED_AT = 10_000;
/** Concurrent sends to one topic share a lookup. */
const ANSWER_LASTS_MS = 1_000;
const MAX_ANSWERS = 1_000;

interface Answer {
  readonly at: number;
  readonly isAnyOnline: Promise<boolean>;
}

export interface MemberLookupParts {
  readonly delivery: Pick<Delivery, 'hasFollowers'>;
  readonly cluster: Pick<Cluster, 'isShared'>;
  readonly topics: Pick<TopicStore, 'members'>;
  readonly roster: Pick<Roster, 'isOnline'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class MemberLookup {
  readonly #answers = new Map<string, Answer>();

  constructor(private readonly parts: MemberLookupParts) {}

  /**
   * Called after a message was stored, so it never throws: a store that fails now must not make the sender believe that
   * the message was not stored.
   */
  isAnyOnline(topic: string): Promise<boolean> {
    const { delivery, cluster, clock } = this.parts;
    if (delivery.hasFollowers(topic)) return Promise.resolve(true);
    if (!cluster.isShared) return Promise.resolve(false);
    const known = this.#answers.get(topic);
    const now = clock.steady();
    if (known !== undefined && now - known.at < ANSWER_LASTS_MS) return known.isAnyOnline;
    const isAnyOnline = this.#look(topic);
    if (this.#answers.size >= MAX_ANSWERS) this.#answers.clear();
    this.#answers.set(topic, { at: now, isAnyOnline });
    return isAnyOnline;
  }

  async #look(topic: string): Promise<boolean> {
    const { topics, roster, logger } = this.parts;
    let after: string | undefined;
    try {
      for (let looked = 0; looked < MAX_LOOKED_AT; looked += MEMBERS_PER_PAGE) {
        const { items, next } = await topics.members(topic, { after, limit: MEMBERS_PER_PAGE });
        if (items.some(({ userId }) => roster.isOnline(userId))) return true;
        if (next === undefined) return false;
        after = next;
      }
    } catch (error) {
      logger.warn({ err: error, topic }, 'the members of a topic could not be read');
    }
    return false;
  }
}
