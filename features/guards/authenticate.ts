import type { RequestHandler } from 'express';
import type { Tokens } from '../../services/tokens';
import { AppError } from '../../utils/errors';
import { readBearer } from '../../utils/jwt';
import { setCaller } from '../request';

/** Lets requests with a valid token pass. Answers 401 `unauthorized` or `token_expired` to others. */
export function authenticate(tokens: Tokens): RequestHandler {
  return (request, _response, next) => {
    const headers = authorizationHeaders(request.rawHeaders);
    const [header] = headers;
    if (header === undefined) throw new AppError('unauthorized', 'Expected `Authorization: Bearer <token>`.');
    // Node joins or drops repeated headers: which of two tokens counts must not depend on that.
    if (headers.length > 1) throw new AppError('unauthorized', 'Expected one Authorization header, not several.');
    setCaller(request, tokens.verify(readBearer(header)));
    next();
  };
}

function authorizationHeaders(rawHeaders: readonly string[]): string[] {
  return rawHeaders.filter(
    (_value, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'authorization',
  );
}
