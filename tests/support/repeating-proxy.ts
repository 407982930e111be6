/**
 * A proxy to MongoDB that carries out some inserts of messages twice: the first answer is lost, and the command is
 * repeated as a driver repeats it. The node sees the answer to the second one.
 */
import { onMessages, startMongoDbProxy } from './mongodb-proxy';
import type { Random } from './random';
import { onTestEnd } from './temporary';

export interface RepeatingProxy {
  readonly port: number;
  /** Inserts that were repeated, and how many of them were reported as duplicates. */
  readonly counts: { repeated: number; duplicates: number };
}

const HEADER_BYTES = 16;
/** Header, flags, kind of section, length of the document: then the name of the command, as a string. */
const COMMAND_AT = HEADER_BYTES + 4 + 1 + 4;
const INSERT_OF_MESSAGES = Buffer.concat([
  Buffer.from([2]),
  Buffer.from('insert\0'),
  Buffer.from([9, 0, 0, 0]),
  Buffer.from('messages\0'),
]);
/** `code: 11000` in an answer, as a 32-bit integer. */
const DUPLICATE = Buffer.concat([Buffer.from([16]), Buffer.from('code\0'), Buffer.from([0xf8, 0x2a, 0, 0])]);

/** Ends with the test. `oneIn`: one insert in this many is repeated. */
export async function startRepeatingProxy(
  target: { readonly host: string; readonly port: number },
  { random, oneIn }: { readonly random: Random; readonly oneIn: number },
): Promise<RepeatingProxy> {
  const counts = { repeated: 0, duplicates: 0 };
  const proxy = await startMongoDbProxy(target, (near, far) => {
    /** Inserts whose first answer will be lost, by the number of their request. */
    const repeating = new Map<number, Buffer>();
    onMessages(near, (message) => {
      const isRepeated = isInsertOfMessages(message) && random.integer(1, oneIn) === 1;
      if (isRepeated) repeating.set(message.readInt32LE(4), message);
      far.write(message);
    });
    const repeated = new Set<number>();
    onMessages(far, (answer) => {
      const request = answer.readInt32LE(8);
      const again = repeating.get(request);
      if (again !== undefined) {
        repeating.delete(request);
        repeated.add(request);
        counts.repeated += 1;
        far.write(again);
        return;
      }
      if (repeated.delete(request) && answer.includes(DUPLICATE)) counts.duplicates += 1;
      near.write(answer);
    });
  });
  onTestEnd(() => proxy.close());
  return { port: proxy.port, counts };
}

function isInsertOfMessages(message: Buffer): boolean {
  return message.subarray(COMMAND_AT, COMMAND_AT + INSERT_OF_MESSAGES.length).equals(INSERT_OF_MESSAGES);
}
