/** Routes of messages that were sent. */
import { messageChangedAnswer, receiptsAnswer } from '../../../utils/answers/messages';
import { messageQuerySchema, receiptsQuerySchema, updateMessageSchema } from '../../../utils/schemas';
import { type Operation, WRITES } from './operation';

export const MESSAGES: readonly Operation[] = [
  {
    route: 'PATCH /messages/:id',
    id: 'updateMessage',
    tag: 'Messages',
    summary: 'Replace the data of a message',
    description:
      'Who is connected is told; who is away never sees what it was. The sender must be allowed to say it now.',
    query: messageQuerySchema,
    body: { schema: updateMessageSchema, example: { data: { message: 'Hello again!' } } },
    answers: { 200: { description: 'It is replaced.', schema: messageChangedAnswer } },
    problems: [
      'insufficient_scope',
      'direct_messages_off',
      'forbidden',
      'not_a_member',
      'not_found',
      'ambiguous_id',
      'message_too_large',
      ...WRITES,
    ],
  },
  {
    route: 'DELETE /messages/:id',
    id: 'retractMessage',
    tag: 'Messages',
    summary: 'Take a message back',
    description: 'It is in no log, list or count any more.',
    query: messageQuerySchema,
    answers: { 200: { description: 'It is gone.', schema: messageChangedAnswer } },
    problems: ['forbidden', 'not_found', 'ambiguous_id', ...WRITES],
  },
  {
    route: 'GET /messages/:id/receipts',
    id: 'getReceipts',
    tag: 'Messages',
    summary: 'Who has got, seen and read a message',
    query: receiptsQuerySchema,
    answers: { 200: { description: 'A page; `totals` are over all pages.', schema: receiptsAnswer } },
    problems: ['forbidden', 'not_a_member', 'not_found', 'ambiguous_id', ...WRITES],
  },
];
