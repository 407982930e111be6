/**
 * One request per connection at a time. Node emits pipelined requests before the client has read the earlier answers: a
 * packet of 64 KiB could ask for thousands of answers, all of them in memory. Here each request waits until the answer
 * before it has left.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Metrics } from '../observability/metrics';

/** Pipelined on one connection. */
const MAX_REQUESTS_AHEAD = 100;

/** Listens to requests, and answers those of one connection one after the other. */
export function inTurn(answer: RequestListener, metrics: Pick<Metrics, 'answersCut'>): RequestListener {
  const waiting = new WeakMap<Socket, number>();

  function wait(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const count = (waiting.get(socket) ?? 0) + 1;
    waiting.set(socket, count);
    if (count > MAX_REQUESTS_AHEAD) {
      if (!socket.destroyed) metrics.answersCut.inc();
      socket.destroy();
      return;
    }
    // Node assigns a response its connection when the one before has left; nothing may be written within that call.
    response.once('socket', () => {
      waiting.set(socket, (waiting.get(socket) ?? 0) - 1);
      process.nextTick(answer, request, response);
    });
  }

  return (request, response) => (response.socket === null ? wait : answer)(request, response);
}
