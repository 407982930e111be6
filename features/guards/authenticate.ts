import type { RequestHandler } from 'express';
import type { Tokens } from '../../services/tokens/tokens';
import { readAuthorization, readBearer } from '../../utils/caller';
import { AppError } from '../../utils/errors';
import { setCaller } from '../request';

/** Lets requests with a valid token pass. Answers 401 `unauthorized`, `token_expired` or `token_revoked`. */
export function authenticate(tokens: Tokens): RequestHandler {
  return async (request, _response, next) => {
    const header = readAuthorization(request.rawHeaders);
    if (header === undefined)
      throw new AppError('unauthorized', 'A token is required: send it as `Authorization: Bearer <token>`.');
    const token = readBearer(header);
    await tokens.prepare(token);
    setCaller(request, tokens.verify(token));
    next();
  };
}
