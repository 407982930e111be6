import type { RequestHandler } from 'express';
import type { HeapGuard } from '../../services/heap-guard';

/** Answers 503 `overloaded` while memory is short. */
export function refuseWhileShort(heap: HeapGuard): RequestHandler {
  return (_request, _response, next) => {
    heap.assertRoom();
    next();
  };
}

/** The same for a body whose bytes are there: it is about to become objects, many times as large. */
export function refuseBodyWhileShort(heap: HeapGuard): RequestHandler {
  return (request, response, next) => {
    if (Buffer.isBuffer(request.body)) response.once('close', heap.take(request.body.length));
    next();
  };
}
