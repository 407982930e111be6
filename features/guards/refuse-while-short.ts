import type { RequestHandler } from 'express';
import type { Backlog } from '../../services/admission/backlog';
import type { HeapGuard } from '../../services/admission/heap-guard';
import type { Incoming } from '../../services/admission/incoming';
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
 * Counts a body until it has arrived completely: by the size in its headers if there is one, otherwise as it comes.
 * Answers 429 `rate_limited` to a caller who has too many in flight, and 503 `overloaded` while all callers together
 * have; a body of unstated size that exceeds either limit ends with its connection.
 */
export function expectBody(incoming: Incoming, maxBytes: number): RequestHandler {
  return (request, response, next) => {
    const { 'content-length': length, 'content-encoding': encoding = 'identity' } = request.headers;
    const sizeOf = (bytes: number) => Math.min(bytes * (GROWTH.get(encoding) ?? Number.POSITIVE_INFINITY), maxBytes);
    let bytes = Number(length ?? 0);
    let release = incoming.expect(callerOf(request), bytes === 0 ? 0 : sizeOf(bytes));
    // The refusal may come before the body does: the rest of the body then belongs to nobody.
    const giveBack = () => {
      request.off('data', grow);
      release();
    };
    request.once('end', giveBack);
    whenOver(response, giveBack);
    const isOfUnknownSize = length === undefined && request.headers['transfer-encoding'] !== undefined;
    if (isOfUnknownSize) request.on('data', grow);
    next();

    function grow({ length: more }: Buffer): void {
      bytes += more;
      release();
      try {
        release = incoming.expect(callerOf(request), sizeOf(bytes));
      } catch {
        request.destroy();
      }
    }
  };
}

/** The size that a byte may become at most; for other encodings it is unknown. */
const GROWTH: ReadonlyMap<string, number> = new Map([
  ['identity', 1],
  ['gzip', 1_032],
  ['deflate', 1_032],
]);

/**
 * The same for a body whose bytes are there: it is about to become objects, many times as large. Answers 429
 * `rate_limited` beyond the caller's byte rate.
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
