/** /openapi.json, /asyncapi.json and the page that shows the first: what programs and people read of the interfaces. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Request, RequestHandler } from 'express';
import type { Clients } from '../../utils/proxies';
import { answer } from '../answer';
import { packageRoot } from '../documents';
import type { Route } from '../routes';
import { describeSockets, socketServers } from './asyncapi';
import { docsPageRoutes } from './docs-page';
import { describeHttp } from './openapi';

export function specificationRoutes(clients: Clients): Route[] {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return [
    { method: 'get', path: '/openapi.json', handlers: [serveHttp(version, clients)] },
    { method: 'get', path: '/asyncapi.json', handlers: [serveSockets(version, clients)] },
    ...docsPageRoutes(),
  ];
}

/** Documents name the address under which the client has asked for them; the rest is made once, when it is needed. */
function serveHttp(version: string, clients: Clients): RequestHandler {
  const document = once(() => describeHttp(version));
  return (request, response) => answer(response, { ...document(), servers: [{ url: addressOf(clients, request) }] });
}

function serveSockets(version: string, clients: Clients): RequestHandler {
  const document = once(() => describeSockets(version));
  return (request, response) =>
    answer(response, { ...document(), servers: socketServers(addressOf(clients, request)) });
}

/** A client of HTTP/1.0 does not say how it has reached the service. */
function addressOf(clients: Clients, request: Request): string {
  const base = clients.linkBase(request);
  return base === '' ? 'http://localhost' : base;
}

function once<Value>(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
