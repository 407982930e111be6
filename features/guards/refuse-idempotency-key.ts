import type { RequestHandler } from 'express';
import { notSupported } from '../../utils/schemas';

/** The header promises that a request is carried out once; until it does, it is refused rather than ignored. */
export const refuseIdempotencyKey: RequestHandler = (request, _response, next) => {
  if (request.headers['idempotency-key'] !== undefined) throw notSupported(['Idempotency-Key']);
  next();
};
