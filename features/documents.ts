/** The test page at / and /websocket-client.html, and the catalogue of errors that problems link to. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { RequestHandler, Response } from 'express';
import helmet from 'helmet';
import MarkdownIt from 'markdown-it';
import type { Route } from './routes';

/** @param developmentUsers whose tokens the page offers, see development-tokens.ts. */
export function documentRoutes(developmentUsers: readonly string[]): Route[] {
  const page = offerTokens(readFileSync(join(packageRoot(), 'websocket-client.html'), 'utf8'), developmentUsers);
  const errors = renderMarkdown(readFileSync(join(packageRoot(), 'docs/reference/errors.md'), 'utf8'));
  const servePage = [protectPage(page), serveHtml(page)];
  return [
    { method: 'get', path: '/', handlers: servePage },
    { method: 'get', path: '/websocket-client.html', handlers: servePage },
    { method: 'get', path: '/docs/errors', handlers: [protectPage(errors), serveRelative('html', errors)] },
  ];
}

/** Opened as a file, the page has the empty list: nothing to offer. */
function offerTokens(page: string, users: readonly string[]): string {
  return page.replace('name="development-users" content=""', `name="development-users" content="${users.join(' ')}"`);
}

/** The directory of package.json, from the sources as from dist/. */
export function packageRoot(): string {
  let directory = __dirname;
  while (!existsSync(join(directory, 'package.json'))) directory = dirname(directory);
  return directory;
}

function serveHtml(html: string): RequestHandler {
  return (_request, response: Response) => {
    response.type('html').send(html);
  };
}

/** Stands in links of a page for the way from the page to the root of the service. */
export const TO_ROOT = '{to-root}';

/**
 * Serves a page whose links are relative: so they hold below whatever prefix a proxy has taken off the path, and with a
 * slash at the end of the address as well.
 */
export function serveRelative(type: string, text: string): RequestHandler {
  return ({ path }, response) => {
    const depth = path.split('/').length - 2;
    response.type(type).send(text.replaceAll(TO_ROOT, depth === 0 ? './' : '../'.repeat(depth)));
  };
}

/** A Content-Security-Policy that allows the page's own inline blocks by their hashes, and connections to any service. */
function protectPage(html: string): RequestHandler {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'script-src': ["'self'", ...hashesOf(html, 'script')],
        'style-src': ["'self'", ...hashesOf(html, 'style')],
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

/** Renders a document; a heading that is one word of code is an anchor of that name. */
function renderMarkdown(text: string): string {
  const markdown = new MarkdownIt();
  markdown.renderer.rules['heading_open'] = (tokens, index, options, _env, self) => {
    const name = tokens[index + 1]?.content.replaceAll('`', '') ?? '';
    if (/^[\w-]+$/.test(name)) tokens[index]?.attrSet('id', name);
    return self.renderToken(tokens, index, options);
  };
  const style =
    'body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}:target{background:#ff8}';
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tidings: errors</title>
<link rel="icon" href="data:,">
<style>${style}</style>
<nav><a href="${TO_ROOT}docs">Documents</a></nav>
${markdown.render(text)}
</html>
`;
}
