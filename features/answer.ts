import { once } from 'node:events';
import type { Response } from 'express';
import type { WrittenAnswer } from '../handlers/idempotency';
import { isSliceOver, nextSlice } from '../utils/slices';

/** One write with its length; Express's own `json` would also compute an ETag and a character set. */
export function answer(response: Response, body: object, status = 200): void {
  answerWritten(response, { status, body: JSON.stringify(body), isRepeated: false });
}

/** An answer that is already text; the header says if it is a repeat. */
export function answerWritten(response: Response, { status, body, isRepeated }: WrittenAnswer): void {
  response.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    ...(isRepeated ? { 'Idempotent-Replay': 'true' } : {}),
  });
  response.end(body);
}

/** JSON that is already encoded, in parts. */
export function answerEncoded(response: Response, parts: readonly Buffer[]): void {
  const bytes = parts.reduce((sum, { length }) => sum + length, 0);
  response.writeHead(200, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': bytes });
  for (const part of parts) response.write(part);
  response.end();
}

/** JSON lines, written as they come and as fast as the client reads. */
export async function answerLines(response: Response, lines: AsyncIterable<object>): Promise<void> {
  for await (const line of lines) {
    if (isSliceOver()) await nextSlice();
    if (response.closed) return;
    // Only when there is something to write: until then, a fault can still be answered as one.
    if (!response.headersSent) response.writeHead(200, { 'Content-Type': 'application/x-ndjson; charset=utf-8' });
    if (!response.write(`${JSON.stringify(line)}\n`)) await drained(response);
  }
  response.end();
}

/** Resolves when more can be written, or nothing can any more; leaves no listener behind. */
async function drained(response: Response): Promise<void> {
  const listening = new AbortController();
  const { signal } = listening;
  try {
    await Promise.race([once(response, 'drain', { signal }), once(response, 'close', { signal })]);
  } finally {
    listening.abort();
  }
}
