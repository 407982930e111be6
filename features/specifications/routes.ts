/** /openapi.json, /asyncapi.json and the page that shows the first: what programs and people read of the interfaces. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Request, RequestHandler } from 'express';
import { answer } from '../answer';
import { packageRoot } from '../documents';
import { originOf } from '../render-error';
import type { Route } from '../routes';
import { describeSockets, socketServers } from './asyncapi';
import { docsPageRoutes } from './docs-page';
import { describeHttp } from './openapi';

export function specificationRoutes(): Route[] {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  return [
    { method: 'get', path: '/openapi.json', handlers: [serveHttp(version)] },
    { method: 'get', path: '/asyncapi.json', handlers: [serveSockets(version)] },
    ...docsPageRoutes(),
  ];
}

/** Documents name the address under which the client has asked for them; the rest is made once, when it is needed. */
function serveHttp(version: string): RequestHandler {
  const document = once(() => describeHttp(version));
  return (request, response) => answer(response, { ...document(), servers: [{ url: addressOf(request) }] });
}

function serveSockets(version: string): RequestHandler {
  const document = once(() => describeSockets(version));
  return (request, response) => answer(response, { ...document(), servers: socketServers(addressOf(request)) });
}

/** A client of HTTP/1.0 does not say how it has reached the service. */
function addressOf(request: Request): string {
  const origin = originOf(request);
  return URL.canParse(origin) ? origin : 'http://localhost';
}

function once<Value>(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
