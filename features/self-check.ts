/** Checks whether Express and Node's HTTP parser still work as this service assumes. */
import { createServer, IncomingMessage, ServerResponse } from 'node:http';
import { Socket as TcpSocket } from 'node:net';
import { Duplex } from 'node:stream';
import express from 'express';
import { type Note, runLooks, type SelfCheck } from '../services/internals';
import { createHttpClasses, type HttpPrototypes } from './http-classes';

export const HTTP_CHECK: SelfCheck = {
  names: ['express: prototypes', 'express: unanswered', 'node: upgrade'],
  run: () => runLooks([lookAtExpress, lookAtOffers]),
};

/**
 * A request keeps the prototype that it was created with while it passes the application, and an unanswered one comes
 * out again.
 */
async function lookAtExpress(note: Note): Promise<void> {
  const app = express();
  const classes = createHttpClasses(app, () => undefined);
  const request = new classes.IncomingMessage(new TcpSocket());
  Object.assign(request, { method: 'GET', url: '/' });
  request.push(null);
  const response = new classes.ServerResponse(request);
  app.use((req, res, next) => {
    const keepsRequest = Object.getPrototypeOf(req) === classes.IncomingMessage.prototype;
    const keepsResponse = Object.getPrototypeOf(res) === classes.ServerResponse.prototype;
    note('express: prototypes', keepsRequest && keepsResponse && 'json' in res);
    next();
  });
  const handle = app as unknown as (request: IncomingMessage, response: ServerResponse, done: () => void) => void;
  const unanswered = new Promise<boolean>((resolve) => {
    // Express answers by itself.
    response.end = () => {
      resolve(false);
      return response;
    };
    handle(request, response, () => resolve(true));
  });
  note('express: unanswered', await unanswered);
}

/** A request that offers a protocol other than WebSocket is a request; one that asks for WebSocket is an upgrade. */
async function lookAtOffers(note: Note): Promise<void> {
  const prototypes: HttpPrototypes = { request: IncomingMessage.prototype, response: ServerResponse.prototype };
  const server = createServer(createHttpClasses(prototypes, () => undefined));
  const what = ['h2c', 'websocket'].map((protocol) => {
    const connection = new SilentConnection();
    server.emit('connection', connection);
    connection.push(`GET / HTTP/1.1\r\nHost: tidings\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`);
    return connection;
  });
  const came = await new Promise<string[]>((resolve) => {
    const seen: string[] = [];
    const see =
      (kind: string) =>
      ({ headers }: IncomingMessage) => {
        if (seen.push(`${headers.upgrade}: ${kind}`) === what.length) resolve(seen);
      };
    server.on('request', see('request'));
    server.on('upgrade', see('upgrade'));
  });
  for (const connection of what) connection.destroy();
  note('node: upgrade', came.sort().join() === 'h2c: request,websocket: upgrade');
}

class SilentConnection extends Duplex {
  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }
}
