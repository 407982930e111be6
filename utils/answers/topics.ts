/** Answers about named topics. */
import { z } from 'zod';
import { listedMessageExample, messageAnswer, nextCursor, sentence, success, timeAnswer, userId } from './common';

export const topicAnswer = z
  .object({
    name: z.string(),
    isPrivate: z.boolean(),
    owner: userId,
    createdAt: timeAnswer,
    isMember: z.boolean().meta({ description: 'Whether the caller is a member.' }),
  })
  .meta({
    id: 'Topic',
    examples: [
      { name: 'news', isPrivate: false, owner: 'service', createdAt: '2026-11-21T07:59:35.443Z', isMember: true },
    ],
  });

export const topicsAnswer = z.object({ topics: z.array(topicAnswer), nextCursor }).meta({ id: 'Topics' });

export const topicDeletedAnswer = z
  .object({ success, name: z.string() })
  .meta({ id: 'TopicDeleted', examples: [{ success: true, name: 'news' }] });

export const membersAnswer = z
  .object({ members: z.array(z.object({ userId, joinedAt: timeAnswer })), nextCursor })
  .meta({
    id: 'Members',
    examples: [{ members: [{ userId: 'user123', joinedAt: '2026-11-21T07:59:35.443Z' }], nextCursor: null }],
  });

export const joinedAnswer = z
  .object({ name: z.string(), userId })
  .meta({ id: 'Joined', examples: [{ name: 'news', userId: 'user123' }] });

export const invitedAnswer = z
  .object({
    results: z.array(
      z.union([z.object({ userId }), z.object({ userId, error: z.object({ code: z.string(), detail: sentence }) })]),
    ),
  })
  .meta({ id: 'Invited', examples: [{ results: [{ userId: 'user123' }, { userId: 'user456' }] }] });

export const leftAnswer = z
  .object({ success, name: z.string(), userId })
  .meta({ id: 'Left', examples: [{ success: true, name: 'news', userId: 'user123' }] });

export const historyAnswer = z
  .object({
    messages: z.array(messageAnswer),
    nextCursor: z.string().optional().meta({ description: 'If the page ended early, the `cursor` of the next one.' }),
  })
  .meta({ id: 'History', examples: [{ messages: [{ ...listedMessageExample, topic: 'news' }] }] });
