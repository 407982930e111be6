/** /websocket/…: message, broadcast, notification, users, me. */
import type { Request } from 'express';
import type { ConnectedUsersOperations } from '../handlers/connected-users';
import type { DisconnectUser } from '../handlers/disconnect-user';
import type { MessageOperations } from '../handlers/messages';
import type { Sender, Sent } from '../handlers/send';
import { answer } from './answer';
import type { Guards } from './guards/guards';
import { callerOf, parameterOf, requesterOf } from './request';
import type { Route } from './routes';

export interface WebsocketRouteParts {
  readonly messages: MessageOperations;
  readonly people: ConnectedUsersOperations;
  readonly disconnectUser: DisconnectUser;
}

export function websocketRoutes(parts: WebsocketRouteParts, guards: Guards): Route[] {
  return [...sendRoutes(parts, guards), ...peopleRoutes(parts, guards)];
}

function sendRoutes({ messages }: WebsocketRouteParts, guards: Guards): Route[] {
  const { authenticated, withBody, authorize, sendOnce } = guards;
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
      handlers: sending('send', (sender, request) => messages.messageUser(sender, request.body)),
    },
    {
      method: 'post',
      path: '/message/users',
      handlers: sending('send', (sender, request) => messages.messageUsers(sender, request.body)),
    },
    {
      method: 'post',
      path: '/message/broadcast',
      handlers: sending('broadcast', (sender, request) => messages.broadcast(sender, request.body)),
    },
    {
      method: 'post',
      path: '/notification',
      handlers: sending('send', (sender, request) => messages.notify(sender, request.body)),
    },
  ];
}

function peopleRoutes({ people, disconnectUser }: WebsocketRouteParts, guards: Guards): Route[] {
  const { authenticated, authorize, isOneself, readInTurn } = guards;
  return [
    {
      method: 'get',
      path: '/users/connected',
      handlers: [
        ...authenticated,
        authorize('presence'),
        readInTurn((request, response) => answer(response, people.connectedUsers(request.query))),
      ],
    },
    {
      method: 'get',
      path: '/users/:userId/status',
      handlers: [
        ...authenticated,
        authorize('presence', isOneself),
        async (request, response) => answer(response, await people.userStatus(parameterOf(request, 'userId'))),
      ],
    },
    {
      method: 'get',
      path: '/me/status',
      handlers: [
        ...authenticated,
        async (request, response) => answer(response, await people.userStatus(callerOf(request).userId)),
      ],
    },
    {
      method: 'delete',
      path: '/users/:userId/disconnect',
      handlers: [
        ...authenticated,
        authorize('admin'),
        async (request, response) =>
          answer(response, await disconnectUser(requesterOf(request, response), parameterOf(request, 'userId'))),
      ],
    },
  ];
}
