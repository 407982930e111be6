/** Routes of scheduled messages. */
import { cancelledAnswer, scheduledListAnswer } from '../../../utils/answers/messages';
import { listQuerySchema, messageQuerySchema } from '../../../utils/schemas';
import { type Operation, READS, WRITES } from './operation';

export const SCHEDULED: readonly Operation[] = [
  {
    route: 'GET /scheduled',
    id: 'listScheduled',
    tag: 'Scheduled',
    summary: 'Scheduled messages, soonest first',
    description: 'Those of the caller; with scope `admin`, everybody’s.',
    query: listQuerySchema,
    answers: { 200: { description: 'A page.', schema: scheduledListAnswer } },
    problems: READS,
  },
  {
    route: 'DELETE /scheduled/:id',
    id: 'cancelScheduled',
    tag: 'Scheduled',
    summary: 'Cancel a scheduled message',
    query: messageQuerySchema,
    answers: { 200: { description: 'It will not be sent.', schema: cancelledAnswer } },
    problems: ['not_found', 'ambiguous_id', ...WRITES],
  },
];
