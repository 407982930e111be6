/** /openapi.json, /asyncapi.json and the page that shows the first: the interfaces for programs and people. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Request, RequestHandler } from 'express';
import type { Clients } from '../../utils/proxies';
import { answerEncoded } from '../answer';
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

function serveHttp(version: string, clients: Clients): RequestHandler {
  return serve(
    () => describeHttp(version),
    (request) => [{ url: addressOf(clients, request) }],
  );
}

function serveSockets(version: string, clients: Clients): RequestHandler {
  return serve(
    () => describeSockets(version),
    (request) => socketServers(addressOf(clients, request)),
  );
}

/** Documents name the address at which the client requested them; the rest is made and encoded once, when needed. */
function serve(describe: () => object, serversOf: (request: Request) => object): RequestHandler {
  const document = once(() => Buffer.from(JSON.stringify(describe()).slice(0, -1)));
  return (request, response) => {
    const servers = Buffer.from(`,"servers":${JSON.stringify(serversOf(request))}}`);
    answerEncoded(response, [document(), servers]);
  };
}

/** A client of HTTP/1.0 does not say how it reached the service. */
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
