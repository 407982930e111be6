/** Answers about users. */
import { z } from 'zod';
import { count, nextCursor, success, timeAnswer, topicName, userId } from './common';
import { inboxItemAnswer } from './inbox';
import { scheduledItem } from './messages';

export const connectedUsersAnswer = z
  .object({ users: z.array(userId), count, nextCursor })
  .meta({ id: 'ConnectedUsers', examples: [{ users: ['user123'], count: 1, nextCursor: null }] });

export const userStatusAnswer = z
  .object({
    userId,
    connected: z.boolean(),
    sockets: count,
    devices: count,
    lastSeen: timeAnswer
      .nullable()
      .meta({ description: 'Now, if connected; otherwise the end of the last connection; `null` if never connected.' }),
  })
  .meta({
    id: 'UserStatus',
    examples: [{ userId: 'user123', connected: true, sockets: 2, devices: 1, lastSeen: '2026-11-21T07:24:16.261Z' }],
  });

export const disconnectedAnswer = z
  .object({ success, userId, disconnected: count })
  .meta({ id: 'Disconnected', examples: [{ success: true, userId: 'user123', disconnected: 2 }] });

export const revokedAnswer = z
  .object({ success, userId, closed: count })
  .meta({ id: 'Revoked', examples: [{ success: true, userId: 'user123', closed: 2 }] });

export const erasedAnswer = z
  .object({
    success,
    userId,
    erased: z.object({ messages: count, devices: count, memberships: count, scheduled: count }),
  })
  .meta({
    id: 'Erased',
    examples: [{ success: true, userId: 'user123', erased: { messages: 7, devices: 0, memberships: 0, scheduled: 2 } }],
  });

export const exportLineAnswer = z
  .union([
    z.object({
      kind: z.literal('user'),
      userId,
      isKnown: z.boolean(),
      lastSeen: timeAnswer.nullable(),
      exportedAt: timeAnswer,
    }),
    z.object({ kind: z.literal('message'), ...inboxItemAnswer.shape }),
    z.object({ kind: z.literal('membership'), topic: topicName, joinedAt: timeAnswer }),
    z.object({
      kind: z.literal('device'),
      device: z.string(),
      cursors: z.array(z.object({ topic: topicName, seq: count })),
    }),
    z.object({ kind: z.literal('scheduled'), ...scheduledItem.shape }),
  ])
  .meta({ id: 'ExportLine' });
