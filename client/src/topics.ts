/** Named topics: their messages come as the event `message`, with the name in `topic`. */
import type { Calls } from './calls.ts';
import type { Topic } from './protocol.ts';
import { isTopic, isTopics } from './shapes.ts';

/** The most that the service returns at once. */
const PAGE_SIZE = 1_000;

export class Topics {
  constructor(private readonly calls: Pick<Calls, 'call'>) {}

  /**
   * The caller owns it and is a member. @throws TidingsError `topic_taken`, even when a first call whose answer was
   * lost has created it.
   */
  create(name: string, options: { isPrivate?: boolean } = {}): Promise<Topic> {
    return this.calls.call('topic:create', { name, ...options }, { shape: isTopic, mayRepeat: false });
  }

  /** For public topics; to a private one, a member invites. */
  async join(name: string): Promise<void> {
    await this.calls.call('topic:join', { name }, { mayRepeat: true });
  }

  /** The owner cannot leave. */
  async leave(name: string): Promise<void> {
    await this.calls.call('topic:leave', { name }, { mayRepeat: false });
  }

  /** Makes a user a member at once. */
  async invite(name: string, userId: string): Promise<void> {
    await this.calls.call('topic:invite', { name, userId }, { mayRepeat: true });
  }

  /** The user's topics and all public ones. */
  async list(): Promise<readonly Topic[]> {
    const found: Topic[] = [];
    let cursor: string | undefined;
    do {
      const payload = { limit: PAGE_SIZE, ...(cursor === undefined ? {} : { cursor }) };
      const page = await this.calls.call('topic:list', payload, { shape: isTopics, mayRepeat: true });
      found.push(...page.topics);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    return found;
  }
}
