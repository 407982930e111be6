import { randomFillSync } from 'node:crypto';
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

/** Makes the id of a message that brought none: a ULID, so ids of one process sort by time. */
export const newId: (milliseconds: number) => string = monotonicFactory(randomFraction);
