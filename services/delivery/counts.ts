/** The counts that go with a message, where its topic belongs to one user alone. */
import { withDeadline } from '../../utils/deadline';
import type { Counts } from '../../utils/protocol';
import { isStateTopic, ownerOfPersonalTopic } from '../../utils/topic-names';
import type { Logger } from '../observability/logger';
import type { Store } from '../storage/contract';

/** How long a message waits for its counts. */
const COUNTS_TIMEOUT_MS = 1_000;

export type CountsFor = (topic: string) => Promise<Counts | undefined>;

/** `undefined` also when the store fails or is slow: no message waits for a number. */
export function createCountsFor(store: Store, logger: Logger): CountsFor {
  return async (topic) => {
    const userId = isStateTopic(topic) ? topic.slice(1) : ownerOfPersonalTopic(topic);
    if (userId === undefined) return undefined;
    const late = () => new Error(`the store did not count within ${COUNTS_TIMEOUT_MS} ms`);
    try {
      return await withDeadline(store.inbox.counts(userId), COUNTS_TIMEOUT_MS, late);
    } catch (error) {
      logger.warn({ err: error, topic }, 'a message is sent without counts');
      return undefined;
    }
  };
}
