/** Answers about the audit log. */
import { z } from 'zod';
import { AUDIT_ACTIONS, AUDIT_OUTCOMES } from '../audit';
import { count, nextCursor, timeAnswer, topicName, userId } from './common';

const auditItem = z
  .object({
    id: z.string(),
    time: timeAnswer.meta({ description: 'ISO 8601 in UTC; for a shared entry, the time of its first request.' }),
    actor: userId.meta({ description: 'The `sub` of the token.' }),
    action: z.enum(AUDIT_ACTIONS),
    outcome: z.enum(AUDIT_OUTCOMES).meta({ description: '`begun`: the outcome was not recorded.' }),
    target: topicName.optional(),
    messageId: z.string().optional(),
    count: count.meta({ description: 'How many; the action determines what is counted.' }).optional(),
    requests: z.int().min(1).meta({ description: 'The number of requests in a shared entry.' }).optional(),
    requestId: z.uuid().meta({ description: 'The header X-Request-Id of the answer.' }).optional(),
  })
  .meta({ id: 'AuditEntry' });

export const auditAnswer = z.object({ items: z.array(auditItem), nextCursor }).meta({
  id: 'AuditLog',
  examples: [
    {
      items: [
        {
          id: '01M7ZARM6CKJ5N5V1ZVXP82YS2',
          time: '2026-11-21T15:14:28.172Z',
          actor: 'service',
          action: 'revoke',
          outcome: 'done',
          target: '@user123',
          count: 2,
          requestId: '0b8f3d8e-6d1f-4a53-9a53-3f0a4f6d2a10',
        },
      ],
      nextCursor: null,
    },
  ],
});
