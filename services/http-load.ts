/** What callers hold of the HTTP server: sockets, upgraded ones too, and requests that are not answered yet. */
import type { Server } from 'node:http';
import type { Balance, Lender } from '../utils/balance';

export function watchLoad(server: Server): Lender {
  let sockets = 0;
  let requests = 0;
  server.on('connection', (socket) => {
    sockets += 1;
    socket.once('close', () => {
      sockets -= 1;
    });
  });
  server.on('request', (_request, response) => {
    requests += 1;
    response.once('close', () => {
      requests -= 1;
    });
  });
  return {
    get balance(): Balance {
      return { httpSockets: sockets, httpRequests: requests };
    },
  };
}
