import type { RequestHandler } from 'express';
import type { Tokens } from '../../services/tokens';
import { AppError } from '../../utils/errors';
import { readAuthorization, readBearer } from '../../utils/jwt';
import { setCaller } from '../request';

/** Lets requests with a valid token pass. Answers 401 `unauthorized` or `token_expired` to others. */
export function authenticate(tokens: Tokens): RequestHandler {
  return (request, _response, next) => {
    const header = readAuthorization(request.rawHeaders);
    if (header === undefined) throw new AppError('unauthorized', 'Expected `Authorization: Bearer <token>`.');
    setCaller(request, tokens.verify(readBearer(header)));
    next();
  };
}
