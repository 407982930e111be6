/** /api/gateway/…: the paths and answers of an ancestor's gateway, over the same operations. */
import type { MessageOperations } from '../handlers/websocket';
import { answer } from './answer';
import type { Guards } from './guards/guards';
import { parameterOf } from './request';
import type { Route } from './routes';

export function gatewayRoutes(messages: MessageOperations, guards: Guards, uptimeSeconds: () => number): Route[] {
  const { authenticated, withBody, authorize, readInTurn, sendOnce } = guards;
  const sending = [...authenticated, authorize('send'), ...withBody];
  const looking = [...authenticated, authorize('presence')];
  return [
    {
      method: 'post',
      path: '/send',
      handlers: [...sending, sendOnce((sender, request) => messages.emitToUser(sender, request.body), 'send')],
    },
    {
      method: 'post',
      path: '/send-many',
      handlers: [...sending, sendOnce((sender, request) => messages.emitToUsers(sender, request.body), 'send')],
    },
    {
      method: 'get',
      path: '/status/:userId',
      handlers: [
        ...looking,
        async (request, response) => {
          const { userId, connected } = await messages.userStatus(parameterOf(request, 'userId'));
          answer(response, { userId, connected });
        },
      ],
    },
    {
      method: 'get',
      path: '/connected',
      handlers: [
        ...looking,
        readInTurn((request, response) => {
          const { users, count, nextCursor } = messages.connectedNow(request.query);
          answer(response, { connectedUsers: users, count, nextCursor });
        }),
      ],
    },
    {
      method: 'get',
      path: '/stats',
      handlers: [
        ...looking,
        readInTurn((request, response) => {
          const { users, count, sockets, nextCursor } = messages.connectedNow(request.query);
          const uptime = { uptimeSeconds: uptimeSeconds() };
          answer(response, { connectedUsers: count, userIds: users, sockets, ...uptime, nextCursor });
        }),
      ],
    },
  ];
}
