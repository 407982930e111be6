/** Routes as a table: method, path, guards, handler. */
import type { Express, RequestHandler } from 'express';
import { refuseOtherMethods } from './render-error';

export interface Route {
  readonly method: 'get' | 'post' | 'patch' | 'delete';
  readonly path: string;
  readonly handlers: readonly RequestHandler[];
}

/** Mounts a table below a prefix; other methods on its paths are answered 405 with `Allow`. */
export function mountRoutes(app: Express, prefix: string, routes: readonly Route[]): void {
  const methodsByPath = new Map<string, string[]>();
  for (const { method, path, handlers } of routes) {
    app[method](prefix + path, ...handlers);
    methodsByPath.set(path, [...(methodsByPath.get(path) ?? []), method.toUpperCase()]);
  }
  for (const [path, methods] of methodsByPath) {
    const allowed = methods.includes('GET') ? [...methods, 'HEAD'] : methods;
    // Not `app.all`, which makes an entry for each method that Node.js knows.
    app.route(prefix + path).all(refuseOtherMethods([...allowed, 'OPTIONS']));
  }
}
