import type { Request, RequestHandler } from 'express';
import type { NoteSend } from '../../handlers/audit';
import type { RunOnce } from '../../handlers/idempotency';
import type { Sender, Sent } from '../../handlers/send';
import { continueTrace } from '../../services/observability/tracing';
import { answerWritten } from '../answer';
import { bodyBytesOf, callerOf, requesterOf } from '../request';

/**
 * Builds the last handler of a route that sends: it is carried out once under the request's Idempotency-Key, and
 * recorded in the audit log if it was. Answers 202 to a scheduled send, and 400, 409 `request_in_progress` or 422
 * `idempotency_conflict` for the key.
 */
export function createSendOnce(runOnce: RunOnce, noteSend: NoteSend) {
  return (
    work: (sender: Sender, request: Request) => Promise<Sent>,
    action: 'send' | 'broadcast' | 'batch',
  ): RequestHandler =>
    async (request, response) => {
      const key = request.get('Idempotency-Key');
      const target = `${request.method} ${request.path}`;
      const { body: value } = request as { body: unknown };
      const body = { bytes: bodyBytesOf(request) ?? Buffer.alloc(0), value };
      const written = await continueTrace(request.headers, () =>
        runOnce({ caller: callerOf(request), key, target, body }, async (sender) => {
          const sent = await work(sender, request);
          noteSend(requesterOf(request, response), action, sent);
          return sent;
        }),
      );
      answerWritten(response, written);
    };
}
