/** Routes that send. */
import { z } from 'zod';
import {
  batchAnswer,
  broadcastAnswer,
  scheduledToUsersAnswer,
  sentToUsersAnswer,
} from '../../../utils/answers/sending';
import {
  batchItemSchema,
  batchSchema,
  contentSchema,
  MAX_BATCH_ITEMS,
  messageToUserSchema,
  messageToUsersSchema,
  notificationSchema,
  topicNameSchema,
  userIdSchema,
} from '../../../utils/schemas';
import { type Operation, SENDS, SENT, SENT_LATER, WRITES } from './operation';

/** An item of a batch in the form that is sent. An item of another form fails alone. */
const batchRequest = batchSchema.extend({
  messages: z
    .array(
      contentSchema
        .safeExtend({
          userId: userIdSchema.optional(),
          topic: topicNameSchema.optional(),
          broadcast: batchItemSchema.shape.broadcast,
        })
        .meta({
          id: 'BatchItem',
          allOf: contentSchema.meta()?.['allOf'],
          oneOf: ['userId', 'topic', 'broadcast'].map((name) => ({ required: [name] })),
        }),
    )
    .min(1)
    .max(MAX_BATCH_ITEMS),
});

export const SENDING: readonly Operation[] = [
  {
    route: 'POST /websocket/message/user',
    id: 'sendToUser',
    tag: 'Sending',
    summary: 'Send to one user',
    scope: 'send',
    body: {
      schema: messageToUserSchema,
      refused: ['exceptUserId'],
      example: { userId: 'user123', type: 'chat', data: { message: 'Hello!' } },
    },
    answers: SENT,
    problems: SENDS,
    isSend: true,
  },
  {
    route: 'POST /websocket/message/users',
    id: 'sendToUsers',
    tag: 'Sending',
    summary: 'Send the same message to several users',
    description: 'A user named twice receives it once. Check each result: a failure does not affect the others.',
    scope: 'send',
    body: {
      schema: messageToUsersSchema,
      refused: ['id', 'exceptUserId'],
      example: { userIds: ['user123', 'user456'], type: 'announcement', data: { title: 'System update' } },
    },
    answers: {
      200: { description: 'A result for each user.', schema: sentToUsersAnswer },
      202: { description: 'The messages are scheduled.', schema: scheduledToUsersAnswer },
    },
    problems: SENDS,
    isSend: true,
  },
  {
    route: 'POST /websocket/message/broadcast',
    id: 'broadcast',
    tag: 'Sending',
    summary: 'Send to everyone',
    description: 'One append, whatever the size of the audience. Offline users receive it later.',
    scope: 'broadcast',
    body: {
      schema: contentSchema,
      refused: ['collapseKey'],
      example: { type: 'system', data: { message: 'Welcome!', level: 'info' } },
    },
    answers: { 200: { description: 'Stored and delivered live.', schema: broadcastAnswer }, 202: SENT_LATER },
    problems: SENDS,
    isSend: true,
  },
  {
    route: 'POST /websocket/notification',
    id: 'notify',
    tag: 'Sending',
    summary: 'Send a notification to one user',
    description: 'A message of type `notification` with `data: {title, body, ...data}`.',
    scope: 'send',
    body: {
      schema: notificationSchema,
      refused: ['exceptUserId'],
      example: { userId: 'user123', title: 'New message', body: 'You have a message', data: { category: 'message' } },
    },
    answers: SENT,
    problems: SENDS,
    isSend: true,
  },
  {
    route: 'POST /messages/batch',
    id: 'sendBatch',
    tag: 'Sending',
    summary: 'Up to 1,000 sends in one request',
    description:
      'Each item names exactly one of `userId`, `topic` and `broadcast: true`, which also needs the scope `broadcast`. ' +
      'A refused item fails alone; results are in the order of the items.',
    scope: 'send',
    body: {
      schema: batchRequest,
      example: {
        messages: [
          { userId: 'user123', type: 'invoice', data: { number: 1 } },
          { broadcast: true, type: 'system', data: { message: 'Invoices are out' } },
        ],
      },
    },
    answers: { 200: { description: 'A result for each item.', schema: batchAnswer } },
    problems: ['batch_too_large', 'request_in_progress', 'idempotency_conflict', ...WRITES],
    isSend: true,
  },
];
