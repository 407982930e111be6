/**
 * Parts that answers share. Shapes of answers check nothing at run time: the specifications are generated from them,
 * and tests compare real answers with those.
 */
import { z } from 'zod';
import { ERROR_KINDS, type ErrorCode } from '../errors';

export const timeAnswer = z.iso.datetime().meta({ description: 'ISO 8601 in UTC.' });

export const count = z.int().min(0);

export const seq = z
  .int()
  .min(1)
  .meta({ description: 'Position in the topic: 1, 2, 3, … without gaps. Absent with `persist: false`.' });

export const success = z.literal(true);

/** In every answer to a send. */
export const warnings = z
  .array(z.string())
  .meta({ description: 'Unknown fields that resemble an option; they had no effect.' })
  .optional();

export const sentence = z.string().meta({ description: 'A sentence for people.' });

export const nextCursor = z
  .string()
  .nullable()
  .meta({ description: 'The parameter `cursor` of the next page; `null` on the last one.' });

export const userId = z.string();

export const topicName = z
  .string()
  .meta({ description: '`@<userId>`, `*` for a broadcast, or the name of the topic.' });

export const anyData = z.unknown().meta({ description: 'Any JSON value, as it was sent.' });

export const ERROR_CODES = Object.keys(ERROR_KINDS) as [ErrorCode, ...ErrorCode[]];

export const problemAnswer = z
  .object({
    type: z.string().meta({ format: 'uri-reference', description: 'A link to the entry of this code.' }),
    title: z.string().meta({ description: 'The same for every occurrence of the code.' }),
    status: z.int().min(400).max(599),
    detail: z.string().meta({ description: 'About this occurrence.' }),
    code: z.enum(ERROR_CODES).meta({ description: 'Stable: let programs decide by it.' }),
    retryInMs: z.int().min(0).meta({ description: 'When to retry, like Retry-After in seconds.' }).optional(),
    requestId: z
      .uuid()
      .meta({
        description: 'Also in the log. Over HTTP equal to the header X-Request-Id; over sockets only with `internal`.',
      })
      .optional(),
    errors: z
      .array(z.object({ path: z.string().meta({ description: '`""`: the whole input.' }), message: z.string() }))
      .meta({ description: 'The refused fields.' })
      .optional(),
  })
  .meta({ id: 'Problem', description: 'Why a request or an event was refused (RFC 9457).' });

export const countsAnswer = z.object({ unseen: count, unread: count }).meta({
  id: 'Counts',
  description: 'Unseen and unread messages of the inbox. Archived messages are in neither number.',
  examples: [{ unseen: 1, unread: 2 }],
});

/** The fields of a message; frames have further ones. */
export const messageFields = {
  id: z.string(),
  topic: topicName,
  seq,
  type: z.string(),
  data: anyData,
  timestamp: timeAnswer,
  from: userId.meta({ description: 'The `sub` of the sender.' }),
};

export const messageAnswer = z
  .object({
    ...messageFields,
    event: z.string().meta({ description: 'The option `event`, if it was given.' }).optional(),
  })
  .meta({ id: 'Message' });

export const place = { id: z.string(), topic: topicName };

export const reach = {
  connected: z
    .boolean()
    .meta({
      description:
        'Whether the recipient, or any of them, is connected now. Absent with PRESENCE_PUBLIC=false for a token with neither scope `send` nor `presence`.',
    })
    .optional(),
  live: z.enum(['ok', 'degraded']).meta({ description: '`degraded`: other nodes find it within seconds.' }),
};

export const listedMessageExample = {
  id: 'order-1',
  topic: '@user123',
  seq: 1,
  type: 'chat',
  data: { message: 'Hello!' },
  timestamp: '2026-11-21T15:14:28.172Z',
  from: 'service',
};
