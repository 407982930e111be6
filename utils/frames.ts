/**
 * Shapes of what the service sends over sockets: payloads of its events, and the contents of callbacks and replies.
 * Like utils/answers/ they check nothing at run time; utils/protocol.ts makes what they describe.
 */
import { z } from 'zod';
import { countsAnswer, messageAnswer, messageFields, problemAnswer, timeAnswer } from './answers/common';
import { stateAnswer } from './answers/inbox';
import { scheduledSendAnswer, sentAnswer } from './answers/sending';
import { joinedAnswer, leftAnswer, topicAnswer, topicsAnswer } from './answers/topics';
import { CLOSING_CODES, REQUESTED_STATES, type SERVER_EVENTS } from './protocol';

type ServerEvent = (typeof SERVER_EVENTS)[number];

const userId = z.string();
const counts = countsAnswer.optional();
const seqs = z.record(z.string(), z.int().min(0)).meta({ description: 'Topic → `seq`.' });
const users = z.array(userId);
const state = z.enum(REQUESTED_STATES);
const { id, topic, seq, timestamp, from } = messageFields;
const subject = {
  ref: z.string().meta({ description: 'The id of the message concerned.' }),
  refSeq: seq.optional().meta({ description: 'Its `seq`. Absent in entries that an older version stored.' }),
};
const change = { id, topic, seq, ...subject };

/** A message, without the echo that has the same name over Socket.IO. */
export const messageFrame = z.object({ ...messageFields, seq: seq.optional(), counts }).meta({
  id: 'MessageFrame',
  examples: [
    {
      id: 'm1',
      topic: '@anna',
      seq: 1,
      type: 'chat',
      data: { text: 'one' },
      timestamp: '2026-11-21T15:17:35.019Z',
      from: 'service',
      counts: { unseen: 1, unread: 1 },
    },
  ],
});

const echo = z
  .object({ type: z.literal('echo'), data: z.object({ content: z.unknown() }), timestamp: timeAnswer })
  .meta({ id: 'Echo' });

/** The second argument of a custom event. */
export const customEventMeta = z
  .object({ id, topic, seq: seq.optional(), timestamp, from, counts })
  .meta({ id: 'CustomEventMeta' });

/** Payloads by event, without `reply`: that differs for each action. */
export const serverPayloads: Readonly<Record<Exclude<ServerEvent, 'reply'>, z.ZodType>> = {
  authenticated: z
    .object({
      userId,
      socketId: z.string(),
      device: z.string().meta({ description: '`default` if none was named.' }),
      expiresAt: timeAnswer.nullable(),
    })
    .meta({ id: 'Authenticated' }),
  connected: z
    .object({ message: z.literal('Successfully connected to WebSocket'), userId, socketId: z.string() })
    .meta({ id: 'Connected' }),
  message: z.union([messageFrame, echo]),
  'sync:done': z.object({ cursors: seqs, counts: countsAnswer }).meta({ id: 'SyncDone' }),
  'sync:reset': z
    .union([
      z.object({ topic, reason: z.enum(['retention', 'erased']), head: z.int().min(0) }),
      z.object({ reason: z.literal('forgotten') }),
    ])
    .meta({ id: 'SyncReset' }),
  state: z
    .union([
      z.object({ ids: z.array(z.string()), state, counts }),
      z.object({ topic, upTo: seq, state, counts }),
      z.object({ all: z.literal(true), cursors: seqs, state, counts }),
    ])
    .meta({ id: 'StateFrame' }),
  'message:updated': z.object({ ...change, data: messageFields.data, counts }).meta({ id: 'MessageUpdated' }),
  'message:removed': z
    .union([
      z.object({ ...change, reason: z.enum(['retracted', 'replaced']), counts }),
      z.object({ topic, ...subject, reason: z.literal('expired'), counts }),
    ])
    .meta({ id: 'MessageRemoved' }),
  presence: z.object({ users, count: z.int().min(0) }).meta({ id: 'PresenceList' }),
  'presence:join': z.union([z.object({ userId }), z.object({ users })]).meta({ id: 'PresenceJoin' }),
  'presence:leave': z
    .union([z.object({ userId, lastSeen: timeAnswer }), z.object({ users, lastSeen: timeAnswer })])
    .meta({ id: 'PresenceLeave' }),
  typing: z.object({ topic, userId, typing: z.boolean() }).meta({ id: 'TypingFrame' }),
  'topic:joined': z.object({ name: z.string(), isPrivate: z.boolean(), by: userId }).meta({ id: 'TopicJoined' }),
  pong: z.object({ timestamp: timeAnswer }).meta({ id: 'Pong' }),
  messageReceived: z
    .object({
      success: z.literal(true),
      message: z.literal('Message received by server'),
      data: z.object({ receivedMessage: z.unknown(), timestamp: timeAnswer }),
    })
    .meta({ id: 'MessageReceived' }),
  'auth:expiring': z.object({ expiresAt: timeAnswer }).meta({ id: 'AuthExpiring' }),
  closing: z
    .object({
      code: z.enum(CLOSING_CODES),
      reason: z.string(),
      retryInMs: z.int().min(0).nullable().meta({ description: '`null`: something has to change first.' }),
    })
    .meta({ id: 'Closing' }),
  error: z
    .union([problemAnswer.extend({ message: z.string() }), z.object({ message: z.literal('Authentication failed') })])
    .meta({ id: 'ErrorFrame' }),
};

/** The service's answer to a client event or an action, beside `ok: true`. */
export const answers = {
  nothing: z.object({}),
  time: z.object({ timestamp: timeAnswer }),
  sent: z.union([sentAnswer, scheduledSendAnswer]),
  sentOrEchoed: z.union([sentAnswer, scheduledSendAnswer, z.object({ timestamp: timeAnswer })]),
  history: z.object({ topic, messages: z.array(messageAnswer) }),
  state: stateAnswer,
  topic: topicAnswer,
  topics: topicsAnswer,
  joined: joinedAnswer,
  left: leftAnswer,
  watching: z.object({ count: z.int().min(0) }),
  refreshed: z.object({ expiresAt: timeAnswer.nullable() }),
} as const;
