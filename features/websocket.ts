/** /websocket/…: message, broadcast, notification, users, me. */
import type { RequestHandler } from 'express';
import type { MessageOperations } from '../handlers/websocket';
import { answer, answerSent } from './answer';
import type { Guards } from './guards/guards';
import { refuseIdempotencyKey } from './guards/refuse-idempotency-key';
import { callerOf, parameterOf } from './request';
import type { Route } from './routes';

export function websocketRoutes(operations: MessageOperations, guards: Guards): Route[] {
  const { authenticated, withBody, authorize } = guards;
  const isOneself = (caller: { userId: string }, userId: string | undefined) => caller.userId === userId;
  const sending = (handler: RequestHandler): RequestHandler[] => [
    ...authenticated,
    authorize('send'),
    refuseIdempotencyKey,
    ...withBody,
    handler,
  ];
  return [
    {
      method: 'post',
      path: '/message/user',
      handlers: sending(async (request, response) => {
        answerSent(response, await operations.messageUser(callerOf(request), request.body));
      }),
    },
    {
      method: 'post',
      path: '/message/users',
      handlers: sending(async (request, response) => {
        answer(response, await operations.messageUsers(callerOf(request), request.body));
      }),
    },
    {
      method: 'post',
      path: '/message/broadcast',
      handlers: [
        ...authenticated,
        authorize('broadcast'),
        refuseIdempotencyKey,
        ...withBody,
        async (request, response) => {
          answerSent(response, await operations.broadcast(callerOf(request), request.body));
        },
      ],
    },
    {
      method: 'post',
      path: '/notification',
      handlers: sending(async (request, response) => {
        answerSent(response, await operations.notify(callerOf(request), request.body));
      }),
    },
    {
      method: 'get',
      path: '/users/connected',
      handlers: [
        ...authenticated,
        authorize('presence'),
        (request, response) => answer(response, operations.connectedUsers(request.query)),
      ],
    },
    {
      method: 'get',
      path: '/users/:userId/status',
      handlers: [
        ...authenticated,
        authorize('presence', isOneself),
        async (request, response) => answer(response, await operations.userStatus(parameterOf(request, 'userId'))),
      ],
    },
    {
      method: 'get',
      path: '/me/status',
      handlers: [
        ...authenticated,
        async (request, response) => answer(response, await operations.userStatus(callerOf(request).userId)),
      ],
    },
    {
      method: 'delete',
      path: '/users/:userId/disconnect',
      handlers: [
        ...authenticated,
        authorize('admin'),
        (request, response) => answer(response, operations.disconnectUser(parameterOf(request, 'userId'))),
      ],
    },
  ];
}
