/** /users/…: all that is kept of one user, and the user's tokens. */
import type { RevocationOperations } from '../handlers/revocation';
import type { UserDataOperations } from '../handlers/users';
import { answer, answerLines } from './answer';
import type { Guards } from './guards/guards';
import { parameterOf, requesterOf } from './request';
import type { Route } from './routes';

export function userRoutes(users: UserDataOperations, revocation: RevocationOperations, guards: Guards): Route[] {
  const { authenticated, authorize, isOneself, readInTurn, withOptionalBody } = guards;
  return [
    {
      method: 'post',
      path: '/:userId/revoke',
      handlers: [
        ...authenticated,
        authorize('admin'),
        ...withOptionalBody,
        async (request, response) => {
          const requester = requesterOf(request, response);
          answer(response, await revocation.revoke(requester, parameterOf(request, 'userId'), request.body));
        },
      ],
    },
    {
      method: 'delete',
      path: '/:userId/data',
      handlers: [
        ...authenticated,
        authorize('admin'),
        async (request, response) =>
          answer(response, await users.erase(requesterOf(request, response), parameterOf(request, 'userId'))),
      ],
    },
    {
      method: 'get',
      path: '/:userId/export',
      handlers: [
        ...authenticated,
        authorize('admin', isOneself),
        readInTurn(async (request, response) => {
          await answerLines(response, users.exportFor(requesterOf(request, response), parameterOf(request, 'userId')));
        }),
      ],
    },
  ];
}
