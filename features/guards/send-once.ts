import type { Request, RequestHandler } from 'express';
import type { CarryOut } from '../../handlers/idempotency';
import type { Sender, Sent } from '../../handlers/sending';
import { continueTrace } from '../../services/tracing';
import { answerWritten } from '../answer';
import { callerOf } from '../request';

/**
 * Builds the last handler of a route that sends: what it does is carried out once under the request's
 * Idempotency-Key. Answers 202 to what was scheduled, and 400, 409 `request_in_progress` or 422
 * `idempotency_conflict` for the key.
 */
export function createSendOnce(carryOut: CarryOut) {
  return (work: (sender: Sender, request: Request) => Promise<Sent>): RequestHandler =>
    async (request, response) => {
      const key = request.get('Idempotency-Key');
      const target = `${request.method} ${request.path}`;
      const { body } = request as { body: unknown };
      const written = await continueTrace(request.headers, () =>
        carryOut({ caller: callerOf(request), key, target, body }, (sender) => work(sender, request)),
      );
      answerWritten(response, written);
    };
}
