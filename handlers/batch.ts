/** Many messages in one request: each item is a separate send, and fails alone. */
import { describeFailure } from '../services/observability/describe-failure';
import { holdsScope } from '../utils/caller';
import { AppError, type Problem, refuseField, withFieldNames } from '../utils/errors';
import {
  batchItemSchema,
  batchSchema,
  contentSchema,
  MAX_BATCH_ITEMS,
  parseField,
  parseInput,
  topicNameSchema,
  userIdSchema,
} from '../utils/schemas';
import { BROADCAST_TOPIC, personalTopic } from '../utils/topic-names';
import type { MistypedFields, Warned } from './mistyped-fields';
import type { Sender, SendOperations, Sent } from './send';
import type { Content } from './send-options';
import type { TopicOperations } from './topics';

export interface BatchParts {
  readonly sending: SendOperations;
  readonly topics: Pick<TopicOperations, 'assertMayWrite'>;
  readonly mistyped: Pick<MistypedFields, 'find'>;
}

export type BatchResult =
  | (Warned & { readonly id: string; readonly topic: string; readonly seq?: number; readonly scheduledFor?: string })
  | { readonly error: Problem };

export type SendBatch = ReturnType<typeof createSendBatch>;

/** An item calls `topic` what operations on topics call `name`. */
const ITEM_FIELDS = new Map([['name', 'topic']]);

interface Checked {
  readonly topic: string;
  readonly content: Content;
}

export function createSendBatch({ sending, topics, mistyped }: BatchParts) {
  const check = createCheckItem({ sending, topics });

  /**
   * Sends up to 1,000 messages, in order, with one flush. `describe` turns the error of an item into its problem.
   * @throws AppError `batch_too_large`, `bad_request` when the input is no batch: then nothing is stored.
   */
  return async function sendBatch(
    sender: Sender,
    input: unknown,
    describe: (error: AppError) => Problem,
  ): Promise<Sent<{ results: BatchResult[] }>> {
    const { messages } = parseInput(batchSchema, input);
    if (messages.length > MAX_BATCH_ITEMS) throw tooLarge(messages.length);
    // All checks first: then all appends are requested in one turn, and share a flush.
    const checked = await Promise.allSettled(messages.map((item) => check(sender, item)));
    const results = await Promise.all(
      checked.map(async (item, index): Promise<BatchResult> => {
        try {
          if (item.status === 'rejected') throw item.reason;
          return { ...(await sendItem(sender, item.value, index)), ...warningsOf(messages[index]) };
        } catch (thrown) {
          return { error: describe(describeFailure(thrown)) };
        }
      }),
    );
    const count = results.filter((result) => 'id' in result).length;
    return { answer: { results }, isRepeated: false, account: { count } };
  };

  function warningsOf(item: unknown): Warned {
    const warnings = mistyped.find(contentSchema, item);
    return warnings.length === 0 ? {} : { warnings };
  }

  async function sendItem(sender: Sender, { topic, content }: Checked, index: number): Promise<BatchResult> {
    const { underKey } = sender;
    const own = underKey === undefined ? sender : { ...sender, underKey: `${underKey} ${index}` };
    const { isRepeated, ...result } = await sending.send(own, topic, content);
    return result;
  }
}

function createCheckItem({ sending, topics }: Pick<BatchParts, 'sending' | 'topics'>) {
  return async function check(sender: Sender, item: unknown): Promise<Checked> {
    const { userId, topic, broadcast } = parseInput(batchItemSchema, item);
    const content = parseInput(contentSchema, item);
    sending.assertSize('data', content.data);
    if (userId !== undefined) return { topic: personalTopic(parseField('userId', userIdSchema, userId)), content };
    if (broadcast === true) {
      if (holdsScope(sender, 'broadcast')) return { topic: BROADCAST_TOPIC, content };
      throw new AppError('insufficient_scope', 'This item needs a token with scope `broadcast`.');
    }
    const name = parseField('topic', topicNameSchema, topic);
    await withFieldNames(ITEM_FIELDS, () => topics.assertMayWrite(sender, name, { isServiceAllowed: true }));
    return { topic: name, content };
  };
}

function tooLarge(count: number): AppError {
  return refuseField('batch_too_large', 'messages', `has ${count} items, but at most ${MAX_BATCH_ITEMS} are allowed`);
}
