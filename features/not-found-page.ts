/** The page for a person who opens an address that does not exist. Programs receive the problem as JSON. */
import type { NextFunction, Request, Response } from 'express';
import { protectPage, renderPage, serveRelative, TO_ROOT } from './html-pages';

const PAGE = renderPage(
  'not found',
  `<h1>Page not found</h1>
<p>This is tidings, a notification service. There is nothing at this address.</p>
<ul>
<li><a href="${TO_ROOT}">Test page</a>: connect, send and receive in the browser</li>
<li><a href="${TO_ROOT}docs">HTTP API</a>: every operation</li>
<li><a href="${TO_ROOT}docs/errors">Errors</a>: what each code means</li>
</ul>`,
);

const protect = protectPage(PAGE);
const serve = serveRelative('html', PAGE);

/** Serves the page to browsers. A client that accepts anything is a program. */
export function isShownToPerson(request: Request, response: Response, next: NextFunction): boolean {
  response.vary('Accept');
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  if (!isRead || request.accepts(['application/problem+json', 'application/json', 'text/html']) !== 'text/html') {
    return false;
  }
  response.status(404);
  protect(request, response, () => void serve(request, response, next));
  return true;
}
