/** /users/…: everything stored about one user, and the user's tokens. */
import type { EraseUser } from '../handlers/erase-user';
import type { ExportUser } from '../handlers/export-user';
import type { RevocationOperations } from '../handlers/revocation';
import { answer, answerLines } from './answer';
import type { Guards } from './guards/guards';
import { parameterOf, requesterOf } from './request';
import type { Route } from './routes';

export interface UserRouteParts {
  readonly eraseUser: EraseUser;
  readonly exportUser: ExportUser;
  readonly revocation: RevocationOperations;
}

export function userRoutes({ eraseUser, exportUser, revocation }: UserRouteParts, guards: Guards): Route[] {
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
          answer(response, await eraseUser(requesterOf(request, response), parameterOf(request, 'userId'))),
      ],
    },
    {
      method: 'get',
      path: '/:userId/export',
      handlers: [
        ...authenticated,
        authorize('admin', isOneself),
        readInTurn(async (request, response) => {
          await answerLines(response, exportUser(requesterOf(request, response), parameterOf(request, 'userId')));
        }),
      ],
    },
  ];
}
