import type { Request, RequestHandler } from 'express';
import type { Backlog } from '../../services/backlog';
import type { HeapGuard } from '../../services/heap-guard';
import type { Incoming } from '../../services/incoming';
import { callerOf, whenOver } from '../request';

/** Answers 503 `overloaded` while memory is short, and 429 `rate_limited` to a caller who does not read the answers. */
export function refuseWhileShort(heap: HeapGuard, backlog: Backlog): RequestHandler {
  return (request, _response, next) => {
    heap.assertRoom();
    backlog.assertRoom(callerOf(request).userId);
    next();
  };
}

/**
 * Counts a body from its head until it is there as a whole. Answers 429 `rate_limited` to a caller who has as many on
 * their way as may, and 503 `overloaded` while those of all are too many.
 */
export function expectBody(incoming: Incoming, maxBytes: number): RequestHandler {
  return (request, response, next) => {
    const arrived = incoming.expect(callerOf(request), expectedBytes(request, maxBytes));
    request.once('end', arrived);
    whenOver(response, arrived);
    next();
  };
}

/** At most: what is compressed, or does not say its size, may become as large as any. */
function expectedBytes({ headers }: Request, maxBytes: number): number {
  const { 'content-length': length, 'content-encoding': encoding = 'identity' } = headers;
  if (length === undefined && headers['transfer-encoding'] === undefined) return 0;
  return length === undefined || encoding !== 'identity' ? maxBytes : Math.min(Number(length), maxBytes);
}

/**
 * The same for a body whose bytes are there: it is about to become objects, many times as large. Answers 429
 * `rate_limited` beyond the caller's rate of bytes.
 */
export function refuseBodyWhileShort(heap: HeapGuard, incoming: Incoming): RequestHandler {
  return (request, response, next) => {
    if (Buffer.isBuffer(request.body)) {
      incoming.assertWithinRate(callerOf(request), request.body.length);
      whenOver(response, heap.take(request.body.length));
    }
    next();
  };
}
