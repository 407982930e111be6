/** /websocket/…: message, broadcast, notification, users, me. */
import type { Request } from 'express';
import type { Sender, Sent } from '../handlers/sending';
import type { MessageOperations } from '../handlers/websocket';
import { answer } from './answer';
import type { Guards } from './guards/guards';
import { callerOf, parameterOf, requesterOf } from './request';
import type { Route } from './routes';

export function websocketRoutes(operations: MessageOperations, guards: Guards): Route[] {
  const { authenticated, withBody, authorize, isOneself, readInTurn, sendOnce } = guards;
  const sending = (scope: 'send' | 'broadcast', work: (sender: Sender, request: Request) => Promise<Sent>) => [
    ...authenticated,
    authorize(scope),
    ...withBody,
    sendOnce(work, scope),
  ];
  return [
    {
      method: 'post',
      path: '/message/user',
      handlers: sending('send', (sender, request) => operations.messageUser(sender, request.body)),
    },
    {
      method: 'post',
      path: '/message/users',
      handlers: sending('send', (sender, request) => operations.messageUsers(sender, request.body)),
    },
    {
      method: 'post',
      path: '/message/broadcast',
      handlers: sending('broadcast', (sender, request) => operations.broadcast(sender, request.body)),
    },
    {
      method: 'post',
      path: '/notification',
      handlers: sending('send', (sender, request) => operations.notify(sender, request.body)),
    },
    {
      method: 'get',
      path: '/users/connected',
      handlers: [
        ...authenticated,
        authorize('presence'),
        readInTurn((request, response) => answer(response, operations.connectedUsers(request.query))),
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
        async (request, response) =>
          answer(
            response,
            await operations.disconnectUser(requesterOf(request, response), parameterOf(request, 'userId')),
          ),
      ],
    },
  ];
}
