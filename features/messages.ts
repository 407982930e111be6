/** /messages: batches, and operations on sent messages. */
import type { SendBatch } from '../handlers/batch';
import type { MessageChangeOperations } from '../handlers/message-changes';
import type { ReadReceipts } from '../handlers/receipts';
import { toProblem } from '../utils/errors';
import { answer } from './answer';
import type { Guards } from './guards/guards';
import { callerOf, parameterOf, requesterOf } from './request';
import type { Route } from './routes';

export interface MessageRouteParts {
  readonly changes: MessageChangeOperations;
  readonly readReceipts: ReadReceipts;
  readonly sendBatch: SendBatch;
}

export function messageRoutes({ changes, readReceipts, sendBatch }: MessageRouteParts, guards: Guards): Route[] {
  const { authenticated, withBody, authorize, readInTurn, sendOnce, clients } = guards;
  return [
    {
      method: 'post',
      path: '/batch',
      handlers: [
        ...authenticated,
        authorize('send'),
        ...withBody,
        sendOnce((sender, request) => {
          const origin = clients.linkBase(request);
          return sendBatch(sender, request.body, (error) => toProblem(error, { origin }));
        }, 'batch'),
      ],
    },
    {
      method: 'patch',
      path: '/:id',
      handlers: [
        ...authenticated,
        ...withBody,
        async (request, response) => {
          const { body, query } = request as { body: unknown; query: unknown };
          answer(
            response,
            await changes.update(requesterOf(request, response), parameterOf(request, 'id'), { body, query }),
          );
        },
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
            await changes.retract(requesterOf(request, response), parameterOf(request, 'id'), request.query),
          ),
      ],
    },
    {
      method: 'get',
      path: '/:id/receipts',
      handlers: [
        ...authenticated,
        readInTurn(async (request, response) =>
          answer(response, await readReceipts(callerOf(request), parameterOf(request, 'id'), request.query)),
        ),
      ],
    },
  ];
}
