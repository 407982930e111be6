/** Routes as a table: method, path, guards, handler. */
import { type RequestHandler, Router } from 'express';
import { refuseOtherMethods } from './render-error';

export interface Route {
  readonly method: 'get' | 'post' | 'patch' | 'delete';
  readonly path: string;
  readonly handlers: readonly RequestHandler[];
}

/** Mounts a table; other methods on its paths are answered 405 with `Allow`. */
export function mountRoutes(routes: readonly Route[]): Router {
  const router = Router({ caseSensitive: true });
  const methodsByPath = new Map<string, string[]>();
  for (const { method, path, handlers } of routes) {
    router[method](path, ...handlers);
    methodsByPath.set(path, [...(methodsByPath.get(path) ?? []), method.toUpperCase()]);
  }
  for (const [path, methods] of methodsByPath) {
    const allowed = methods.includes('GET') ? [...methods, 'HEAD'] : methods;
    router.all(path, refuseOtherMethods([...allowed, 'OPTIONS']));
  }
  return router;
}
