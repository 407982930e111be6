/** Client events over Socket.IO: event → operation on its payload, and its price. */
import type { Connection } from '../services/delivery/connections';
import { badField, withFieldNames } from '../utils/errors';
import { fieldOf, hasField } from '../utils/fields';
import { listSchema, parseInput } from '../utils/schemas';
import { echo } from './compatibility/echo';
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

export function clientEvents({
  messages,
  topics,
  presence,
  inbox,
  own,
  echoes,
  reads,
}: SocketOperations): ReadonlyMap<string, ClientEvent<unknown>> {
  const listTopics: Operation<unknown> = ({ caller }, payload) =>
    topics.list(caller, parseInput(listSchema, payload ?? {}));
  return new Map<string, ClientEvent<unknown>>([
    ['ping', { price: ONE, run: (connection) => own.ping(connection) }],
    ['ack', { price: FREE, run: own.acknowledge }],
    ['history', { price: HISTORY, run: readInTurn(reads, own.history) }],
    [
      'message',
      { price: ONE, run: (connection, payload) => handleMessage(connection, payload, { messages, topics, echoes }) },
    ],
    ['topic:create', { price: ONE, run: ({ caller }, payload) => topics.create(caller, payload) }],
    ['topic:join', { price: ONE, run: ({ caller }, payload) => topics.join(caller, payload) }],
    ['topic:leave', { price: ONE, run: ({ caller }, payload) => topics.leave(caller, payload) }],
    ['topic:invite', { price: ONE, run: ({ caller }, payload) => topics.invite(caller, payload) }],
    ['topic:list', { price: WHOLE, run: readInTurn(reads, listTopics) }],
    ['presence:subscribe', { price: WHOLE, run: readInTurn(reads, presence.subscribe) }],
    ['presence:unsubscribe', { price: ONE, run: presence.unsubscribe }],
    ['typing', { price: ONE, run: presence.type }],
    ['state', { price: priceOfChange, run: changeStates({ inbox, reads }) }],
    ['auth:refresh', { price: ONE, run: own.refresh }],
    ['logout', { price: ONE, run: (connection) => own.logout(connection) }],
  ]);
}

/** `message` is a message to a user or a topic, or what clients of compatible services send to receive an echo. */
async function handleMessage(
  connection: Connection,
  payload: unknown,
  { messages, topics, echoes }: Pick<SocketOperations, 'messages' | 'topics' | 'echoes'>,
): Promise<object> {
  const { caller } = connection;
  const topic = fieldOf(payload, 'topic');
  if (hasField(payload, 'to')) return (await messages.directMessage(caller, payload)).answer;
  if (hasField(payload, 'topic')) {
    if (typeof topic !== 'string') throw badField('topic', 'must be a string');
    if (topic.startsWith('@')) {
      const message = { ...payload, to: topic.slice(1) };
      return withFieldNames(PERSON_FIELDS, async () => (await messages.directMessage(caller, message)).answer);
    }
    return withFieldNames(EVENT_FIELDS, async () => {
      await topics.assertMayWrite(caller, topic, { isServiceAllowed: false });
      return (await messages.messageTopic(caller, topic, payload)).answer;
    });
  }
  const echoed = echo(connection, payload, echoes);
  if (echoed !== undefined) return echoed;
  throw badField('', 'must have `to` or `topic` with `type` and `data`, or `message`, or `content`');
}

/** From the operations' names of fields to the clients'. */
const EVENT_FIELDS = new Map([['name', 'topic']]);
const PERSON_FIELDS = new Map([['to', 'topic']]);
