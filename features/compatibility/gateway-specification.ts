/** The gateway's paths in the OpenAPI document. */

import { gatewaySendManySchema, gatewaySendSchema, longListQuerySchema } from '../../utils/schemas';
import { type Operation, READS, SENDS } from '../specifications/operations/operation';
import {
  gatewayConnectedAnswer,
  gatewaySentAnswer,
  gatewaySentManyAnswer,
  gatewayStatsAnswer,
  gatewayStatusAnswer,
} from './gateway-answers';

export const GATEWAY: readonly Operation[] = [
  {
    route: 'POST /api/gateway/send',
    id: 'gatewaySend',
    tag: 'Gateway',
    summary: 'Emit an event to one user',
    description: 'For an offline user, the message is stored, and `success` is `false`.',
    scope: 'send',
    body: { schema: gatewaySendSchema, example: { userId: 'user123', event: 'offer', message: { price: 10 } } },
    answers: { 200: { description: 'The message is stored.', schema: gatewaySentAnswer } },
    problems: SENDS,
    isSend: true,
  },
  {
    route: 'POST /api/gateway/send-many',
    id: 'gatewaySendMany',
    tag: 'Gateway',
    summary: 'Emit an event to several users',
    scope: 'send',
    body: {
      schema: gatewaySendManySchema,
      example: { userIds: ['user123', 'user456'], event: 'offer', message: { price: 10 } },
    },
    answers: { 200: { description: 'The distinct recipients, connected or not.', schema: gatewaySentManyAnswer } },
    problems: SENDS,
    isSend: true,
  },
  {
    route: 'GET /api/gateway/status/:userId',
    id: 'gatewayStatus',
    tag: 'Gateway',
    summary: 'Is a user connected?',
    scope: 'presence',
    answers: { 200: { description: 'At this moment.', schema: gatewayStatusAnswer } },
    problems: READS,
  },
  {
    route: 'GET /api/gateway/connected',
    id: 'gatewayConnected',
    tag: 'Gateway',
    summary: 'Connected users',
    scope: 'presence',
    query: longListQuerySchema,
    answers: { 200: { description: 'A page, by name; `count` is over all pages.', schema: gatewayConnectedAnswer } },
  },
  {
    route: 'GET /api/gateway/stats',
    id: 'gatewayStats',
    tag: 'Gateway',
    summary: 'Number of connected users',
    scope: 'presence',
    query: longListQuerySchema,
    answers: { 200: { description: 'At this moment; `userIds` is a page, by name.', schema: gatewayStatsAnswer } },
  },
];
