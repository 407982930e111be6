/** Answers about sent and scheduled messages. */
import { z } from 'zod';
import { anyData, count, nextCursor, seq, success, timeAnswer, topicName, userId } from './common';

export const messageChangedAnswer = z
  .object({ success, id: z.string(), topic: topicName, seq })
  .meta({ id: 'MessageChanged', examples: [{ success: true, id: 'order-1', topic: '@user123', seq: 1 }] });

const receipt = z.object({ userId, time: timeAnswer });

export const receiptsAnswer = z
  .object({
    id: z.string(),
    stored: timeAnswer,
    sent: timeAnswer.nullable(),
    acknowledged: z.array(z.object({ userId, device: z.string(), time: timeAnswer })),
    seen: z.array(receipt),
    read: z.array(receipt),
    totals: z.object({ recipients: count, acknowledged: count, seen: count, read: count }),
    nextCursor,
  })
  .meta({
    id: 'Receipts',
    examples: [
      {
        id: 'order-1',
        stored: '2026-11-21T15:17:35.019Z',
        sent: '2026-11-21T15:17:35.023Z',
        acknowledged: [{ userId: 'user123', device: 'phone', time: '2026-11-21T15:17:35.377Z' }],
        seen: [{ userId: 'user123', time: '2026-11-21T15:17:35.145Z' }],
        read: [],
        totals: { recipients: 1, acknowledged: 1, seen: 1, read: 0 },
        nextCursor: null,
      },
    ],
  });

export const scheduledItem = z
  .object({
    id: z.string(),
    topic: topicName,
    type: z.string(),
    data: anyData,
    from: userId,
    event: z.string().optional(),
    scheduledFor: timeAnswer,
    expiresAt: timeAnswer.optional(),
    createdAt: timeAnswer,
  })
  .meta({ id: 'ScheduledMessage' });

export const scheduledListAnswer = z.object({ items: z.array(scheduledItem), nextCursor }).meta({
  id: 'ScheduledMessages',
  examples: [
    {
      items: [
        {
          id: 'standup',
          topic: '@user123',
          type: 'reminder',
          data: { text: 'Standup' },
          from: 'service',
          scheduledFor: '2026-11-21T16:14:28.089Z',
          createdAt: '2026-11-21T15:14:28.089Z',
        },
      ],
      nextCursor: null,
    },
  ],
});

export const cancelledAnswer = z
  .object({ success, id: z.string() })
  .meta({ id: 'Cancelled', examples: [{ success: true, id: 'standup' }] });
