/**
 * What answers have in common. Shapes of answers check nothing at run time: the specifications are made of them, and
 * tests hold real answers against those.
 */
import { z } from 'zod';
import { ERROR_KINDS, type ErrorCode } from '../errors';

export const timeAnswer = z.iso.datetime().meta({ description: 'ISO 8601 in UTC.' });

export const count = z.int().min(0);

export const seq = z
  .int()
  .min(1)
  .meta({ description: 'Place in the topic: 1, 2, 3, … without gaps. Absent with `persist: false`.' });

export const success = z.literal(true);

/** Of every send. */
export const warnings = z
  .array(z.string())
  .meta({ description: 'Fields that are not known, but resemble an option: they had no effect.' })
  .optional();

export const sentence = z.string().meta({ description: 'A sentence for people.' });

export const nextCursor = z
  .string()
  .nullable()
  .meta({ description: 'For the parameter `cursor`; `null`: nothing is left.' });

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
    code: z.enum(ERROR_CODES).meta({ description: 'Stable: programs decide by it.' }),
    retryInMs: z
      .int()
      .min(0)
      .meta({ description: 'When a retry makes sense, as Retry-After says in seconds.' })
      .optional(),
    requestId: z
      .uuid()
      .meta({
        description:
          'Finds the fault in the log. Over HTTP also the header X-Request-Id, over sockets with `internal` only.',
      })
      .optional(),
    errors: z
      .array(z.object({ path: z.string().meta({ description: '`""`: the whole input.' }), message: z.string() }))
      .meta({ description: 'The fields that were refused.' })
      .optional(),
  })
  .meta({ id: 'Problem', description: 'Why a request or an event was refused (RFC 9457).' });

export const countsAnswer = z.object({ unseen: count, unread: count }).meta({
  id: 'Counts',
  description: 'Messages of the inbox that the user has not seen, and not read. Archived ones are in neither.',
  examples: [{ unseen: 1, unread: 2 }],
});

/** The fields of a message; frames have some of their own. */
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
    event: z.string().meta({ description: 'The option `event`, where it was given.' }).optional(),
  })
  .meta({ id: 'Message' });

export const place = { id: z.string(), topic: topicName };

export const reach = {
  connected: z
    .boolean()
    .meta({
      description:
        'Is the recipient, or anybody who gets it, connected now? Absent with PRESENCE_PUBLIC=false for a token with neither scope `send` nor `presence`.',
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
