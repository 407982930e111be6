/** Answers about the caller's own messages. */
import { z } from 'zod';
import { REQUESTED_STATES } from '../protocol';
import { count, countsAnswer, listedMessageExample, messageAnswer, nextCursor, success } from './common';

export const inboxItemAnswer = z
  .object({ ...messageAnswer.shape, state: z.enum(['unseen', 'seen', 'read', 'archived']) })
  .meta({ id: 'InboxItem' });

export const inboxAnswer = z.object({ items: z.array(inboxItemAnswer), nextCursor, counts: countsAnswer }).meta({
  id: 'Inbox',
  examples: [
    { items: [{ ...listedMessageExample, state: 'unseen' }], nextCursor: null, counts: { unseen: 1, unread: 1 } },
  ],
});

export const stateAnswer = z
  .object({
    success,
    state: z.enum(REQUESTED_STATES),
    changed: count.meta({ description: 'Messages whose state changed.' }),
    counts: countsAnswer,
  })
  .meta({
    id: 'StateChanged',
    examples: [{ success: true, state: 'read', changed: 1, counts: { unseen: 0, unread: 0 } }],
  });
