/** What the guards know about a request, kept beside it: Express's own objects stay unchanged. */
import type { ServerResponse } from 'node:http';
import type { Request, Response } from 'express';
import type { Requester } from '../services/audit-log';
import type { Caller } from '../utils/caller';

const callers = new WeakMap<Request, Caller>();

export function setCaller(request: Request, caller: Caller): void {
  callers.set(request, caller);
}

/** The caller; the guard `authenticate` has run before. */
export function callerOf(request: Request): Caller {
  const caller = callers.get(request);
  if (caller === undefined) throw new Error('The route has no guard `authenticate`.');
  return caller;
}

/** The caller, if known; rate limiting also sees requests that were refused before. */
export function knownCallerOf(request: Request): Caller | undefined {
  return callers.get(request);
}

const bodyBytes = new WeakMap<Request, Buffer>();

/** The body as received, if an Idempotency-Key needs it for comparison. */
export function setBodyBytes(request: Request, bytes: Buffer): void {
  bodyBytes.set(request, bytes);
}

/** Absent for a request without a body, or without an Idempotency-Key. */
export function bodyBytesOf(request: Request): Buffer | undefined {
  return bodyBytes.get(request);
}

/** The id under which the request is logged; the client receives it as X-Request-Id. */
export function requestIdOf(response: ServerResponse): string {
  return String(response.getHeader('X-Request-Id'));
}

/** The caller and the request, for operations that are recorded. */
export function requesterOf(request: Request, response: Response): Requester {
  return { ...callerOf(request), requestId: requestIdOf(response) };
}

/** A parameter of the path. */
export function parameterOf(request: Request, name: string): string {
  const value = request.params[name];
  return typeof value === 'string' ? value : '';
}

/** Gives back what a request has taken when its answer has ended, or at once if its client has already left. */
export function whenOver(response: ServerResponse, giveBack: () => void): void {
  if (response.closed) giveBack();
  else response.once('close', giveBack);
}
