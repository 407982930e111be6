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
    summary: 'Connected users',
    scope: 'presence',
    query: listQuerySchema,
    answers: { 200: { description: 'A page, by name; `count` is over all pages.', schema: connectedUsersAnswer } },
  },
  {
    route: 'GET /websocket/users/:userId/status',
    id: 'getUserStatus',
    tag: 'Users',
    summary: 'Is a user connected? If not, since when?',
    description: 'The caller’s own status needs no scope.',
    scope: 'presence',
    answers: { 200: { description: 'At this moment.', schema: userStatusAnswer } },
    problems: READS,
  },
  {
    route: 'GET /websocket/me/status',
    id: 'getMyStatus',
    tag: 'Users',
    summary: 'The status of the caller',
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
    answers: { 200: { description: 'The number of closed connections; 0 is a success.', schema: disconnectedAnswer } },
    problems: WRITES,
  },
  {
    route: 'POST /users/:userId/revoke',
    id: 'revokeTokens',
    tag: 'Users',
    summary: 'Revoke tokens of a user',
    description:
      'Without a field: every token so far. Applies to all nodes; connections that use these tokens are closed.',
    scope: 'admin',
    body: { schema: revokeSchema, example: { issuedBefore: '2026-11-21T15:00:00Z' }, isOptional: true },
    answers: {
      200: { description: 'The number of closed connections; 0 is a success.', schema: revokedAnswer },
    },
    problems: WRITES,
  },
  {
    route: 'GET /users/:userId/export',
    id: 'exportUser',
    tag: 'Users',
    summary: 'Everything that is kept about a user',
    description: 'The caller’s own data needs no scope. An answer that breaks off is incomplete.',
    scope: 'admin',
    answers: {
      200: {
        description: 'JSON lines, each an `ExportLine`.',
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
    summary: 'Erase everything that is kept about a user',
    description: 'Messages that the user sent to others stay with them.',
    scope: 'admin',
    answers: { 200: { description: 'What was erased.', schema: erasedAnswer } },
    problems: WRITES,
  },
];
