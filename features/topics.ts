/** /topics/…: named topics, their members and messages. */
import type { Request } from 'express';
import type { MessageOperations } from '../handlers/messages';
import type { TopicOperations } from '../handlers/topics';
import { listQuerySchema, parseInput } from '../utils/schemas';
import { answer } from './answer';
import type { Guards } from './guards/guards';
import { callerOf, parameterOf, requesterOf } from './request';
import type { Route } from './routes';

const nameOf = (request: Request) => parameterOf(request, 'name');

export function topicRoutes(topics: TopicOperations, messages: MessageOperations, guards: Guards): Route[] {
  return [...ownRoutes(topics, guards), ...memberRoutes(topics, guards), ...messageRoutes(topics, messages, guards)];
}

function ownRoutes(topics: TopicOperations, { authenticated, withBody, readInTurn }: Guards): Route[] {
  return [
    {
      method: 'post',
      path: '',
      handlers: [
        ...authenticated,
        ...withBody,
        async (request, response) => answer(response, await topics.create(callerOf(request), request.body), 201),
      ],
    },
    {
      method: 'get',
      path: '',
      handlers: [
        ...authenticated,
        readInTurn(async (request, response) =>
          answer(response, await topics.list(callerOf(request), parseInput(listQuerySchema, request.query))),
        ),
      ],
    },
    {
      method: 'get',
      path: '/:name',
      handlers: [
        ...authenticated,
        async (request, response) => answer(response, await topics.get(callerOf(request), nameOf(request))),
      ],
    },
    {
      method: 'delete',
      path: '/:name',
      handlers: [
        ...authenticated,
        async (request, response) =>
          answer(response, await topics.remove(requesterOf(request, response), nameOf(request))),
      ],
    },
  ];
}

function memberRoutes(topics: TopicOperations, guards: Guards): Route[] {
  const { authenticated, readInTurn } = guards;
  return [
    {
      method: 'get',
      path: '/:name/members',
      handlers: [
        ...authenticated,
        readInTurn(async (request, response) =>
          answer(response, await topics.members(callerOf(request), nameOf(request), request.query)),
        ),
      ],
    },
    {
      method: 'post',
      path: '/:name/members',
      handlers: [
        ...authenticated,
        ...guards.withOptionalBody,
        async (request, response) =>
          answer(
            response,
            await topics.addMember(callerOf(request), nameOf(request), {
              body: request.body,
              charge: (rows) => guards.charge(request, rows),
            }),
          ),
      ],
    },
    {
      method: 'delete',
      path: '/:name/members/:userId',
      handlers: [
        ...authenticated,
        async (request, response) => {
          const userId = parameterOf(request, 'userId');
          answer(response, await topics.removeMember(callerOf(request), nameOf(request), userId));
        },
      ],
    },
  ];
}

function messageRoutes(topics: TopicOperations, messages: MessageOperations, guards: Guards): Route[] {
  const { authenticated, withBody, readInTurn, sendOnce } = guards;
  return [
    {
      method: 'post',
      path: '/:name/messages',
      handlers: [
        ...authenticated,
        ...withBody,
        sendOnce(async (sender, request) => {
          await topics.assertMayWrite(sender, nameOf(request), { isServiceAllowed: true });
          return messages.messageTopic(sender, nameOf(request), request.body);
        }, 'send'),
      ],
    },
    {
      method: 'get',
      path: '/:name/messages',
      handlers: [
        ...authenticated,
        readInTurn(async (request, response) =>
          answer(response, await topics.history(callerOf(request), nameOf(request), request.query)),
        ),
      ],
    },
  ];
}
