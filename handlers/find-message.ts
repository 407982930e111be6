/** The message that an id means, for callers who may act on it. */
import type { Store } from '../services/storage/contract';
import { type Caller, holdsScope } from '../utils/caller';
import { AppError, ambiguousId, refuseField } from '../utils/errors';
import type { Message } from '../utils/protocol';
import { messageIdSchema, parseField } from '../utils/schemas';
import { BROADCAST_TOPIC, isNamedTopic, personalTopic } from '../utils/topic-names';

/** How many messages of other senders are checked for whether the caller may read them: only the refusal differs. */
const MAX_OTHERS = 100;

export type FindMessage = ReturnType<typeof createFindMessage>;

export function createFindMessage(store: Store) {
  /** The message that the caller sent, or with scope `admin` that anybody sent. */
  async function sentBy(caller: Caller, id: string, from: string | undefined): Promise<Message> {
    parseField('id', messageIdSchema, id);
    const isOwn = from === undefined || from === caller.userId;
    const own = isOwn ? await store.log.find(id, caller.userId) : [];
    const ofSender = own.length > 0 ? own : await store.log.find(id, from);
    const candidates = own.length === 0 && holdsScope(caller, 'admin') ? ofSender : own;
    const [message] = candidates;
    if (candidates.length > 1) throw ambiguousId();
    if (message !== undefined) return message;
    for (const other of ofSender.slice(0, MAX_OTHERS)) {
      if (await mayRead(caller, other)) throw new AppError('forbidden', 'Only the sender of the message may do this.');
    }
    throw noMessage();
  }

  /** A user who has left a topic may retract messages sent there, but not change them. */
  async function assertStillThere(caller: Caller, { topic: name }: Message): Promise<void> {
    if (!isNamedTopic(name) || holdsScope(caller, 'send')) return;
    const [topic, isMember] = await Promise.all([store.topics.get(name), store.topics.isMember(name, caller.userId)]);
    if (isMember && topic !== undefined) return;
    if (topic?.isPrivate === false)
      throw new AppError('not_a_member', `Only members of ${name} may do this: join it first.`);
    throw noMessage();
  }

  /** A user who may read a message knows that it exists. */
  async function mayRead({ userId }: Caller, { topic, exceptUserId }: Message): Promise<boolean> {
    if (userId === exceptUserId) return false;
    if (topic === BROADCAST_TOPIC || topic === personalTopic(userId)) return true;
    return store.topics.isMember(topic, userId);
  }

  return { sentBy, assertStillThere };
}

export function noMessage(): AppError {
  return refuseField('not_found', 'id', 'there is no such message', 'There is no such message, or you may not see it.');
}
