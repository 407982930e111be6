/** Routes of users. */
import {
  connectedUsersAnswer,
  disconnectedAnswer,
  erasedAnswer,
  exportLineAnswer,
  revokedAnswer,
  userStatusAnswer,
} from '../../../utils/answers/users';
import { listQuerySchema, revokeSchema } from '../../../utils/schemas';
import { type Operation, READS, WRITES } from './operation';

export const USERS: readonly Operation[] = [
  {
    route: 'GET /websocket/users/connected',
    id: 'listConnectedUsers',
    tag: 'Users',
    summary: 'Who is connected',
    scope: 'presence',
    query: listQuerySchema,
    answers: { 200: { description: 'A page, by name; `count` is over all pages.', schema: connectedUsersAnswer } },
  },
  {
    route: 'GET /websocket/users/:userId/status',
    id: 'getUserStatus',
    tag: 'Users',
    summary: 'Is a user connected, and since when not',
    description: 'Of oneself without the scope.',
    scope: 'presence',
    answers: { 200: { description: 'At this moment.', schema: userStatusAnswer } },
    problems: READS,
  },
  {
    route: 'GET /websocket/me/status',
    id: 'getMyStatus',
    tag: 'Users',
    summary: 'The same of the caller',
    answers: { 200: { description: 'At this moment.', schema: userStatusAnswer } },
    problems: READS,
  },
  {
    route: 'DELETE /websocket/users/:userId/disconnect',
    id: 'disconnectUser',
    tag: 'Users',
    summary: 'Close all connections of a user',
    description: 'The token stays valid: the user may connect again.',
    scope: 'admin',
    answers: { 200: { description: 'How many there were; none is a success too.', schema: disconnectedAnswer } },
    problems: WRITES,
  },
  {
    route: 'POST /users/:userId/revoke',
    id: 'revokeTokens',
    tag: 'Users',
    summary: 'Refuse tokens of a user before their time',
    description: 'Without a field: every token so far. On all nodes; connections that stand on them are closed.',
    scope: 'admin',
    body: { schema: revokeSchema, example: { issuedBefore: '2026-11-21T15:00:00Z' }, isOptional: true },
    answers: {
      200: { description: 'How many connections were closed; none is a success too.', schema: revokedAnswer },
    },
    problems: WRITES,
  },
  {
    route: 'GET /users/:userId/export',
    id: 'exportUser',
    tag: 'Users',
    summary: 'All that is kept of a user',
    description: 'Of oneself without the scope. An answer that breaks off is not complete.',
    scope: 'admin',
    answers: {
      200: {
        description: 'JSON lines: an `ExportLine` in each.',
        schema: exportLineAnswer,
        type: 'application/x-ndjson',
      },
    },
    problems: WRITES,
  },
  {
    route: 'DELETE /users/:userId/data',
    id: 'eraseUser',
    tag: 'Users',
    summary: 'Erase all that is kept of a user',
    description: 'What the user has said to others is theirs and stays.',
    scope: 'admin',
    answers: { 200: { description: 'What went.', schema: erasedAnswer } },
    problems: WRITES,
  },
];
