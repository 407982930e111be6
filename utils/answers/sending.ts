/** Answers to sends. */
import { z } from 'zod';
import {
  count,
  ERROR_CODES,
  place,
  problemAnswer,
  reach,
  sentence,
  seq,
  success,
  timeAnswer,
  userId,
  warnings,
} from './common';

const sent = { success, message: sentence, ...place, seq: seq.optional(), ...reach, warnings };

const sentExample = {
  success: true,
  message: 'Message sent to user user123',
  id: '01M7YFVNK17Z1CVNXS8YVMDSAQ',
  topic: '@user123',
  seq: 1,
  connected: false,
  live: 'ok',
};

export const sentAnswer = z.object(sent).meta({ id: 'Sent', examples: [sentExample] });

export const broadcastAnswer = z
  .object({ ...sent, recipients: count.meta({ description: 'Users who are connected now.' }) })
  .meta({
    id: 'BroadcastSent',
    examples: [{ ...sentExample, message: 'Message broadcast', topic: '*', connected: true, recipients: 3 }],
  });

export const scheduledSendAnswer = z
  .object({ success, message: sentence, ...place, scheduledFor: timeAnswer, warnings })
  .meta({
    id: 'ScheduledSend',
    examples: [
      {
        success: true,
        message: 'Message scheduled',
        id: 'standup',
        topic: '@user123',
        scheduledFor: '2026-11-21T16:14:28.089Z',
      },
    ],
  });

const failedRecipient = z.object({
  userId,
  error: z.object({ code: z.enum(ERROR_CODES), detail: z.string() }),
});

const sentRecipient = z.object({ userId, id: z.string(), seq: seq.optional(), connected: z.boolean() });

const scheduledRecipient = z.object({ userId, id: z.string(), scheduledFor: timeAnswer });

export const sentToUsersAnswer = z
  .object({ success, message: sentence, results: z.array(z.union([sentRecipient, failedRecipient])), warnings })
  .meta({
    id: 'SentToUsers',
    examples: [
      {
        success: true,
        message: 'Message sent to 2 users',
        results: [
          { userId: 'user123', id: '01M7YFVNK17Z1CVNXS8YVMDSAQ', seq: 2, connected: false },
          { userId: 'user456', id: '01M7YFVNK2A0FDKWQNDCBHCF3N', seq: 1, connected: true },
        ],
      },
    ],
  });

export const scheduledToUsersAnswer = z
  .object({
    success,
    message: sentence,
    results: z.array(z.union([scheduledRecipient, sentRecipient, failedRecipient])),
    warnings,
  })
  .meta({
    id: 'ScheduledToUsers',
    examples: [
      {
        success: true,
        message: 'Message sent to 1 users',
        results: [{ userId: 'user123', id: '01M7YFVNK17Z1CVNXS8YVMDSAQ', scheduledFor: '2026-11-21T16:14:28.089Z' }],
      },
    ],
  });

export const batchAnswer = z
  .object({
    results: z.array(
      z.union([
        z.object({ ...place, seq: seq.optional(), warnings }),
        z.object({ ...place, scheduledFor: timeAnswer, warnings }),
        z.object({ error: problemAnswer }),
      ]),
    ),
  })
  .meta({
    id: 'BatchSent',
    examples: [{ results: [{ id: '01M7ZARM6CKJ5N5V1ZVXP82YS2', topic: '@user123', seq: 6 }] }],
  });
