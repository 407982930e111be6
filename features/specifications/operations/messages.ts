/** Routes of sent messages. */
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
      'Connected clients are notified; offline users never see the old data. The sender must be allowed to send the message now.',
    query: messageQuerySchema,
    body: { schema: updateMessageSchema, example: { data: { message: 'Hello again!' } } },
    answers: { 200: { description: 'The data was replaced.', schema: messageChangedAnswer } },
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
    summary: 'Retract a message',
    description: 'Removes it from every log, list and count.',
    query: messageQuerySchema,
    answers: { 200: { description: 'The message was retracted.', schema: messageChangedAnswer } },
    problems: ['forbidden', 'not_found', 'ambiguous_id', ...WRITES],
  },
  {
    route: 'GET /messages/:id/receipts',
    id: 'getReceipts',
    tag: 'Messages',
    summary: 'Who received, saw and read a message',
    query: receiptsQuerySchema,
    answers: { 200: { description: 'A page; `totals` are over all pages.', schema: receiptsAnswer } },
    problems: ['forbidden', 'not_a_member', 'not_found', 'ambiguous_id', ...WRITES],
  },
];
