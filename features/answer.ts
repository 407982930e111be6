import type { Response } from 'express';
import type { Sent } from '../handlers/websocket';

/** One write with its length; Express' own `json` would look for an ETag and a character set on the way. */
export function answer(response: Response, body: object, status = 200): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(text),
  });
  response.end(text);
}

/** The answer to a send; a repeated one says so in its header. */
export function answerSent(response: Response, { answer: body, isRepeated }: Sent<object>): void {
  if (isRepeated) response.setHeader('Idempotent-Replay', 'true');
  answer(response, body);
}
