import { createHash, randomFillSync } from 'node:crypto';
import { monotonicFactory } from 'ulid';

/** Random bytes are fetched in blocks: a system call for each character of an id would cost more than the send. */
const block = new Uint8Array(1024);
let used = block.length;

function randomFraction(): number {
  if (used === block.length) {
    randomFillSync(block);
    used = 0;
  }
  const byte = block[used] ?? 0;
  used += 1;
  return byte / 256;
}

/** Makes the id of a message that has none: a ULID, so ids of one process sort by time. */
export const newId: (milliseconds: number) => string = monotonicFactory(randomFraction);

/**
 * Makes the id of a message that is sent under an Idempotency-Key: the same for the same parts, so that carrying out
 * the request again after a crash stores nothing twice. 128 bits of SHA-256.
 */
export function keyedId(parts: readonly string[]): string {
  return `key-${createHash('sha256').update(JSON.stringify(parts)).digest('base64url').slice(0, 22)}`;
}
