/** /inbox: the caller's messages, their states and counts. */
import type { RequestHandler } from 'express';
import { changesWhole, type InboxOperations } from '../handlers/inbox';
import { answer } from './answer';
import type { Guards } from './guards/guards';
import { callerOf, parameterOf } from './request';
import type { Route } from './routes';

export function inboxRoutes(inbox: InboxOperations, { authenticated, withBody, readInTurn }: Guards): Route[] {
  const change: RequestHandler = async (request, response) =>
    answer(response, await inbox.change(callerOf(request), request.body));
  // It reads everything that it changes.
  const changeInTurn = readInTurn((request, response) => change(request, response, () => undefined));
  return [
    {
      method: 'get',
      path: '',
      handlers: [
        ...authenticated,
        readInTurn(async (request, response) => answer(response, await inbox.list(callerOf(request), request.query))),
      ],
    },
    {
      method: 'get',
      path: '/counts',
      handlers: [
        ...authenticated,
        async (request, response) => answer(response, await inbox.counts(callerOf(request))),
      ],
    },
    {
      method: 'patch',
      path: '',
      handlers: [
        ...authenticated,
        ...withBody,
        (request, response, next) => (changesWhole(request.body) ? changeInTurn : change)(request, response, next),
      ],
    },
    {
      method: 'patch',
      path: '/:id',
      handlers: [
        ...authenticated,
        ...withBody,
        async (request, response) =>
          answer(response, await inbox.changeOne(callerOf(request), parameterOf(request, 'id'), request.body)),
      ],
    },
  ];
}
