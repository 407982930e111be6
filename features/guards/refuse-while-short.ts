import type { RequestHandler } from 'express';
import type { Backlog } from '../../services/backlog';
import type { HeapGuard } from '../../services/heap-guard';
import { callerOf } from '../request';

/** Answers 503 `overloaded` while memory is short, and 429 `rate_limited` to a caller who does not read the answers. */
export function refuseWhileShort(heap: HeapGuard, backlog: Backlog): RequestHandler {
  return (request, _response, next) => {
    heap.assertRoom();
    backlog.assertRoom(callerOf(request).userId);
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
