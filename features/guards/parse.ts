import express, { type Request, type RequestHandler } from 'express';
import { AppError } from '../../utils/errors';

const decoder = new TextDecoder('utf-8', { fatal: true });
const JSON_TYPE = 'application/json';

/**
 * Reads a JSON body of at most `maxBytes` (after decompression) into `request.body`. Answers 400 `invalid_json`,
 * 413 `body_too_large`, 415 `unsupported_media_type`. `beforeParsing` stands where the bytes are there and become objects,
 * many times as large. The bytes are decoded here rather than by body-parser's json,
 * which replaces invalid UTF-8 instead of refusing it.
 */
export function parseJsonBody(maxBytes: number, beforeParsing: RequestHandler): RequestHandler[] {
  return [express.raw({ type: JSON_TYPE, limit: maxBytes }), beforeParsing, decodeBody];
}

/** The same for routes whose body may be missing: then `request.body` is an empty object. */
export function parseOptionalJsonBody(maxBytes: number, beforeParsing: RequestHandler): RequestHandler[] {
  return [express.raw({ type: JSON_TYPE, limit: maxBytes }), beforeParsing, decodeOptionalBody];
}

const decodeOptionalBody: RequestHandler = (request, response, next) => {
  if (isEmpty(request)) {
    request.body = {};
    next();
  } else decodeBody(request, response, next);
};

const decodeBody: RequestHandler = (request, _response, next) => {
  request.body = Buffer.isBuffer(request.body) ? parseJson(request.body) : refuseBody(request);
  next();
};

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(decoder.decode(bytes)) as unknown;
  } catch (error) {
    // The parser's own words quote the body, and bodies never reach a log.
    void error;
    throw new AppError('invalid_json', 'The body is not JSON in valid UTF-8.', {
      errors: [{ path: '', message: 'expected JSON in UTF-8' }],
    });
  }
}

function refuseBody(request: Request): never {
  const type = request.headers['content-type'];
  if (isEmpty(request) && (type === undefined || request.is(JSON_TYPE) !== false)) {
    throw new AppError('invalid_json', 'Expected a JSON body.', {
      errors: [{ path: '', message: 'expected a JSON body' }],
    });
  }
  throw new AppError('unsupported_media_type', `Expected Content-Type: ${JSON_TYPE}.`);
}

function isEmpty({ headers }: Request): boolean {
  return headers['content-length'] === '0' || (headers['content-length'] ?? headers['transfer-encoding']) === undefined;
}
