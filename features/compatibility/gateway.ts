/** /api/gateway/…: paths and answers of the compatible gateway, over the same operations. */
import type { ConnectedUsersOperations } from '../../handlers/connected-users';
import { answer } from '../answer';
import type { Guards } from '../guards/guards';
import { parameterOf } from '../request';
import type { Route } from '../routes';
import type { GatewayOperations } from './gateway-operations';

export interface GatewayRouteParts {
  readonly gateway: GatewayOperations;
  readonly people: ConnectedUsersOperations;
  readonly uptimeSeconds: () => number;
}

export function gatewayRoutes({ gateway, people, uptimeSeconds }: GatewayRouteParts, guards: Guards): Route[] {
  const { authenticated, withBody, authorize, readInTurn, sendOnce } = guards;
  const sending = [...authenticated, authorize('send'), ...withBody];
  const looking = [...authenticated, authorize('presence')];
  return [
    {
      method: 'post',
      path: '/send',
      handlers: [...sending, sendOnce((sender, request) => gateway.emitToUser(sender, request.body), 'send')],
    },
    {
      method: 'post',
      path: '/send-many',
      handlers: [...sending, sendOnce((sender, request) => gateway.emitToUsers(sender, request.body), 'send')],
    },
    {
      method: 'get',
      path: '/status/:userId',
      handlers: [
        ...looking,
        async (request, response) => {
          const { userId, connected } = await people.userStatus(parameterOf(request, 'userId'));
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
          const { users, count, nextCursor } = people.connectedNow(request.query);
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
          const { users, count, sockets, nextCursor } = people.connectedNow(request.query);
          const uptime = { uptimeSeconds: uptimeSeconds() };
          answer(response, { connectedUsers: count, userIds: users, sockets, ...uptime, nextCursor });
        }),
      ],
    },
  ];
}
