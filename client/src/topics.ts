/** Named topics: their messages come as the event `message`, with the name in `topic`. */
import type { Calls } from './calls.ts';
import type { Topic } from './protocol.ts';
import { isTopic, isTopics } from './shapes.ts';

/** The most that the service gives at once. */
const PAGE_SIZE = 1_000;

export class Topics {
  constructor(private readonly calls: Pick<Calls, 'call'>) {}

  /** The caller owns it and is in it. @throws TidingsError `topic_taken`, also when a lost first call has made it. */
  create(name: string, options: { isPrivate?: boolean } = {}): Promise<Topic> {
    return this.calls.call('topic:create', { name, ...options }, { shape: isTopic, mayRepeat: false });
  }

  /** For public ones; to a private one somebody in it invites. */
  async join(name: string): Promise<void> {
    await this.calls.call('topic:join', { name }, { mayRepeat: true });
  }

  /** The owner cannot. */
  async leave(name: string): Promise<void> {
    await this.calls.call('topic:leave', { name }, { mayRepeat: false });
  }

  /** Makes somebody a member at once. */
  async invite(name: string, userId: string): Promise<void> {
    await this.calls.call('topic:invite', { name, userId }, { mayRepeat: true });
  }

  /** One's own and all public ones. */
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
