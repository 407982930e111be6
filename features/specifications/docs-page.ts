/**
 * /docs: the OpenAPI document for people, in Swagger UI with files from this service. Nothing is loaded from elsewhere.
 */
import { dirname, join } from 'node:path';
import type { RequestHandler } from 'express';
import helmet from 'helmet';
import { AppError } from '../../utils/errors';
import { FAVICON, serveRelative, TO_ROOT } from '../html-pages';
import { parameterOf } from '../request';
import type { Route } from '../routes';

const MAX_AGE_MS = 3_600_000;

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tidings: documents</title>
<link rel="icon" href="${FAVICON}">
<link rel="stylesheet" href="${TO_ROOT}docs/assets/swagger-ui.css">
<link rel="stylesheet" href="${TO_ROOT}docs/assets/page.css">
</head>
<body>
<nav aria-label="Documents">
<a href="${TO_ROOT}docs" aria-current="page">HTTP</a>
<a href="${TO_ROOT}docs/errors">Errors</a>
<a href="${TO_ROOT}openapi.json">openapi.json</a>
<a href="${TO_ROOT}asyncapi.json">asyncapi.json (sockets)</a>
<a href="${TO_ROOT}">Test page</a>
</nav>
<main id="swagger-ui"></main>
<script src="${TO_ROOT}docs/assets/swagger-ui-bundle.js"></script>
<script src="${TO_ROOT}docs/assets/page.js"></script>
</body>
</html>
`;

const STYLE = `body{margin:0}
html.dark-mode{color-scheme:dark}
nav{display:flex;flex-wrap:wrap;gap:1rem;padding:.75rem 1rem;font:16px/1.5 system-ui,sans-serif;background:#1b1b1b}
nav a{color:#fff}
nav a[aria-current]{font-weight:bold;text-decoration:none}
.swagger-ui .response-col_links,.swagger-ui .col_header.response-col_links{display:none}
.swagger-ui .response-col_description{overflow-wrap:anywhere}
.swagger-ui .headers :is(th,td):last-child{overflow-wrap:normal}
.dark-mode .swagger-ui .headers td{color:#e4e6e6}
`;

/** Requests go to where the page came from: behind a proxy, the service does not know its own address. */
const SCRIPT = `const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', follow);
follow();
const root = new URL('../../', document.currentScript.src);
fetch(new URL('openapi.json', root)).then((response) => response.json()).then((specification) => {
  SwaggerUIBundle({
    spec: { ...specification, servers: [{ url: root.href.replace(/\\/$/, '') }] },
    dom_id: '#swagger-ui',
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
  });
});
`;

const POLICY = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      'default-src': ["'none'"],
      'script-src': ["'self'"],
      'style-src': ["'self'"],
      'connect-src': ["'self'"],
      'img-src': ["'self'", 'data:'],
      'base-uri': ["'none'"],
      'form-action': ["'none'"],
      'frame-ancestors': ["'none'"],
    },
  },
  // TLS ends at the proxy, which knows whether the promise of https can be kept.
  strictTransportSecurity: false,
});

export function docsPageRoutes(): Route[] {
  return [
    { method: 'get', path: '/docs', handlers: [POLICY, serveRelative('html', PAGE)] },
    { method: 'get', path: '/docs/assets/:file', handlers: [serveAsset()] },
  ];
}

function serveText(type: string, text: string): RequestHandler {
  return (_request, response) => {
    response.type(type).send(text);
  };
}

function serveAsset(): RequestHandler {
  const own = new Map([
    ['page.css', serveText('css', STYLE)],
    ['page.js', serveText('js', SCRIPT)],
  ]);
  const swaggerFiles = dirname(require.resolve('swagger-ui-dist/package.json'));
  const ofSwagger = new Set(['swagger-ui.css', 'swagger-ui-bundle.js']);
  return (request, response, next) => {
    const file = parameterOf(request, 'file');
    const serve = own.get(file);
    if (serve !== undefined) void serve(request, response, next);
    else if (ofSwagger.has(file)) response.sendFile(join(swaggerFiles, file), { maxAge: MAX_AGE_MS });
    else throw new AppError('not_found', 'There is no such file.');
  };
}
