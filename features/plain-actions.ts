/** Actions of the plain endpoint: action → operation on its frame, and its price. */
import type { Connection } from '../services/delivery/connections';
import { withFieldNames } from '../utils/errors';
import { fieldOf } from '../utils/fields';
import {
  listSchema,
  parseField,
  parseInput,
  plainCreateSchema,
  plainInviteSchema,
  plainMessageSchema,
  plainPresenceSchema,
  plainTopicSchema,
  userIdSchema,
} from '../utils/schemas';
import { MISSPELT_SUBSCRIBE } from './compatibility/misspelt-subscribe';
import {
  type ClientEvent,
  changeStates,
  FREE,
  HISTORY,
  ONE,
  type Operation,
  priceOfChange,
  readInTurn,
  type SocketOperations,
  WHOLE,
} from './socket-operations';

type Frame = Readonly<Record<string, unknown>>;

/** From the operations' names of fields to those of frames. */
const FRAME_FIELDS = new Map([
  ['name', 'topic_name'],
  ['isPrivate', 'is_private'],
  ['userId', 'username'],
]);

/** Fields have the names that clients of the compatible topic service send. */
export function clientActions(operations: SocketOperations): ReadonlyMap<string, ClientEvent<Frame>> {
  const { topics, presence, own, reads } = operations;
  const watch = readInTurn<Frame>(reads, presence.subscribe);
  const join: Operation<Frame> = ({ caller }, frame) => {
    const { topic_name: name } = parseInput(plainTopicSchema, frame);
    return withFieldNames(FRAME_FIELDS, () => topics.join(caller, { name }));
  };
  const leave: Operation<Frame> = ({ caller }, frame) => {
    const { topic_name: name } = parseInput(plainTopicSchema, frame);
    return withFieldNames(FRAME_FIELDS, () => topics.leave(caller, { name }));
  };
  const create: Operation<Frame> = ({ caller }, frame) => {
    const { topic_name: name, is_private: isPrivate } = parseInput(plainCreateSchema, frame);
    return withFieldNames(FRAME_FIELDS, () => topics.create(caller, { name, isPrivate }));
  };
  const invite: Operation<Frame> = ({ caller }, frame) => {
    const { topic_name: name, username: userId } = parseInput(plainInviteSchema, frame);
    return withFieldNames(FRAME_FIELDS, () => topics.invite(caller, { name, userId }));
  };
  const watchOrNot: Operation<Frame> = (connection, frame) => {
    const { on = true } = parseInput(plainPresenceSchema, frame);
    return on ? watch(connection, frame) : presence.unsubscribe(connection);
  };
  const listTopics: Operation<Frame> = ({ caller }, frame) => topics.list(caller, parseInput(listSchema, frame));
  return new Map<string, ClientEvent<Frame>>([
    [MISSPELT_SUBSCRIBE, { price: ONE, run: join }],
    ['subscribe', { price: ONE, run: join }],
    ['unsubscribe', { price: ONE, run: leave }],
    ['create', { price: ONE, run: create }],
    ['invite', { price: ONE, run: invite }],
    ['message', { price: ONE, run: (connection, frame) => sendPlain(connection, frame, operations) }],
    // Ending the watch reads nothing.
    ['presence', { price: (frame) => (fieldOf(frame, 'on') === false ? ONE : WHOLE), run: watchOrNot }],
    ['typing', { price: ONE, run: presence.type }],
    ['ack', { price: FREE, run: own.acknowledge }],
    ['history', { price: HISTORY, run: readInTurn(reads, own.history) }],
    ['topic:list', { price: WHOLE, run: readInTurn(reads, listTopics) }],
    ['ping', { price: ONE, run: (connection) => own.ping(connection) }],
    ['auth', { price: ONE, run: own.refresh }],
    ['logout', { price: ONE, run: (connection) => own.logout(connection) }],
    // The transport closes after the answer.
    ['disconnect', { price: ONE, run: () => ({}) }],
    ['state', { price: priceOfChange, run: changeStates(operations) }],
  ]);
}

async function sendPlain(
  { caller }: Connection,
  frame: Frame,
  { messages, topics }: Pick<SocketOperations, 'messages' | 'topics'>,
): Promise<object> {
  const { topic_name: target, content } = parseInput(plainMessageSchema, frame);
  const recipient = await withFieldNames(FRAME_FIELDS, () => topics.resolve(caller, target));
  if ('userId' in recipient) parseField('topic_name', userIdSchema, recipient.userId);
  const message = content === undefined ? frame : { type: 'chat', ...frame, data: { content } };
  if (content !== undefined) messages.assertSize('content', message.data);
  if ('topic' in recipient) return (await messages.messageTopic(caller, recipient.topic, message)).answer;
  return (await messages.directMessage(caller, { ...message, to: recipient.userId })).answer;
}
