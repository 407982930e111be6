/** The test page at / and /websocket-client.html, and the catalogue of errors that problems link to. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import MarkdownIt from 'markdown-it';
import { protectPage, renderPage, serveHtml, serveRelative, TO_ROOT } from './html-pages';
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

/** Opened as a file, the page has an empty list: nothing to offer. */
function offerTokens(page: string, users: readonly string[]): string {
  return page.replace('name="development-users" content=""', `name="development-users" content="${users.join(' ')}"`);
}

/** The directory of package.json, both from the sources and from dist/. */
export function packageRoot(): string {
  let directory = __dirname;
  while (!existsSync(join(directory, 'package.json'))) directory = dirname(directory);
  return directory;
}

/** Renders a document; a heading that is a single word of code becomes an anchor with that name. */
function renderMarkdown(text: string): string {
  const markdown = new MarkdownIt();
  markdown.renderer.rules['heading_open'] = (tokens, index, options, _env, self) => {
    const name = tokens[index + 1]?.content.replaceAll('`', '') ?? '';
    if (/^[\w-]+$/.test(name)) tokens[index]?.attrSet('id', name);
    return self.renderToken(tokens, index, options);
  };
  return renderPage(
    'errors',
    `<nav><a href="${TO_ROOT}docs">HTTP API</a> <a href="${TO_ROOT}">Test page</a></nav>\n${markdown.render(text)}`,
  );
}
