import type { IncomingMessage } from 'node:http';
import express, { type Request, type RequestHandler } from 'express';
import { AppError } from '../../utils/errors';
import { parseJson } from '../../utils/json';
import { setBodyBytes } from '../request';

const decoder = new TextDecoder('utf-8', { fatal: true });
const JSON_TYPE = 'application/json';

export interface BodyJudges {
  readonly beforeReading: RequestHandler;
  readonly beforeParsing: RequestHandler;
}

/**
 * Reads a JSON body of at most `maxBytes` (after decompression) into `request.body`. Answers 400 `invalid_json`, 413
 * `body_too_large`, 415 `unsupported_media_type`. `judges.beforeReading` sees only the headers; `beforeParsing` runs
 * when the bytes are there and are about to become objects, many times as large. The bytes are decoded here rather than
 * by body-parser's json, which replaces invalid UTF-8 instead of refusing it.
 */
export function parseJsonBody(maxBytes: number, judges: BodyJudges): RequestHandler[] {
  return [judges.beforeReading, readBytes(maxBytes), judges.beforeParsing, decodeBody];
}

/** The same for routes whose body may be missing: then `request.body` is an empty object. */
export function parseOptionalJsonBody(maxBytes: number, judges: BodyJudges): RequestHandler[] {
  return [judges.beforeReading, readBytes(maxBytes), judges.beforeParsing, decodeOptionalBody];
}

/** Whether there is a body shows only when a chunked one is read, whatever type the header names. */
function readBytes(maxBytes: number): RequestHandler {
  const isRead = (request: IncomingMessage) =>
    request.headers['content-length'] === undefined || isJson(request as Request);
  return express.raw({ type: isRead, limit: maxBytes });
}

function isJson(request: Request): boolean {
  return typeof request.is(JSON_TYPE) === 'string';
}

const decodeOptionalBody: RequestHandler = (request, response, next) => {
  if (isEmpty(request)) {
    request.body = {};
    next();
  } else decodeBody(request, response, next);
};

const decodeBody: RequestHandler = (request, _response, next) => {
  if (isEmpty(request)) throw invalidJson('The body is empty: send JSON.', 'must be JSON, but is empty');
  const bytes: unknown = request.body;
  if (!Buffer.isBuffer(bytes) || !isJson(request)) {
    throw new AppError('unsupported_media_type', `The Content-Type of the body must be ${JSON_TYPE}.`);
  }
  if (request.headers['idempotency-key'] !== undefined) setBodyBytes(request, bytes);
  request.body = parse(bytes);
  next();
};

/** No bytes are no body, however they are framed. */
function isEmpty({ body, headers }: Request): boolean {
  if (Buffer.isBuffer(body)) return body.length === 0;
  return headers['content-length'] === '0' || (headers['content-length'] ?? headers['transfer-encoding']) === undefined;
}

function parse(bytes: Buffer): unknown {
  try {
    return parseJson(decoder.decode(bytes));
  } catch (error) {
    if (error instanceof AppError) throw error;
    // The parser's message quotes the body, and bodies never reach a log.
    throw invalidJson('The body is not valid JSON in UTF-8.', 'must be valid JSON in UTF-8');
  }
}

function invalidJson(detail: string, message: string): AppError {
  return new AppError('invalid_json', detail, { errors: [{ path: '', message }] });
}
