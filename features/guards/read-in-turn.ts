import { once } from 'node:events';
import type { Request, RequestHandler, Response } from 'express';
import type { ReadTurns } from '../../services/admission/read-turns';
import { callerOf, whenOver } from '../request';

/**
 * Builds the last handler of a route with an expensive read: a caller's reads take turns, and a turn ends when its
 * answer was taken. Answers 429 `rate_limited` when too many wait.
 */
export function createReadInTurn(turns: ReadTurns) {
  return (read: (request: Request, response: Response) => unknown): RequestHandler =>
    async (request, response) => {
      const turn = turns.enter(callerOf(request).userId);
      whenOver(response, () => turn.giveUp());
      try {
        if (!(await turn.begun) || response.closed) return;
        await read(request, response);
        if (!response.closed) await once(response, 'close');
      } finally {
        turn.end();
      }
    };
}
