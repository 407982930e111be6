/** /users/…: all that is kept of one user. */
import type { UserDataOperations } from '../handlers/users';
import { answer, answerLines } from './answer';
import type { Guards } from './guards/guards';
import { parameterOf } from './request';
import type { Route } from './routes';

export function userRoutes(users: UserDataOperations, { authenticated, authorize, isOneself }: Guards): Route[] {
  return [
    {
      method: 'delete',
      path: '/:userId/data',
      handlers: [
        ...authenticated,
        authorize('admin'),
        async (request, response) => answer(response, await users.erase(parameterOf(request, 'userId'))),
      ],
    },
    {
      method: 'get',
      path: '/:userId/export',
      handlers: [
        ...authenticated,
        authorize('admin', isOneself),
        async (request, response) => {
          await answerLines(response, users.exportAll(parameterOf(request, 'userId')));
        },
      ],
    },
  ];
}
