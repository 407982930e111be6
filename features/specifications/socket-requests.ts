/** Each event and action in the AsyncAPI document: the tables of client events say what they do. */
import { z } from 'zod';
import { answers, type serverPayloads } from '../../utils/frames';
import {
  ackSchema,
  anyTopicSchema,
  changeStatesSchema,
  contentSchema,
  createTopicSchema,
  deviceSchema,
  directMessageSchema,
  echoContentSchema,
  echoMessageSchema,
  historySchema,
  inviteSchema,
  listSchema,
  plainCreateSchema,
  plainInviteSchema,
  plainMessageSchema,
  plainPresenceSchema,
  plainTopicSchema,
  refreshSchema,
  topicSchema,
  typingSchema,
} from '../../utils/schemas';
import { withFields } from './json-schema';

/** What a client requests, and the answer beside `ok: true`. */
export interface Request {
  readonly summary: string;
  /** Absent: there is no payload, or the frame has no further fields. */
  readonly payload?: z.ZodType;
  readonly example?: object;
  readonly answer: z.ZodType;
}

export const SERVER_SUMMARIES: Readonly<Record<keyof typeof serverPayloads, string>> = {
  authenticated: 'The first event: the user and device that the token and the handshake name',
  connected: 'Follows at once',
  message: 'A message, or the echo of `{content}`',
  'sync:done': 'Catch-up is complete',
  'sync:reset': "Messages after the device's cursor are gone",
  state: 'The user has read, archived or otherwise marked messages elsewhere',
  'message:updated': 'The sender replaced the data of a message',
  'message:removed': 'A message was removed',
  presence: 'Who is online now',
  'presence:join': 'Somebody came online',
  'presence:leave': 'Somebody went offline',
  typing: 'Somebody began or stopped typing',
  'topic:joined': 'Somebody added the user to a topic',
  pong: 'Answers `ping`',
  messageReceived: 'Echoes `{message}`',
  'auth:expiring': 'The token expires within a minute',
  closing: 'The service is about to close the connection',
  error: 'Something was refused outside a reply',
};

/** Requests that both endpoints have with the same name and fields. */
const SHARED = {
  ping: { summary: 'Ask for `pong`', answer: answers.time },
  ack: {
    summary: 'This device has handled everything in the topic up to `seq`',
    payload: ackSchema,
    example: { topic: '@anna', seq: 1 },
    answer: answers.nothing,
  },
  state: {
    summary: 'Mark messages of the inbox',
    payload: changeStatesSchema,
    example: { state: 'read', ids: ['m1'] },
    answer: answers.state,
  },
  history: {
    summary: 'Earlier messages of a topic',
    payload: historySchema,
    example: { topic: 'news', limit: 10 },
    answer: answers.history,
  },
  typing: {
    summary: 'Notify others that the user is typing, or stopped',
    payload: typingSchema,
    example: { topic: '@ben', typing: true },
    answer: answers.nothing,
  },
  logout: { summary: "Close the user's sockets on this device", answer: answers.nothing },
} as const satisfies Readonly<Record<string, Request>>;

const TOPIC_LIST: Request = {
  summary: 'A page of the caller’s topics and all public ones',
  payload: listSchema,
  example: { limit: 100 },
  answer: answers.topics,
};

/** Socket.IO: each may carry a callback. */
export const EVENTS: Readonly<Record<string, Request>> = {
  ...SHARED,
  message: {
    summary: 'Send to a user or a topic, or ask for an echo',
    payload: z.union([
      directMessageSchema,
      withFields(contentSchema, { topic: anyTopicSchema }),
      echoMessageSchema,
      echoContentSchema,
    ]),
    example: { to: 'ben', type: 'chat', data: { text: 'Hello' } },
    answer: answers.sentOrEchoed,
  },
  'topic:create': {
    summary: 'Create a topic',
    payload: createTopicSchema,
    example: { name: 'news' },
    answer: answers.topic,
  },
  'topic:join': {
    summary: 'Join a public topic',
    payload: topicSchema,
    example: { name: 'news' },
    answer: answers.joined,
  },
  'topic:leave': { summary: 'Leave a topic', payload: topicSchema, example: { name: 'news' }, answer: answers.left },
  'topic:invite': {
    summary: 'Add somebody to a topic',
    payload: inviteSchema,
    example: { name: 'news', userId: 'ben' },
    answer: answers.joined,
  },
  'topic:list': { ...TOPIC_LIST, payload: listSchema.nullable() },
  'presence:subscribe': { summary: 'Watch who is online', answer: answers.watching },
  'presence:unsubscribe': { summary: 'Stop watching', answer: answers.nothing },
  'auth:refresh': {
    summary: 'Continue with a newer token',
    payload: refreshSchema,
    example: { token: '<token>' },
    answer: answers.refreshed,
  },
};

const subscribe: Request = {
  summary: 'Join a public topic',
  payload: plainTopicSchema,
  example: { topic_name: 'news' },
  answer: answers.joined,
};

const { topic_name, content } = plainMessageSchema.shape;
const { type, data: _data, ...options } = contentSchema.shape;

/** `content` is sent as `data: {content}`; its type is `chat` if none is given. */
const plainContent = z
  .object({ topic_name, content: content.unwrap(), type: type.optional(), ...options })
  .meta({ allOf: contentSchema.meta()?.['allOf'] });

/** The plain endpoint: the payload is the frame without `action` and `ref`. */
export const ACTIONS: Readonly<Record<string, Request>> = {
  ...SHARED,
  'topic:list': TOPIC_LIST,
  subscribe,
  suscribe: { ...subscribe, summary: 'The same, as some clients spell it' },
  unsubscribe: {
    summary: 'Leave a topic',
    payload: plainTopicSchema,
    example: { topic_name: 'news' },
    answer: answers.left,
  },
  create: {
    summary: 'Create a topic',
    payload: plainCreateSchema,
    example: { topic_name: 'news', is_private: false },
    answer: answers.topic,
  },
  invite: {
    summary: 'Add somebody to a topic',
    payload: plainInviteSchema,
    example: { topic_name: 'news', username: 'ben' },
    answer: answers.joined,
  },
  message: {
    summary: 'Send to a topic of the caller, otherwise to the user with that name; `#name` and `@name` are unambiguous',
    payload: z.union([plainContent, withFields(contentSchema, { topic_name })]),
    example: { topic_name: 'news', content: 'Hello' },
    answer: answers.sent,
  },
  presence: {
    summary: 'Watch who is online; `on: false` ends it',
    payload: plainPresenceSchema,
    example: { on: true },
    answer: z.union([answers.watching, answers.nothing]),
  },
  ping: { summary: 'Ask for `pong`; with a `ref`, a reply comes as well', answer: answers.time },
  auth: {
    summary: 'The first frame, if the URL has no token (answered by `authenticated`); later, a newer token',
    payload: refreshSchema.extend({ device: deviceSchema.optional() }),
    example: { token: '<token>', device: 'laptop' },
    answer: answers.refreshed,
  },
  disconnect: { summary: 'Close this connection', answer: answers.nothing },
};
