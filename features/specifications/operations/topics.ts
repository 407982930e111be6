/** Routes of named topics. */
import { z } from 'zod';
import {
  historyAnswer,
  invitedAnswer,
  joinedAnswer,
  leftAnswer,
  membersAnswer,
  topicAnswer,
  topicDeletedAnswer,
  topicsAnswer,
} from '../../../utils/answers/topics';
import {
  addMemberSchema,
  contentSchema,
  createTopicSchema,
  historyQuerySchema,
  listQuerySchema,
} from '../../../utils/schemas';
import { type Operation, READS, SENDS, SENT, WRITES } from './operation';

export const TOPICS: readonly Operation[] = [
  {
    route: 'POST /topics',
    id: 'createTopic',
    tag: 'Topics',
    summary: 'Create a topic',
    description:
      'The caller owns it and is its first member. It is public unless `isPrivate` is `true`. With TOPIC_CREATION=false, this needs scope `send`.',
    body: { schema: createTopicSchema, example: { name: 'news', isPrivate: false } },
    answers: { 201: { description: 'The topic was created.', schema: topicAnswer } },
    problems: ['topic_creation_off', 'too_many_topics', 'topic_taken', 'name_taken', ...WRITES],
  },
  {
    route: 'GET /topics',
    id: 'listTopics',
    tag: 'Topics',
    summary: 'The caller’s topics and all public ones',
    query: listQuerySchema,
    answers: { 200: { description: 'A page, by name.', schema: topicsAnswer } },
    problems: READS,
  },
  {
    route: 'GET /topics/:name',
    id: 'getTopic',
    tag: 'Topics',
    summary: 'One topic',
    answers: { 200: { description: 'The topic.', schema: topicAnswer } },
    problems: ['not_found', ...READS],
  },
  {
    route: 'DELETE /topics/:name',
    id: 'deleteTopic',
    tag: 'Topics',
    summary: 'Delete a topic',
    description: 'For its owner, or scope `admin`.',
    answers: { 200: { description: 'The topic and its memberships were deleted.', schema: topicDeletedAnswer } },
    problems: ['forbidden', 'not_found', ...WRITES],
  },
  {
    route: 'GET /topics/:name/members',
    id: 'listMembers',
    tag: 'Topics',
    summary: 'The members of a topic',
    query: listQuerySchema,
    answers: { 200: { description: 'A page, by user id.', schema: membersAnswer } },
    problems: ['not_found', ...READS],
  },
  {
    route: 'POST /topics/:name/members',
    id: 'addMember',
    tag: 'Topics',
    summary: 'Join a topic, or add members',
    description:
      'Without a body, the caller joins. A member adds `userId`, or up to 1,000 `userIds`: each then has its own result, fails alone, and counts as a request of the caller. Repeating it changes nothing.',
    body: { schema: addMemberSchema, example: { userId: 'user123' }, isOptional: true },
    answers: {
      200: { description: 'The new member, or the `results`.', schema: z.union([joinedAnswer, invitedAnswer]) },
    },
    problems: ['not_a_member', 'too_many_topics', 'invitee_full', 'not_found', ...WRITES],
  },
  {
    route: 'DELETE /topics/:name/members/:userId',
    id: 'removeMember',
    tag: 'Topics',
    summary: 'Leave a topic, or remove somebody from it',
    description: 'The owner, or scope `admin`, may remove others. The owner cannot leave.',
    answers: { 200: { description: 'The user is no longer a member.', schema: leftAnswer } },
    problems: ['forbidden', 'not_found', 'owner_cannot_leave', ...WRITES],
  },
  {
    route: 'POST /topics/:name/messages',
    id: 'sendToTopic',
    tag: 'Topics',
    summary: 'Send to a topic',
    description:
      'For members; with scope `send`, to any topic. The option `event` and the types `notification`, `system`, `alert`, `update` and `announcement` need scope `send`.',
    body: {
      schema: contentSchema,
      refused: ['collapseKey'],
      example: { type: 'chat', data: { content: 'hi' } },
    },
    answers: SENT,
    problems: ['insufficient_scope', 'not_a_member', 'not_found', ...SENDS],
    isSend: true,
  },
  {
    route: 'GET /topics/:name/messages',
    id: 'getHistory',
    tag: 'Topics',
    summary: 'The history of a topic',
    description:
      'For members, or scope `admin`. With `after`, the oldest messages after that `seq`; otherwise the newest. If a page ' +
      'ends early, its `nextCursor` is the `cursor` of the next one.',
    query: historyQuerySchema,
    answers: { 200: { description: 'In the order of `seq`.', schema: historyAnswer } },
    problems: ['not_a_member', 'not_found', ...READS],
  },
];
