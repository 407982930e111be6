/** What all pages of the service share: where their links lead, what they may load, and their style. */
import { createHash } from 'node:crypto';
import type { RequestHandler, Response } from 'express';
import helmet from 'helmet';

/** The bell of the test page. It is part of each page, so that it needs no further request. */
export const FAVICON =
  "data:image/svg+xml,%3Csvg xmlns='http:%2F%2Fwww.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='%234a5fe0' stroke-width='2.4' stroke-linecap='round' stroke-linejoin='round'%3E%3Cpath d='M6 9a6 6 0 0 1 12 0c0 6 2.5 7 2.5 7h-17S6 15 6 9'/%3E%3Cpath d='M10 20a2 2 0 0 0 4 0'/%3E%3C/svg%3E";

const STYLE = `:root{color-scheme:light dark}
body{max-width:50rem;margin:0 auto;padding:1rem;font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
a{color:light-dark(#3548c4,#a3b4ff)}
code{font-size:.9em}
pre{white-space:pre-wrap}
:target{background:light-dark(#ffee99,#4d4000)}`;

/** A page of text. */
export function renderPage(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tidings: ${title}</title>
<link rel="icon" href="${FAVICON}">
<style>${STYLE}</style>
${body}
</html>
`;
}

export function serveHtml(html: string): RequestHandler {
  return (_request, response: Response) => {
    response.type('html').send(html);
  };
}

/** In a page's links, stands for the path from the page to the root of the service. */
export const TO_ROOT = '{to-root}';

/**
 * Serves a page with relative links, which work below any prefix that a proxy removes from the path, and with a
 * trailing slash in the address.
 */
export function serveRelative(type: string, text: string): RequestHandler {
  return ({ path }, response) => {
    const depth = path.split('/').length - 2;
    response.type(type).send(text.replaceAll(TO_ROOT, depth === 0 ? './' : '../'.repeat(depth)));
  };
}

/**
 * A Content-Security-Policy that allows the page's own inline blocks by their hashes, and connections to any service.
 */
export function protectPage(html: string): RequestHandler {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'script-src': hashesOf(html, 'script'),
        'style-src': hashesOf(html, 'style'),
        'connect-src': ["'self'", 'http:', 'https:', 'ws:', 'wss:'],
        'img-src': ["'self'", 'data:'],
        'base-uri': ["'none'"],
        'form-action': ["'none'"],
        'frame-ancestors': ["'none'"],
      },
    },
    // TLS ends at the proxy, which knows whether the promise of https can be kept.
    strictTransportSecurity: false,
  });
}

function hashesOf(html: string, element: 'script' | 'style'): string[] {
  const blocks = html.matchAll(new RegExp(`<${element}[^>]*>([\\s\\S]*?)</${element}>`, 'g'));
  return Array.from(blocks, ([, content = '']) => `'sha256-${createHash('sha256').update(content).digest('base64')}'`);
}
