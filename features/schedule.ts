/** /scheduled: messages that are not due yet. */
import type { ScheduleOperations } from '../handlers/schedule';
import { answer } from './answer';
import type { Guards } from './guards/guards';
import { callerOf, parameterOf, requesterOf } from './request';
import type { Route } from './routes';

export function scheduleRoutes(schedule: ScheduleOperations, { authenticated, readInTurn }: Guards): Route[] {
  return [
    {
      method: 'get',
      path: '',
      handlers: [
        ...authenticated,
        readInTurn(async (request, response) =>
          answer(response, await schedule.list(callerOf(request), request.query)),
        ),
      ],
    },
    {
      method: 'delete',
      path: '/:id',
      handlers: [
        ...authenticated,
        async (request, response) =>
          answer(
            response,
            await schedule.cancel(requesterOf(request, response), parameterOf(request, 'id'), request.query),
          ),
      ],
    },
  ];
}
