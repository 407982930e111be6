/** Routes of the caller's own messages. */
import { countsAnswer } from '../../../utils/answers/common';
import { inboxAnswer, stateAnswer } from '../../../utils/answers/inbox';
import { changeStatesSchema, inboxQuerySchema, oneStateSchema } from '../../../utils/schemas';
import { type Operation, READS, WRITES } from './operation';

export const INBOX: readonly Operation[] = [
  {
    route: 'GET /inbox',
    id: 'listInbox',
    tag: 'Inbox',
    summary: 'The messages of the caller, newest first',
    description: 'Without `state`, everything that is not archived; `unread` includes unseen messages.',
    query: inboxQuerySchema,
    answers: { 200: { description: 'A page. It may be short without being the last.', schema: inboxAnswer } },
    problems: READS,
  },
  {
    route: 'GET /inbox/counts',
    id: 'countInbox',
    tag: 'Inbox',
    summary: 'How many messages are unseen, and unread',
    answers: { 200: { description: 'At this moment.', schema: countsAnswer } },
    problems: READS,
  },
  {
    route: 'PATCH /inbox',
    id: 'changeStates',
    tag: 'Inbox',
    summary: 'Change the state of messages',
    description:
      'Of the messages in `ids`, of a `topic` up to a `seq`, or of `all`. `seen` never lowers a state; `unread` takes ' +
      '`read` and `archived` back. If a message is not in the inbox, the answer is 404, and nothing changes.',
    body: { schema: changeStatesSchema, example: { state: 'seen', topic: '@user123', upTo: 3 } },
    answers: { 200: { description: 'The change is on disk.', schema: stateAnswer } },
    problems: ['not_found', ...WRITES],
  },
  {
    route: 'PATCH /inbox/:id',
    id: 'changeState',
    tag: 'Inbox',
    summary: 'Change the state of one message',
    body: { schema: oneStateSchema, example: { state: 'read' } },
    answers: { 200: { description: 'The change is on disk.', schema: stateAnswer } },
    problems: ['not_found', ...WRITES],
  },
];
