/** The tables of what clients may ask for over a socket: Socket.IO event or plain action → operation, and its price. */
import type { ConnectionOperations } from '../handlers/connection';
import { changesWhole, type InboxOperations } from '../handlers/inbox';
import type { PresenceOperations } from '../handlers/presence';
import type { TopicOperations } from '../handlers/topics';
import type { MessageOperations } from '../handlers/websocket';
import type { ReadTurns } from '../services/admission/read-turns';
import type { Connection } from '../services/sockets/connections';
import { AppError, badField, renameFields } from '../utils/errors';
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

export interface SocketOperations {
  readonly messages: MessageOperations;
  readonly topics: TopicOperations;
  readonly presence: PresenceOperations;
  readonly inbox: InboxOperations;
  readonly own: ConnectionOperations;
  readonly reads: Pick<ReadTurns, 'run'>;
}

type Operation<Payload> = (connection: Connection, payload: Payload) => object | Promise<object>;

/** What a client may ask for, and what that counts as. */
export interface ClientEvent<Payload> {
  /**
   * Events that it counts as against SOCKET_EVENTS_PER_SECOND; 0 is free of charge as long as it is accepted. What reads
   * much costs more than one.
   */
  readonly price: number | ((payload: unknown) => number);
  readonly run: Operation<Payload>;
}

const FREE = 0;
const ONE = 1;
const HISTORY = 4;
/** A list of all topics, of who is online, or a change of states that looks through an inbox or a topic. */
const WHOLE = 10;

type Frame = Readonly<Record<string, unknown>>;

/** A read of much: those of a user take turns. */
function readInTurn<Payload>(reads: SocketOperations['reads'], read: Operation<Payload>): Operation<Payload> {
  return (connection, payload) => reads.run(connection, () => read(connection, payload));
}

/**
 * What changes a whole inbox or topic reads all of it, and takes its turn; what names messages does not. Unlike a read it
 * is done though its client has left meanwhile.
 */
function changeStates({ inbox, reads }: Pick<SocketOperations, 'inbox' | 'reads'>): Operation<unknown> {
  const change: Operation<unknown> = (connection, payload) => inbox.change(connection.caller, payload, connection);
  const inTurn: Operation<unknown> = (connection, payload) =>
    reads.run({ userId: connection.userId, isOpen: true }, () => change(connection, payload));
  return (connection, payload) => (changesWhole(payload) ? inTurn : change)(connection, payload);
}

function priceOfChange(payload: unknown): number {
  return changesWhole(payload) ? WHOLE : ONE;
}

/** Socket.IO: event → operation on its payload. */
export function clientEvents({
  messages,
  topics,
  presence,
  inbox,
  own,
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
      { price: ONE, run: (connection, payload) => handleMessage(connection, payload, { messages, topics, own }) },
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

/** `message` is a message to a user or a topic, or what two ancestors' clients send to hear an echo. */
async function handleMessage(
  connection: Connection,
  payload: unknown,
  { messages, topics, own }: Pick<SocketOperations, 'messages' | 'topics' | 'own'>,
): Promise<object> {
  const { caller } = connection;
  const topic = fieldOf(payload, 'topic');
  if (hasField(payload, 'to')) return (await messages.directMessage(caller, payload)).answer;
  if (hasField(payload, 'topic')) {
    if (typeof topic !== 'string') throw badField('topic', 'expected a string');
    if (topic.startsWith('@')) {
      const message = { ...payload, to: topic.slice(1) };
      return inWords(PERSON_FIELDS, async () => (await messages.directMessage(caller, message)).answer);
    }
    return inWords(EVENT_FIELDS, async () => {
      await topics.assertMayWrite(caller, topic, { isServiceAllowed: false });
      return (await messages.messageTopic(caller, topic, payload)).answer;
    });
  }
  if (hasField(payload, 'message')) return own.echoMessage(connection, payload);
  if (hasField(payload, 'content')) return own.echoContent(connection, payload);
  const message = 'expected `to` or `topic` with `type` and `data`, or `message`, or `content`';
  throw new AppError('bad_request', message, { errors: [{ path: '', message }] });
}

/** Looks at one name only: a payload may be a megabyte of bytes, which would be as many fields. */
function hasField(payload: unknown, name: string): payload is object {
  return typeof payload === 'object' && payload !== null && Object.hasOwn(payload, name);
}

function fieldOf(payload: unknown, name: string): unknown {
  return hasField(payload, name) ? (payload as Record<string, unknown>)[name] : undefined;
}

/** What the operations call fields, and what clients call them. */
const EVENT_FIELDS = new Map([['name', 'topic']]);
const PERSON_FIELDS = new Map([['to', 'topic']]);
const FRAME_FIELDS = new Map([
  ['name', 'topic_name'],
  ['isPrivate', 'is_private'],
  ['userId', 'username'],
]);

/** Who is refused a field reads the name under which it was sent. */
async function inWords<Answer>(names: ReadonlyMap<string, string>, work: () => Promise<Answer>): Promise<Answer> {
  try {
    return await work();
  } catch (error) {
    throw renameFields(error, names);
  }
}

/** The plain endpoint: action → operation on its frame. Fields are named as the ancestors name them. */
export function clientActions(operations: SocketOperations): ReadonlyMap<string, ClientEvent<Frame>> {
  const { topics, presence, own, reads } = operations;
  const watch = readInTurn<Frame>(reads, presence.subscribe);
  const join: Operation<Frame> = ({ caller }, frame) => {
    const { topic_name: name } = parseInput(plainTopicSchema, frame);
    return inWords(FRAME_FIELDS, () => topics.join(caller, { name }));
  };
  const leave: Operation<Frame> = ({ caller }, frame) => {
    const { topic_name: name } = parseInput(plainTopicSchema, frame);
    return inWords(FRAME_FIELDS, () => topics.leave(caller, { name }));
  };
  const create: Operation<Frame> = ({ caller }, frame) => {
    const { topic_name: name, is_private: isPrivate } = parseInput(plainCreateSchema, frame);
    return inWords(FRAME_FIELDS, () => topics.create(caller, { name, isPrivate }));
  };
  const invite: Operation<Frame> = ({ caller }, frame) => {
    const { topic_name: name, username: userId } = parseInput(plainInviteSchema, frame);
    return inWords(FRAME_FIELDS, () => topics.invite(caller, { name, userId }));
  };
  const watchOrNot: Operation<Frame> = (connection, frame) => {
    const { on = true } = parseInput(plainPresenceSchema, frame);
    return on ? watch(connection, frame) : presence.unsubscribe(connection);
  };
  const listTopics: Operation<Frame> = ({ caller }, frame) => topics.list(caller, parseInput(listSchema, frame));
  return new Map<string, ClientEvent<Frame>>([
    // The first spelling is that of an ancestor, whose clients go on.
    ['suscribe', { price: ONE, run: join }],
    ['subscribe', { price: ONE, run: join }],
    ['unsubscribe', { price: ONE, run: leave }],
    ['create', { price: ONE, run: create }],
    ['invite', { price: ONE, run: invite }],
    ['message', { price: ONE, run: (connection, frame) => sendPlain(connection, frame, operations) }],
    // The end of watching reads nothing.
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
  const recipient = await inWords(FRAME_FIELDS, () => topics.resolve(caller, target));
  if ('userId' in recipient) parseField('topic_name', userIdSchema, recipient.userId);
  const message = content === undefined ? frame : { type: 'chat', ...frame, data: { content } };
  if (content !== undefined) messages.assertSize('content', message.data);
  if ('topic' in recipient) return (await messages.messageTopic(caller, recipient.topic, message)).answer;
  return (await messages.directMessage(caller, { ...message, to: recipient.userId })).answer;
}

/** A table, in use. `dispatch` throws AppError `unknown_event` for what is not in it, which counts as one event. */
export function byTable<Payload>(table: ReadonlyMap<unknown, ClientEvent<Payload>>) {
  return {
    priceOf(name: unknown, payload: unknown): number {
      const { price } = table.get(name) ?? { price: ONE };
      return typeof price === 'number' ? price : price(payload);
    },
    dispatch(connection: Connection, name: string, payload: Payload): object | Promise<object> {
      const event = table.get(name);
      if (event === undefined)
        throw new AppError('unknown_event', 'There is nothing of this name that a client may ask for.');
      return event.run(connection, payload);
    },
  };
}
