/** What callers hold of the HTTP server: sockets, including upgraded ones, and unanswered requests. */
import type { Server, ServerResponse } from 'node:http';
import type { Balance, Lender } from '../../utils/balance';

export function watchLoad(server: Server): Lender {
  let sockets = 0;
  let requests = 0;
  server.on('connection', (socket) => {
    sockets += 1;
    socket.once('close', () => {
      sockets -= 1;
    });
  });
  const begin = (response: ServerResponse) => {
    requests += 1;
    response.once('close', () => {
      requests -= 1;
    });
  };
  server.on('request', (_request, response) => {
    // A pipelined response has not begun (http-turns.ts), and would get no event at its end.
    if (response.socket === null) response.once('socket', () => begin(response));
    else begin(response);
  });
  return {
    get balance(): Balance {
      return { httpSockets: sockets, httpRequests: requests };
    },
  };
}
