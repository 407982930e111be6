/** /websocket/…: message, broadcast, notification, users, me. */
import type { Request, RequestHandler, Response } from 'express';
import type { MessageOperations, Sent } from '../handlers/websocket';
import { notSupported } from '../utils/schemas';
import type { Guards } from './index';
import { callerOf } from './request';
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
        async (request, response) => answer(response, await operations.userStatus(userIdOf(request))),
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
        (request, response) => answer(response, operations.disconnectUser(userIdOf(request))),
      ],
    },
  ];
}

function userIdOf(request: Request): string {
  const { userId } = request.params;
  return typeof userId === 'string' ? userId : '';
}

function answerSent(response: Response, { answer: body, isRepeated }: Sent<object>): void {
  if (isRepeated) response.setHeader('Idempotent-Replay', 'true');
  answer(response, body);
}

/** One write with its length; Express' own `json` would look for an ETag and a character set on the way. */
function answer(response: Response, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(200, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(text),
  });
  response.end(text);
}

/** The header promises that a request is carried out once; until it does, it is refused rather than ignored. */
const refuseIdempotencyKey: RequestHandler = (request, _response, next) => {
  if (request.headers['idempotency-key'] !== undefined) throw notSupported(['Idempotency-Key']);
  next();
};
