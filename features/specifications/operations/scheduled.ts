/** Routes of messages that wait. */
import { cancelledAnswer, scheduledListAnswer } from '../../../utils/answers/messages';
import { listQuerySchema, messageQuerySchema } from '../../../utils/schemas';
import { type Operation, READS, WRITES } from './operation';

export const SCHEDULED: readonly Operation[] = [
  {
    route: 'GET /scheduled',
    id: 'listScheduled',
    tag: 'Scheduled',
    summary: 'What waits, soonest first',
    description: 'What the caller has scheduled; with scope `admin` what anybody has.',
    query: listQuerySchema,
    answers: { 200: { description: 'A page.', schema: scheduledListAnswer } },
    problems: READS,
  },
  {
    route: 'DELETE /scheduled/:id',
    id: 'cancelScheduled',
    tag: 'Scheduled',
    summary: 'Cancel a message that waits',
    query: messageQuerySchema,
    answers: { 200: { description: 'It will not be sent.', schema: cancelledAnswer } },
    problems: ['not_found', 'ambiguous_id', ...WRITES],
  },
];
